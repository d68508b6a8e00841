"""`cnncc cache`: the folder of compiled kernels and networks."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from cnncc.cli.options import json_option, output_options
from cnncc.cli.screen import screen, size_text


@click.command()
@click.argument("what", type=click.Choice(["path", "size", "clear"]), default="size")
@json_option
@output_options
def command(what: str, as_json: bool) -> None:
    """Show where the cache of what was compiled is (`path`), how large (`size`), or `clear` it."""
    from cnncc.llvm.cache import ObjectCache
    from cnncc.private_folder import default_folder

    folder = default_folder()
    cache = ObjectCache(folder)
    entries = _entries(folder) if folder is not None and not cache.reason else []
    gone = _remove(entries) if what == "clear" else []
    size = sum(count for _, count in (gone if what == "clear" else entries))
    answer: dict[str, Any] = {
        "schema": "cnncc.cache/1",
        "path": str(folder) if folder else None,
        "entries": len(entries) - len(gone),
        "bytes": sum(count for _, count in entries) - sum(count for _, count in gone),
        "removed": len(gone),
        "off": cache.reason or None,
    }
    if as_json:
        screen().json(answer)
    elif folder is None:
        screen().result("the cache is switched off by CNNCC_CACHE")
    elif what == "path":
        screen().result(str(folder))
    elif what == "clear":
        screen().result(
            f"removed {len(gone)} kernels and networks, {size_text(size)}, from {folder}"
        )
    else:
        screen().result(f"{len(entries)} kernels and networks, {size_text(size)}, in {folder}")
    if cache.reason and folder is not None:
        screen().note(f"the cache is not used: {cache.reason}")


def _entries(folder: Path) -> list[tuple[Path, int]]:
    """The files that cnncc keeps there, with their sizes."""
    from cnncc.llvm.cache import SUFFIX as KERNEL
    from cnncc.network_store import SUFFIX as NETWORK

    found = []
    with suppress(OSError):
        for entry in os.scandir(folder):
            with suppress(OSError):
                if entry.name.endswith((KERNEL, NETWORK)) and entry.is_file(follow_symlinks=False):
                    found.append((Path(entry.path), entry.stat(follow_symlinks=False).st_size))
    return found


def _remove(entries: list[tuple[Path, int]]) -> list[tuple[Path, int]]:
    """Remove files; gives those that are gone."""
    gone = []
    for path, count in entries:
        with suppress(OSError):
            path.unlink()
            gone.append((path, count))
    return gone
