"""Suppression of overlapping boxes: order, thresholds, classes and images one after another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.kernels.rows.row_nms import RowNms
from cnncc.kernels.template import ScratchArg
from cnncc.ops.suppression import NonMaxSuppressionAttrs
from cnncc.targets import find
from tests.kernels.harness import TARGETS
from tests.kernels.rows.row_sites import check, row_site
from tests.strategies import general_op_case

KERNEL = RowNms()
NAME = "non_max_suppression"
ONCE = ((1, 1),)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_random(data):
    case = data.draw(general_op_case(NAME, "float"))
    target = data.draw(st.sampled_from(TARGETS))
    site = row_site(NAME, case.attrs, case.arrays, target)
    check(KERNEL, site, case.arrays, splits=ONCE, proven=False)


def boxes_and_scores(seed, images=2, classes=3, count=60):
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 40, (images, count, 2))
    size = rng.integers(1, 16, (images, count, 2))
    boxes = np.concatenate([corner, corner + size], -1).astype(np.float32)
    return boxes, (rng.integers(0, 20, (images, classes, count)) / 20).astype(np.float32)


@pytest.mark.parametrize("center_point", [False, True])
@pytest.mark.parametrize("least", [None, 0.3, 2.0])
@pytest.mark.parametrize("most", [1, 7, 100])
def test_many_boxes(most, least, center_point):
    arrays = boxes_and_scores(most)
    attrs = NonMaxSuppressionAttrs(most, 0.3, least, center_point)
    found = check(KERNEL, row_site(NAME, attrs, arrays, find("avx2")), arrays, splits=ONCE,
                  proven=False)  # fmt: skip
    assert (found[0] == -1).all() == (least == 2.0)


def test_scores_that_are_no_numbers_come_last():
    boxes, scores = boxes_and_scores(3, 1, 1, 9)
    scores[0, 0, :3] = np.nan
    attrs = NonMaxSuppressionAttrs(9, 1.0)
    found = check(
        KERNEL, row_site(NAME, attrs, [boxes, scores], find("avx2")), [boxes, scores],
        splits=ONCE, proven=False,
    )  # fmt: skip
    assert found[-3:, 2].tolist() == [0, 1, 2]


def test_any_number_of_boxes_has_room():
    arrays = [np.zeros((1, 70000, 4), np.float32), np.zeros((1, 1, 70000), np.float32)]
    site = row_site(NAME, NonMaxSuppressionAttrs(1), arrays, find("avx2"))
    assert KERNEL.refuses(site) == ""
    (launch,) = KERNEL.lower(site)
    assert [a.words for a in launch.args if isinstance(a, ScratchArg)] == [70_000]
