"""T1.5: nearest neighbours on the lattice against brute force."""

import numpy as np
import pytest
import torch

from geopurify_ros.core.mapping.block_index import BlockIndex
from geopurify_ros.core.purification.neighbors import MAX_RADIUS, nearest_neighbors, sorted_offsets

DEVICES = ["cpu", pytest.param("cuda", marks=[
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
])]


def brute_force(coords, num_neighbors, radius):
    """Rows of the nearest voxels within `radius`, a list per voxel.

    Ties: pairs of opposite offsets stay together, in the order x, y, z of the first of each pair.
    """
    found = []
    for here in coords:
        offset = coords - here
        squared = (offset**2).sum(axis=1)
        keys = [(d, min(o, tuple(-x for x in o)), o)
                for d, o in zip(squared.tolist(), map(tuple, offset.tolist()), strict=True)]
        order = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
        near = order[(squared[order] > 0) & (squared[order] <= radius**2)]
        found.append(near[:num_neighbors].tolist())
    return found


def fast(coords, num_neighbors, device="cpu"):
    """The same from the map's own search; rows of the padding are left out."""
    coords = torch.as_tensor(coords).to(device)
    index = BlockIndex(coords.device)
    index.insert(coords)
    graph = nearest_neighbors(index, coords, num_neighbors)
    assert graph.index.shape == graph.mask.shape == (len(coords), num_neighbors)
    rows = zip(graph.index.tolist(), graph.mask.tolist(), strict=True)
    return [[j for j, real in zip(*row, strict=True) if real] for row in rows]


def distinct(coords, seed=0):
    """Distinct voxels in random row order."""
    unique = np.unique(np.asarray(coords, dtype=np.int64), axis=0)
    return np.random.default_rng(seed).permutation(unique)


def random_cloud(count=1000, low=-10, high=10, seed=0):
    return distinct(np.random.default_rng(seed).integers(low, high, (count, 3)))


def plane(normal, extent=11):
    """Voxels that a plane through the origin passes."""
    side = np.mgrid[-extent:extent, -extent:extent].reshape(2, -1).T
    height = -(side @ np.array(normal[:2])) / normal[2]
    return distinct(np.column_stack((side, np.floor(height + 0.3))))


CLOUDS = {
    "random": random_cloud(),
    "sparse": random_cloud(count=300, low=-30, high=30),
    "flat": plane((0.0, 0.0, 1.0)),
    "tilted": plane((0.4, -0.7, 1.0)),
    "corner": distinct(np.concatenate(
        [plane((0, 0, 1), extent=8)[:, axes] for axes in ([0, 1, 2], [2, 0, 1], [0, 2, 1])])),
    "one": distinct([(3, 4, 5)]),
    "two": distinct([(-1, 0, 0), (0, 0, 0)]),
    "two, too far": distinct([(0, 0, 0), (MAX_RADIUS, 1, 0)]),
    "two, just near enough": distinct([(0, 0, 0), (MAX_RADIUS, 0, 0)]),
    "five": distinct([(0, 0, 0), (0, 0, 1), (0, 7, 0), (-8, 0, 0), (1, 1, 1)]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLOUDS)
def test_t1_5_neighbors_equal_brute_force_within_the_radius(name):
    coords = CLOUDS[name]
    expected = brute_force(coords, 32, MAX_RADIUS)
    for num_neighbors in (1, 6, 32):
        assert fast(coords, num_neighbors) == [rows[:num_neighbors] for rows in expected]


@pytest.mark.parametrize("device", DEVICES)
def test_t1_5_neighbors_are_the_same_on_every_device(device):
    coords = CLOUDS["corner"][:400]
    assert fast(coords, 32, device) == brute_force(coords, 32, MAX_RADIUS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["random", "flat", "tilted", "corner"])
def test_t1_5_neighbors_equal_unbounded_brute_force_where_the_k_nearest_are_near(name):
    coords = CLOUDS[name]
    everywhere = brute_force(coords, 24, radius=1000)
    farthest = max(np.linalg.norm(coords[i] - coords[rows[-1]])
                   for i, rows in enumerate(everywhere))
    assert farthest <= MAX_RADIUS, "the cloud is too sparse for this test"
    assert fast(coords, 24) == everywhere


@pytest.mark.slow
@pytest.mark.parametrize("shift", [(0, 0, 0), (-8, -8, -8), (5, -3, 200_000), (-8_000_000, 1, 7)])
def test_t1_5_neighbors_do_not_care_where_the_map_lies(shift):
    """Block borders, negative coordinates, kilometres from the origin: the same graph."""
    cube = distinct(np.argwhere(np.random.default_rng(1).random((12, 12, 12)) < 0.4))
    assert fast(cube + np.array(shift), 32) == brute_force(cube, 32, MAX_RADIUS)


def test_t1_5_tiny_maps_have_fewer_neighbors_than_asked_for():
    coords = CLOUDS["five"]
    assert [len(rows) for rows in fast(coords, 32)] == [
        len(rows) for rows in brute_force(coords, 4, MAX_RADIUS)]
    assert fast(CLOUDS["one"], 32) == [[]]


def test_ties_are_broken_pair_by_pair_in_the_order_x_y_z():
    star = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, -1), (0, -1, 0), (-1, 0, 0)]
    assert fast(star, 6)[0] == [6, 3, 5, 2, 4, 1]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbors_inside_a_plane_lie_evenly_around_a_voxel(axis):
    """K = 32 ends inside a shell; were its neighbours all on one side, pooling would carry
    everything that way."""
    coords = np.insert(np.argwhere(np.ones((21, 21))) - 10, axis, 0, axis=1)
    center = coords.tolist().index([0, 0, 0])
    assert coords[fast(coords, 32)[center]].sum(axis=0).tolist() == [0, 0, 0]


def test_padding_is_the_voxel_itself():
    coords = torch.tensor([[0, 0, 0], [0, 0, 1], [50, 0, 0]])
    index = BlockIndex(coords.device)
    index.insert(coords)
    graph = nearest_neighbors(index, coords, 3)
    assert graph.index.tolist() == [[1, 0, 0], [0, 1, 1], [2, 2, 2]]
    assert graph.mask.tolist() == [[True, False, False]] * 2 + [[False] * 3]


@pytest.mark.parametrize("name", ["corner", "sparse", "five"])
def test_neighbors_of_some_rows_are_those_of_the_whole_graph(name):
    coords = torch.as_tensor(CLOUDS[name])
    index = BlockIndex(coords.device)
    index.insert(coords)
    whole = nearest_neighbors(index, coords, 32)
    rows = torch.randperm(len(coords))[: max(2, len(coords) // 3)]
    some = nearest_neighbors(index, coords, 32, rows)
    assert torch.equal(some.index, whole.index[rows])
    assert torch.equal(some.mask, whole.mask[rows])
    assert nearest_neighbors(index, coords, 32, rows[:0]).index.shape == (0, 32)


def test_an_empty_map_has_an_empty_graph():
    assert fast(np.zeros((0, 3), dtype=np.int64), 4) == []


def test_offsets_are_complete_and_sorted():
    offsets = sorted_offsets(3).tolist()
    assert offsets[:6] == [[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]]
    squared = [x * x + y * y + z * z for x, y, z in offsets]
    assert squared == sorted(squared)
    assert [squared.count(n) for n in range(1, 10)] == [6, 12, 8, 6, 24, 24, 0, 12, 30]
    assert len(offsets) == sum([6, 12, 8, 6, 24, 24, 0, 12, 30])
