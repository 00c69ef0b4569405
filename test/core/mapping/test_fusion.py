"""One frame into voxels, against a plain reference per pixel in float64 (METHODS 1.8, B23)."""

import numpy as np
import pytest
import torch

from geopurify_ros.config import DepthConfig
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.mapping.fusion import (
    FeatureBags,
    FramePoints,
    feature_cell,
    frame_points,
    fuse_frame,
    reach_m,
)
from geopurify_ros.errors import InputError

DEVICES = ["cpu", pytest.param("cuda", marks=[
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
])]
VOXEL_M = 0.05


def rotation(axis, angle):
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def make_frame(height=48, width=64, translation=(0.3, -0.2, 1.1), seed=0):
    """A bent surface with holes, seen by a tilted camera."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[:height, :width]
    depth = 1.5 + 0.4 * np.sin(u / 20) + 0.3 * np.cos(v / 15)
    depth[rng.random((height, width)) < 0.1] = np.nan
    pose = np.eye(4)
    pose[:3, :3] = rotation((0.3, 1.0, -0.4), 0.9)
    pose[:3, 3] = translation
    intrinsics = np.array([[55.0, 0, width / 2 - 0.5], [0, 57.0, height / 2 + 1], [0, 0, 1]])
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return RgbdFrame(rgb, depth.astype(np.float32), intrinsics, pose, 0)


def exact_voxels(frame, voxel_size_m=VOXEL_M):
    """(H, W, 3) float64 world position of each pixel in voxels."""
    v, u = np.mgrid[: frame.depth_m.shape[0], : frame.depth_m.shape[1]]
    k, depth = frame.intrinsics, frame.depth_m.astype(np.float64)
    x, y = (u - k[0, 2]) / k[0, 0] * depth, (v - k[1, 2]) / k[1, 1] * depth
    camera = np.stack((x, y, depth), axis=-1)
    pose = frame.T_world_camera
    return (camera @ pose[:3, :3].T + pose[:3, 3]) / voxel_size_m


def plain_fusion(points, grid, image_size):
    """{voxel: (mean feature, mean colour and normal, pixels)}: one pixel after the other."""
    (height, width), (rows, columns) = image_size, grid.shape[1:]
    sums = {}
    for coord, attribute, pixel in zip(points.coords.tolist(), points.color_normal.double().cpu(),
                                       points.pixel_index.tolist(), strict=True):
        v, u = divmod(pixel, width)
        feature = grid[:, v * rows // height, u * columns // width].double().cpu()
        old = sums.get(tuple(coord), (0.0, 0.0, 0))
        sums[tuple(coord)] = (old[0] + feature, old[1] + attribute, old[2] + 1)
    return {c: (f / n, a / n, n) for c, (f, a, n) in sums.items()}


def random_grid(rows, columns, width=24, seed=1):
    return torch.randn((width, rows, columns), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("image_size", "grid_size"), [
    ((48, 64), (6, 8)),
    ((37, 53), (5, 7)),  # nothing divides
    ((41, 29), (41, 29)),  # a feature per pixel
    ((30, 40), (1, 1)),  # one for the whole image
    ((12, 10), (30, 17)),  # more features than pixels
])
def test_fast_path_equals_gather_per_pixel(image_size, grid_size):
    assert_equals_plain_fusion(image_size, grid_size, "cpu")


@pytest.mark.parametrize("device", DEVICES)
def test_fast_path_is_the_same_on_every_device(device):
    assert_equals_plain_fusion((48, 64), (5, 7), device)


def assert_equals_plain_fusion(image_size, grid_size, device):
    points = frame_points(make_frame(*image_size), DepthConfig(), VOXEL_M, torch.device(device))
    grid = random_grid(*grid_size).to(device)
    fused = fuse_frame(points, grid, image_size)
    expected = plain_fusion(points, grid, image_size)
    assert [tuple(c) for c in fused.coords.tolist()] == sorted(expected)
    features = fused.bags.features()
    for row, coord in enumerate(sorted(expected)):
        feature, attribute, count = expected[coord]
        assert fused.weight[row] == count
        # float32 sums of at most some hundred values of size 3 (features) and 255 (colours)
        assert (features[row].cpu() - feature).abs().max() < 1e-5
        assert (fused.color[row].cpu() - attribute[:3]).abs().max() < 1e-3
        assert (fused.normal[row].cpu() - attribute[3:]).abs().max() < 1e-5


def test_a_voxel_is_the_mean_of_its_pixels_by_hand():
    """2 x 2 image, 1 x 2 grid: the left column is one feature, the right one another."""
    points = FramePoints(
        coords=torch.tensor([[4, -1, 0], [4, -1, 0], [-2, 0, 0], [4, -1, 0]]),
        color_normal=torch.tensor([[30.0, 0, 0, 0, 0, 1]] * 3 + [[60.0, 9, 0, 0, 1, 0]]),
        pixel_index=torch.tensor([0, 2, 1, 3]),
    )
    fused = fuse_frame(points, torch.tensor([[[1.0, 10.0]], [[0.0, 5.0]]]), (2, 2))
    assert fused.coords.tolist() == [[-2, 0, 0], [4, -1, 0]]
    assert fused.weight.tolist() == [1, 3]
    torch.testing.assert_close(fused.bags.features(), torch.tensor([[10.0, 5.0], [4.0, 5.0 / 3]]))
    torch.testing.assert_close(fused.color, torch.tensor([[30.0, 0, 0], [40.0, 3, 0]]))
    torch.testing.assert_close(fused.normal, torch.tensor([[0, 0, 1], [0, 1 / 3, 2 / 3]]))


def test_feature_cells_cover_the_image_evenly():
    cells = feature_cell(torch.arange(15), (3, 5), (2, 2)).view(3, 5)
    assert cells.tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [2, 2, 2, 3, 3]]


@pytest.mark.parametrize("origin_m", [
    (0.0, 0.0, 0.0), (10_000.0, -10_000.0, 10_000.0), (-0.02, 12_345.6789, 0.0)])
def test_voxel_coords_lose_no_precision_far_from_the_origin(origin_m):
    """float32 steps by 1 mm at 10 km; only pixels within 1e-4 voxels of a border may differ."""
    frame = make_frame(translation=np.array(origin_m) + (0.31, -0.22, 1.13))
    points = frame_points(frame, DepthConfig(), VOXEL_M, torch.device("cpu"))
    exact = exact_voxels(frame).reshape(-1, 3)[points.pixel_index.numpy()]
    certain = (np.abs(exact - np.round(exact)) > 1e-4).all(axis=1)
    assert certain.mean() > 0.99
    assert np.array_equal(points.coords.numpy()[certain], np.floor(exact[certain]))


def test_a_map_10_km_away_is_the_same_map_moved():
    def coords(shift_m):
        frame = make_frame(translation=(0.3125 + shift_m, -0.25, 1.125))  # exact in float32
        return frame_points(frame, DepthConfig(), 0.0625, torch.device("cpu")).coords

    assert torch.equal(coords(10_000.0) - coords(0.0), torch.tensor([[160_000, 0, 0]]).expand(
        len(coords(0.0)), 3))


def test_points_keep_their_pixel_colour_and_world_normal():
    """A wall straight ahead of a camera that looks along -x of the world."""
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, -1], [0, 1, 0], [1, 0, 0]]
    rgb = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    depth = np.full((8, 8), 2.01, dtype=np.float32)
    depth[0, 0] = np.nan
    intrinsics = np.array([[8.0, 0, 3.5], [0, 8.0, 3.5], [0, 0, 1]])
    frame = RgbdFrame(rgb, depth, intrinsics, pose, 0)
    points = frame_points(frame, DepthConfig(), VOXEL_M, torch.device("cpu"))
    assert points.pixel_index.tolist() == list(range(1, 64))
    assert points.color_normal[:, :3].tolist() == rgb.reshape(-1, 3)[1:].tolist()
    center = points.pixel_index.tolist().index(3 * 8 + 3)
    torch.testing.assert_close(points.color_normal[center, 3:], torch.tensor([1.0, 0.0, 0.0]))
    assert (points.coords[:, 0] == -41).all()


def test_blind_frames_are_refused():
    frame = make_frame()
    with pytest.raises(InputError, match=r"no depth between 0.2 and 1.0 m"):
        frame_points(frame, DepthConfig(max_m=1.0), VOXEL_M, torch.device("cpu"))


def test_poses_out_of_reach_are_refused():
    frame = make_frame(translation=(0.0, 1e9, 0.0))
    with pytest.raises(InputError, match="1000000000 m from the origin"):
        frame_points(frame, DepthConfig(), VOXEL_M, torch.device("cpu"))


@pytest.mark.parametrize("voxel_m", [0.005, 0.02, 0.05, 0.3, 2.0])
def test_clouds_in_reach_are_exact_to_a_tenth_of_a_voxel(voxel_m):
    """The distance of neighbouring float32 numbers there, and that it ends as late as it can."""
    reach = reach_m(voxel_m)
    assert np.spacing(np.float32(reach * 0.999)) <= voxel_m / 10 < np.spacing(np.float32(reach))


@pytest.mark.parametrize(("position", "kilometres"), [
    ((500_000.0, 4_649_776.0, 0.0), "65.5"), ((70_000.0, 0.0, 0.0), "65.5")])
def test_utm_is_refused_with_the_reach_and_advice(position, kilometres):
    with pytest.raises(InputError, match=(
        rf"0\.05 m voxel only up to {kilometres} km; use a local frame .* instead of UTM"
    )):
        frame_points(make_frame(translation=position), DepthConfig(), 0.05, torch.device("cpu"))
    near = make_frame(translation=(60_000.0, 0.0, 0.0))
    assert len(frame_points(near, DepthConfig(), 0.05, torch.device("cpu")).coords)


def test_bags_in_another_order_and_in_parts_are_the_same_features():
    generator = torch.Generator().manual_seed(3)
    size = torch.randint(1, 5, (40,), generator=generator)
    starts = torch.nn.functional.pad(torch.cumsum(size, dim=0), (1, 0))
    bags = FeatureBags(
        cells=torch.randn((9, 4), generator=generator),
        index=torch.randint(0, 9, (int(starts[-1]),), generator=generator),
        share=torch.rand(int(starts[-1]), generator=generator),
        starts=starts,
    )
    expected = torch.stack([
        sum(bags.share[p] * bags.cells[bags.index[p]] for p in range(starts[i], starts[i + 1]))
        for i in range(40)
    ])
    torch.testing.assert_close(bags.features(), expected)
    order = torch.randperm(40, generator=generator)
    moved = bags.reordered(order)
    torch.testing.assert_close(moved.features(), expected[order])
    torch.testing.assert_close(moved.features(7, 19), expected[order][7:19])


def test_small_voxels_and_far_depth_overflow_no_key():
    """950 m at 5 mm: 10^16 voxels times 12,288 cells do not fit 64 bits."""
    depth = np.full((30, 40), 300.0, np.float32)
    depth[:15] = 950.0
    depth += np.random.default_rng(0).uniform(0, 20, depth.shape).astype(np.float32)
    intrinsics = np.array([[20.0, 0, 19.5], [0, 15.0, 14.5], [0, 0, 1]])
    far = RgbdFrame(np.zeros((30, 40, 3), np.uint8), depth, intrinsics, np.eye(4), 0)
    config = DepthConfig(max_m=1000.0, edge_min_m=10.0, edge_relative=1.0)
    points = frame_points(far, config, 0.005, torch.device("cpu"))
    extent = (points.coords.amax(0) - points.coords.amin(0) + 1).tolist()
    assert np.prod([float(n) for n in extent]) * 96 * 128 > 2.0**63
    grid = random_grid(96, 128)
    found = fuse_frame(points, grid, depth.shape)
    expected = plain_fusion(points, grid, depth.shape)
    assert len(found.coords) == len(expected)
    for coord, feature in zip(found.coords.tolist(), found.bags.features(), strict=True):
        torch.testing.assert_close(feature, expected[tuple(coord)][0].float())
