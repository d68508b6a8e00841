"""Did-you-mean: close spellings, and the names that other frameworks use for the same thing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

_OPERATIONS = {
    "conv": "conv2d convolution convolutional convolution2d conv1 conv2 convs convlayer",
    "dwconv": "depthwiseconv2d depthwise_conv depthwiseconv depthwise convolutiondepthwise",
    "deconv": "conv2dtranspose convtranspose2d convtranspose conv_transpose deconvolution "
    "transposedconv transposed_conv",
    "dense": "linear innerproduct inner_product fullyconnected fully_connected fc connected gemm",
    "bn": "batchnorm batchnorm2d batchnormalization batch_norm batch_normalization",
    "lrn": "localresponsenorm local_response_norm",
    "leaky_relu": "leakyrelu leaky lrelu",
    "silu": "swish",
    "hswish": "hardswish hard_swish",
    "hsigmoid": "hardsigmoid hard_sigmoid",
    "maxpool": "maxpool2d maxpooling2d maxpooling max_pool max_pool2d pool",
    "avgpool": "avgpool2d averagepooling2d avgpooling averagepool average_pool avg_pool2d",
    "global_avgpool": "globalaveragepooling2d globalaveragepool global_avg_pool gap "
    "adaptiveavgpool2d adaptive_avgpool adaptiveaveragepool",
    "global_maxpool": "globalmaxpooling2d globalmaxpool gmp adaptivemaxpool2d",
    "upsample": "upsampling2d resize interpolate upsamplingnearest2d",
    "concat": "concatenate cat route merge",
    "add": "shortcut eltwise sum plus residual",
    "mul": "multiply times",
    "crop": "cropping2d",
    "pad": "zeropadding2d zeropad2d padding",
    "channel_shuffle": "shuffle channelshuffle shufflechannel",
    "clip": "clamp hardtanh",
    "slice": "split narrow",
    "scale": "affine",
}
_ARGUMENTS = {
    "kernel_size": "the window is the first argument: {op}(3x3, ...)",
    "kernel": "the window is the first argument: {op}(3x3, ...)",
    "kernel_shape": "the window is the first argument: {op}(3x3, ...)",
    "pool_size": "the window is the first argument: {op}(2x2)",
    "size": "the window is the first argument: {op}(3x3, ...)",
    "activation": "an activation is an operation of its own: {op}(...) -> relu",
    "act": "an activation is an operation of its own: {op}(...) -> relu",
    "out_channels": "write filters=",
    "channels": "write filters=",
    "num_output": "write filters=",
    "in_channels": "the number of input channels is known; leave it out",
    "input_shape": "the shape is written once, in the `input` line",
    "out_features": "the units are the first argument: dense(10)",
    "units": "the units are the first argument: dense(10)",
    "padding": "write pad=",
    "pads": "write pad=",
    "strides": "write stride=",
    "dilations": "write dilation=",
    "dilation_rate": "write dilation=",
    "group": "write groups=",
    "use_bias": "write bias=",
    "bias_term": "write bias=",
    "name": "a label is written behind the operation: {op}(...) as conv1",
    "epsilon": "write eps=",
    "momentum": "only training needs it; leave it out",
    "ceil_mode": "write round=ceil",
    "count_include_pad": "write count_pad=",
    "scale_factor": "the factor is the first argument: upsample(2)",
    "negative_slope": "write alpha=",
    "output_padding": "write out_pad=",
    "align_corners": "`mode=bilinear` always means half-pixel centres",
    "dim": "the operation always works on channels; leave it out",
    "axis": "the operation always works on channels; leave it out",
    "rename_map": "write rename=",
}
_WORDS = {
    "uint8": "u8",
    "byte": "u8",
    "int8": "i8",
    "float": "f32",
    "float32": "f32",
    "half": "f16",
    "float16": "f16",
    "nchw": "chw",
    "nhwc": "hwc",
    "channels_last": "hwc",
    "channels_first": "chw",
    "linear": "bilinear",
    "grayscale": "gray",
    "same_upper": "same",
}
_SYNONYMS = {word: name for name, words in _OPERATIONS.items() for word in words.split()}


def operation(name: str, known: Iterable[str]) -> str:
    """The help for an unknown operation: a translated or close name, or an empty text."""
    bare = name.lower()
    names = list(known)
    if bare in names:
        return f"did you mean `{bare}`?"
    found = _SYNONYMS.get(bare) or _SYNONYMS.get(bare.replace("_", ""))
    return f"did you mean `{found}`?" if found else close(name, names)


def argument(name: str, op: str, known: Iterable[str]) -> str:
    """The help for an unknown argument."""
    names = list(known)
    hint = _ARGUMENTS.get(name, "")
    target = hint.removeprefix("write ").removesuffix("=")
    if hint and (not hint.startswith("write ") or target.split("=")[0] in names):
        return hint.replace("{op}", op)
    near = close(name, names)
    if near:
        return near
    return f"`{op}` takes {', '.join(names)}" if names else f"`{op}` takes no arguments"


def word(name: str, words: Iterable[str]) -> str:
    """The help for an unknown word of an argument, or an empty text."""
    known = list(words)
    translated = _WORDS.get(name.lower(), "")
    return f"did you mean `{translated}`?" if translated in known else close(name, known)


def close(name: str, known: Iterable[str]) -> str:
    """`did you mean ...?` for the closest of `known`, or an empty text."""
    found = closest(name, known, 1)
    return f"did you mean `{found[0]}`?" if found else ""


def closest(name: str, known: Iterable[str], count: int) -> list[str]:
    """At most `count` names that are spelt like `name`, the closest first."""
    if len(name) > 200:
        return []
    by_lower = {item.lower(): item for item in islice(known, 5000) if len(item) <= 200}
    found = difflib.get_close_matches(name.lower(), list(by_lower), n=count, cutoff=0.6)
    return [by_lower[item] for item in found]
