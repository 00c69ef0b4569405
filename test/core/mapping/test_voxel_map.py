"""The map: running weighted means that do not depend on the order of the frames."""

import itertools

import pytest
import torch

from geopurify_ros.core.mapping.fusion import FeatureBags, FrameVoxels
from geopurify_ros.core.mapping.voxel_map import CHUNK_ROWS, VoxelMap
from geopurify_ros.errors import InputError

HALF_STEP = 2.0**-11  # relative rounding of half precision


def frame_of(coords, seed, width=16):
    """What a frame might say of the voxels `coords` (M, 3)."""
    generator = torch.Generator().manual_seed(seed)
    count = len(coords)
    normal = torch.randn((count, 3), generator=generator)
    return FrameVoxels(
        coords=torch.as_tensor(coords, dtype=torch.int64),
        bags=FeatureBags.of(torch.randn((count, width), generator=generator)),
        color=255 * torch.rand((count, 3), generator=generator),
        normal=torch.nn.functional.normalize(normal, dim=1) * 0.9,
        weight=torch.randint(1, 400, (count,), generator=generator).float(),
    )


def box(low, high):
    """All voxels with low <= x, y, z < high."""
    side = torch.arange(low, high)
    return torch.cartesian_prod(side, side, side)


def batch_mean(frames):
    """{voxel: (mean feature, colour, normal, weight)} of all frames at once, in float64."""
    sums = {}
    for frame in frames:
        values = torch.cat((frame.bags.features(), frame.color, frame.normal), dim=1).double()
        for coord, value, weight in zip(
            frame.coords.tolist(), values, frame.weight.tolist(), strict=True
        ):
            total, old = sums.get(tuple(coord), (0.0, 0.0))
            sums[tuple(coord)] = (total + weight * value, old + weight)
    return {coord: (total / weight, weight) for coord, (total, weight) in sums.items()}


def map_of(frames, width=16):
    voxel_map = VoxelMap(width, 0.05)
    for stamp, frame in enumerate(frames):
        voxel_map.integrate(frame, stamp)
    return voxel_map


# some voxels in all frames, some in two, some in one
FRAMES = [frame_of(box(low, low + 6), seed) for seed, low in enumerate((0, 2, -3, 40))]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_incremental_mean_equals_batch_mean_in_any_order(order):
    """Each of n updates rounds a feature to half precision: n steps of 2^-11 of the largest."""
    voxel_map = map_of([FRAMES[i] for i in order])
    expected = batch_mean(FRAMES)
    assert {tuple(c) for c in voxel_map.coords().tolist()} == expected.keys()
    largest = max(float(frame.bags.features().abs().max()) for frame in FRAMES)
    features, colors = voxel_map.features(), voxel_map.colors()
    for row, coord in enumerate(voxel_map.coords().tolist()):
        mean, weight = expected[tuple(coord)]
        assert (features[row] - mean[:16]).abs().max() <= len(order) * HALF_STEP * largest
        assert (colors[row] - mean[16:19]).abs().max() < 1e-3
        assert voxel_map.weights()[row] == weight
        direction = torch.nn.functional.normalize(mean[19:22], dim=0)
        assert (voxel_map.normals()[row] - direction).abs().max() < 1e-4


def test_a_single_frame_is_stored_to_half_precision():
    voxel_map = map_of(FRAMES[:1])
    assert torch.equal(voxel_map.features(), FRAMES[0].bags.features().half().float())
    torch.testing.assert_close(voxel_map.colors(), FRAMES[0].color)


def test_the_mean_by_hand():
    def one(feature, weight):
        return FrameVoxels(torch.tensor([[7, 0, -7]]), FeatureBags.of(torch.tensor([feature])),
                           torch.zeros(1, 3), torch.zeros(1, 3), torch.tensor([weight]))

    voxel_map = map_of([one([1.0, 0.0], 3.0), one([0.0, 1.0], 1.0), one([0.0, 1.0], 4.0)], width=2)
    assert voxel_map.features().tolist() == [[0.375, 0.625]]
    assert voxel_map.weights().tolist() == [8.0]
    assert voxel_map.normals().tolist() == [[0.0, 0.0, 0.0]]


def test_overlapping_frames_count_new_voxels_once_and_rows_stay():
    voxel_map = VoxelMap(16, 0.05)
    assert voxel_map.integrate(frame_of(box(0, 4), 0), 10) == 64
    before = voxel_map.coords()
    assert voxel_map.integrate(frame_of(box(2, 6), 1), 20) == 64 - 8
    assert torch.equal(voxel_map.coords()[:64], before)
    shared = (before >= 2).all(dim=1)
    assert voxel_map.last_seen_ns()[:64].tolist() == [20 if s else 10 for s in shared]


def test_maps_of_several_chunks():
    """Features of a row number: every chunk holds its own rows, and all are read back."""
    coords = box(0, 22)
    assert len(coords) > 2 * CHUNK_ROWS
    order = torch.randperm(len(coords), generator=torch.Generator().manual_seed(0))
    voxel_map = VoxelMap(16, 0.05)
    first, second = frame_of(coords, 1), frame_of(coords[order], 2)
    voxel_map.integrate(first, 0)
    voxel_map.integrate(second, 1)
    mean = first.bags.features() * first.weight[:, None]
    mean[order] += second.bags.features() * second.weight[:, None]
    weight = first.weight.clone()
    weight[order] += second.weight
    assert torch.equal(voxel_map.coords(), coords)
    assert torch.equal(voxel_map.weights(), weight)
    largest = max(float(frame.bags.features().abs().max()) for frame in (first, second))
    error = (voxel_map.features() - mean / weight[:, None]).abs().max()
    assert error <= 2 * HALF_STEP * largest


def test_centers_are_exact_far_from_the_origin():
    coords = torch.tensor([[200_000, -200_000, 0]])  # 10 km
    centers = map_of([frame_of(coords, 0)]).centers_m()
    assert centers.dtype == torch.float64
    torch.testing.assert_close(
        centers, torch.tensor([[10_000.025, -9_999.975, 0.025]], dtype=torch.float64),
        rtol=0, atol=1e-9)


def surface(tilt):
    """Voxels of a floor and two walls of 9 m, 5 cm each; with tilt none lies along the lattice."""
    u, v = torch.meshgrid(torch.arange(0, 9, 0.02), torch.arange(0, 9, 0.02), indexing="ij")
    u, v = u.reshape(-1).double(), v.reshape(-1).double()
    zero = torch.zeros_like(u)
    points = torch.cat([torch.stack(p, dim=1) for p in ((u, v, zero), (u, zero, v), (zero, u, v))])
    a, b = torch.tensor(tilt).double(), torch.tensor(tilt / 2).double()
    about_x = torch.tensor([[1, 0, 0], [0, a.cos(), -a.sin()], [0, a.sin(), a.cos()]])
    about_z = torch.tensor([[b.cos(), -b.sin(), 0], [b.sin(), b.cos(), 0], [0, 0, 1]])
    turned = points @ (about_x.double() @ about_z.double()).T + 0.013
    return torch.unique(torch.floor(turned / 0.05).long(), dim=0)


@pytest.mark.slow
@pytest.mark.parametrize("tilt", [0.0, 0.5])
def test_memory_is_at_most_1200_bytes_per_voxel(tilt):
    coords = surface(tilt)[:100_000]
    assert len(coords) > 90_000
    voxel_map = VoxelMap(512, 0.05)
    for part in coords.split(10_000):  # frame after frame, as the map grows on a robot
        zeros = torch.zeros((len(part), 3))
        voxel_map.integrate(
            FrameVoxels(part, FeatureBags.of(torch.zeros((len(part), 512))), zeros, zeros,
                        torch.ones(len(part))),
            0)
    assert len(voxel_map) == len(coords)
    assert voxel_map.num_bytes / len(voxel_map) <= 1200


def test_state_and_back_is_the_same_map_and_grows_on():
    voxel_map = map_of([frame_of(box(0, 18), 0), frame_of(box(5, 20), 1)])
    restored = VoxelMap.from_state(voxel_map.state(), 0.05)
    for name, tensor in voxel_map.state().items():
        assert torch.equal(restored.state()[name], tensor)
    more = frame_of(box(15, 22), 2)
    assert restored.integrate(more, 5) == voxel_map.integrate(more, 5)
    assert torch.equal(restored.coords(), voxel_map.coords())
    assert torch.equal(restored.features(), voxel_map.features())


def test_state_whose_tensors_do_not_belong_together_is_refused():
    state = map_of(FRAMES[:1]).state()
    state["features"] = state["features"][:-1]
    with pytest.raises(InputError, match="features has shape"):
        VoxelMap.from_state(state, 0.05)


def test_an_empty_map_has_tensors_without_rows():
    voxel_map = VoxelMap(16, 0.05)
    assert (len(voxel_map), voxel_map.num_bytes) == (0, 0)
    shapes = [tuple(t.shape) for t in (
        voxel_map.features(), voxel_map.coords(), voxel_map.centers_m(), voxel_map.colors(),
        voxel_map.normals(), voxel_map.weights(), voxel_map.last_seen_ns())]
    assert shapes == [(0, 16), (0, 3), (0, 3), (0, 3), (0, 3), (0,), (0,)]
    assert len(VoxelMap.from_state(voxel_map.state(), 0.05)) == 0


def test_features_that_would_poison_the_map_are_refused():
    voxel_map = map_of(FRAMES[:1])
    with pytest.raises(InputError, match="frame features has shape"):
        voxel_map.integrate(frame_of(box(0, 2), 0, width=8), 0)
    broken = frame_of(box(0, 2), 0)
    broken.bags.cells[3, 3] = torch.inf
    with pytest.raises(InputError, match="not finite"):
        voxel_map.integrate(broken, 0)
    assert torch.equal(voxel_map.features(), map_of(FRAMES[:1]).features())


@pytest.mark.parametrize("far", [1 << 23, -(1 << 23), (1 << 31) - 1])
def test_a_state_with_voxels_out_of_reach_is_refused(far):
    """Their keys would run into those of others."""
    state = map_of(FRAMES[:1]).state()
    state["coords"][3, 1] = far
    with pytest.raises(InputError, match="voxels out of reach"):
        VoxelMap.from_state(state, 0.05)


@pytest.mark.parametrize("num_gone", [0, 1, 37, 500, 8000])
def test_removed_voxels_are_gone_and_their_rows_used_again(num_gone):
    """Against a map that never had them: the same voxels, whatever their rows."""
    voxels = box(-10, 10)
    gone = torch.randperm(len(voxels), generator=torch.Generator().manual_seed(3))[:num_gone]
    stays = torch.ones(len(voxels), dtype=torch.bool)
    stays[gone] = False
    held, frame = map_of([frame_of(voxels, 5)]), frame_of(voxels, 5)
    removal = held.remove(held.index.lookup(voxels[gone]))
    assert len(held) == held.index.num_rows == removal.num_rows == int(stays.sum())
    assert bool((held.index.lookup(voxels[gone]) == -1).all())
    rows = held.index.lookup(voxels[stays])
    assert torch.equal(rows.sort().values, torch.arange(len(held)))  # no gaps
    assert torch.equal(held.coords()[rows], voxels[stays])
    torch.testing.assert_close(held.features_of(rows), frame.bags.features()[stays].half().float())
    assert torch.equal(held.weights()[rows], frame.weight[stays])
    held.integrate(frame, 9)  # what was cleared is seen again
    assert len(held) == len(voxels)
    assert torch.equal(held.coords()[held.index.lookup(voxels)], voxels)
    seen_once = held.index.lookup(voxels[gone])
    assert torch.equal(held.weights()[seen_once], frame.weight[gone])


def test_a_snapshot_keeps_what_is_removed_afterwards():
    held = map_of([frame_of(box(0, 17), 5)])
    shot = held.snapshot()
    features, coords = torch.cat(shot.features).clone(), shot.coords.clone()
    held.remove(torch.arange(0, 4000, 2))
    assert torch.equal(torch.cat(shot.features), features)
    assert torch.equal(shot.coords, coords)
    assert torch.equal(shot.index.lookup(coords.long()), torch.arange(len(coords)))


def test_blocks_without_voxels_are_given_up():
    held = map_of([frame_of(box(0, 16), 5)])
    assert held.index.num_blocks == 8
    held.remove(held.index.lookup(torch.cartesian_prod(torch.arange(8), *[torch.arange(16)] * 2)))
    assert held.index.num_blocks == 4
    assert torch.equal(held.index.block_coords().unique(dim=0)[:, 0], torch.ones(4).long())


@pytest.mark.parametrize("rows", [[-1], [4913], [5, 5]])
def test_rows_that_are_no_voxels_are_refused(rows):
    held = map_of([frame_of(box(0, 17), 5)])
    with pytest.raises(InputError):
        held.remove(torch.tensor(rows))
    assert len(held) == 4913


def test_a_voxel_says_when_it_changed_last():
    held = map_of([frame_of(box(0, 4), 1)])
    held.integrate(frame_of(box(3, 5), 2), 1)
    expected = torch.where((held.coords() >= 3).all(dim=1), 2, 1).int()
    assert torch.equal(held.changed_at(), expected)
