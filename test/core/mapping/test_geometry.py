"""Depth images to points, edges and normals, on analytic surfaces."""

import numpy as np
import pytest
import torch

from geopurify_ros.config import DepthConfig
from geopurify_ros.core.mapping.geometry import backproject, normals, valid_depth, voxel_coords_of

INTRINSICS = torch.tensor([[60.0, 0.0, 31.5], [0.0, 62.0, 24.0], [0.0, 0.0, 1.0]]).double()
SIZE = (48, 64)


def depth_of_plane(normal, distance_m):
    """Depth of the plane normal . p = -distance_m, whose normal looks at the camera."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    k = INTRINSICS.numpy()
    rays = np.stack(((u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(SIZE)), axis=-1)
    return torch.from_numpy((-distance_m / (rays @ normal)).astype(np.float32))


def test_back_projection_and_projection_are_inverse():
    depth = 0.5 + 4 * torch.rand(SIZE, generator=torch.Generator().manual_seed(0))
    points = backproject(depth, INTRINSICS).double()
    image = points @ INTRINSICS.T
    v, u = torch.meshgrid(*(torch.arange(n).double() for n in SIZE), indexing="ij")
    torch.testing.assert_close(image[..., 0] / image[..., 2], u, rtol=0, atol=1e-4)
    torch.testing.assert_close(image[..., 1] / image[..., 2], v, rtol=0, atol=1e-4)
    assert torch.equal(points[..., 2], depth.double())


def test_back_projection_by_hand():
    """One pixel right of the centre and two below it, at 3 m, with f = 2."""
    intrinsics = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    points = backproject(torch.full((3, 2), 3.0), intrinsics)
    assert points[2, 1].tolist() == [1.5, 3.0, 3.0]


def test_missing_depth_has_no_point():
    depth = torch.full((4, 4), 1.0)
    depth[1, 2] = torch.nan
    missing = backproject(depth, INTRINSICS).isnan().any(dim=-1)
    assert missing.nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("toward", [
    (0.0, 0.0, -1.0),  # a wall seen straight on
    (0.6, 0.0, -0.8),
    (-0.3, 0.4, -1.0),
    (0.0, -1.0, -0.2),  # a floor seen at a low angle
])
def test_normals_of_a_plane_are_its_normal_and_look_at_the_camera(toward):
    normal = np.array(toward) / np.linalg.norm(toward)
    depth = depth_of_plane(normal, 1.3)
    seen = (depth > 0) & (depth < 20)  # the rays that meet the plane
    depth[~seen] = torch.nan
    points = backproject(depth, INTRINSICS)
    found = normals(points, edges=None)
    has_one = found.norm(dim=-1) > 0
    assert has_one.float().mean() > 0.3
    torch.testing.assert_close(
        found[has_one].double(), torch.from_numpy(normal).expand(int(has_one.sum()), 3),
        rtol=0, atol=2e-3)  # float32 differences of points up to 20 m away
    assert ((found * points)[has_one].sum(dim=-1) < 0).all()


def test_normals_are_zero_where_a_neighbor_two_pixels_away_is_missing():
    depth = depth_of_plane(np.array([0.0, 0.0, -1.0]), 2.0)
    depth[20, 30] = torch.nan
    zero = normals(backproject(depth, INTRINSICS)).norm(dim=-1) == 0
    expected = torch.ones(SIZE, dtype=torch.bool)
    expected[2:-2, 2:-2] = False
    for dv, du in ((0, 2), (0, -2), (2, 0), (-2, 0)):
        expected[20 + dv, 30 + du] = True
    assert torch.equal(zero, expected)


def two_walls(gap=0):
    """Walls at 1 and 2 m that face the camera; `gap` columns without depth between them."""
    depth = torch.ones(SIZE)
    depth[:, 30:] = 2.0
    depth[:, 30 - gap : 30] = torch.nan
    return depth


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("gap", [0, 1])
def test_a_normal_is_never_a_difference_across_a_depth_edge(gap, turned):
    depth = two_walls(gap).T if turned else two_walls(gap)
    found = normals(backproject(depth, INTRINSICS))
    has_one = found.norm(dim=-1) > 0
    assert has_one.float().mean() > 0.5
    assert (found[has_one][:, 2] < -0.999).all()
    wrong = normals(backproject(depth, INTRINSICS), edges=None)
    assert (wrong[wrong.norm(dim=-1) > 0][:, 2] > -0.9).any(), "there are some to be left out"


def test_a_missing_pixel_on_a_surface_costs_no_other_normals():
    depth = depth_of_plane(np.array([0.3, 0.2, -1.0]) / np.linalg.norm([0.3, 0.2, -1.0]), 2.0)
    whole = normals(backproject(depth, INTRINSICS)).norm(dim=-1) > 0
    depth[20, 30] = torch.nan
    lost = whole & (normals(backproject(depth, INTRINSICS)).norm(dim=-1) == 0)
    assert int(lost.sum()) == 4


def test_what_an_edge_is_says_the_configuration():
    points = backproject(two_walls(), INTRINSICS)
    assert torch.equal(normals(points, edges=DepthConfig(edge_min_m=10.0)),
                       normals(points, edges=None))


def test_normals_over_another_step_miss_that_many_at_the_border():
    depth = depth_of_plane(np.array([0.0, 0.0, -1.0]), 2.0)
    has_one = normals(backproject(depth, INTRINSICS), step_px=1).norm(dim=-1) > 0
    assert int(has_one.sum()) == (SIZE[0] - 2) * (SIZE[1] - 2)
    assert has_one[1:-1, 1:-1].all()


@pytest.mark.parametrize("size", [(1, 1), (4, 9), (9, 4), (5, 5)])
def test_normals_of_tiny_images_are_zero_or_unit(size):
    length = normals(backproject(torch.ones(size), INTRINSICS)).norm(dim=-1)
    assert int((length > 0).sum()) == max(0, size[0] - 4) * max(0, size[1] - 4)


def columns(*depths):
    """A depth image with one value per column."""
    return torch.tensor(depths).repeat(3, 1)


def test_pixels_on_both_sides_of_an_edge_are_rejected():
    valid = valid_depth(columns(1.0, 1.0, 1.0, 1.2, 1.2, 1.2), DepthConfig())
    assert valid.tolist() == [[True, True, False, False, True, True]] * 3
    assert torch.equal(valid_depth(columns(1.0, 1.0, 1.2).T, DepthConfig()),
                       valid_depth(columns(1.0, 1.0, 1.2), DepthConfig()).T)


@pytest.mark.parametrize(("near_m", "jump_m", "is_edge"), [
    (0.5, 0.029, False),  # below the floor of 3 cm
    (0.5, 0.031, True),
    (4.0, 0.157, False),  # below 4 % of the nearer depth
    (4.0, 0.163, True),  # above it, though below 4 % of the farther one
])
def test_an_edge_is_a_jump_of_more_than_the_larger_limit(near_m, jump_m, is_edge):
    valid = valid_depth(columns(near_m, near_m + jump_m), DepthConfig())
    assert valid.any() != is_edge
    assert torch.equal(valid, valid_depth(columns(near_m + jump_m, near_m), DepthConfig()))


def test_missing_and_far_pixels_are_invalid_but_make_no_edge_of_nan():
    nan = torch.nan
    assert valid_depth(columns(1.0, nan, 1.0, nan, 2.0), DepthConfig())[0].tolist() == [
        True, False, True, False, True]
    everything = DepthConfig(min_m=0.5, max_m=2.0, edge_min_m=10.0)
    assert valid_depth(columns(0.49, 0.5, 2.0, 2.01, torch.inf), everything)[0].tolist() == [
        False, True, True, False, False]


def test_single_rows_and_columns_are_images_too():
    assert valid_depth(torch.ones(1, 5), DepthConfig()).all()
    assert valid_depth(torch.ones(5, 1), DepthConfig()).all()
    assert valid_depth(torch.ones(1, 1), DepthConfig()).all()


def test_voxels_by_hand():
    """Camera at (1, 0, 0) looking along x of the world: 2 m ahead is x = 3."""
    pose = torch.eye(4).double()
    pose[:3, :3] = torch.tensor([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    pose[0, 3] = 1.0
    points = torch.tensor([[0.01, 0.01, 2.01], [-0.01, -0.01, 2.06], [0.21, 0.0, 0.01]])
    assert voxel_coords_of(points, pose, 0.1).tolist() == [
        [30, -1, -1], [30, 0, 0], [10, -3, 0]]
