"""A bent lens, and a depth camera beside the colour camera: each with a node of its own."""

from __future__ import annotations

import array

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from ros_camera import CAMERA
from ros_harness import Harness, running
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from geopurify_ros.ros.outputs.to_messages import image_from_array, stamp_msg

DEPTH_CAMERA = "camera_depth_optical_frame"


def test_plumb_bob_distortion_is_undone():
    """A slanted floor seen through a barrel lens is a plane again; uncorrected it is none."""
    K = np.array([[60.0, 0, 32], [0, 60.0, 24], [0, 0, 1]])
    d = [-0.3, 0.1, 0.0, 0.0, 0.0]
    v, u = np.mgrid[:48, :64].astype(float)
    x = (u - K[0, 2]) / 60.0
    y = (v - K[1, 2]) / 60.0
    ideal_x, ideal_y = x.copy(), y.copy()
    for _ in range(50):  # the lens inverted by fixed-point iteration
        r2 = ideal_x**2 + ideal_y**2
        factor = 1 + d[0] * r2 + d[1] * r2**2
        ideal_x, ideal_y = x / factor, y / factor
    depth_mm = (2000 / (1 + 0.8 * ideal_x)).astype(np.uint16)  # the plane z + 0.8 x = 2

    def plane_error(coefficients) -> float:
        with running() as harness:
            def bend(rgb, depth, info, tf):
                depth.data = array.array("B", depth_mm.tobytes())
                info.distortion_model, info.d = "plumb_bob", coefficients

            harness.fuse(bend=bend)
            centers = harness.node.worker.pipeline.map.centers_m().numpy()
            offset = harness.camera.x_m
            return float(np.abs(centers[:, 2] + 0.8 * (centers[:, 0] - offset) - 2.0).mean())

    corrected, uncorrected = plane_error(d), plane_error([0.0] * 5)
    assert corrected < 0.03
    assert uncorrected > 2 * corrected


# --- depth that is not registered


class DepthCamera:
    """Sends depth of a second camera, 10 cm to the right, half the resolution."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        camera = harness.camera
        self.info = camera.create_publisher(CameraInfo, "depth/camera_info", 10)
        harness.wait_for_reader(self.info)

    def bend(self, rgb, depth, info, tf) -> None:
        stamp = rgb.header.stamp
        pixels = np.full((24, 32), 2000, np.uint16)
        replaced = image_from_array(pixels, "16UC1", DEPTH_CAMERA, stamp)
        for field in ("header", "height", "width", "step", "data"):
            setattr(depth, field, getattr(replaced, field))

    def describe(self, size=(24, 32)) -> None:
        stamp = stamp_msg(self.harness.camera.stamp_ns)
        info = CameraInfo(header=Header(frame_id=DEPTH_CAMERA, stamp=stamp),
                          height=size[0], width=size[1])
        info.k = [30.0, 0.0, 16.0, 0.0, 30.0, 12.0, 0.0, 0.0, 1.0]
        self.info.publish(info)

    def mount(self) -> None:
        transform = TransformStamped(
            header=Header(frame_id=CAMERA, stamp=stamp_msg(self.harness.camera.stamp_ns)),
            child_frame_id=DEPTH_CAMERA)
        transform.transform.translation.x = 0.1
        transform.transform.rotation.w = 1.0
        for later_ns in (0, 10_000_000_000):  # it does not move: known before and after
            transform.header.stamp = stamp_msg(self.harness.camera.stamp_ns + later_ns)
            self.harness.camera.tf.publish(TFMessage(transforms=[transform]))


def test_unregistered_depth_is_registered_with_its_own_calibration_and_transform():
    with running(**{"camera.depth_registered": False}) as harness:
        depth = DepthCamera(harness)
        harness.camera.send(depth.bend)
        assert harness.settle(1)["dropped.no_camera_info"] == 1
        harness.wait_for_warning("/geopurify/depth/camera_info", "no message yet")
        depth.describe()
        harness.camera.send(depth.bend)
        assert harness.settle(2)["dropped.no_pose"] == 1
        harness.wait_for_warning("no pose for the image", DEPTH_CAMERA)
        depth.mount()
        depth.describe()
        harness.fuse(bend=depth.bend)
        centers = harness.node.worker.pipeline.map.centers_m().numpy()
        assert np.allclose(centers[:, 2], 2.0, atol=0.06)
        # the depth camera sees from 0.1 - 16/30*2 m on, seen from the colour camera
        assert centers[:, 0].min() - harness.camera.x_m == pytest.approx(-0.97, abs=0.08)
        depth.describe(size=(48, 64))
        infos = harness.node._inputs._depth_infos
        harness.wait(lambda: infos._infos[-1].height == 48, "the depth info")
        before = harness.counts()
        harness.camera.send(depth.bend)
        assert harness.settle(before["received"] + 1)["dropped.bad_input"] == 1
        harness.wait_for_warning("/geopurify/depth/image", "32 x 24", "depth/camera_info says")


def test_images_that_are_rectified_already_are_left_as_they_are():
    """As image_proc publishes them: D of the raw images, and P of these."""
    harness = Harness(**{"camera.rectified": True})
    try:
        pipeline, seen = harness.node.worker.pipeline, []
        real = pipeline.integrate
        pipeline.integrate = lambda frame: seen.append(frame) or real(frame)

        def bend(rgb, depth, info, tf):
            info.distortion_model, info.d = "equidistant", [0.3, 0.0, 0.0, 0.0]
            info.p = [50.0, 0, 31.0, 0, 0, 50.0, 23.0, 0, 0, 0, 1.0, 0]

        harness.fuse(bend=bend)
        assert seen[0].intrinsics.tolist() == [[50, 0, 31], [0, 50, 23], [0, 0, 1]]
        assert (seen[0].rgb == (200, 0, 0)).all()
        received = harness.counts()["received"]
        harness.camera.send()
        harness.settle(received + 1)
        harness.wait_for_warning("/geopurify/rgb/camera_info: its projection P is empty")
    finally:
        harness.close()
