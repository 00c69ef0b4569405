"""The order of a network in use: the same convolutions, without the empty taps (METHODS 1.2)."""

import itertools

import pytest
import torch

from geopurify_ros.core.purification import tap_order as module
from geopurify_ros.core.purification.sparse_conv import index_of, sparse_conv, submanifold_map
from geopurify_ros.core.purification.tap_order import tap_order

DEVICES = ["cpu", pytest.param("cuda", marks=[
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
])]


def room(extent=24, seed=0):
    """A rough floor, two walls and a few voxels that float."""
    generator = torch.Generator().manual_seed(seed)
    side, zero = torch.arange(extent), torch.zeros(1, dtype=torch.int64)
    floor = torch.cartesian_prod(side, side, zero)
    floor[:, 2] += torch.randint(0, 2, (len(floor),), generator=generator)
    walls = [torch.cartesian_prod(zero, side, side), torch.cartesian_prod(side, zero, side)]
    floating = torch.randint(2, extent, (30, 3), generator=generator)
    coords = torch.cat((floor, *walls, floating)).unique(dim=0)
    return coords[torch.randperm(len(coords), generator=generator)]


def follow(order, values, weights):
    """Several convolutions as a network does them: each for what the next one looks at."""
    x = order.table(values.shape[1])
    x[:-1] = values[order.rows]
    for done, weight in enumerate(weights, start=1):
        y = order.table(weight.shape[2])
        y[:-1] = torch.nan  # who looks at what was not done will see
        for rows, found in order.convolved(x, weight, len(weights) - done):
            y[rows] = found
        x = y
    out = values.new_empty((len(order.wanted), x.shape[1]))
    out[order.wanted] = x[: len(order.wanted)]
    return out


def plainly(coords, values, weights):
    taps = submanifold_map(index_of(coords), coords)
    for weight in weights:
        values = sparse_conv(values, weight, taps)
    return values


def case(widths=(5, 7, 4, 6), device="cpu"):
    torch.manual_seed(0)
    coords = room().to(device)
    weights = [torch.randn((27, a, b), device=device) / (8 * a) ** 0.5
               for a, b in itertools.pairwise(widths)]
    return coords, torch.randn((len(coords), widths[0]), device=device), weights


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows_at_once", [1, 37, 4096])
def test_convolutions_in_the_order_equal_those_over_all_taps(rows_at_once, device, monkeypatch):
    monkeypatch.setattr(module, "_SEGMENT", 500)
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", rows_at_once)
    coords, values, weights = case(device=device)
    order = tap_order(index_of(coords), coords, len(weights))
    assert sorted(order.rows.tolist()) == list(range(len(coords)))
    found = follow(order, values, weights)
    torch.testing.assert_close(found, plainly(coords, values, weights), rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [1, 40, 900])
def test_wanted_rows_alone_come_out_as_those_of_all(count, device):
    coords, values, weights = case(device=device)
    expected = plainly(coords, values, weights)
    generator = torch.Generator().manual_seed(count)
    rows = torch.randperm(len(coords), generator=generator)[:count].to(device)
    order = tap_order(index_of(coords), coords, len(weights), rows)
    found = follow(order, values, weights)
    torch.testing.assert_close(found, expected[rows], rtol=0, atol=1e-5)


def test_each_layer_does_one_voxel_more_to_every_side_than_the_next():
    coords = room()
    rows = torch.tensor([17, 230])
    order = tap_order(index_of(coords), coords, 3, rows)
    distance = (coords[:, None] - coords[rows]).abs().amax(dim=2).amin(dim=1)
    for depth, end in enumerate(order.ends):
        assert set(order.rows[:end].tolist()) <= set((distance <= depth).nonzero()[:, 0].tolist())
    assert order.ends[0] == 2
    assert order.ends[-1] == len(order) < len(coords) // 2


def test_wide_rows_are_gathered_in_smaller_pieces(monkeypatch):
    coords, values, weights = case()
    order = tap_order(index_of(coords), coords, len(weights))
    expected = follow(order, values, weights)
    monkeypatch.setattr(module, "_NUMBERS_AT_ONCE", 27 * 5 * 10)
    torch.testing.assert_close(follow(order, values, weights), expected, rtol=0, atol=1e-5)


def test_taps_that_are_empty_for_a_whole_chunk_are_left_out():
    coords = torch.cartesian_prod(torch.arange(40), torch.arange(40), torch.tensor([3]))
    order = tap_order(index_of(coords), coords, 1)
    assert all(len(chunk.columns) <= 9 for chunk in order.chunks)


def test_occupied_counts_the_voxels_around():
    coords = room()
    order = tap_order(index_of(coords), coords, 2)
    near = ((coords[order.rows, None] - coords).abs().amax(dim=2) == 1).sum(dim=1)
    assert torch.equal(order.occupied, near.to(torch.float32))


def test_an_empty_map_or_no_wanted_row_has_an_empty_order():
    coords = room()
    assert len(tap_order(index_of(coords[:0]), coords[:0], 2)) == 0
    nothing = tap_order(index_of(coords), coords, 2, torch.zeros(0, dtype=torch.int64))
    assert nothing.ends == [0, 0, 0]
    assert list(nothing.convolved(nothing.table(3), torch.zeros((27, 3, 3)), 1)) == []
