"""Connected pieces of voxels against a plain flood fill, and a place inside one."""

from itertools import product

import pytest
import torch
from second_device import OTHER, SecondDevice
from torch.utils._python_dispatch import TorchDispatchMode

from geopurify_ros.core.answers.pieces import connected_pieces, inside_position

AROUND = [step for step in product((-1, 0, 1), repeat=3) if any(step)]


def neighbors_of(voxel, voxels):
    return [n for s in AROUND if (n := tuple(a + b for a, b in zip(voxel, s, strict=True)))
            in voxels]


def plain_pieces(coords):
    """Flood fill from row to row; then by size and first row."""
    row_of = {tuple(c): row for row, c in enumerate(coords.tolist())}
    left, pieces = dict.fromkeys(row_of), []
    while left:
        piece = [next(iter(left))]
        del left[piece[0]]
        for voxel in piece:  # grows meanwhile
            near = neighbors_of(voxel, left)
            piece += near
            for n in near:
                del left[n]
        pieces.append(sorted(row_of[v] for v in piece))
    number = torch.full((len(coords),), -1)
    for i, piece in enumerate(sorted(pieces, key=lambda p: (-len(p), p[0]))):
        number[piece] = i
    return number


def cloud(density, edge=16, seed=0):
    """A part of the voxels of a cube around 0, in any order."""
    generator = torch.Generator().manual_seed(seed)
    coords = torch.nonzero(torch.rand(edge, edge, edge, generator=generator) < density)
    return coords[torch.randperm(len(coords), generator=generator)] - edge // 2


def spiral(turns):
    """A path around the origin, one voxel wide and one apart: (N, 3), in the order of walking."""
    x = y = 0
    path, heading = [(0, 0, 0)], [(1, 0), (0, 1), (-1, 0), (0, -1)]
    for leg in range(4 * turns):
        for _ in range(2 * (leg // 2 + 1)):
            x, y = x + heading[leg % 4][0], y + heading[leg % 4][1]
            path.append((x, y, 0))
    return torch.tensor(path)


class CountedCalls(TorchDispatchMode):
    """How often each torch function is called."""

    def __init__(self):
        super().__init__()
        self.calls = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.calls[name] = self.calls.get(name, 0) + 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("density", [0.005, 0.02, 0.05, 0.1, 0.3, 1.0])
def test_random_clouds_fall_into_the_pieces_of_a_flood_fill(density, dtype):
    for seed in range(3):
        coords = cloud(density, seed=seed).to(dtype)
        found = connected_pieces(coords)
        assert found.dtype == torch.int64
        assert torch.equal(found, plain_pieces(coords))


def test_no_voxel_is_no_piece_and_one_is_one():
    empty = connected_pieces(torch.zeros(0, 3, dtype=torch.int32))
    assert empty.shape == (0,)
    assert empty.dtype == torch.int64
    assert connected_pieces(torch.tensor([[-7, 3, 9]])).tolist() == [0]


@pytest.mark.parametrize("step", AROUND)
def test_voxels_that_touch_are_one_piece_and_a_gap_parts_them(step):
    here = torch.tensor([-1, 0, -2])
    assert connected_pieces(torch.stack((here, here + torch.tensor(step)))).tolist() == [0, 0]
    assert connected_pieces(torch.stack((here, here + 2 * torch.tensor(step)))).tolist() == [0, 1]


def test_the_far_ends_of_the_lattice_do_not_touch():
    """Keys of neighbours over the edge must not be those of other voxels."""
    end = 2**20 - 1
    corners = torch.tensor(list(product((-end, 0, end), repeat=3)))
    assert connected_pieces(corners).tolist() == list(range(27))
    inner = corners - corners.sign()
    pairs = connected_pieces(torch.cat((corners, inner[corners.any(dim=1)])))
    assert int(pairs.max()) == 26


def test_larger_pieces_come_first_and_equal_ones_by_their_first_row():
    pair, trio, other_pair = [[50, 0, 0], [51, 0, 0]], [[9, 9, z] for z in range(3)], [
        [0, 0, 0], [0, 1, 0]]
    lone = [[30, 30, 30]]
    assert connected_pieces(torch.tensor(lone + pair + trio + other_pair)).tolist() == [
        3, 1, 1, 0, 0, 0, 2, 2]
    assert connected_pieces(torch.tensor(other_pair + pair + lone + trio)).tolist() == [
        1, 1, 2, 2, 3, 0, 0, 0]


def test_the_order_of_rows_changes_only_what_follows_from_row_numbers():
    coords = cloud(0.04)
    found = connected_pieces(coords)
    mixed = torch.randperm(len(coords), generator=torch.Generator().manual_seed(5))
    again = connected_pieces(coords[mixed])
    assert torch.equal(again, connected_pieces(coords[mixed]))
    assert torch.equal(again, plain_pieces(coords[mixed]))
    assert torch.equal(torch.bincount(again), torch.bincount(found))  # sizes, number by number
    same = found[:, None] == found[None]
    assert torch.equal(again[:, None] == again[None], same[mixed][:, mixed])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_long_snake_takes_logarithmically_many_rounds(axis):
    snake = torch.zeros(100_000, 3, dtype=torch.int32)
    snake[:, axis] = torch.arange(100_000) - 50_000
    with CountedCalls() as counted:
        assert not connected_pieces(snake).any()
    assert counted.calls["equal"] <= 20  # pointer jumps: log2(100,000) = 16.6
    assert not connected_pieces(snake.flip(0)).any()
    cut = connected_pieces(snake[torch.arange(100_000) != 40_000])
    assert torch.equal(cut, (torch.arange(99_999) < 40_000).long())


def zigzag():
    """A path that wanders up and down at random: its low points are everywhere."""
    generator = torch.Generator().manual_seed(1)
    height = torch.randint(-1, 2, (100_000,), generator=generator).cumsum(0)
    return torch.stack((height, torch.arange(len(height)), 0 * height), dim=1)


@pytest.mark.parametrize("path", [spiral(110), zigzag()], ids=["spiral", "zigzag"])
def test_winding_paths_take_few_rounds_too(path):
    mixed = path[torch.randperm(len(path), generator=torch.Generator().manual_seed(2))]
    with CountedCalls() as counted:
        assert not connected_pieces(mixed).any()
    assert len(path) > 90_000
    assert counted.calls["scatter_reduce_"] <= 18  # rounds, and one for the first rows
    assert counted.calls["equal"] <= 100  # pointer jumps of all rounds


def test_two_spirals_within_each_other_stay_apart():
    path = spiral(20)
    with_gap = path[(path != torch.tensor([8, 8, 0])).any(dim=1)]
    coords = torch.cat((path + torch.tensor([0, 0, 5]), with_gap))
    assert torch.equal(connected_pieces(coords), plain_pieces(coords))


def plain_inside(coords, score):
    voxels = set(map(tuple, coords.tolist()))
    count = torch.tensor([len(neighbors_of(tuple(c), voxels)) for c in coords.tolist()])
    rows = [r for r in range(len(coords)) if count[r] >= count.median()]
    return max(rows, key=lambda r: (float(score[r]), -r))


@pytest.mark.parametrize("density", [0.1, 0.3, 1.0])
def test_the_inside_is_that_of_counted_neighbours(density):
    coords = cloud(density, edge=12)
    piece = coords[connected_pieces(coords) == 0]
    for levels in (3, 1_000_000):  # many ties, and hardly any
        score = torch.randint(levels, (len(piece),), generator=torch.Generator().manual_seed(7))
        assert inside_position(piece, score.float()) == plain_inside(piece, score)


def test_the_best_position_is_not_on_a_spike_nor_on_a_bridge():
    i = torch.arange(10)
    plates = torch.cat([torch.cartesian_prod(i, i + shift, torch.zeros(1, dtype=torch.int64))
                        for shift in (0, 15)])
    bridge = torch.tensor([[5, y, 0] for y in range(10, 15)])
    spike = torch.tensor([[9, 9, z] for z in range(1, 4)])
    coords = torch.cat((spike, bridge, plates)).to(torch.int32)
    assert not connected_pieces(coords).any()
    score = torch.full((len(coords),), 0.5)
    score[:3], score[3:8] = 0.99, 0.95
    target = int(torch.nonzero((coords == torch.tensor([4, 20, 0])).all(dim=1)))
    score[target] = 0.8
    assert inside_position(coords, score) == target


def test_the_best_position_of_one_voxel_and_of_scores_that_are_none():
    assert inside_position(torch.tensor([[-3, 2, 8]]), torch.tensor([0.2])) == 0
    line = torch.tensor([[x, 0, 0] for x in range(5)])
    none = torch.full((5,), torch.nan)
    assert inside_position(line, none) == 1  # the ends have one neighbour, the others two
    assert inside_position(line, torch.tensor([9.0, torch.nan, 0.1, 0.3, 8.0])) == 3


def test_pieces_stay_on_their_device():
    coords = cloud(0.08)
    score = torch.rand(len(coords), generator=torch.Generator().manual_seed(3))
    with SecondDevice():
        found = connected_pieces(coords.to(OTHER))
        assert found.device == OTHER
        assert connected_pieces(coords[:0].to(OTHER)).device == OTHER
        best = inside_position(coords.to(OTHER), score.to(OTHER))
        found = found.cpu()
    assert torch.equal(found, plain_pieces(coords))
    assert best == plain_inside(coords, score)
