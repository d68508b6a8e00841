"""The runner must tell crashes and hangs by name and go on behind them."""

from __future__ import annotations

import os
import signal
import time

from tests.onnx.forked import Died, run_forked


def _work(item: str) -> str:
    if item == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "exit":
        os._exit(3)
    if item == "hang":
        time.sleep(60)
    return item.upper()


def test_deaths_are_results_and_the_rest_of_the_batch_is_done() -> None:
    items = ["a", "crash", "b", "hang", "c", "exit", "d"]
    found = dict(run_forked(items, _work, jobs=2, batch=4, seconds=1.0))
    assert [found[i] for i in (0, 2, 4, 6)] == ["A", "B", "C", "D"]
    assert found[1] == Died("crash", "SIGKILL")
    assert found[3] == Died("timeout", "nothing for 1 s")
    assert found[5] == Died("crash", "exit code 3")


def test_every_item_is_answered_once() -> None:
    found = [index for index, _ in run_forked(list("abcdefghij"), _work, jobs=3, batch=3)]
    assert sorted(found) == list(range(10))
