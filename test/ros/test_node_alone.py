"""Tests that need a node of their own: other parameters, other encoders, nothing received yet."""

from __future__ import annotations

import pytest
import rclpy
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from ros_harness import START_NS, SUCCESS, ColorEncoder, Harness
from std_msgs.msg import Header

from geopurify_ros.ros.outputs.to_messages import stamp_msg


def test_missing_camera_info_is_named():
    harness = Harness()
    try:
        harness.camera.send(skip=("info",))
        assert harness.settle(1)["dropped.no_camera_info"] == 1
        harness.wait_for_warning("/geopurify/rgb/camera_info", "no message yet")
        harness.assert_alive()
    finally:
        harness.close()


def test_poses_from_pose_stamped():
    harness = Harness(**{"pose.source": "pose"})
    try:
        publisher = harness.camera.create_publisher(PoseStamped, "pose", 20)
        harness.wait_for_reader(publisher)

        def pose(ns: int, x: float, w: float = 1.0) -> PoseStamped:
            msg = PoseStamped(header=Header(frame_id="map", stamp=stamp_msg(ns)))
            msg.pose.position.x, msg.pose.orientation.w = x, w
            return msg

        image_ns = START_NS + 100_000_000
        publisher.publish(pose(image_ns - 50_000_000, 1.0))
        publisher.publish(pose(image_ns, float("nan")))
        publisher.publish(pose(image_ns, 5.0, w=0.0))
        harness.wait_for_warning("/geopurify/pose", "not finite")
        harness.wait_for_warning("/geopurify/pose", "length 0")
        harness.camera.send(skip=("tf",))
        publisher.publish(pose(image_ns + 50_000_000, 2.0))
        assert harness.settle(1)["fused"] == 1
        center = harness.node.worker.pipeline.map.centers_m()[:, 0].mean()
        assert center == pytest.approx(1.5, abs=0.05)  # interpolated to the image stamp
    finally:
        harness.close()


def test_poses_from_odometry_are_composed_with_tf():
    harness = Harness(**{"pose.source": "odom"})
    try:
        publisher = harness.camera.create_publisher(Odometry, "odom", 20)
        harness.wait_for_reader(publisher)
        odom = Odometry(header=Header(frame_id="map", stamp=stamp_msg(START_NS + 100_000_000)),
                        child_frame_id="base_link")
        odom.pose.pose.position.x, odom.pose.pose.orientation.w = 3.0, 1.0
        publisher.publish(odom)

        def mount(rgb, depth, info, tf):
            tf.transforms[0].header.frame_id = "base_link"
            tf.transforms[0].transform.translation.x = 0.25

        harness.camera.send(mount)
        assert harness.settle(1)["fused"] == 1
        center = harness.node.worker.pipeline.map.centers_m()[:, 0].mean()
        assert center == pytest.approx(3.25, abs=0.05)
    finally:
        harness.close()


def test_encoder_that_raises_does_not_end_the_node():
    class Moody(ColorEncoder):
        fail = True

        def encode_image(self, rgb):
            if self.fail:
                raise RuntimeError("out of memory")
            return super().encode_image(rgb)

    encoder = Moody()
    harness = Harness(encoder)
    try:
        harness.camera.send()
        assert harness.settle(1)["dropped.internal_error"] == 1
        harness.wait_for_warning("internal error", "out of memory")
        encoder.fail = False
        harness.assert_alive()
    finally:
        harness.close()


def test_deactivate_and_activate_keep_the_map():
    harness = Harness()
    try:
        harness.assert_alive()
        voxels = len(harness.node.worker.pipeline.map)
        assert rclpy.ok(context=harness.node_context)
        assert harness.node.trigger_deactivate() == SUCCESS
        assert not harness.node.is_active
        assert len(harness.node.worker.pipeline.map) == voxels > 0
        assert harness.node.trigger_activate() == SUCCESS
        harness.wait(harness._is_connected, "discovery")
        harness.assert_alive()
        assert len(harness.node.worker.pipeline.map) > voxels
    finally:
        harness.close()
