"""Messages of one moment to a frame: no pixel that its lens did not see has depth."""

from types import SimpleNamespace

import numpy as np
import pytest

from geopurify_ros.config import CameraConfig
from geopurify_ros.data.messages.frame_maker import FrameMaker, Shot, Topics

PINCUSHION = (0.15, 0.0, 0.0, 0.0, 0.0)  # of an ideal image, the corners are not in the distorted
HEADER = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id="camera")
SIZE = (240, 320)
HALF_SIZE = (120, 160)
DOUBLE_SIZE = (480, 640)  # of depth: colour keeps its size


def info_of(size, distortion=(0.0,) * 5, focal=250.0):
    focal *= size[1] / SIZE[1]
    k = [focal, 0, size[1] / 2 - 0.5, 0, focal, size[0] / 2 - 0.5, 0, 0, 1]
    return SimpleNamespace(
        height=size[0], width=size[1], distortion_model="plumb_bob", k=k, d=list(distortion),
        r=[0.0] * 9, p=[focal, 0, k[2], 0, 0, focal, k[5], 0, 0, 0, 1, 0], header=HEADER)


def image_of(array, encoding):
    array = np.ascontiguousarray(array)
    return SimpleNamespace(
        header=HEADER, height=array.shape[0], width=array.shape[1], encoding=encoding,
        step=array.strides[0], data=array.tobytes(), is_bigendian=0)


def frame_of(camera, info, depth_size=SIZE, depth_info=None, rgb=None):
    rgb = np.full((*SIZE, 3), 200, np.uint8) if rgb is None else rgb
    depth = np.full(depth_size, 2000, np.uint16)
    maker = FrameMaker(camera, Topics("rgb", "depth", "info", "depth_info"))
    return maker.make(Shot(image_of(rgb, "rgb8"), image_of(depth, "16UC1"), info, np.eye(4),
                           depth_info, np.eye(4)))


def seen(distortion):
    """Which ideal pixels a plumb_bob lens without k2, p1, p2, k3 images, by the formula."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    x, y = (u - 159.5) / 250, (v - 119.5) / 250
    radial = 1 + distortion[0] * (x * x + y * y)
    u, v = np.rint(250 * x * radial + 159.5), np.rint(250 * y * radial + 119.5)
    return (u >= 0) & (u < SIZE[1]) & (v >= 0) & (v < SIZE[0])


@pytest.mark.parametrize("registered", [True, False])
def test_what_the_color_lens_did_not_see_has_no_depth(registered):
    frame = frame_of(CameraConfig(depth_registered=registered), info_of(SIZE, PINCUSHION),
                     *() if registered else (DOUBLE_SIZE, info_of(DOUBLE_SIZE)))
    black = (frame.rgb == 0).all(axis=2)
    np.testing.assert_array_equal(black, ~seen(PINCUSHION))
    assert 0.01 < black.mean() < 0.3
    assert np.isnan(frame.depth_m[black]).all()
    assert np.isfinite(frame.depth_m[~black]).all()


def test_a_color_pixel_that_shrinking_mixes_with_black_has_no_depth():
    frame = frame_of(CameraConfig(depth_registered=False), info_of(SIZE, PINCUSHION),
                     HALF_SIZE, info_of(HALF_SIZE))
    assert frame.rgb.shape[0] < SIZE[0]
    darker = (frame.rgb < 199).any(axis=2)
    assert darker.any()
    assert np.isnan(frame.depth_m[darker]).all()
    assert np.isfinite(frame.depth_m).mean() > 0.8


@pytest.mark.parametrize("registered", [True, False])
def test_of_rectified_images_too(registered):
    """image_proc publishes K and D of the lens with what it undistorted: black outside."""
    rgb = np.where(seen(PINCUSHION)[..., None], np.full((*SIZE, 3), 200, np.uint8), 0)
    frame = frame_of(
        CameraConfig(depth_registered=registered, rectified=True), info_of(SIZE, PINCUSHION),
        *(SIZE, None) if registered else (DOUBLE_SIZE, info_of(DOUBLE_SIZE)),
        rgb=rgb.astype(np.uint8))
    np.testing.assert_array_equal(np.isnan(frame.depth_m), ~seen(PINCUSHION))


def test_rectified_images_of_an_unknown_lens_or_without_one_are_taken_whole():
    fisheye = info_of(SIZE, PINCUSHION)
    fisheye.distortion_model = "equidistant"
    untold = info_of(SIZE, PINCUSHION)
    untold.k = [0.0] * 9
    for info in (fisheye, untold, info_of(SIZE)):
        frame = frame_of(CameraConfig(rectified=True), info)
        assert np.isfinite(frame.depth_m).all()


def test_a_rectified_image_with_a_matrix_of_its_own_sees_as_far_as_its_lens():
    """P of half the focal length shows the whole lens in the middle, and nothing around it."""
    info = info_of(SIZE, (1e-9, 0.0, 0.0, 0.0, 0.0))
    info.p[0] = info.p[5] = 125.0
    depth_m = frame_of(CameraConfig(rectified=True), info).depth_m
    inside = np.isfinite(depth_m)
    assert inside[61:179, 81:239].all()
    assert inside.mean() == pytest.approx(0.25, abs=0.01)


def test_depth_of_a_lens_of_its_own_ends_where_that_lens_does():
    frame = frame_of(CameraConfig(depth_registered=False), info_of(SIZE), depth_info=info_of(
        SIZE, PINCUSHION))
    lost = np.isnan(frame.depth_m)
    assert lost[0, 0]
    assert not lost[120, 160]
    assert lost.mean() == pytest.approx((~seen(PINCUSHION)).mean(), abs=0.02)


def test_a_lens_that_folds_back_shows_nothing_twice():
    """At k1 = -0.5 rays beyond r = 0.82 would come nearer to the middle again."""
    info = info_of(SIZE, (-0.5, 0.0, 0.0, 0.0, 0.0), focal=125.0)
    frame = frame_of(CameraConfig(), info)
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    radius = np.hypot((u - 159.5) / 125, (v - 119.5) / 125)
    assert np.isnan(frame.depth_m[radius > 0.83]).all()
    assert np.isfinite(frame.depth_m[radius < 0.80]).all()
