"""What the built-in encoder reads from a depth image: made-up rooms with known answers."""

import math

import numpy as np
import pytest
import torch

from geopurify_ros.core.mapping.encoder import RgbdEncoder, encode_frame
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.encoders import depth_channels as depth_module
from geopurify_ros.encoders.builtin import BuiltinEncoder
from geopurify_ros.encoders.depth_channels import NUM_CHANNELS, depth_channels, up_direction

CPU = torch.device("cpu")
LENS = torch.tensor([[150.0, 0, 79.5], [0, 150.0, 59.5], [0, 0, 1]])
CAMERA_HEIGHT_M, WALL_M = 1.4, 3.0
VALID, DEPTH, INVERSE, ABOVE_FLOOR, ABOVE_CAMERA, UPWARD, TOWARD, HAS_NORMAL = range(8)


def up_of(pitch, roll=0.0):
    """Up in a camera that looks `pitch` above the horizon and is rolled, both in degrees."""
    p, r = math.radians(pitch), math.radians(roll)
    return torch.tensor([math.sin(r) * math.cos(p), -math.cos(r) * math.cos(p), math.sin(p)])


def room(pitch, roll=0.0, size=(120, 160)):
    """(H, W) depth of a floor and a wall, from CAMERA_HEIGHT_M above the floor."""
    up = up_of(pitch, roll)
    ahead = torch.tensor([0.0, 0.0, 1.0]) - up[2] * up
    ahead = ahead / ahead.norm()
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in size), indexing="ij")
    rays = torch.stack(((x - LENS[0, 2]) / LENS[0, 0], (y - LENS[1, 2]) / LENS[1, 1],
                        torch.ones_like(x)), dim=-1)
    floor, wall = -CAMERA_HEIGHT_M / (rays @ up), WALL_M / (rays @ ahead)
    floor, wall = (torch.where(t > 0, t, torch.inf) for t in (floor, wall))
    return torch.minimum(floor, wall), floor < wall


@pytest.mark.parametrize(("pitch", "roll", "seen"), [
    (0, 0, ["wall"]), (-20, 0, ["floor", "wall"]), (-20, 8, ["floor", "wall"]),
    (-45, 0, ["floor"]), (-45, -8, ["floor"]), (-58, 3, ["floor"]), (12, 5, ["wall"])])
def test_gravity_and_heights_of_a_room(pitch, roll, seen):
    depth, is_floor = room(pitch, roll)
    channels = depth_channels(depth, LENS, (30, 40))
    assert channels.shape == (NUM_CHANNELS, 30, 40)
    assert torch.isfinite(channels).all()
    floor = torch.nn.functional.adaptive_avg_pool2d(is_floor[None].float(), (30, 40))[0]
    inner = channels[HAS_NORMAL] > 0
    checked = []
    for name, where in (("floor", (floor == 1) & inner), ("wall", (floor == 0) & inner)):
        if where.sum() < 30:  # the camera looks above or below it
            continue
        checked.append(name)
        upward, toward = channels[UPWARD][where], channels[TOWARD][where]
        expected = (1.0, 0.0) if name == "floor" else (0.0, 1.0)
        assert abs(upward.median() - expected[0]) < 0.02, name
        assert abs(toward.median() - expected[1]) < 0.02, name
        if name == "floor":
            assert (channels[ABOVE_FLOOR][where] * 1.5).abs().median() < 0.03
            assert abs(channels[ABOVE_CAMERA][where].median() * 1.5 + CAMERA_HEIGHT_M) < 0.03
    assert checked == seen


def test_depth_and_its_inverse_are_those_of_the_cell():
    channels = depth_channels(torch.full((60, 80), 2.0), LENS, (15, 20))
    assert torch.allclose(channels[DEPTH], torch.tensor(0.5))
    assert torch.allclose(channels[INVERSE], torch.tensor(0.25))
    assert (channels[VALID] == 1).all()


def test_any_resolution_of_the_depth_says_the_same():
    """The lens is that of the depth image; cells are centres of areas, not of pixels."""
    fine, _ = room(-30, size=(120, 160))
    half = fine.view(60, 2, 80, 2).mean(dim=(1, 3))
    lens = LENS.clone()
    lens[:2] /= 2
    lens[:2, 2] -= 0.25
    a, b = depth_channels(fine, LENS, (30, 40)), depth_channels(half, lens, (30, 40))
    assert (a - b).abs().mean() < 0.01


@pytest.mark.parametrize("hole", [float("nan"), 0.0, float("inf"), -1.0, 60.0])
def test_pixels_without_depth_are_zero_in_every_channel(hole):
    depth, _ = room(-20)
    depth[40:80, 40:120] = hole
    channels = depth_channels(depth, LENS, (30, 40))
    assert torch.isfinite(channels).all()
    assert (channels[:, 10:20, 10:30] == 0).all()
    assert channels[VALID].sum() == 30 * 40 - 200


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (16, 16)])
def test_no_depth_at_all_and_tiny_images(size):
    assert (depth_channels(torch.full(size, torch.nan), LENS, (80, 104)) == 0).all()
    assert torch.isfinite(depth_channels(torch.ones(size), LENS, (80, 104))).all()


def test_up_is_the_image_s_own_without_surfaces():
    assert torch.equal(up_direction(torch.zeros(0, 3)), torch.tensor([0.0, -1.0, 0.0]))


def test_up_is_likely_whatever_the_surfaces():
    """Less than 20 degrees of roll, 66 down and 33 up, of a ball as of a room on its side."""
    ball = torch.nn.functional.normalize(
        torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    sideways, _ = room(-20, roll=70)
    points = depth_channels(sideways, LENS, (30, 40))
    assert torch.isfinite(points).all()
    for normals in (ball, up_of(-20, 70).expand(100, 3)):
        aside, down, ahead = up_direction(normals).tolist()
        assert abs(math.hypot(aside, down, ahead) - 1) < 1e-5
        assert abs(aside) < math.sin(math.radians(20))
        assert down < 0
        assert -math.sin(math.radians(66)) < ahead < math.sin(math.radians(33))


def frame(seed=0, size=(120, 160)):
    depth, _ = room(-20, size=size)
    rgb = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    return RgbdFrame(rgb, depth.numpy(), LENS.double().numpy(), np.eye(4), 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_encoder_takes_depth_and_does_without(dtype):
    encoder = BuiltinEncoder(CPU, dtype=dtype)
    assert isinstance(encoder, RgbdEncoder)
    with_depth = encode_frame(encoder, frame(), CPU, use_depth=True)
    assert torch.equal(encode_frame(encoder, frame(), CPU, use_depth=True), with_depth)
    assert torch.isfinite(with_depth).all()
    assert (with_depth.norm(dim=1) - 1).abs().max() < 1e-5
    rgb = torch.from_numpy(frame().rgb).permute(2, 0, 1)[None] / 255.0
    alone = encode_frame(encoder, frame(), CPU, use_depth=False)
    assert torch.equal(alone, encoder.encode_image(rgb))
    assert (with_depth * alone).sum(dim=1).mean() < 0.98  # it does look
    blind = torch.full((120, 160), torch.nan)
    torch.testing.assert_close(encoder.encode_rgbd(rgb, blind, LENS), alone, atol=1e-5, rtol=0)


def test_where_the_world_is_turned_the_features_are_the_same():
    """Gravity comes from the image: the pose, and so the axes of the map, play no part."""
    encoder = BuiltinEncoder(CPU, dtype=torch.float32)
    one, turned = frame(), frame()
    turned.T_world_camera[:3, :3] = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert torch.equal(*(encode_frame(encoder, f, CPU, True) for f in (one, turned)))


def refined_one_by_one(up, normals):
    """`_refined` as Gupta et al. 2013 describe it."""
    for limit in depth_module._LIMITS_RAD:
        along = (normals @ up).abs()
        floors, walls = normals[along > math.cos(limit)], normals[along < math.sin(limit)]
        if len(floors) + len(walls) < 3:
            break
        scatter = (walls.T @ walls - floors.T @ floors).double()
        nearest = torch.linalg.eigh(scatter).eigenvectors[:, 0].to(up)
        up = nearest if float(nearest @ up) > 0 else -nearest
    return up


@pytest.mark.parametrize("count", [0, 2, 3, 40, 3000])
def test_directions_are_refined_together_as_one_by_one(count):
    """Boxes turned at random, with noise; few or no normals among them."""
    random = torch.Generator().manual_seed(count)
    axes = torch.linalg.qr(torch.randn(3, 3, generator=random))[0]
    normals = axes[torch.randint(3, (count,), generator=random)]
    normals = torch.nn.functional.normalize(
        normals + 0.1 * torch.randn(count, 3, generator=random), dim=1)
    starts = torch.stack((up_of(0), up_of(-40)))
    expected = torch.stack([refined_one_by_one(up, normals) for up in starts])
    made = depth_module._refined(starts, normals.T.contiguous())
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)
