"""Operators that ONNX itself defines by a function of other operators, written out.

The definitions come from the installed `onnx` package, not from the user's file; what they are told
of the file is one node that was checked, and types that were inferred here.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import onnx
from onnx import defs, helper, numpy_helper

from cnncc.errors import OnnxError
from cnncc.ir.types import DType, TensorType
from cnncc.onnx.call import DTYPES
from cnncc.onnx.model import Foreign, Node, Tensor
from cnncc.onnx.problems import quoted
from cnncc.onnx.read import read
from cnncc.onnx.refusals import Refused

_CODES = {dtype: onnx.TensorProto.DataType.Value(name) for name, dtype in DTYPES.items()}
_DOMAIN = "cnncc.definitions"
_serial = itertools.count(1)


def body_of(node: Node, types: Sequence[TensorType | None]) -> list[Node] | None:
    """The nodes that define a node, or None when ONNX gives no definition for its version.

    Args:
        node: an operator without a rule.
        types: types of its inputs; None for those left out.

    Raises:
        Refused: the definition cannot be made for these attributes and types.
    """
    try:
        schema = defs.get_schema(node.op_type, node.version, node.domain)
    except defs.SchemaError:
        return None
    told = [onnx.TypeProto() if t is None else _type_proto(t) for t in types]
    body = _definition(schema, node, told)
    if body is None:
        return None
    body.name, body.domain = node.op_type, _DOMAIN
    attributes = {**_defaults(schema, body), **node.attributes}
    node = replace(node, outputs=_computed(body, node.outputs), attributes=attributes)
    present = dict(zip(node.inputs, told, strict=False))
    inputs = [helper.make_value_info(name, t) for name, t in present.items() if name]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.outputs if name]
    graph = helper.make_graph([_proto(node, _DOMAIN, schema)], "definition", inputs, outputs)
    imports = [*body.opset_import, helper.make_opsetid(_DOMAIN, 1)]
    if all(entry.domain for entry in imports):  # the schemas of other domains leave ONNX's own out
        imports.append(helper.make_opsetid("", defs.onnx_opset_version()))
    model = helper.make_model(graph, functions=[body], opset_imports=imports)
    try:
        return _renamed(read(model).nodes, node)
    except OnnxError as error:
        reason = f"ONNX's definition of it does not apply: {error.problems[0]}"
        raise Refused(reason) from error


def _definition(
    schema: Any, node: Node, told: Sequence[onnx.TypeProto]
) -> onnx.FunctionProto | None:
    """The function of a schema, for the newest opset that is not newer than the node's."""
    body = onnx.FunctionProto()
    if schema.has_function:
        version = max((v for v in schema.function_opset_versions if v <= node.version), default=0)
        found = schema.get_function_with_opset_version(version) if version else None
        body.ParseFromString(_bytes(schema.function_body if found is None else found))
        return body
    if not schema.has_context_dependent_function:
        return None
    versions = schema.context_dependent_function_opset_versions
    version = max((v for v in versions if v <= node.version), default=min(versions))
    asked = _proto(node, node.domain, schema).SerializeToString()
    types = [t.SerializeToString() for t in told]
    try:
        text = schema.get_context_dependent_function_with_opset_version(version, asked, types)
    except (RuntimeError, ValueError) as error:
        reason = f"ONNX's definition of it does not apply: {quoted(str(error))}"
        raise Refused(reason) from error
    body.ParseFromString(_bytes(text))
    if not body.node:
        raise Refused("ONNX's definition of it does not apply to these types or attributes")
    return body


def _defaults(schema: Any, body: onnx.FunctionProto) -> dict[str, Any]:
    """Values of the attributes that a definition asks for and a node may leave out."""
    named = {a.name: a.default_value for a in schema.attributes.values() if a.default_value.name}
    return {
        name: helper.get_attribute_value(named[name]) for name in body.attribute if name in named
    }


def _computed(body: onnx.FunctionProto, wanted: Sequence[str]) -> tuple[str, ...]:
    """The outputs of a call of a definition, which loses those that it does not compute.

    Some definitions leave out what their node does not ask for, but list it all the same.
    """
    if len(wanted) > len(body.output):
        raise Refused(f"{len(wanted)} outputs, but it has {len(body.output)}")
    known = {*body.input, *(name for step in body.node for name in step.output)}
    names = (*wanted, *("",) * (len(body.output) - len(wanted)))
    pairs = list(zip(body.output, names, strict=True))
    for inner, outer in pairs:
        if inner not in known and outer:
            raise Refused(f"ONNX's definition of it does not compute `{inner}`")
    del body.output[:]
    body.output.extend(inner for inner, _ in pairs if inner in known)
    return tuple(outer for inner, outer in pairs if inner in known)


def _bytes(found: Any) -> bytes:
    """A message, or its bytes: releases of the package differ in which they give."""
    return found if isinstance(found, bytes) else bytes(found.SerializeToString())


def _proto(node: Node, domain: str, schema: Any) -> onnx.NodeProto:
    made = helper.make_node(
        node.op_type, list(node.inputs), list(node.outputs), node.name, domain=domain
    )
    for name, value in node.attributes.items():
        if name not in schema.attributes:
            raise Refused(f"attributes that opset {node.version} does not define: `{name}`")
        if isinstance(value, Foreign):
            raise Refused(f"attribute `{name}` is a {value.kind}")
        held = numpy_helper.from_array(value.array) if isinstance(value, Tensor) else value
        plain = list(held) if isinstance(held, tuple) else held
        kind = int(schema.attributes[name].type)
        try:
            made.attribute.append(helper.make_attribute(name, plain, attr_type=kind))
        except (TypeError, ValueError) as error:
            raise Refused(
                f"attribute `{name}` has another type than opset {node.version} says"
            ) from error
    return made


def _type_proto(found: TensorType) -> onnx.TypeProto:
    # f16 tensors are held as f32 here.
    code = _CODES[DType.F32 if found.dtype is DType.F16 else found.dtype]
    return helper.make_tensor_type_proto(code, found.shape)


def _renamed(nodes: Sequence[Node], outer: Node) -> list[Node]:
    """Values inside the definition get names that no other has."""
    serial = next(_serial)
    outside = {*outer.inputs, *outer.outputs}

    def fresh(name: str) -> str:
        return name if not name or name in outside else f"{outer.op_type}:{serial}/{name}"

    return [
        replace(
            n,
            index=outer.index,
            name=outer.name,
            inputs=tuple(map(fresh, n.inputs)),
            outputs=tuple(map(fresh, n.outputs)),
        )
        for n in nodes
    ]
