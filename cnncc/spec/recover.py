"""A network as a person would write it: chains, defaults left out, blocks for what repeats."""

from __future__ import annotations

from collections.abc import Callable

from cnncc.ir.graph import Graph
from cnncc.spec import general
from cnncc.spec.chains import Lines, block_lines
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.format import format_tokens
from cnncc.spec.header import Header, props_text
from cnncc.spec.items import Item, items_of
from cnncc.spec.lexer import lex
from cnncc.spec.naming import Names
from cnncc.spec.repeats import find_blocks
from cnncc.spec.values import is_sample, shape_text


def with_blocks(graph: Graph) -> str:
    """The network with blocks for its repeated structure."""
    return _text(graph, blocks=True)


def with_chains(graph: Graph) -> str:
    """The network without blocks."""
    return _text(graph, blocks=False)


READABLE: tuple[Callable[[Graph], str], ...] = (with_blocks, with_chains)


def _text(graph: Graph, blocks: bool) -> str:
    header = Header(graph, full=False)
    items, shared = items_of(graph)
    words = _words(items)
    used = Names({*header.used.taken, *words, *general.names()})
    outputs = {out for _, out in graph.outputs}
    found = find_blocks(items, outputs, used) if blocks else []
    lines = [*header.lines, ""]
    for block in found:
        lines += block_lines(block, words | {block.name for block in found})
    lines += [""] if found else []
    single = _only_output(graph, items)
    writer = Lines(
        dict(header.names),
        used,
        kept=outputs - ({single} if single is not None else set()),
        running=_start(graph, header),
        notes=_shapes(graph, items),
    )
    lines += writer.write([*shared.values(), *items])
    for name, out in graph.outputs:
        head = header.output(name)
        flow = "" if out == single else f" = {writer.names[out]}"
        lines.append(f"{head}{flow}{props_text(header.output_props(name))}")
    text = "\n".join(lines) + "\n"
    report = Reporter("<text>")
    return format_tokens(lex(text, report), text)


def _start(graph: Graph, header: Header) -> int | None:
    """The value that the first line continues from: the only input's."""
    return list(header.names)[-1] if len(graph.inputs) == 1 else None


def _only_output(graph: Graph, items: list[Item]) -> int | None:
    """The last item's result, where it is the network's only output and nothing reads it."""
    if len(graph.outputs) != 1 or not items:
        return None
    out = graph.outputs[0][1]
    return out if out == items[-1].key and not graph.users(out) else None


def _words(items: list[Item]) -> set[str]:
    """Bare words of attributes, which must not be names of values."""
    return {arg.value for item in items for arg in item.args if isinstance(arg.value, str)} | {
        str(arg.value) for item in items for arg in item.args if item.general
    }


def _shapes(graph: Graph, items: list[Item]) -> dict[int, str]:
    """The shape behind a line after which the map has another height and width."""
    notes: dict[int, str] = {}
    sources = [graph.type_of(i) for i in graph.inputs]
    maps = [found.shape[2:] for found in sources if found.is_feature_map]
    before: tuple[int, ...] = maps[0] if len(maps) == 1 else ()
    for item in items:
        found = graph.type_of(item.key)
        if is_sample(found) and found.is_feature_map:
            if before and found.shape[2:] not in (before, (1, 1)):
                notes[item.key] = f" : {shape_text(found)}"
            before = found.shape[2:]
    return notes
