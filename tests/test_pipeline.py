from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from cnncc import driver, pipeline
from cnncc.errors import ArtifactError, InputError, VerifyError
from cnncc.ir.text import load, print_graph
from cnncc.ir.verify import LEVELS, verify
from cnncc.passes import PASSES, Decompose, FoldBatchNorm, Fuse, InferTypes, Simplify
from cnncc.pipeline import Step, check_order, run, standard
from cnncc.targets import find
from tests.passes.nets import Net, assert_same_numbers, random_net, values


@dataclass(frozen=True)
class Doubles:
    """A pass that breaks its promise: it changes results."""

    name: ClassVar[str] = "doubles"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph) -> None:
        graph.constants = {k: (2 * v).astype(v.dtype) for k, v in graph.constants.items()}
        graph.version += 1


@dataclass(frozen=True)
class Mistypes:
    """A pass that leaves a wrong type behind."""

    name: ClassVar[str] = "mistypes"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph) -> None:
        graph[graph.outputs[0][1]].type = graph.type_of(graph.inputs[0])
        graph.version += 1


def _net():
    net = Net()
    x = net.input(1, 3, 9, 8)
    h = net.add("dropout", net.conv(x, 5, pads=(1, 1, 1, 1)))
    h = net.pool(net.add("relu", net.batch_norm(h)), 2, 2)
    return net.outputs(net.add("softmax", net.dense(net.add("flatten", h), 4)))


def test_standard_steps_are_in_a_possible_order_and_say_why() -> None:
    assert check_order(standard()) == "fused"
    assert all(len(step.why) > 10 for step in standard())
    assert {type(s.apply) for s in standard()} == set(PASSES)


def test_a_step_that_gets_too_low_a_level_is_refused_before_anything_runs() -> None:
    graph = _net()
    version = graph.version
    steps = (Step(InferTypes(), "types"), Step(Fuse(), "too early"))
    with pytest.raises(InputError, match=r"pass 2, `fuse`, needs a canonical graph, got a typed"):
        run(graph, steps)
    assert graph.version == version
    with pytest.raises(InputError) as caught:
        check_order(steps)
    assert caught.value.hint == "put decompose before it"


def test_a_run_keeps_numbers_and_reports_each_step() -> None:
    graph = _net()
    want = values(graph)
    records = run(graph, standard(), checks=2)
    assert_same_numbers(want, values(graph), 1e-5)
    verify(graph, "fused", spans=True)
    assert [r.name for r in records] == [s.apply.name for s in standard()]
    by_name = {r.name: r for r in records}
    assert by_name["fold-batchnorm"].fired == {"batch_norm folded into the filters": 1}
    assert by_name["fold-batchnorm"].changed
    assert not by_name["absorb-pad"].changed
    assert by_name["fuse"].fired["conv2d + relu + max_pool2d"] == 1
    assert by_name["fuse"].nodes_after < by_name["fuse"].nodes_before
    assert [r.level for r in records] == sorted((r.level for r in records), key=LEVELS.index)
    assert all(r.milliseconds >= 0 for r in records)


@pytest.mark.parametrize("seed", range(0, 200, 5))
def test_random_networks_pass_all_checks(seed: int) -> None:
    graph = random_net(seed)
    want = values(graph)
    run(graph, standard(), checks=2)
    assert_same_numbers(want, values(graph), 1e-5)


def test_a_second_run_changes_nothing() -> None:
    graph = _net()
    run(graph, standard())
    text = print_graph(graph, meta=False)
    assert not any(r.changed for r in run(graph, standard(), level="fused"))
    assert print_graph(graph, meta=False) == text


def test_log_lines_say_name_size_and_rules(caplog) -> None:
    with caplog.at_level(logging.INFO, "cnncc.pipeline"):
        run(_net(), standard())
    assert len(caplog.messages) == len(standard())
    assert "1 x dropout(x) = x" in caplog.text
    assert "absorb-pad" in caplog.text
    assert "unchanged" in caplog.text


def test_choices_that_differ_in_numbers_count_as_one_kind(caplog) -> None:
    """A line for a network of a thousand buffers is no longer than that for ten."""
    with caplog.at_level(logging.INFO, "cnncc.pipeline"):
        *_, kernels, memory = run(_net(), driver.steps(find("x86-64")))
    assert memory.fired["bytes # to # of the arena"] >= 3
    assert any("tile # pixels x # vectors" in choice for choice in kernels.fired)
    assert "conv2d + relu" in caplog.text


def test_dumps_read_back_and_list_unchanged_stages(tmp_path) -> None:
    graph = _net()
    want = values(graph)
    folder = tmp_path / "deep" / "dump"
    records = run(graph, standard(), dump=folder)
    written = sorted(p.name for p in folder.glob("*.graph"))
    changed = [f"{r.number:02}-{r.name}.graph" for r in records if r.changed]
    assert written == ["00-parsed.graph", *changed]
    stages = (folder / "stages.txt").read_text().splitlines()
    assert len(stages) == len(standard()) + 1
    simplified = [s.apply.name for s in standard()].index("simplify") + 1
    last = f"{simplified:02}-simplify.graph"
    assert stages[simplified + 1].startswith(f"{simplified + 1:02} {records[simplified].name}")
    assert stages[simplified + 1].endswith(f"unchanged, as in {last}")
    for name in written:
        assert_same_numbers(want, values(load(folder / name)), 1e-5)
    again = load(folder / last)
    run(again, standard()[simplified:], level="typed")
    assert print_graph(again, meta=False) == print_graph(graph, meta=False)


def test_a_dump_that_cannot_be_written_is_a_typed_error(tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ArtifactError, match="the dump cannot be written"):
        run(_net(), standard(), dump=blocked)


def test_observers_see_each_step_with_its_graph() -> None:
    seen = []
    run(_net(), standard(), observe=lambda record, graph: seen.append((record.name, len(graph))))
    assert [name for name, _ in seen] == [s.apply.name for s in standard()]
    assert seen[0][1] > seen[-1][1]


@pytest.mark.parametrize(
    ("broken", "checks", "message"),
    [(Mistypes(), 1, "is typed"), (Doubles(), 2, "output `y0` has moved by")],
)
def test_a_broken_promise_names_pass_and_last_good_dump(broken, checks, message, tmp_path) -> None:
    steps = (Step(InferTypes(), "types"), Step(Simplify(), "less"), Step(broken, "a test"))
    with pytest.raises(VerifyError, match=message) as caught:
        run(_net(), steps, checks=checks, dump=tmp_path)
    assert caught.value.__notes__ == [
        f"in pass 3, `{broken.name}` (a test)",
        f"the graph before it: {tmp_path / '02-simplify.graph'}",
    ]


def test_checks_can_be_switched_off() -> None:
    run(_net(), (Step(Doubles(), "nobody looks"),), level="typed", checks=0)


def test_results_with_infinities_are_compared() -> None:
    net = Net()
    x = net.input(1, 2)
    y = net.add("add", x, net.array([[np.inf, np.nan]]))
    graph = net.outputs(y)
    run(graph, standard(), checks=2)
    assert np.isinf(values(graph)[0][0, 0])


def test_dropping_the_fold_still_gives_a_canonical_graph() -> None:
    graph = _net()
    want = values(graph)
    kept = [s for s in standard() if not isinstance(s.apply, FoldBatchNorm)]
    run(graph, kept)
    assert_same_numbers(want, values(graph), 1e-5)
    assert any(isinstance(s.apply, Decompose) for s in kept)
    assert pipeline.check_order(kept) == "fused"
