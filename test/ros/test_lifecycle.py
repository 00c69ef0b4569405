"""The managed node: its states, and time that stands still or jumps."""

from __future__ import annotations

import gc
import threading
import weakref

import rclpy
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.context import Context
from ros_harness import SUCCESS, ColorEncoder, Harness
from rosgraph_msgs.msg import Clock
from std_srvs.srv import Trigger

from geopurify_ros.config import Config
from geopurify_ros.ros.node import MappingNode
from geopurify_ros.ros.outputs.to_messages import stamp_msg
from geopurify_ros.srv import MapFile, Query

CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = 1, 2, 3, 4


def to(transition: int) -> ChangeState.Request:
    request = ChangeState.Request()
    request.transition.id = transition
    return request


def change(harness: Harness, transition: int) -> str:
    """`ros2 lifecycle set`; returns the new state."""
    assert harness.call(ChangeState, "change_state", to(transition)).success
    return harness.call(GetState, "get_state", GetState.Request()).current_state.label


def test_every_transition_by_its_service():
    harness = Harness()
    try:
        harness.fuse()
        voxels = len(harness.node.worker.pipeline.map)
        assert change(harness, DEACTIVATE) == "inactive"
        assert harness.camera.rgb.get_subscription_count() == 0
        assert len(harness.node.worker.pipeline.map) == voxels > 0, "deactivate keeps the map"
        pipeline = weakref.ref(harness.node.worker.pipeline)
        assert change(harness, CLEANUP) == "unconfigured"
        assert harness.node.worker is None, "cleanup frees map and encoder"
        gc.collect()
        assert pipeline() is None, "nothing else holds the map"
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


def test_services_of_a_node_that_is_deactivated_answer_instead_of_hanging(tmp_path):
    harness = Harness()
    try:
        harness.fuse(2)
        path = str(tmp_path / "room.safetensors")
        assert harness.call(MapFile, "save_map", MapFile.Request(file_path=path)).success
        harness.fuse(3)
        voxels = len(harness.node.worker.pipeline.map)
        kinds = ((Query, "query", Query.Request(prompts=["red"])),
                 (Trigger, "purify", Trigger.Request()), (Trigger, "reset", Trigger.Request()),
                 (MapFile, "save_map", MapFile.Request(file_path=path)),
                 (MapFile, "load_map", MapFile.Request(file_path=path)))
        go_on = held(harness)
        futures = [later(harness, *kind) for kind in kinds]
        harness.wait(lambda: len(harness.node.worker._jobs) >= 4, "the requests")
        deactivated = later(harness, ChangeState, "change_state", to(DEACTIVATE))
        harness.wait(lambda: harness.node.worker._stopping, "deactivate")
        go_on.set()
        harness.wait(lambda: all(f.done() for f in [*futures, deactivated]), "all answers")
        assert all("the node was deactivated" in f.result().message for f in futures)
        # and so do those that are asked now
        for kind in kinds:
            assert "the node is not active: activate" in harness.call(*kind).message
        assert len(harness.node.worker.pipeline.map) == voxels
        assert change(harness, ACTIVATE) == "active"
        harness.wait(harness._is_connected, "discovery")
        harness.assert_alive()
        assert len(harness.node.worker.pipeline.map) >= voxels, "no reset or load came late"
    finally:
        harness.close()


def held(harness) -> threading.Event:
    """The worker does nothing more until the event is set."""
    begun, go_on = threading.Event(), threading.Event()
    harness.node.worker.call("query", lambda: begun.set() or go_on.wait(60), lambda _: None)
    assert begun.wait(20)
    return go_on


def later(harness, kind, service, request):
    """Call a service and do not wait."""
    client = harness.camera.create_client(kind, f"mapping/{service}")
    harness.wait(client.service_is_ready, f"the service {service}")
    return client.call_async(request)


def test_a_reset_between_a_question_and_its_answer():
    """Answers are made on the worker's thread, of the map that was asked."""
    harness = Harness()
    try:
        harness.fuse(2)
        go_on = held(harness)
        asked = later(harness, Query, "query", Query.Request(prompts=["red"]))
        harness.wait(lambda: len(harness.node.worker._jobs) == 1, "the question")
        reset = later(harness, Trigger, "reset", Trigger.Request())
        harness.wait(lambda: len(harness.node.worker._jobs) == 2, "the reset")
        go_on.set()
        harness.wait(lambda: asked.done() and reset.done(), "both answers")
        assert asked.result().success
        assert asked.result().result.num_voxels > 0
        assert len(harness.node.worker.pipeline.map) == 0
        harness.assert_alive()
    finally:
        harness.close()


def test_activate_that_fails_leaves_nothing_behind():
    context = Context()
    rclpy.init(args=[], context=context, domain_id=7)
    remap = ["--ros-args", "-r", "rgb/camera_info:=rgb/image"]  # one topic, two types
    node = MappingNode(Config(), ColorEncoder(), namespace="geopurify", context=context,
                       cli_args=remap)
    try:
        assert node.trigger_configure() == SUCCESS
        before = threading.active_count()
        for _ in range(2):
            assert node.trigger_activate() != SUCCESS
            assert "/geopurify/rgb/image: cannot be subscribed to as" in str(node.problem)
            assert "Traceback" not in str(node.problem)
        assert node.count_subscribers("/geopurify/rgb/image") == 0
        assert threading.active_count() == before
        assert not node.is_active
    finally:
        node.close()
        node.destroy_node()
        rclpy.shutdown(context=context)


def test_a_reset_that_waits_when_the_node_is_deactivated_is_made_up_for():
    """Time jumped back, and the map of before must not be gone on with."""
    harness = Harness(**{"time.on_jump_back": "reset"})
    try:
        harness.fuse(2)
        go_on = held(harness)
        harness.node._time_jumped()
        deactivated = later(harness, ChangeState, "change_state", to(DEACTIVATE))
        harness.wait(lambda: harness.node.worker._stopping, "deactivate")
        go_on.set()
        harness.wait(deactivated.done, "the transition")
        assert len(harness.node.worker.pipeline.map) > 0
        assert change(harness, ACTIVATE) == "active"
        harness.wait(lambda: len(harness.node.worker.pipeline.map) == 0, "the reset")
    finally:
        harness.close()
