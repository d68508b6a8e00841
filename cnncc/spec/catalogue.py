"""Every diagnostic of the language: code, title, explanation, a wrong and a right example.

Data only. Messages with the values of a case are written where the case is found; what is said at
length is said here, once, for `cnncc explain` and the error index.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One code. `wrong` and `right` are pieces of `.cnn` text, or empty."""

    code: str
    title: str
    text: str
    wrong: str = ""
    right: str = ""


_ENTRIES = (
    Entry(
        "E0101",
        "an input needs `:` and a shape",
        "An `input` line names what the caller hands over and says its shape: height x width x\n"
        "channels for a feature map, `[k]` for a vector.",
        "input photo 150x150x3",
        "input photo: 150x150x3",
    ),
    Entry(
        "E0102",
        "a comma is missing",
        "Arguments and list items are separated by commas, also when each stands on its own line.",
        "conv(3x3 filters=16)",
        "conv(3x3, filters=16)",
    ),
    Entry(
        "E0103",
        "a bracket is never closed",
        "Inside `( )` and `[ ]` newlines do not end a statement, so an open bracket would swallow\n"
        "the lines that follow. cnncc guesses where the statement was meant to end and reads on.",
        "conv(3x3, filters=16\nrelu",
        "conv(3x3, filters=16)\nrelu",
    ),
    Entry(
        "E0104",
        "the first line must name the edition",
        "A file starts with `cnncc 1`. Within an edition shape rules and "
        "defaults never change, so\n"
        "the line guarantees that the file means the same with every later version of cnncc.",
        "model lenet",
        "cnncc 1\nmodel lenet",
    ),
    Entry(
        "E0105",
        "not a size",
        "Sizes are written without spaces (`3x3`, `224x224x3`), or as a list when a number is\n"
        "computed: `[h, w, c]`. A vector's shape is a list of one: `[100]`.",
        "conv(3 x 3, filters=16)",
        "conv(3x3, filters=16)",
    ),
    Entry(
        "E0106",
        "something else was expected here",
        "The text does not follow the grammar at this point. The message says what could stand\n"
        "here. One statement stands on a line; `->` chains operations on one line, and may also\n"
        "start the next line.",
        "conv(3x3, filters=16) relu",
        "conv(3x3, filters=16) -> relu",
    ),
    Entry(
        "E0107",
        "nested too deeply",
        "Brackets and braces may be nested 48 deep and block calls 32 deep. No "
        "network needs more;\n"
        "the limit keeps hostile files from exhausting the machine.",
    ),
    Entry(
        "E0108",
        "the file is too large or is no text",
        "A spec is UTF-8 text of at most 16 MiB and 200,000 words and signs. Weights belong in a\n"
        "`.safetensors` or `.npz` file that a `weights` line names.",
    ),
    Entry(
        "E0109",
        "a character without meaning",
        "Outside of comments and quoted texts only ASCII letters, digits and the signs of the\n"
        "grammar have a meaning. Texts are written in double quotes and end on their line.",
        "output prob { labels = file('names.txt') }",
        'output prob { labels = file("names.txt") }',
    ),
    Entry(
        "E0201",
        "no operation of that name",
        "The name is none of the built-in operations, of this file's blocks, or of the names\n"
        "visible here. The names of other frameworks are recognised and translated in the help.",
        "Conv2D(3x3, filters=16)",
        "conv(3x3, filters=16)",
    ),
    Entry(
        "E0202",
        "a name is defined twice",
        "Names are assigned once, and a file has one namespace: operations, functions, blocks,\n"
        "params, `let` values and tensors cannot share a name. Nothing is ever shadowed.",
        "x = conv(3x3, filters=16)\nx = relu",
        "x = conv(3x3, filters=16)\ny = relu",
    ),
    Entry(
        "E0203",
        "two layers have one weight path",
        "Each layer's weights are found by a path: the labels of the enclosing block calls, then\n"
        "the layer's own label. Two layers cannot have the same path; in a loop, put the loop's\n"
        "variable into the label. To share weights on purpose write `from=`.",
        "for i in range(2) { conv(3x3, filters=8) as c }",
        "for i in range(2) { conv(3x3, filters=8) as c{i} }",
    ),
    Entry(
        "E0204",
        "a name is not visible here",
        "A block sees its own parameters, the file's params and the file's blocks; it never sees\n"
        "the tensors or `let` values of its caller. Names made in a loop end "
        "with the loop's turn.\n"
        "A tensor must be defined above the line that uses it.",
        "block join(x) { add(in, skip) }",
        "block join(skip: tensor) { add(in, skip) }",
    ),
    Entry(
        "E0205",
        "`in` outside of a block",
        "`in` is what a block was called on. Outside of blocks use the input's name.",
        "in -> relu",
        "photo -> relu",
    ),
    Entry(
        "E0206",
        "a block calls itself",
        "Blocks are expanded when the file is read, so a block that calls itself would never end.\n"
        "Use `repeat` or `for`.",
    ),
    Entry(
        "E0207",
        "nothing to continue from",
        "A line takes the result of the line above. After the last of several inputs there is no\n"
        "such result: start the line with one of their names.",
        "input left: 8x8x1\ninput right: 8x8x1\nrelu",
        "input left: 8x8x1\ninput right: 8x8x1\nleft -> relu",
    ),
    Entry(
        "E0208",
        "a used file cannot be taken",
        "`use` reads the blocks of another file. Its path is relative to the "
        "file that says `use`,\n"
        "stays inside of the project (the nearest folder above with `.git` or `cnncc.toml`, else\n"
        "the folder of the main file), and files cannot use each other in a circle.",
        'use "/etc/blocks.cnn" as b',
        'use "blocks/resnet.cnn" as rn',
    ),
    Entry(
        "E0209",
        "a network needs an input and an output",
        "A file declares at least one `input` and one `output`, which hands out the running\n"
        "result or a named one. (A file that only offers blocks is read by `use`.)",
        "",
        "input photo: 32x32x3\nrelu\noutput y",
    ),
    Entry(
        "E0301",
        "a required argument is missing",
        "The argument has no default that would be right for most networks, so it must be written.",
        "conv(3x3)",
        "conv(3x3, filters=16)",
    ),
    Entry(
        "E0302",
        "no argument of that name",
        "The operation or statement has no such argument. Names of other "
        "frameworks are recognised\n"
        "and translated in the help. An activation is an operation of its own.",
        "conv(3x3, filters=16, activation=relu)",
        "conv(3x3, filters=16) -> relu",
    ),
    Entry(
        "E0303",
        "a second bare argument",
        "A built-in operation takes one argument without a name (the window, the units or the\n"
        "factor); the others are named, so that a file can be read without a manual.",
        "conv(3x3, 64)",
        "conv(3x3, filters=64)",
    ),
    Entry(
        "E0304",
        "a value of the wrong type",
        "Whole numbers become sizes and fractions where needed; nothing else is converted. In\n"
        "particular a fraction never becomes a whole number silently: say how it is rounded.",
        "conv(3x3, filters=32 * 0.7)",
        "conv(3x3, filters=make_divisible(32 * 0.7, 8))",
    ),
    Entry(
        "E0305",
        "not one of the allowed words",
        "The argument takes one of a few words, listed in the message.",
        "conv(3x3, filters=8, pad=smae)",
        "conv(3x3, filters=8, pad=same)",
    ),
    Entry(
        "E0306",
        "a block's arguments do not fit",
        "A block takes its arguments in order or by name; those without a default must be given.\n"
        "`in` is never an argument: it is what the block is applied to.",
        "block basic(filters, stride=1) { conv(3x3, filters=filters, stride=stride) }\nbasic()",
        "block basic(filters, stride=1) { conv(3x3, filters=filters, stride=stride) }\nbasic(64)",
    ),
    Entry(
        "E0307",
        "a param cannot have this value",
        "`param` declares a knob that `-D name=value` turns; the value must have the type of the\n"
        "default and, where the file lists the allowed values with `in [...]`, be one of them.",
        "param width = 2.0 in [0.5, 1.0]",
        "param width = 1.0 in [0.5, 1.0]",
    ),
    Entry(
        "E0308",
        "`count_pad` must be written",
        "An average pooling with padding divides either by the whole window or by the part of it\n"
        "that lies inside. PyTorch's default is to count the padding, TensorFlow's and ONNX's is\n"
        "not to. There is no default here.",
        "avgpool(3x3, stride=1, pad=1)",
        "avgpool(3x3, stride=1, pad=1, count_pad=false)",
    ),
    Entry(
        "E0309",
        "a number is out of range",
        "The value cannot be computed (a division by zero) or makes no sense "
        "here (a stride of 0, a\n"
        "negative size).",
        "maxpool(2x2, stride=0)",
        "maxpool(2x2, stride=2)",
    ),
    Entry(
        "E0310",
        "the network is too large",
        "A network may have 20,000 operations, and a tensor 2^31 numbers. Loops are unrolled when\n"
        "the file is read; a count such as 1000000 is most likely a mistake.",
        "repeat 1000000 { relu }",
    ),
    Entry(
        "E0401",
        "a window does not fit",
        "The window (with its dilation) is larger than the feature map with its padding. The note\n"
        "shows how the feature map shrank. Pad, drop a pooling, or start from a larger input.",
        "input x: 3x3x1\nconv(5x5, filters=4)",
        "input x: 3x3x1\nconv(5x5, filters=4, pad=same)",
    ),
    Entry(
        "E0402",
        "a flat vector is needed",
        "`dense` multiplies one row of numbers. A feature map is turned into "
        "one by `flatten` (all\n"
        "its numbers) or by `global_avgpool -> flatten` (one number a channel).",
        "maxpool(2x2)\ndense(10)",
        "maxpool(2x2)\nflatten\ndense(10)",
    ),
    Entry(
        "E0403",
        "groups do not divide the channels",
        "A grouped convolution gives each group the same number of channels, of its input and of\n"
        "its filters alike.",
        "input x: 8x8x64\nconv(3x3, filters=64, groups=3)",
        "input x: 8x8x64\nconv(3x3, filters=64, groups=4)",
    ),
    Entry(
        "E0404",
        "unequal shapes",
        "`add` works element by element and needs equal shapes; `mul` also "
        "takes one value for each\n"
        "channel (1x1xC) on one side. Bring the smaller side to the larger one's shape.",
    ),
    Entry(
        "E0405",
        "`concat` of unequal height or width",
        "`concat` lays feature maps behind each other along the channels; heights and widths must\n"
        "be equal.",
    ),
    Entry(
        "E0406",
        "a feature map is needed",
        "The operation looks at neighbours in height and width; a vector has none. Put it before\n"
        "`flatten`.",
        "flatten -> maxpool(2x2)",
        "maxpool(2x2) -> flatten",
    ),
    Entry(
        "E0407",
        "a shape annotation is wrong",
        "`: 56x56x64` behind a line states the shape of its result, and is "
        "checked. The note lists\n"
        "the shapes on the way.",
        "input x: 8x8x3\nconv(3x3, filters=4) : 8x8x4",
        "input x: 8x8x3\nconv(3x3, filters=4) : 6x6x4",
    ),
    Entry(
        "E0501",
        "a tensor is missing in the weight file",
        "Weights are found by path: the layer's path, then `weight`, `bias`, `running_mean` or\n"
        "`running_var`. If the file's names differ by a beginning, write `prefix=`; if single\n"
        'parts differ, write `rename = [["name in file", "name here"]]`.',
    ),
    Entry(
        "E0502",
        "a tensor has another shape",
        "The file's tensor does not have the shape that the layer needs. Convolution weights are\n"
        "read as [out, in, height, width], or, with `layout = hwio`, as [height, width, in, out].",
    ),
    Entry(
        "E0503",
        "labels and classes differ in number",
        "Each channel of the output gets one label.",
        'dense(1)\noutput p { labels = ["cat", "dog"] }',
        'dense(2)\noutput p { labels = ["cat", "dog"] }',
    ),
    Entry(
        "E0504",
        "the order of `flatten` must be written",
        "Trained weights behind a `flatten` depend on the order in which a feature map's numbers\n"
        "are laid in a row. PyTorch flattens channel by channel (`order=chw`), "
        "TensorFlow and Keras\n"
        "pixel by pixel (`order=hwc`). With weights from a file there is no default.",
        'weights "net.safetensors"\nflatten -> dense(10)',
        'weights "net.safetensors"\nflatten(order=chw) -> dense(10)',
    ),
    Entry(
        "E0505",
        "a file cannot be read",
        "The file is missing, damaged, too large, or of a kind that is not "
        "read. Weights come from\n"
        "`.safetensors` or `.npz` files; pickled files (`.pt`, `.pth`, `.pkl`) can run programs\n"
        "when they are opened and are never read. A checkpoint of PyTorch is converted by\n"
        '`safetensors.torch.save_file(model.state_dict(), "net.safetensors")`.',
    ),
    Entry(
        "E0506",
        "one value per channel is needed",
        "`mean` and `std` list one number for each channel of the input; `format = rgb` and `bgr`\n"
        "mean three channels, `gray` one.",
        "input x: 8x8x3 { mean = [0.5] }",
        "input x: 8x8x3 { mean = [0.5, 0.5, 0.5] }",
    ),
    Entry(
        "W0601",
        "the weights are random",
        "Without a `weights` line the network gets random weights: good for measuring speed, not\n"
        "for answers. `weights random` says that this is meant.",
        "",
        "weights random { seed = 0 }",
    ),
    Entry(
        "W0602",
        "a result is never used",
        "No output depends on this line.",
    ),
    Entry(
        "W0603",
        "tensors of the weight file were not used",
        "The file has tensors that no layer asked for; often a layer is missing in the spec. The\n"
        "counters `num_batches_tracked` are not counted.",
    ),
    Entry(
        "W0604",
        "a shape looks like channels first",
        "Shapes are height x width x channels. If the caller's buffer is stored channels first,\n"
        "say so with `layout = chw`; the shape stays height x width x channels.",
        "input x: 3x224x224",
        "input x: 224x224x3 { layout = chw }",
    ),
    Entry(
        "W0605",
        "`same` pads unevenly",
        "With a stride, `same` may pad one side more than the other, as "
        "TensorFlow does. A network\n"
        "trained with PyTorch pads both sides equally and would see its images shifted.",
        "conv(3x3, filters=8, stride=2, pad=same)",
        "conv(3x3, filters=8, stride=2, pad=1)",
    ),
    Entry(
        "W0606",
        "weights are bound through automatic names",
        "A layer without a label is numbered, so that inserting a line changes which weights the\n"
        "layers below it get. `cnncc fmt --pin-names` writes the labels into the file.",
    ),
    Entry(
        "W0607",
        "the epsilon of `bn` may be another one",
        "The file's layout is Keras's, whose batch normalisation uses 1e-3; the default here is\n"
        "PyTorch's 1e-5. Write the one that the network was trained with.",
        "bn",
        "bn(eps=1e-3)",
    ),
)

CATALOGUE: dict[str, Entry] = {entry.code: entry for entry in _ENTRIES}
