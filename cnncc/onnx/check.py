"""The structure of a graph: who writes each value, and that it is written before it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from cnncc.onnx.inline import Step
from cnncc.onnx.problems import Problems, quoted


def check_scope(
    steps: Sequence[Step],
    given: Iterable[str],
    outputs: Sequence[str],
    problems: Problems,
    *,
    where: str = "",
) -> None:
    """Note what is wrong with the nodes of a graph or a function.

    Args:
        steps: its nodes, as they are written.
        given: names of inputs and constants.
        outputs: names of its results.
        problems: where to note what is wrong.
        where: what it is, when it is not the model's graph.
    """
    known = set(given)
    writers = _writers(steps, known, problems, where)
    out_of_order = _reads(steps, known, writers, problems, where)
    if out_of_order:
        _order(steps, writers, out_of_order, problems, where)
    for name in outputs:
        if name not in known and name not in writers:
            problems.add(where, f"nothing computes the output {quoted(name)}")
    for name in _repeated(outputs):
        problems.add(where, f"{quoted(name)} is an output twice")


def _writers(
    steps: Sequence[Step], known: set[str], problems: Problems, where: str
) -> dict[str, int]:
    """Which node writes each value."""
    writers: dict[str, int] = {}
    for place, step in enumerate(steps):
        for name in filter(None, step.node.outputs):
            if name in known:
                what = f"it writes {quoted(name)}, which is an input or a constant"
                problems.add(_at(where, step), what)
            elif name in writers:
                other = steps[writers[name]].label
                problems.add(_at(where, step), f"it writes {quoted(name)}, as {other} does")
            else:
                writers[name] = place
    return writers


def _reads(
    steps: Sequence[Step],
    known: set[str],
    writers: dict[str, int],
    problems: Problems,
    where: str,
) -> list[tuple[int, str]]:
    """The nodes that read what a later one writes, with what they read."""
    early: list[tuple[int, str]] = []
    for place, step in enumerate(steps):
        for name in dict.fromkeys(filter(None, step.node.inputs)):
            if name in known:
                continue
            if name not in writers:
                problems.add(_at(where, step), f"nothing computes its input {quoted(name)}")
            elif writers[name] >= place:
                early.append((place, name))
    return early


def _order(
    steps: Sequence[Step],
    writers: dict[str, int],
    early: Sequence[tuple[int, str]],
    problems: Problems,
    where: str,
) -> None:
    """Say whether the nodes go in a circle, or only stand in the wrong order."""
    around = _circle(steps, writers)
    if around:
        shown = " -> ".join(steps[place].label for place in around[:8])
        more = " -> ..." if len(around) > 8 else ""
        problems.add(where, f"nodes need each other in a circle: {shown}{more}")
        return
    for place, name in early:
        writer = steps[writers[name]].label
        problems.add(
            _at(where, steps[place]),
            f"it reads {quoted(name)}, which {writer} computes only later",
            "the nodes of an ONNX graph must be in topological order",
        )


def _circle(steps: Sequence[Step], writers: dict[str, int]) -> list[int]:
    """Places of nodes that need each other, the first again at the end; empty if there are none."""
    done, on_path = [False] * len(steps), [False] * len(steps)
    for start in range(len(steps)):
        path = [] if done[start] else [(start, iter(steps[start].node.inputs))]
        while path:
            current, pending = path[-1]
            on_path[current] = True
            needed = next((writers[n] for n in pending if n in writers), None)
            if needed is None:
                done[current], on_path[current] = True, False
                path.pop()
            elif on_path[needed]:
                places = [place for place, _ in path]
                return [*places[places.index(needed) :], needed]
            elif not done[needed]:
                path.append((needed, iter(steps[needed].node.inputs)))
    return []


def _repeated(names: Sequence[str]) -> list[str]:
    counts = Counter(names)
    return [name for name, count in counts.items() if count > 1]


def _at(where: str, step: Step) -> str:
    return f"{where}, {step.label}" if where else step.label
