"""A look at a file's bytes before the parser sees them: how much it would make of them.

Two bytes of a file can ask the parser for an object of two hundred. Here the file is walked as
nested fields with their lengths; nothing is built, and the walk ends at the first cap.
"""

from __future__ import annotations

from typing import Any

from cnncc.onnx.limits import Limits

Table = dict[int, "Table | None"]
"""Fields that make objects, by number: the table of the message inside, or None for text."""

_DEEPEST = 100
_TEXT = (9, 12)  # protobuf's numbers for the field types `string` and `bytes`
_VARINT, _LONG, _BLOCK, _SHORT = 0, 1, 2, 5


def table_of(descriptor: Any, known: dict[str, Table] | None = None) -> Table:
    """The table of a message type, from its protobuf descriptor."""
    known = {} if known is None else known
    table: Table = known.setdefault(descriptor.full_name, {})
    for field in descriptor.fields if not table else ():
        if field.message_type is not None:
            table[field.number] = {}
            table[field.number] = table_of(field.message_type, known)
        elif field.type in _TEXT:
            table[field.number] = None
    return table


class Malformed(Exception):
    """The bytes are not nested fields, or there are too many."""


def walk(data: bytes, table: Table, limits: Limits) -> None:
    """See that parsing cannot take much more memory than the bytes do.

    Args:
        data: the file.
        table: of the message that it should hold.
        limits: caps.

    Raises:
        Malformed: the file ends inside a field, or holds too much; the text says which.
    """
    position, end = 0, len(data)
    outer: list[tuple[int, Table]] = []
    fields = objects = packed = 0
    most_fields, most_objects = limits.fields, limits.objects
    try:
        while True:
            while position >= end:
                if position > end:
                    raise Malformed("a part of it is longer than what it lies in")
                if not outer:
                    return
                end, table = outer.pop()
            tag = data[position]
            position += 1
            if tag > 0x7F:
                tag, position = _number(data, position - 1)
            kind = tag & 7
            fields += 1
            if kind == _BLOCK:
                length = data[position]
                position += 1
                if length > 0x7F:
                    length, position = _number(data, position - 1)
                if length > end - position:
                    raise Malformed("it is cut off, or damaged")
                number = tag >> 3
                inner = table.get(number)
                objects += number in table
                if inner is not None:
                    outer.append((end, table))
                    end, table = position + length, inner
                    if len(outer) > _DEEPEST:
                        raise Malformed("its parts are nested too deep")
                else:
                    packed += 0 if number in table else length
                    position += length
                    if packed > limits.packed_bytes:
                        most = limits.packed_bytes
                        raise Malformed(f"it lists more than {most} bytes of single numbers")
            elif kind == _VARINT:
                _, position = _number(data, position)
            elif kind == _SHORT:
                position += 4
            elif kind == _LONG:
                position += 8
            else:
                raise Malformed("its fields are of no known kind")
            if fields > most_fields or objects > most_objects:
                raise Malformed(f"it has more than {most_objects} parts")
    except IndexError:
        raise Malformed("it is cut off, or damaged") from None


def _number(data: bytes, position: int) -> tuple[int, int]:
    """A number of variable length, and where the next field begins."""
    value = data[position]
    position += 1
    if value < 0x80:
        return value, position
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise Malformed("a number in it has no end")
