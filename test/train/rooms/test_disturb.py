"""What bad sensors make of a view: measured on plain images, and on rooms of the program."""

import importlib.util
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from geopurify_ros.train.rooms.catalogue import FURNITURE_FOLDER
from geopurify_ros.train.rooms.disturb import (
    BadColor,
    Faults,
    Shot,
    bad_color,
    disturbed,
    random_faults,
    structured_light,
)
from geopurify_ros.train.rooms.generate import RoomSettings, make_room

needs_rooms = pytest.mark.skipif(
    not FURNITURE_FOLDER.is_dir() or importlib.util.find_spec("embreex") is None,
    reason="needs sweethome3d-furniture and embreex (requirements-train.txt)",
)
SHAPE = (120, 160)
INTRINSICS = np.array([[140, 0, 79.5], [0, 140, 59.5], [0, 0, 1.0]])
BRIGHT, FLAT = np.full(SHAPE, 0.6), np.zeros((4, 5))
POOR = BadColor(np.array([1.5, 1.0, 0.5]), 0.4, 0.6, 1.0, 0.05, 30)


def wall(depth_m):
    return np.full(SHAPE, depth_m, np.float32)


def measured_m(depth_m, brightness=BRIGHT, waves=FLAT):
    rng = np.random.default_rng(0)
    return structured_light(depth_m, brightness, INTRINSICS, waves, rng) / 1000


def jpeg_of(rgb):
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=95)
    return file.getvalue()


GREY = jpeg_of(np.full((*SHAPE, 3), 128, np.uint8))


def pixels(jpeg):
    return np.asarray(Image.open(io.BytesIO(jpeg))).astype(float)


@pytest.mark.parametrize("depth_m", [1.0, 2.5, 4.5])
def test_depth_has_steps_of_an_eighth_of_disparity(depth_m):
    measured = measured_m(wall(depth_m))
    levels = np.unique(measured[measured > 0])
    step_m = depth_m**2 / (580 * 0.075) / 8
    assert len(levels) >= 2
    np.testing.assert_allclose(np.diff(levels), step_m, rtol=0.1, atol=0.0011)
    assert np.median(measured) == pytest.approx(depth_m, abs=step_m)


def test_waves_bend_the_depth_smoothly():
    waves = random_faults(np.random.default_rng(3)).waves
    assert 0.002 <= np.abs(waves).max() <= 0.01
    ratio = measured_m(wall(1.0), waves=waves) / measured_m(wall(1.0))
    assert 0.3 * np.abs(waves).max() < np.abs(ratio - 1).max() <= np.abs(waves).max() + 0.0015
    assert np.abs(np.diff(ratio, axis=1)).max() < 0.004


def test_edges_the_dark_the_slanted_and_the_far_are_lost():
    depth = wall(2.0)
    depth[:, 80:] = 3.0
    lost = measured_m(depth) == 0
    assert lost[:, 79:81].all()
    assert 0.3 < lost[:, 81].mean() < 0.7
    assert not lost[:, :79].any()
    assert not lost[:, 82:].any()
    brightness = BRIGHT.copy()
    brightness[:, :80] = 0.1
    lost = measured_m(wall(2.0), brightness) == 0
    assert 0.3 < lost[:, :80].mean() < 1
    assert not lost[:, 80:].any()
    below = (np.arange(120) - 59.5).clip(1)[:, None] / 140
    floor = np.broadcast_to(0.3 / below, SHAPE).astype(np.float32)  # 0.3 m under the camera
    seen = (floor > 0.5) & (floor < 3)
    assert (measured_m(floor)[seen & (floor > 2)] == 0).mean() > 0.5
    assert (measured_m(floor)[seen & (floor < 0.8)] == 0).mean() < 0.05
    assert (measured_m(wall(5.8)) == 0).all()
    assert (measured_m(wall(np.nan)) == 0).all()


def test_poor_colour_has_a_cast_an_exposure_of_its_own_and_dark_corners():
    rng = np.random.default_rng(0)
    images = [pixels(bad_color(GREY, POOR, rng)) for _ in range(6)]
    for image in images:
        assert image[..., 0].mean() > image[..., 1].mean() > image[..., 2].mean()
        assert image[50:70, 70:90].mean() > image[:10, :10].mean() + 10
        assert image.std(axis=(0, 1)).max() > 5
    assert np.ptp([image.mean() for image in images]) > 20
    assert len(bad_color(GREY, POOR, np.random.default_rng(0))) < len(
        bad_color(GREY, replace(POOR, quality=90), np.random.default_rng(0)))


def test_recorded_poses_are_off_by_millimetres_in_some_rooms():
    shot = Shot(GREY, np.zeros(SHAPE, np.uint16), np.eye(4))
    rng = np.random.default_rng(0)

    def poses(jitters):
        faults = Faults(None, FLAT, jitters)
        return np.array([disturbed(shot, wall(2.0), INTRINSICS, faults, rng).T_world_camera
                         for _ in range(150)])

    off = poses(True)
    assert off[:, :3, 3].std() == pytest.approx(0.008, rel=0.2)
    np.testing.assert_allclose(off[:, :3, :3] @ off[:, :3, :3].transpose(0, 2, 1),
                               np.broadcast_to(np.eye(3), (150, 3, 3)), atol=1e-9)
    assert off[:, 0, 1].std() == pytest.approx(np.radians(0.3), rel=0.2)
    assert (poses(False) == np.eye(4)).all()


def test_half_of_the_rooms_each_have_poor_colour_and_inexact_poses():
    faults = [random_faults(np.random.default_rng(seed)) for seed in range(200)]
    poor = np.array([f.color is not None for f in faults])
    jitters = np.array([f.jitters for f in faults])
    assert 0.4 < poor.mean() < 0.6
    assert 0.4 < jitters.mean() < 0.6
    assert 0.15 < (poor & jitters).mean() < 0.35


@needs_rooms
def test_a_disturbed_room_is_the_same_room_with_the_same_labels(tmp_path):
    settings = RoomSettings(num_views=2, width_px=64, height_px=48, seed=7)
    clean = make_room(tmp_path / "clean", 0, settings)
    bad = make_room(tmp_path / "bad", 0, replace(settings, disturbed=True))
    for path in sorted(p for p in clean.rglob("*") if p.is_file()):
        name = path.relative_to(clean)
        same = path.read_bytes() == (bad / name).read_bytes()
        if name.parts[0] == "depth":
            assert not same
        elif name.parts[0] not in ("color", "pose"):
            assert same, name
    for path in bad.glob("pose/*.txt"):
        truth = np.loadtxt(clean / "pose" / path.name)
        np.testing.assert_allclose(np.loadtxt(path), truth, atol=0.05)
