"""Streams that are odd but common: other rates, stamps of zero, no frame_id, late links of TF."""

from __future__ import annotations

import time

from diagnostic_msgs.msg import DiagnosticStatus
from ros_harness import running

from geopurify_ros.ros.outputs.to_messages import stamp_msg


def test_depth_that_comes_five_times_more_seldom_is_no_fault():
    """Every depth image finds its partner: nothing to synchronise, nothing is lost."""
    with running() as harness:
        for number in range(30):
            harness.camera.send(skip=() if number % 5 == 0 else ("depth",))
            time.sleep(0.03)
        # the last four of colour still wait for theirs
        harness.wait(lambda: harness.counts().get("dropped.unpaired") == 20, "the books")
        harness.wait(lambda: harness.counts()["fused"] == 6, "all pairs")
        harness.camera.statuses.clear()
        assert harness.status("sync").level == DiagnosticStatus.OK
        assert not [text for text in harness.camera.said if "partner" in text]


def test_stamps_of_zero_are_called_that():
    with running() as harness:
        def unstamped(rgb, depth, info, tf):
            for message in (rgb, depth, info):
                message.header.stamp = stamp_msg(0)

        for _ in range(5):
            harness.camera.send(unstamped)
            time.sleep(0.03)
        harness.wait(lambda: harness.counts().get("dropped.no_stamp") == 5, "the count")
        harness.wait_for_warning("/geopurify/rgb/image", "the stamps of the images are zero")
        message = harness.wait_for_fault("inputs", "images were zero")
        assert "set the header's stamp in the driver" in message
        assert not [text for text in harness.camera.said if "before the newest" in text]
        harness.assert_alive()


def test_images_without_a_frame_are_called_that():
    with running() as harness:
        def nameless(rgb, depth, info, tf):
            for message in (rgb, depth, info):
                message.header.frame_id = ""

        harness.camera.send(nameless)
        harness.wait_for_warning("the depth images have no frame_id", "pose.camera_frame")
        harness.assert_alive()


def test_images_wait_for_a_slow_link_and_all_are_fused():
    """The map's link comes once for ten images: they wait, and none is lost as busy."""
    with running(**{"pose.timeout_s": 10.0}) as harness:
        harness.fuse()
        before = harness.counts()
        late = []
        for _ in range(10):
            *images, tf = harness.camera.messages()
            late.append(tf)
            for name, message in zip(("rgb", "depth", "info"), images, strict=True):
                getattr(harness.camera, name).publish(message)
            time.sleep(0.03)  # the queue of the subscription holds five
        harness.wait(lambda: harness.counts()["received"] == before["received"] + 10, "the images")
        assert harness.counts()["fused"] == before["fused"]
        for tf in late:
            harness.camera.tf.publish(tf)
        assert harness.settle(before["received"] + 10)["fused"] == before["fused"] + 10


def test_frames_that_stand_still_do_not_queue():
    """Keyframes are chosen once the pose is known, before anything is decoded."""
    with running(**{"keyframe.max_interval_s": 1000.0}) as harness:
        harness.fuse()
        x_m, before = harness.camera.x_m, harness.counts()
        made = []
        maker = harness.node._inputs._maker
        real = maker.make
        maker.make = lambda shot: made.append(shot) or real(shot)
        for _ in range(5):
            harness.camera.x_m = x_m - 0.1
            harness.camera.send()
        counts = harness.settle(before["received"] + 5)
        assert counts["dropped.not_keyframe"] == before.get("dropped.not_keyframe", 0) + 5
        assert not made
