"""Cubes of row numbers around voxels against look-ups, one offset at a time."""

import pytest
import torch

from geopurify_ros.core.purification.cubes import cubes_around, steps_of
from geopurify_ros.core.purification.sparse_conv import index_of


def cloud(count=500, extent=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coords = torch.randint(-extent, extent, (4 * count, 3), generator=generator).unique(dim=0)
    return coords[torch.randperm(len(coords), generator=generator)[:count]]


@pytest.mark.parametrize("margin", [0, 1, 3, 8])
@pytest.mark.parametrize("shift", [0, -8_000_000, 77])
def test_steps_find_what_look_ups_find(margin, shift):
    coords = cloud() + shift
    index = index_of(coords)
    side = torch.tensor([-margin, -margin // 2, 0, margin])
    offsets = torch.cartesian_prod(side, side, side)
    seen = torch.zeros(len(coords), dtype=torch.int64)
    for cubes in cubes_around(index, coords, margin):
        seen[cubes.numbers] += 1
        expected = index.lookup((coords[cubes.numbers, None] + offsets).view(-1, 3))
        assert torch.equal(cubes.at(steps_of(offsets, margin)).view(-1).long(), expected)
    assert (seen == 1).all()


def test_only_blocks_of_the_wanted_voxels_are_visited():
    coords = cloud()
    index = index_of(coords)
    wanted = coords[[3, 77, 400]]
    blocks = len((wanted >> 3).unique(dim=0))
    visited = list(cubes_around(index, wanted, 1))
    assert sum(len(cubes.rows) for cubes in visited) == blocks * 10**3
    assert sorted(torch.cat([cubes.numbers for cubes in visited]).tolist()) == [0, 1, 2]


def test_around_no_voxel_there_is_nothing():
    coords = cloud()
    assert list(cubes_around(index_of(coords), coords[:0], 1)) == []
    assert list(cubes_around(index_of(coords[:0]), coords[:0], 1)) == []
