"""Tiles of two sizes: each is there once, and every plane's are neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.kernels.winograd.cook_toom import CookToom
from cnncc.kernels.winograd.winograd_candidates import winograd_choices
from cnncc.kernels.winograd.winograd_choice import WinogradShape
from cnncc.kernels.winograd.winograd_regions import Fringe
from cnncc.targets import find

LARGE = CookToom(4, 3)
MAPS = [
    Fringe(LARGE, LARGE, down, across, below, right)
    for down, across in ((4, 4), (2, 5), (3, 2))
    for below, right in ((2, 2), (2, 0), (0, 2))
]


@pytest.mark.parametrize("fringe", MAPS, ids=str)
def test_regions_cover_the_map_once(fringe):
    seen = np.zeros((fringe.down, fringe.across), int)
    first = 0
    for region in fringe.regions:
        assert region.first == first
        first += region.count
        rows, columns = region.count // region.across, region.across
        seen[region.line : region.line + rows, region.column : region.column + columns] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("fringe", MAPS, ids=str)
def test_the_tiles_of_a_plane_are_those_that_have_its_product(fringe):
    rows, columns = fringe.lacking()
    counted = []
    for plane in range(36):
        having = [
            tile
            for region in fringe.regions
            for tile in range(region.first, region.first + region.count)
            if plane
            in {
                region.plane(own, 6)
                for own in range(region.vertical.products * region.horizontal.products)
            }
        ]
        first, count = fringe.tiles(plane // 6 in rows, plane % 6 in columns)
        assert having == list(range(first, first + count))
        counted.append(count)
    assert sum(counted) == sum(planes * tiles for planes, tiles in fringe.counts())


def test_fewer_products_of_a_map_of_14():
    """22 x 22 in place of 24 x 24."""
    found = winograd_choices(find("x86-64-v4"), WinogradShape(14, 14, 32, 32, 1, (3, 3)))
    assert found[0].fringe == (2, 2)
    assert found[0].products == 484
    assert "and 2x2 at the edges" in str(found[0])


@pytest.mark.parametrize(
    "shape",
    [
        WinogradShape(15, 16, 32, 32, 1, (3, 3)),  # three results are too many for a small tile
        WinogradShape(3, 3, 32, 32, 1, (3, 3)),  # no large tile at all
        WinogradShape(13, 13, 32, 32, 1, (3, 3), window=(2, 2)),  # a pool leaves out the last row
        WinogradShape(28, 28, 32, 32, 1, (3, 3), dilations=(2, 2)),
    ],
    ids=str,
)
def test_maps_without_smaller_tiles(shape):
    assert not any(any(c.fringe) for c in winograd_choices(find("x86-64-v4"), shape))
