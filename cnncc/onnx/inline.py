"""Model-local functions: every call is replaced by the function's nodes.

How many nodes that makes is computed before any is made: a chain of thirty functions, each of
which calls the next one twice, is a billion nodes in a few hundred bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cnncc.onnx.limits import Limits
from cnncc.onnx.model import AttributeValue, Node
from cnncc.onnx.problems import Problems, quoted

Key = tuple[str, str, str]
"""Domain, name and overload of a function."""

_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A node as it is written, which may call a function.

    Attributes:
        node: the node; in a function, without the attributes that refer to the call's.
        overload: which of several functions of one name it calls.
        references: names of the call's attributes, by the node's that take their values.
    """

    node: Node
    overload: str = ""
    references: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """The function that it calls, if there is one of that name."""
        return (self.node.domain, self.node.op_type, self.overload)

    @property
    def label(self) -> str:
        """What messages call it."""
        return node_label(self.node.index, self.node.name, self.node.op_type)


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A function as it is written.

    Attributes:
        key: what calls it.
        inputs: names of its parameters.
        outputs: names of its results.
        attributes: attributes that calls may give.
        defaults: values of those that calls may leave out.
        steps: its nodes, in topological order.
        values: names of its parameters and of what its nodes write. Results may be missing among
            them: some definitions declare results that only other variants compute.
    """

    key: Key
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: frozenset[str]
    defaults: Mapping[str, AttributeValue]
    steps: tuple[Step, ...]
    values: frozenset[str]

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"function {quoted(self.key[1])}"


def node_label(index: int, name: str | bytes, op_type: str | bytes) -> str:
    """What messages call a node."""
    name = f" {quoted(name)}" if name else ""
    kind = quoted(op_type).strip("`")
    return f"node {index}{name} ({kind})"


def inline(
    steps: Sequence[Step],
    bodies: Mapping[Key, Body],
    taken: set[str],
    limits: Limits,
    problems: Problems,
) -> tuple[Node, ...]:
    """The nodes of the graph with every call replaced, in topological order.

    Args:
        steps: the graph's nodes.
        bodies: the functions.
        taken: names of values of the graph; fresh ones avoid them and are added.
        limits: caps.
        problems: where to note what is wrong.

    Raises:
        OnnxError: functions call themselves, or the calls do not fit, or make too many nodes.
    """
    if not bodies:
        return tuple(replace(s.node, index=n) for n, s in enumerate(steps))
    for owner, inner in ((None, steps), *((body, body.steps) for body in bodies.values())):
        _calls_fit(owner, inner, bodies, problems)
    problems.check()
    _count(steps, bodies, limits, problems)
    expansion = _Expansion(bodies, taken)
    made = expansion.nodes(steps)
    return tuple(replace(node, index=n) for n, node in enumerate(made))


def _calls_fit(
    owner: Body | None, steps: Sequence[Step], bodies: Mapping[Key, Body], problems: Problems
) -> None:
    """Note the calls that their functions cannot take."""
    for step in steps:
        body = bodies.get(step.key)
        if body is None:
            continue
        where = f"{owner.label}, {step.label}" if owner else step.label
        node = step.node
        for word, given, most in (
            ("inputs", len(node.inputs), len(body.inputs)),
            ("outputs", len(node.outputs), len(body.outputs)),
        ):
            if given > most:
                problems.add(where, f"it has {given} {word}, the function that it calls has {most}")
        for name, outer in zip(body.outputs, node.outputs, strict=False):
            if outer and name not in body.values:
                what = f"it asks for {quoted(name)}, which the function that it calls lacks"
                problems.add(where, what)
        for name in [*node.attributes, *step.references]:
            if name not in body.attributes:
                problems.add(where, f"the function that it calls has no attribute {quoted(name)}")


def _count(
    steps: Sequence[Step], bodies: Mapping[Key, Body], limits: Limits, problems: Problems
) -> None:
    """See that the calls end, not too deep, and do not make too many nodes."""
    sizes: dict[Key, tuple[int, int]] = {}  # nodes and names that a call makes
    depths: dict[Key, int] = {}
    for key in _callees_first(bodies, problems):
        inner = bodies[key].steps
        sizes[key] = _size(inner, sizes, len(bodies[key].outputs))
        depths[key] = 1 + max((depths.get(step.key, 0) for step in inner), default=0)
        if depths[key] > limits.function_depth:
            what = f"functions call functions more than {limits.function_depth} deep"
            raise problems.stop(bodies[key].label, what)
    nodes, names = _size(steps, sizes, 0)
    if nodes > limits.nodes or names > limits.objects:
        raise problems.stop(
            "", f"with its functions inlined the model has more than {limits.nodes} nodes"
        )


def _size(
    steps: Sequence[Step], sizes: Mapping[Key, tuple[int, int]], results: int
) -> tuple[int, int]:
    nodes = names = results  # each may need an Identity
    for step in steps:
        inner = sizes.get(step.key, (1, 0))
        own = len(step.node.inputs) + len(step.node.outputs) + len(step.references)
        nodes += inner[0]
        names += inner[1] + own
    return nodes, names


def _callees_first(bodies: Mapping[Key, Body], problems: Problems) -> Iterator[Key]:
    """Every function after those that it calls."""
    done: set[Key] = set()
    for start in bodies:
        path = [] if start in done else [(start, _callees(bodies[start], bodies))]
        on_path = {start}
        while path:
            current, pending = path[-1]
            following = next((k for k in pending if k not in done), None)
            if following is None:
                done.add(current)
                on_path.discard(current)
                path.pop()
                yield current
            elif following in on_path:
                keys = [key for key, _ in path]
                around = [*keys[keys.index(following) :], following]
                shown = " -> ".join(quoted(key[1]) for key in around[:8])
                raise problems.stop("", f"functions call each other in a circle: {shown}")
            else:
                on_path.add(following)
                path.append((following, _callees(bodies[following], bodies)))


def _callees(body: Body, bodies: Mapping[Key, Body]) -> Iterator[Key]:
    return iter({step.key: None for step in body.steps if step.key in bodies})


class _Expansion:
    """Replaces calls, with fresh names for what is inside.

    Args:
        bodies: the functions; their calls end, and fit.
        taken: names in use.
    """

    def __init__(self, bodies: Mapping[Key, Body], taken: set[str]) -> None:
        self._bodies = bodies
        self._taken = taken
        self._calls = 0

    def nodes(self, steps: Sequence[Step]) -> Iterator[Node]:
        """The nodes that the graph comes to."""
        for step in steps:
            yield from self._step(step.node, self._bodies.get(step.key))

    def _step(self, node: Node, body: Body | None) -> Iterator[Node]:
        if body is None:
            yield node
            return
        self._calls += 1
        number = self._calls
        names = dict(zip(body.inputs, node.inputs, strict=False))
        names |= dict.fromkeys(body.inputs[len(node.inputs) :], "")
        names[""] = ""
        results = {n: o for n, o in zip(body.outputs, node.outputs, strict=False) if o}
        names = {**{n: o for n, o in results.items() if n not in names}, **names}
        values = {**body.defaults, **node.attributes}
        span = _joined(node.span, node.name or node.op_type, " > ")
        for step in body.steps:
            for name in step.node.outputs:
                if name not in names:
                    names[name] = self._fresh(name, number)
            inner = _bound(step, names, values, node.name, span)
            yield from self._step(inner, self._bodies.get(step.key))
        for name, outer in results.items():
            if names[name] != outer:  # a parameter that is handed back
                yield Node(0, node.name, "Identity", "", 1, (names[name],), (outer,), {}, span)

    def _fresh(self, name: str, number: int) -> str:
        made = f"{name[:_LONGEST_NAME]}@{number}"
        while made in self._taken:
            made += "'"
        self._taken.add(made)
        return made


def _bound(
    step: Step,
    names: Mapping[str, str],
    values: Mapping[str, AttributeValue],
    call: str,
    span: str,
) -> Node:
    """A function's node in one call of it."""
    node = step.node
    attributes = node.attributes
    if step.references:
        given = {own: values[n] for own, n in step.references.items() if n in values}
        attributes = {**attributes, **given}
    return replace(
        node,
        name=_joined(call, node.name, "/") if node.name else call,
        inputs=tuple(names[name] for name in node.inputs),
        outputs=tuple(names[name] for name in node.outputs),
        attributes=attributes,
        span=span,
    )


def _joined(outer: str, inner: str, separator: str) -> str:
    """A path, of bounded length however deep the calls are."""
    made = f"{outer}{separator}{inner}" if outer else inner
    return made if len(made) <= _LONGEST_NAME else inner[:_LONGEST_NAME]
