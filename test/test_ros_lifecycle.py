"""The managed node: its states, and time that stands still or jumps."""

from __future__ import annotations

import rclpy
from lifecycle_msgs.srv import ChangeState, GetState
from ros_harness import SUCCESS, Harness
from rosgraph_msgs.msg import Clock

from geopurify_ros.ros.convert import stamp_msg

CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = 1, 2, 3, 4


def change(harness: Harness, transition: int) -> str:
    """`ros2 lifecycle set`; returns the new state."""
    request = ChangeState.Request()
    request.transition.id = transition
    assert harness.call(ChangeState, "change_state", request).success
    return harness.call(GetState, "get_state", GetState.Request()).current_state.label


def test_every_transition_by_its_service():
    harness = Harness()
    try:
        harness.fuse()
        voxels = len(harness.node.worker.pipeline.map)
        assert change(harness, DEACTIVATE) == "inactive"
        assert harness.camera.rgb.get_subscription_count() == 0
        assert len(harness.node.worker.pipeline.map) == voxels > 0, "deactivate keeps the map"
        assert change(harness, CLEANUP) == "unconfigured"
        assert harness.node.worker is None, "cleanup frees map and encoder"
        assert harness.camera.count_publishers("/geopurify/labeled_cloud") == 0
        assert change(harness, CONFIGURE) == "inactive"
        assert change(harness, ACTIVATE) == "active"
        harness.wait(harness._is_connected, "discovery")
        harness.assert_alive()
    finally:
        harness.close()


def test_configure_that_fails_says_why_and_leaves_the_node_unconfigured():
    harness = Harness()
    try:
        for transition in (harness.node.trigger_deactivate, harness.node.trigger_cleanup):
            assert transition() == SUCCESS
        harness.node._encoder = None
        name = harness.node.config.encoder.name
        object.__setattr__(harness.node.config.encoder, "name", "nothing")
        request = ChangeState.Request()
        request.transition.id = CONFIGURE
        assert not harness.call(ChangeState, "change_state", request).success
        harness.wait_for_warning("cannot configure", "no encoder 'nothing'")
        state = harness.call(GetState, "get_state", GetState.Request()).current_state.label
        assert state == "unconfigured"
        object.__setattr__(harness.node.config.encoder, "name", name)
    finally:
        harness.close()


def test_sim_time_without_a_clock_is_named_and_a_clock_that_jumps_is_followed():
    harness = Harness(sim_time=True)
    try:
        harness.wait_for_fault("inputs", "/clock", "nobody publishes the time", "--clock")
        publisher = harness.camera.create_publisher(Clock, "/clock", 10)
        harness.wait(lambda: publisher.get_subscription_count() >= 1, "a reader of /clock")

        def tell(time_ns: int) -> None:
            publisher.publish(Clock(clock=stamp_msg(time_ns)))
            harness.wait(
                lambda: harness.node.get_clock().now().nanoseconds == time_ns, "the node's clock")

        now_ns = harness.camera.stamp_ns
        tell(now_ns)
        harness.fuse()
        # a frame without a pose waits as long as the clock stands, and no wall clock ends that
        received = harness.counts()["received"]
        harness.camera.send(skip=("tf",))
        harness.wait(lambda: harness.counts()["received"] == received + 1, "the frame")
        tell(now_ns + 100_000_000)
        assert harness.counts().get("dropped.no_pose", 0) == 0
        tell(now_ns + 300_000_000)  # pose.timeout_s is 0.2
        assert harness.settle(received + 1)["dropped.no_pose"] == 1
        tell(now_ns - 60_000_000_000)
        harness.wait_for_warning("/clock: time jumped back by", "the map is kept")
        harness.camera.stamp_ns -= 60_000_000_000
        harness.assert_alive()
    finally:
        harness.close()


def test_services_of_a_node_that_is_deactivated_answer_instead_of_hanging():
    harness = Harness()
    try:
        harness.fuse()
        done = []
        with harness.node.worker._wake:  # keeps the worker from taking the jobs
            harness.node.worker.call("query", lambda: None, done.append)
            harness.node.worker.request_purify(done.append)
            harness.node.worker._stopping = True
        harness.node.trigger_deactivate()
        assert [str(one) for one in done] == ["the node was deactivated"] * 2
        assert rclpy.ok(context=harness.node_context)
    finally:
        harness.close()
