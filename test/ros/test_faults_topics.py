"""Faults of topics and their wiring: the node lives on, names the guilty one, maps nothing wrong.

Every test has a node of its own, because QoS and publishers are what it is about.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_harness import CAMERA, running
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from geopurify_ros.ros.outputs.to_messages import image_from_array, stamp_msg
from geopurify_ros.ros.tools.doctor import examine
from geopurify_ros.ros.tools.private_domain import isolated_environment

pytestmark = pytest.mark.slow

# --- quality of service


def test_best_effort_publisher_and_a_reliable_subscription():
    """The two never meet: said with the publisher, both qualities and the parameter."""
    with running(reliable=False, **{"qos.rgb_reliability": "reliable"}) as harness:
        harness.wait_for_fault("inputs", "/geopurify/rgb/image", "/geopurify/camera publishes "
                               "best effort", "qos.rgb_reliability")
        status = harness.status("inputs")
        values = {v.key: v.value for v in status.values}
        assert values["/geopurify/rgb/image.publishers"] == "/geopurify/camera (best effort)"
        assert values["/geopurify/rgb/image.ours"] == "reliable"
        assert len(harness.node.worker.pipeline.map) == 0


@pytest.mark.parametrize(("reliable", "asked"), [
    (True, "best_effort"), (False, "auto"), (False, "best_effort"), (True, "reliable")])
def test_every_other_pair_of_qualities_works(reliable, asked):
    parameters = {f"qos.{name}_reliability": asked for name in ("rgb", "depth", "info")}
    with running(reliable=reliable, **parameters) as harness:
        harness.assert_alive()
        harness.wait_until_well()


def test_images_lost_by_the_transport_are_told_with_the_remedy():
    """What a user of the default transport sees: camera infos come, large images do not."""
    with running(reliable=False) as harness:
        def send_mostly_infos() -> bool:
            for i in range(10):
                harness.camera.send(skip=() if i % 5 == 0 else ("rgb", "depth"))
                time.sleep(0.01)
            return "FASTDDS_DEFAULT_PROFILES_FILE" in harness.status("inputs").message

        harness.wait(send_mostly_infos, "the transport fault")
        message = harness.status("inputs").message
        assert "/geopurify/rgb/image: only" in message
        assert "fastdds_shm.xml" in message
        harness.wait_for_silence()
        harness.assert_alive()


# --- who publishes what


def test_nobody_publishes_depth_but_there_is_another_topic_of_its_type():
    with running() as harness:
        harness.camera.destroy_publisher(harness.camera.depth)
        harness.camera.create_publisher(Image, "/camera/depth/image_rect_raw", 5)
        message = harness.wait_for_fault(
            "inputs", "/geopurify/depth/image: nobody publishes the depth images")
        assert "/camera/depth/image_rect_raw" in message
        assert "choose with depth:=TOPIC" in message
        harness.wait_for_warning("nobody publishes the depth images", "image_rect_raw")


def test_a_foreign_type_on_our_topic_name():
    with running() as harness:
        harness.camera.destroy_publisher(harness.camera.rgb)
        foreign = harness.stranger().create_publisher(String, "rgb/image", 5)
        foreign.publish(String(data="no image"))
        harness.wait_for_fault("inputs", "/geopurify/rgb/image: /geopurify/stranger publishes "
                               "std_msgs/msg/String", "we read sensor_msgs/msg/Image")
        assert harness.counts()["received"] == 0


def test_a_compressed_topic_where_a_raw_one_is_expected():
    with running() as harness:
        harness.camera.destroy_publisher(harness.camera.rgb)
        harness.stranger().create_publisher(CompressedImage, "rgb/image", 5)
        harness.wait_for_fault("inputs", "sensor_msgs/msg/CompressedImage",
                               "camera.rgb_transport to compressed")


def test_only_the_compressed_topic_exists():
    with running() as harness:
        harness.camera.destroy_publisher(harness.camera.rgb)
        harness.camera.create_publisher(CompressedImage, "rgb/image/compressed", 5)
        harness.wait_for_fault(
            "inputs", "nobody publishes the colour images", "there is /geopurify/rgb/image/comp",
            "set camera.rgb_transport to compressed")


def test_two_publishers_on_one_topic():
    with running() as harness:
        second = harness.camera.create_publisher(Image, "rgb/image", 5)

        def is_named() -> bool:
            harness.camera.send()
            time.sleep(0.05)
            return "2 publishers" in harness.status("inputs").message

        harness.wait(is_named, "the two publishers")
        assert "/geopurify/camera, /geopurify/camera" in harness.status("inputs").message
        time.sleep(0.3)  # the second publisher is looked for now and then
        before = harness.counts()["fused"]
        for _ in range(5):  # another camera's green images have our stamps, and no depth
            rgb, depth, info, tf = harness.camera.messages()
            green = image_from_array(
                np.full((48, 64, 3), (0, 200, 0), np.uint8), "rgb8", "another_camera",
                rgb.header.stamp)
            for publisher, message in ((harness.camera.tf, tf), (harness.camera.info, info),
                                       (second, green), (harness.camera.depth, depth),
                                       (harness.camera.rgb, rgb)):
                publisher.publish(message)
            time.sleep(0.05)
        harness.wait(lambda: harness.counts()["fused"] >= before + 3, "our own images")
        harness.wait_for_warning("'another_camera' come among", "left out")
        assert harness.counts()["dropped.another_camera"] == 5
        assert harness.ask("green").results[0].num_voxels == 0
        harness.camera.destroy_publisher(second)
        harness.assert_alive()


def test_ten_seconds_of_silence_and_back():
    with running() as harness:
        harness.fuse()
        voxels = len(harness.node.worker.pipeline.map)
        started = time.monotonic()
        harness.wait_for_fault("inputs", "/geopurify/rgb/image", "silent for 10 s")
        assert time.monotonic() - started > 8
        assert len(harness.node.worker.pipeline.map) == voxels
        harness.fuse(3)
        harness.wait_until_well()


# --- floods, pauses of the source


def test_a_flood_of_100_hz_is_counted_to_the_last_image():
    with running() as harness:
        received = harness.counts()["received"]
        for _ in range(300):
            harness.camera.send()
            time.sleep(0.01)
        # the queues are finite: what DDS gave us is fused or dropped for a reason
        harness.wait(lambda: harness.counts()["received"] > received + 100, "the flood")
        time.sleep(1.0)
        counts = harness.settle(harness.counts()["received"])
        assert counts["fused"] >= 20
        harness.assert_alive()


def test_a_killed_and_restarted_player(tmp_path):
    """SIGKILL leaves DDS to find out by itself; the next player is simply followed."""
    with running(**{"pose.source": "tf"}) as harness:
        for publisher in (harness.camera.rgb, harness.camera.depth, harness.camera.info):
            harness.camera.destroy_publisher(publisher)
        environment = {**isolated_environment(), "ROS_DOMAIN_ID": str(harness.domain)}
        command = [sys.executable, "-m", "geopurify_ros.cli", "play", "--rate", "10", "--loop"]
        for _ in range(2):
            fused = harness.counts()["fused"]
            player = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
            try:
                harness.wait(lambda n=fused: harness.counts()["fused"] >= n + 5, "frames", 40)
            finally:
                player.kill()
                player.wait()
        harness.wait_for_fault("inputs", "/geopurify/rgb/image")
        counts = harness.settle(harness.counts()["received"])
        assert counts["fused"] >= 10
        assert len(harness.node.worker.pipeline.map) > 0


# --- pairing


def test_stamps_that_do_not_match_are_told_with_their_distance():
    with running() as harness:
        def later(rgb, depth, info, tf):
            depth.header.stamp = stamp_msg(harness.camera.stamp_ns + 50_000_000)

        def is_named() -> bool:
            harness.camera.send(later)
            time.sleep(0.03)
            return harness.status("sync").level != DiagnosticStatus.OK

        harness.wait(is_named, "the sync fault")
        message = harness.status("sync").message
        assert "found no partner on /geopurify/depth/image" in message
        assert "raise sync.slop_s" in message
        harness.wait_for_warning("have no partner")
        harness.assert_alive()


# --- poses


def test_transforms_that_come_half_a_second_late_are_waited_for():
    with running(**{"pose.timeout_s": 2.0}) as harness:
        harness.fuse()
        messages = harness.camera.messages()
        rgb, depth, info, tf = messages
        for name, message in (("info", info), ("depth", depth), ("rgb", rgb)):
            getattr(harness.camera, name).publish(message)
        time.sleep(0.5)
        assert harness.counts()["fused"] == 1
        harness.camera.tf.publish(tf)
        assert harness.settle(2)["fused"] == 2


def test_transforms_that_come_late_from_a_fast_camera():
    """30 Hz, each pose half a second late: all images wait for theirs, and are fused."""
    with running(**{"pose.timeout_s": 2.0}) as harness:
        late = []
        for _ in range(60):
            *images, tf = harness.camera.messages()
            late.append(tf)
            for name, message in zip(("rgb", "depth", "info"), images, strict=True):
                getattr(harness.camera, name).publish(message)
            if len(late) > 15:
                harness.camera.tf.publish(late.pop(0))
            time.sleep(1 / 30)
        for tf in late:
            harness.camera.tf.publish(tf)
        assert harness.settle(60)["fused"] == 60


def test_an_image_that_waits_keeps_its_own_calibration():
    with running(**{"pose.timeout_s": 5.0}) as harness:
        harness.fuse()
        pipeline, seen = harness.node.worker.pipeline, []
        real = pipeline.integrate
        pipeline.integrate = lambda frame: seen.append(frame.intrinsics[0, 0]) or real(frame)
        *images, first_tf = harness.camera.messages()
        for name, message in zip(("rgb", "depth", "info"), images, strict=True):
            getattr(harness.camera, name).publish(message)
        harness.wait(lambda: harness.counts()["received"] == 2, "the image")

        def zoomed(rgb, depth, info, tf):
            info.k = [120.0, 0.0, 32.0, 0.0, 120.0, 24.0, 0.0, 0.0, 1.0]

        # every second transform only: the second image has its pose at once, the first one has not
        harness.camera.send(zoomed, skip=("tf",))
        harness.wait(lambda: harness.counts()["received"] == 3, "the second image")
        harness.camera.tf.publish(first_tf)
        harness.wait(lambda: len(seen) == 1, "the first image in the map")
        assert seen == [60.0]


def test_best_effort_transforms_are_named():
    with running() as harness:
        harness.camera.destroy_publisher(harness.camera.tf)
        best_effort = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        harness.camera.tf = harness.camera.create_publisher(TFMessage, "/tf", best_effort)

        def is_named() -> bool:
            harness.camera.send()
            time.sleep(0.1)
            message = harness.status("poses").message
            return "/tf: /geopurify/camera publishes best effort" in message

        harness.wait(is_named, "the fault of /tf")
        values = {v.key: v.value for v in harness.status("poses").values}
        assert values["/tf.publishers"] == "/geopurify/camera (best effort)"


def test_bad_transforms_that_all_differ_are_told_once():
    with running() as harness:
        def bend(rgb, depth, info, tf):
            tf.transforms[0].transform.rotation.w = 2.0 + harness.camera.x_m

        for _ in range(40):
            harness.camera.send(bend)
            time.sleep(0.01)
        harness.settle(40)
        assert sum("the quaternion has length" in text for text in harness.camera.said) == 1


def test_a_cut_transform_tree_is_told_with_its_missing_link():
    with running() as harness:
        def cut(rgb, depth, info, tf):
            tf.transforms[0].header.frame_id = "base_link"  # nobody says where that is

        for _ in range(3):
            harness.camera.send(cut)
            time.sleep(0.02)
        assert harness.settle(3)["dropped.no_pose"] == 3
        warning = harness.wait_for_warning("/tf: no pose for the image", "pose.timeout_s")
        chain = f"no transform connects '{CAMERA}' to 'map'"
        assert chain in warning
        assert f"base_link <- {CAMERA}" in warning
        harness.wait_for_fault("poses", chain)
        harness.assert_alive()


# --- from outside


def test_the_doctor_names_what_the_node_names(monkeypatch):
    with running(reliable=False, **{"qos.depth_reliability": "reliable"}) as harness:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(harness.domain))
        harness.wait_for_fault("inputs", "qos.depth_reliability")
        said: list[str] = []
        started = time.monotonic()
        result = examine("geopurify", said.append)
        assert time.monotonic() - started < 10
        assert result["ok"] is False
        assert len(result["statuses"]) == 8
        assert any("qos.depth_reliability" in line and "error" in line for line in said)
        assert any("publishers = /geopurify/camera (best effort)" in line for line in said)


def test_the_doctor_finds_a_healthy_node_well(monkeypatch):
    with running() as harness:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(harness.domain))
        found = []
        doctor = threading.Thread(
            target=lambda: found.append(examine("geopurify", lambda _: None)))
        doctor.start()
        while doctor.is_alive():
            harness.fuse()
            time.sleep(0.1)
        assert found[0]["ok"] is True, found


def test_the_doctor_without_a_node_says_what_there_is(tmp_path):
    environment = isolated_environment()
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "geopurify_ros.cli", "doctor", "--json"],
        env=environment, capture_output=True, text=True,
    )
    assert time.monotonic() - started < 10
    assert done.returncode == 1
    assert "there is no node /geopurify/mapping in this domain" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_doctor_of_a_node_that_is_not_active_says_how_to_wake_it(monkeypatch):
    with running() as harness:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(harness.domain))
        harness.node.trigger_deactivate()
        (status,) = examine("geopurify", lambda _: None)["statuses"]
        assert "the node is inactive: run ros2 lifecycle set" in status["message"]
