"""A network as a spec and its weights, checked: the text elaborates to the very same network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from cnncc.errors import InternalError
from cnncc.ir.graph import Graph
from cnncc.ir.values import format_value
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.flat import print_flat
from cnncc.spec.model import elaborate
from cnncc.spec.naming import Names, as_label
from cnncc.spec.operands import reads_back
from cnncc.spec.operations import WEIGHTED, operation
from cnncc.spec.parser import parse
from cnncc.spec.project import Project

_MOST_LITERAL = 8  # numbers of a constant that stand in the text
_MOST_UNIFORM = 2**14  # numbers of a constant whose one number stands in the text
_FACTS: Mapping[str, Any] = {"batched": True, "labels": {}, "top": {}}


@dataclass(frozen=True, slots=True)
class Written:
    """A spec with its weights.

    Attributes:
        text: of the `.cnn` file.
        arrays: what belongs into its weight file, by name.
    """

    text: str
    arrays: dict[str, NDArray[Any]]


Candidate = Callable[[Graph], str]


def write(graph: Graph, weights: str, *candidates: Candidate) -> Written:
    """The first candidate's text that elaborates to the network; the flat text at last.

    Args:
        graph: typed, as it was read.
        weights: the path of the weight file, as it stands in the text.
        candidates: printers, the most readable first; they see the network under legal names.

    Raises:
        UnsupportedError: the graph has operators that the language cannot write.
    """
    legal = named(graph, weights)
    for candidate in (*candidates, print_flat):
        text = candidate(legal)
        made = read_back(text)
        arrays = None if made is None else arrays_of(legal, made)
        if arrays is not None:
            return Written(text, arrays)
    raise InternalError("the flat text of a network reads as another network")


def read_back(text: str) -> Graph | None:
    """The graph of a text, without arrays; None if it has mistakes."""
    report = Reporter("<text>")
    tree = parse(text, report)
    made = elaborate(tree, report, Project("<text>"), {}, None, False, bind_weights=False)
    return None if report.failed else made.graph


# -- names -----------------------------------------------------------------------------------------


def named(graph: Graph, weights: str) -> Graph:
    """The network under names that the language can write, its weights called after their layers.

    Small constants of general operators are marked as literals: their numbers stand in the text.
    """
    made = graph.copy()
    source = {"kind": "file", "path": weights, "layout": "oihw", "prefix": "", "rename": ()}
    facts = ("labels", "top", "model", "batched")
    made.meta = {key: graph.meta[key] for key in facts if key in graph.meta}
    made.meta |= {"params": {}, "weights": source, "literals": []}
    names = Names()
    plain = [node for _, node in made.nodes() if node.op not in ("input", "constant")]
    shared = _shared_scope([node.name for node in plain if node.op in WEIGHTED])
    plain.sort(key=lambda node: node.op not in WEIGHTED)
    weighted = {node.name for node in plain if node.op in WEIGHTED}
    numbered = Counter(node.name.rpartition("_")[0] for node in plain)
    for node in plain:
        base = node.name.removesuffix("_2")  # the second node that one node of a model became
        alone = node.op in WEIGHTED and base not in weighted and numbered[base] == 1
        kept = base if alone else node.name
        node.name = names.unique(as_label(kept.removeprefix(shared), node.op))
    _unshare(made)
    keys = _layer_weights(made)
    names.taken |= set(keys.values())
    made.constants = {}
    for node_id, node in made.nodes():
        if node.op != "constant":
            continue
        array = graph.constants[node.attrs.data]
        key = keys.get(node_id) or names.unique(
            as_label(node.attrs.data.removeprefix(shared), "constant")
        )
        if node_id not in keys and _is_small(array):
            made.meta["literals"].append(key)
        made.constants[key] = array
        node.attrs = replace(node.attrs, data=key)
        node.name = key
    if len(made.meta["literals"]) == len(made.constants):
        made.meta["weights"] = {"kind": "none"}
    return made


def _shared_scope(paths: list[str]) -> str:
    """What all layers' paths begin with, with a dot behind it: the exporter's word for the model.

    It stays where only numbers would be left.
    """
    if len(paths) < 2:
        return ""
    words = [path.split(".")[:-1] for path in paths]
    count = 0
    while all(len(w) > count and w[count] == words[0][count] for w in words):
        count += 1
    prefix = "".join(f"{word}." for word in words[0][:count])
    return "" if any(path[len(prefix) :][:1].isdigit() for path in paths) else prefix


def _unshare(graph: Graph) -> None:
    """Give a layer constants of its own where others read them for something else.

    Exporters store equal arrays once, such as the zeros of a bias and of a normalisation; the
    language knows the weights of a layer by the layer's path alone.
    """
    for node_id, node in list(graph.nodes()):
        operands = graph.operands(node_id)
        constant = [graph[i].op == "constant" for i in operands]
        if node.op in ("input", "constant") or not any(constant[1:]):
            continue
        leaves = operation(node, [graph.type_of(i) for i in operands], constant).leaves
        if not leaves or _alike(graph, operands[1:]):
            continue
        for index, operand in enumerate(operands):
            if index and len(graph.users(operand)) > 1:
                held = graph[operand]
                own = graph.add("constant", (), held.attrs, type=held.type, spans=held.spans)
                graph.set_operand(node_id, index, own)


def _layer_weights(graph: Graph) -> dict[int, str]:
    """Names of the constants that layers of the language declare; equal layers may share them."""
    keys: dict[int, str] = {}
    for node_id, node in graph.nodes():
        operands = graph.operands(node_id)
        types = [graph.type_of(i) for i in operands]
        if node.op in ("input", "constant"):
            continue
        leaves = operation(node, types, [graph[i].op == "constant" for i in operands]).leaves
        constants = operands[1:]
        if leaves and not any(i in keys for i in constants) and _alike(graph, constants):
            keys |= {i: f"{node.name}.{leaf}" for i, leaf in zip(constants, leaves, strict=True)}
    return keys


def _alike(graph: Graph, constants: tuple[int, ...]) -> bool:
    """Whether the readers of constants all read all of them, in the same places."""
    readers = [graph.users(i) for i in constants]
    places = [[index for _, index in users] for users in readers]
    first = [user for user, _ in readers[0]]
    same = all([user for user, _ in users] == first for users in readers)
    whole = all(set(found) == {index} for index, found in enumerate(places, 1))
    ops = {graph[user].op for user in first}
    sizes = {len(graph.operands(user)) for user in first}
    return same and whole and len(ops) == len(sizes) == 1 and len(set(constants)) == len(constants)


def _is_small(array: NDArray[Any]) -> bool:
    most = 1 if array.dtype.kind == "f" else _MOST_LITERAL
    few = 0 < array.size <= most
    if not few and 0 < array.size <= _MOST_UNIFORM:
        few = bool((array == array.flat[0]).all())
    return few and reads_back(array)


# -- comparing -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Match:
    """A walk over two graphs side by side, from their outputs."""

    graph: Graph
    made: Graph
    names: bool
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    twins: dict[int, int] = field(default_factory=dict)

    def whole(self) -> bool:
        graph, made = self.graph, self.made
        ours, theirs = graph.inputs, made.inputs
        facts = all(graph.meta.get(k, v) == made.meta.get(k, v) for k, v in _FACTS.items())
        if not facts or len(ours) != len(theirs):
            return False
        named = [[name for name, _ in g.outputs] for g in (graph, made)]
        if named[0] != named[1] or [graph[i].name for i in ours] != [made[i].name for i in theirs]:
            return False
        pairs = list(zip(ours, theirs, strict=True))
        pairs += [(a, b) for (_, a), (_, b) in zip(graph.outputs, made.outputs, strict=True)]
        while pairs:
            a, b = pairs.pop()
            if self._is_literal(b):
                if not self._same(a, b):
                    return False
                continue
            if a in self.twins:
                if self.twins[a] != b:
                    return False
                continue
            self.twins[a] = b
            if not self._same(a, b):
                return False
            pairs += zip(graph.operands(a), made.operands(b), strict=True)
        return len(set(self.twins.values())) == len(self.twins)

    def _is_literal(self, b: int) -> bool:
        """Whether a number stands in the text: once for each of its readers, that is."""
        literals = self.made.meta.get("literals", ())
        return self.made[b].op == "constant" and self.made[b].attrs.data in literals

    def _same(self, a: int, b: int) -> bool:
        ours, theirs = self.graph[a], self.made[b]
        if ours.op != theirs.op or ours.type != theirs.type:
            return False
        if ours.op == "constant":
            return self._same_array(a, b)
        if self.names and ours.name != theirs.name and ours.op != "normalize":
            return False
        if len(self.graph.operands(a)) != len(self.made.operands(b)):
            return False
        return format_value(ours.attrs) == format_value(theirs.attrs)

    def _same_array(self, a: int, b: int) -> bool:
        array = self.graph.constants[self.graph[a].attrs.data]
        key = self.made[b].attrs.data
        if self._is_literal(b):
            found = self.made.constants[key]
            return found.dtype == array.dtype and found.tobytes() == array.tobytes()
        self.arrays[key] = array
        return True


def arrays_of(graph: Graph, made: Graph, *, names: bool = False) -> dict[str, NDArray[Any]] | None:
    """The arrays of a network under the names of one that was made from its text.

    None if they are not the same network: operators, attributes, types, inputs, outputs, which
    value is read where, and numbers in the text; with `names`, the names of nodes too.
    """
    match = _Match(graph, made, names)
    return match.arrays if match.whole() else None
