"""Looking into relocatable ELF objects: symbols, sections, and filling a section with data.

Only what LLVM writes for 64-bit little-endian targets is read; anything else is refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cnncc.errors import EmitError

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_SYMTAB, _NOBITS = 2, 8
RELA = 4
_FUNCTION = 2
_MAGIC = b"\x7fELF\x02\x01"


@dataclass(frozen=True, slots=True)
class Section:
    """A section: where its bytes are in the object.

    Attributes:
        linked: number of the section that belongs to it, such as a string table.
        subject: number of the section that a table of relocations changes.
        flags: bit 0 writable, bit 1 in memory at run time, bit 2 code.
    """

    name: str
    kind: int
    offset: int
    size: int
    linked: int
    subject: int
    flags: int
    align: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol: `size` bytes in section `section` (0: defined elsewhere).

    Attributes:
        value: offset in its section.
        local: visible in its object only.
        hidden: visible in the linked file only.
        function: whether it is code.
    """

    name: str
    section: int
    value: int
    size: int
    local: bool
    hidden: bool
    function: bool


@dataclass(frozen=True, slots=True)
class Relocation:
    """A place `at` in a section that gets the address of symbol `symbol` plus `addend`."""

    at: int
    kind: int
    symbol: int
    addend: int


def is_object(image: bytes) -> bool:
    """Whether the bytes begin as an object that can be read here."""
    return len(image) >= _HEADER.size and image.startswith(_MAGIC)


def sections(image: bytes) -> list[Section]:
    """The sections of an object, in order.

    Raises:
        EmitError: the bytes are no such object.
    """
    if not is_object(image):
        raise EmitError("this is no 64-bit little-endian ELF object")
    header = _HEADER.unpack_from(image)
    table, width, count, names = header[6], header[11], header[12], header[13]
    rows = [_SECTION.unpack_from(image, table + width * number) for number in range(count)]
    strings = rows[names][4]
    return [
        Section(_text(image, strings + r[0]), r[1], r[4], r[5], r[6], r[7], r[2], max(r[8], 1))
        for r in rows
    ]


def symbols(image: bytes) -> list[Symbol]:
    """The named symbols of an object.

    Raises:
        EmitError: the bytes are no such object.
    """
    return [symbol for symbol in numbered_symbols(image) if symbol.name]


def numbered_symbols(image: bytes) -> list[Symbol]:
    """All symbols of an object by the numbers that relocations use; some have no name.

    Raises:
        EmitError: the bytes are no such object.
    """
    found = []
    all_sections = sections(image)
    for table in all_sections:
        if table.kind != _SYMTAB:
            continue
        strings = all_sections[table.linked].offset
        for offset in range(table.offset, table.offset + table.size, _SYMBOL.size):
            name, info, other, section, value, size = _SYMBOL.unpack_from(image, offset)
            text = _text(image, strings + name)
            local, hidden, function = info >> 4 == 0, other & 3 == 2, info & 15 == _FUNCTION
            found.append(Symbol(text, section, value, size, local, hidden, function))
    return found


def relocations(image: bytes, table: Section) -> list[Relocation]:
    """The entries of a table of relocations (a section of kind `RELA`)."""
    rows = range(table.offset, table.offset + table.size, _RELOCATION.size)
    entries = (_RELOCATION.unpack_from(image, row) for row in rows)
    return [Relocation(at, info & 0xFFFFFFFF, info >> 32, addend) for at, info, addend in entries]


def undefined_symbols(image: bytes) -> set[str]:
    """What an object expects others to define."""
    return {symbol.name for symbol in symbols(image) if symbol.section == 0}


def code_bytes(image: bytes) -> dict[str, int]:
    """The size of each function's machine code in bytes."""
    return {s.name: s.size for s in symbols(image) if s.function and s.section}


def fill_section(image: bytes, name: str, data: bytes) -> bytes:
    """The object with `data` in the section of that name, which must have exactly its size.

    Raises:
        EmitError: there is no such section, or it has another size or no bytes in the object.
    """
    found = [section for section in sections(image) if section.name == name]
    if len(found) != 1 or found[0].size != len(data) or found[0].kind == _NOBITS:
        raise EmitError(f"the object has no section `{name}` of {len(data)} bytes")
    start = found[0].offset
    return b"".join((image[:start], data, image[start + len(data) :]))


def _text(image: bytes, start: int) -> str:
    return image[start : image.index(b"\0", start)].decode()
