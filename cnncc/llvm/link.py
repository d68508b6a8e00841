"""Linking objects into one `Image`, which is saved, and loaded without LLVM.

Code of all objects comes first, then stubs that jump to C functions, then (from the next page
on) constants and the slots that hold addresses. Relocations: System V ABI for x86-64,
table 4.9; ELF for the Arm 64-bit architecture, section 5.7.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from cnncc.abi import PAGES, Image
from cnncc.errors import EmitError
from cnncc.llvm.elf import (
    RELA,
    Relocation,
    Section,
    Symbol,
    numbered_symbols,
    relocations,
    sections,
)
from cnncc.targets import Target

_WRITABLE, _IN_MEMORY, _CODE = 1, 2, 4
_ABSOLUTE = 0xFFF1  # section number of a symbol that is a plain number
_SLOT = 8
# What the thread pool may call; kernels call nothing.
_C_FUNCTIONS = frozenset(
    ("pthread_create", "pthread_join", "pthread_sigmask", "sched_yield", "syscall")
)


@dataclass(slots=True)
class _Object:
    image: bytes
    sections: list[Section]
    symbols: list[Symbol]
    places: dict[int, int] = field(default_factory=dict)  # section number -> offset in the image


def link(objects: Iterable[bytes], exports: Sequence[str], target: Target) -> Image:
    """The image of objects that were made for `target`.

    Raises:
        EmitError: a symbol is missing or defined twice, an object has writable data, or a place is
            to be changed in a way that is not known here.
    """
    return _Linker([_open(o) for o in objects], target.triple.split("-", 1)[0]).link(exports)


def _open(image: bytes) -> _Object:
    return _Object(image, sections(image), numbered_symbols(image))


class _Linker:
    def __init__(self, objects: list[_Object], machine: str) -> None:
        if machine not in _STUBS:
            raise EmitError(f"images for {machine} are not supported")
        self.objects = objects
        self.machine = machine
        self.data = bytearray()
        self.globals: dict[str, int] = {}
        self.stubs: dict[str, int] = {}
        self.slots: dict[str, int] = {}  # of C functions and of globals
        self.rebases: list[int] = []

    def link(self, exports: Sequence[str]) -> Image:
        self._place(_CODE)
        self._reserve_stubs()
        self.data += bytes(-len(self.data) % PAGES[self.machine])
        constants = len(self.data)
        self._place(0)
        self._define()
        self._fill_stubs()
        for item in self.objects:
            self._relocate(item)
        missing = [name for name in exports if name not in self.globals]
        if missing:
            raise EmitError(f"no object defines {', '.join(missing)}")
        return Image(
            code=bytes(self.data),
            constants=constants,
            exports={name: self.globals[name] for name in exports},
            imports={name: slot for name, slot in self.slots.items() if name in self.stubs},
            rebases=tuple(self.rebases),
            machine=self.machine,
        )

    def _place(self, kind: int) -> None:
        """Append the sections that are code, or those that are not."""
        for item in self.objects:
            for number, section in enumerate(item.sections):
                wanted = section.flags & _IN_MEMORY and section.flags & _CODE == kind
                if not wanted or section.size == 0 or section.name.startswith(".eh_frame"):
                    continue
                if section.flags & _WRITABLE and not section.name.startswith(".data.rel.ro"):
                    raise EmitError(f"an object has writable data in section `{section.name}`")
                self.data += bytes(-len(self.data) % section.align)
                item.places[number] = len(self.data)
                self.data += item.image[section.offset : section.offset + section.size]

    def _reserve_stubs(self) -> None:
        defined = {s.name for o in self.objects for s in o.symbols if s.section}
        called = {s.name for o in self.objects for s in o.symbols if s.name and not s.section}
        foreign = called - defined
        if foreign - _C_FUNCTIONS:
            raise EmitError(f"no object defines {', '.join(sorted(foreign - _C_FUNCTIONS))}")
        for name in sorted(foreign):
            self.data += bytes(-len(self.data) % 16)
            self.stubs[name] = len(self.data)
            self.data += bytes(16)

    def _define(self) -> None:
        for item in self.objects:
            for symbol in item.symbols:
                if symbol.local or symbol.section not in item.places:
                    continue
                if symbol.name in self.globals:
                    raise EmitError(f"`{symbol.name}` is defined twice")
                self.globals[symbol.name] = item.places[symbol.section] + symbol.value

    def _fill_stubs(self) -> None:
        for name, at in self.stubs.items():
            code = _STUBS[self.machine](at, self._slot(name))
            self.data[at : at + len(code)] = code

    def _slot(self, name: str) -> int:
        """A pointer that the loader fills in: to a C function, or into this image."""
        if name not in self.slots:
            self.data += bytes(-len(self.data) % _SLOT)
            self.slots[name] = len(self.data)
            self.data += self.globals.get(name, 0).to_bytes(_SLOT, "little")
            if name not in self.stubs:
                self.rebases.append(self.slots[name])
        return self.slots[name]

    def _relocate(self, item: _Object) -> None:
        for table in item.sections:
            if table.kind == RELA and table.subject in item.places:
                start = item.places[table.subject]
                for entry in relocations(item.image, table):
                    self._apply(item, start + entry.at, entry)

    def _apply(self, item: _Object, at: int, entry: Relocation) -> None:
        symbol = item.symbols[entry.symbol]
        rule = _RULES[self.machine].get(entry.kind)
        if rule is None:
            raise EmitError(f"relocation {entry.kind} against `{symbol.name}` is not supported")
        form, shape = rule
        value = self._slot(symbol.name) if form == "slot" else self._address(item, symbol)
        _SHAPES[shape](self.data, at, value + entry.addend)
        if shape == "pointer":
            self.rebases.append(at)

    def _address(self, item: _Object, symbol: Symbol) -> int:
        if symbol.section in item.places:
            return item.places[symbol.section] + symbol.value
        found = self.globals.get(symbol.name, self.stubs.get(symbol.name))
        if found is None or symbol.section == _ABSOLUTE:
            raise EmitError(f"`{symbol.name}` has no place in the image")
        return found


# -- x86-64 ----------------------------------------------------------------------------------------


def _x86_stub(at: int, slot: int) -> bytes:
    return b"\xff\x25" + struct.pack("<i", slot - at - 6)  # jmp [rip + distance]


def _pointer(data: bytearray, at: int, value: int) -> None:
    struct.pack_into("<Q", data, at, value)


def _distance(data: bytearray, at: int, value: int) -> None:
    struct.pack_into("<i", data, at, _signed(value - at, 32))


def _far(data: bytearray, at: int, value: int) -> None:
    struct.pack_into("<q", data, at, value - at)


def _signed(value: int, bits: int) -> int:
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise EmitError("the code is too large: a distance does not fit its instruction")
    return value


# -- AArch64 ---------------------------------------------------------------------------------------


def _arm_stub(at: int, slot: int) -> bytes:
    code = bytearray(struct.pack("<III", 0x90000010, 0xF9400210, 0xD61F0200))
    _page(code, 0, slot, at)  # adrp x16, slot
    _low_bits(3)(code, 4, slot)  # ldr x16, [x16, low bits of slot]
    return bytes(code)  # br x16


def _page(data: bytearray, at: int, value: int, origin: int | None = None) -> None:
    pages = _signed((value >> 12) - ((at if origin is None else origin) >> 12), 21)
    (word,) = struct.unpack_from("<I", data, at)
    word |= (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
    struct.pack_into("<I", data, at, word)


def _low_bits(shift: int) -> Callable[[bytearray, int, int], None]:
    """The twelve low bits of an address, in units of `1 << shift` bytes, as an operand."""

    def fill(data: bytearray, at: int, value: int) -> None:
        (word,) = struct.unpack_from("<I", data, at)
        struct.pack_into("<I", data, at, word | (value & 0xFFF) >> shift << 10)

    return fill


def _branch(data: bytearray, at: int, value: int) -> None:
    (word,) = struct.unpack_from("<I", data, at)
    distance = _signed((value - at) >> 2, 26) & 0x3FFFFFF
    struct.pack_into("<I", data, at, word | distance)


_STUBS: dict[str, Callable[[int, int], bytes]] = {"x86_64": _x86_stub, "aarch64": _arm_stub}
_SHAPES: dict[str, Callable[[bytearray, int, int], None]] = {
    "pointer": _pointer,
    "distance": _distance,
    "far": _far,
    "page": _page,
    "branch": _branch,
    **{f"low{shift}": _low_bits(shift) for shift in range(5)},
}
# Relocation number -> (what is addressed: the symbol or its slot, how the place is filled in).
_RULES = {
    "x86_64": {
        1: ("symbol", "pointer"),  # R_X86_64_64
        2: ("symbol", "distance"),  # PC32
        4: ("symbol", "distance"),  # PLT32
        9: ("slot", "distance"),  # GOTPCREL
        24: ("symbol", "far"),  # PC64
        41: ("slot", "distance"),  # GOTPCRELX
        42: ("slot", "distance"),  # REX_GOTPCRELX
    },
    "aarch64": {
        257: ("symbol", "pointer"),  # R_AARCH64_ABS64
        260: ("symbol", "far"),  # PREL64
        261: ("symbol", "distance"),  # PREL32
        275: ("symbol", "page"),  # ADR_PREL_PG_HI21
        277: ("symbol", "low0"),  # ADD_ABS_LO12_NC
        278: ("symbol", "low0"),  # LDST8_ABS_LO12_NC
        282: ("symbol", "branch"),  # JUMP26
        283: ("symbol", "branch"),  # CALL26
        284: ("symbol", "low1"),  # LDST16_ABS_LO12_NC
        285: ("symbol", "low2"),  # LDST32_ABS_LO12_NC
        286: ("symbol", "low3"),  # LDST64_ABS_LO12_NC
        299: ("symbol", "low4"),  # LDST128_ABS_LO12_NC
        311: ("slot", "page"),  # ADR_GOT_PAGE
        312: ("slot", "low3"),  # LD64_GOT_LO12_NC
    },
}
