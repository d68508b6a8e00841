"""How large a model may be, so that no file can take all memory or time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps on what a file may hold; each is checked before anything of its size is allocated.

    Attributes:
        file_bytes: size of the model file.
        fields: fields of the file, at any depth.
        objects: those of them that the parser makes an object for.
        packed_bytes: size of all lists of numbers that are not `raw_data`.
        nodes: operators of the graph, and again after functions are inlined.
        initializers: constants of the graph.
        functions: model-local functions.
        function_depth: calls inside calls.
        rank: dimensions of a tensor.
        dimension: size of one dimension.
        elements: elements of one tensor.
        list_length: elements of an attribute that is a list (`Constant` excepted).
        name_bytes: length of a name.
        text_bytes: length of an attribute that is text.
        constant_bytes: all constants together, those of other files included.
    """

    file_bytes: int = 2**31
    fields: int = 2**20
    objects: int = 2**19
    packed_bytes: int = 2**29
    nodes: int = 2**16
    initializers: int = 2**16
    functions: int = 2**12
    function_depth: int = 32
    rank: int = 8
    dimension: int = 2**31 - 1
    elements: int = 2**31 - 1
    list_length: int = 64
    name_bytes: int = 1024
    text_bytes: int = 2**16
    constant_bytes: int = 2**32
