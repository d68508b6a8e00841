"""Static libraries: the `ar` format with System V's index of symbols, which all linkers read.

Times, owners and modes are fixed, so that equal objects give equal bytes.
"""

from __future__ import annotations

from cnncc.llvm.elf import symbols

_MAGIC = b"!<arch>\n"
_FIELDS = "{name:<16}{date:<12}{uid:<6}{gid:<6}{mode:<8}{size:<10}`\n"


def archive(name: str, image: bytes) -> list[bytes]:
    """The pieces of an archive of one object.

    Args:
        name: of the member, at most 15 characters.
        image: the object.
    """
    exported = [s.name for s in symbols(image) if s.section and not s.local]
    texts = b"".join(symbol.encode() + b"\0" for symbol in exported)
    index_size = 4 + 4 * len(exported) + len(texts)
    member = len(_MAGIC) + 60 + index_size + index_size % 2
    offsets = member.to_bytes(4, "big") * len(exported)
    index = len(exported).to_bytes(4, "big") + offsets + texts
    return [
        _MAGIC,
        _head("/", len(index)),
        index,
        b"\n" * (len(index) % 2),
        _head(f"{name}/", len(image), mode="100644"),
        image,
        b"\n" * (len(image) % 2),
    ]


def _head(name: str, size: int, mode: str = "0") -> bytes:
    return _FIELDS.format(name=name, date=0, uid=0, gid=0, mode=mode, size=size).encode("ascii")
