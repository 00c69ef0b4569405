"""Camera infos that do not describe the image at hand as plainly as they should."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from geopurify_ros.config import CameraConfig
from geopurify_ros.data.messages.camera_info import image_sizes, intrinsics_from_info
from geopurify_ros.data.messages.frame_maker import FrameMaker, Shot, Topics
from geopurify_ros.errors import InputError

K = np.array([[600.0, 0, 319.5], [0, 610.0, 239.5], [0, 0, 1]])
TOPICS = Topics("/rgb", "/depth", "/info", "/depth_info")


def info_of(size=(480, 640), binning=(0, 0), roi=(0, 0, 0, 0), k=K, frame="color", d=()):
    """`roi` as x offset, y offset, width, height."""
    region = SimpleNamespace(
        **dict(zip(("x_offset", "y_offset", "width", "height"), roi, strict=True)))
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=frame), height=size[0], width=size[1], k=k.reshape(-1),
        p=np.c_[k, np.zeros(3)].reshape(-1), d=d, distortion_model="plumb_bob",
        binning_x=binning[0], binning_y=binning[1], roi=region)


def shot_of(size, info, depth_info=None, depth_frame="color"):
    def image(encoding, pixels, frame):
        stamp = SimpleNamespace(sec=1, nanosec=0)
        return SimpleNamespace(
            header=SimpleNamespace(frame_id=frame, stamp=stamp), height=size[0], width=size[1],
            encoding=encoding, is_bigendian=0, step=pixels.strides[0], data=pixels.tobytes())

    rgb = image("rgb8", np.full((*size, 3), 90, np.uint8), "color")
    depth = image("16UC1", np.full(size, 1500, np.uint16), depth_frame)
    return Shot(rgb, depth, info, np.eye(4), depth_info)


def seen_through(intrinsics, block, offset):
    """(u, v) of the whole sensor in the middle of each pixel's block: pinned by projection."""
    u, v = np.array([[0, 0], [10, 5], [31, 17]]).T
    x = (u - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1]
    whole = np.stack((K[0, 0] * x + K[0, 2], K[1, 1] * y + K[1, 2]), axis=1)
    middle = np.stack((u, v), axis=1) * block + (np.array(block) - 1) / 2 + offset
    np.testing.assert_allclose(whole, middle, atol=1e-9)


@pytest.mark.parametrize(("size", "binning", "roi", "block", "offset"), [
    ((480, 640), (0, 0), (0, 0, 0, 0), (1, 1), (0, 0)),
    ((480, 640), (1, 1), (0, 0, 640, 480), (1, 1), (0, 0)),
    ((240, 320), (2, 2), (0, 0, 0, 0), (2, 2), (0, 0)),
    ((240, 160), (4, 2), (0, 0, 0, 0), (4, 2), (0, 0)),
    ((400, 560), (0, 0), (40, 60, 560, 400), (1, 1), (40, 60)),
    ((200, 280), (2, 2), (40, 60, 560, 400), (2, 2), (40, 60)),
    ((480, 640), (2, 2), (40, 60, 560, 400), (1, 1), (0, 0)),  # whole, whatever the driver says
])
@pytest.mark.parametrize("rectified", [False, True])
def test_the_matrix_is_that_of_the_image_at_hand(size, binning, roi, block, offset, rectified):
    info = info_of(binning=binning, roi=roi)
    assert size in image_sizes(info)
    seen_through(intrinsics_from_info(info, size, rectified), block, offset)
    made = FrameMaker(CameraConfig(rectified=rectified), TOPICS).make(shot_of(size, info))
    seen_through(made.intrinsics, block, offset)


@pytest.mark.parametrize(("size", "binning", "roi", "block", "offset"), [
    ((240, 320), (2, 2), (0, 0, 0, 0), (2, 2), (0, 0)),
    ((120, 160), (4, 4), (0, 0, 0, 0), (4, 4), (0, 0)),
    ((200, 280), (0, 0), (180, 140, 280, 200), (1, 1), (180, 140)),
])
def test_a_driver_that_writes_the_size_of_its_small_image(size, binning, roi, block, offset):
    """K is still that of the sensor: its principal point tells."""
    info = info_of(size=size, binning=binning, roi=roi)
    seen_through(intrinsics_from_info(info, size), block, offset)
    small = intrinsics_from_info(info_of(binning=binning, roi=roi), size)
    again = info_of(size=size, binning=binning, roi=roi, k=small)  # and this one wrote both
    np.testing.assert_allclose(intrinsics_from_info(again, size), small)


def test_another_size_is_refused_with_all_that_it_could_be():
    info = info_of(binning=(2, 2))
    with pytest.raises(InputError, match=(
        "/rgb: the image is 400 x 300, /info says 640 x 480 or 320 x 240"
    )):
        FrameMaker(CameraConfig(), TOPICS).make(shot_of((300, 400), info))


@pytest.mark.parametrize(("k", "reason"), [
    (np.eye(3), "field of view of 180 x 180 degrees in an image of 640 x 480"),
    (2 * K / [[1, 1, 1], [1, 1, 1], [2, 2, 2]], r"principal point \(639, 479\) is outside"),
    (K.T, "third row of the camera matrix"), (np.zeros((3, 3)), "calibrated")])
def test_a_matrix_that_cannot_be_is_refused(k, reason):
    with pytest.raises(InputError, match=f"^/info: .*{reason}"):
        FrameMaker(CameraConfig(), TOPICS).make(shot_of((480, 640), info_of(k=k)))


def test_depth_that_is_not_registered_is_known_by_its_own_camera_info():
    wide = K * [[0.6], [0.6], [1]] + [[0, 0, 128], [0, 0, 96], [0, 0, 0]]
    maker = FrameMaker(CameraConfig(), TOPICS)
    own = info_of(k=wide, frame="depth")
    with pytest.raises(InputError, match=(
        r"^/depth: fx = 360 in /depth_info, but colour has 600 .*camera\.depth_registered to false"
    )):
        maker.make(shot_of((480, 640), info_of(), own, depth_frame="depth"))
    # the camera info of another topic: registered depth has the frame of colour
    assert maker.make(shot_of((480, 640), info_of(), own)).intrinsics[0, 0] == 600
    same = info_of(frame="depth")
    assert maker.make(shot_of((480, 640), info_of(), same, depth_frame="depth")).stamp_ns
