"""Malformed messages of every input, invented by hypothesis, through the node over DDS.

--fuzz says how many examples per input. After each one the frame is fused or dropped for a reason;
after each input the map is finite, the executor lives, and memory did not follow a header.
"""

from __future__ import annotations

import array
from pathlib import Path

import pytest
from geometry_msgs.msg import PoseStamped
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nav_msgs.msg import Odometry
from ros_camera import CAMERA
from ros_harness import Harness
from std_msgs.msg import Header, String

from geopurify_ros.msg import SemanticQuery
from geopurify_ros.ros.outputs.to_messages import stamp_msg

pytestmark = pytest.mark.slow

MAX_GROWTH_BYTES = 400 * 2**20  # a claimed image of 16384 x 16384 would take more at once

uint32 = st.one_of(st.integers(0, 70), st.sampled_from([2**15, 2**16, 2**31, 2**32 - 1]),
                   st.integers(0, 2**32 - 1))
number = st.one_of(st.floats(), st.floats(-3, 3), st.sampled_from([0.0, 1.0, 1e308, -1e-308]))
text = st.one_of(st.text(max_size=30), st.sampled_from(["", "map", "camera", "/", "a/b", "\x00x"]))
# what strings in DDS cannot hold
text = text.map(lambda value: value.replace("\x00", "").encode("utf-8", "ignore").decode())
payload = st.one_of(st.binary(max_size=300), st.sampled_from([0, 1, 9215, 9216, 9217, 18432]))
stamp = st.sampled_from([None] * 20 + [-(2**31), 0, 2**31 - 1])
color = ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"]
odd = ["", "yuv422", "bayer_rggb8", "8UC3", "16UC1", "32FC1", "64FC1", "RGB8"]


def image(encodings):
    return st.fixed_dictionaries({}, optional={
        "height": uint32, "width": uint32, "step": uint32,
        "encoding": st.one_of(st.sampled_from(encodings + odd), text),
        "is_bigendian": st.integers(0, 255), "data": payload,
        "frame_id": text, "stamp": stamp,
    })


def vector(*names):
    return st.fixed_dictionaries({}, optional={name: number for name in names})


packed = st.fixed_dictionaries({}, optional={
    "format": st.one_of(text, st.sampled_from([
        "rgb8; jpeg compressed bgr8", "png", "16UC1; compressedDepth", "32FC1; compressedDepth",
        "16UC1; compressedDepth rvl"])),
    "data": st.one_of(payload, st.tuples(st.integers(0, 400), st.integers(0, 255))),
    "stamp": stamp,
})
pose = st.fixed_dictionaries({}, optional={
    "position": vector("x", "y", "z"), "orientation": vector("x", "y", "z", "w"),
    "frame_id": text, "stamp": stamp, "child_frame_id": text,
})
PACKED = {"camera.rgb_transport": "compressed", "camera.depth_transport": "compressed"}
# input: what is drawn, parameters of the node
INPUTS = {
    "rgb": (image(color), {}),
    "depth": (image(["16UC1", "32FC1"]), {}),
    "info": (st.fixed_dictionaries({}, optional={
        "height": uint32, "width": uint32, "k": st.lists(number, min_size=9, max_size=9),
        "d": st.lists(number, max_size=14), "distortion_model": st.one_of(
            st.sampled_from(["plumb_bob", "rational_polynomial", "equidistant", ""]), text),
    }), {}),
    "tf": (st.fixed_dictionaries({}, optional={
        "translation": st.tuples(number, number, number),
        "rotation": st.tuples(number, number, number, number),
        "parent": text, "child": text, "stamp": stamp,
    }), {}),
    "packed rgb": (packed, PACKED),
    "packed depth": (packed, PACKED),
    "pose": (pose, {"pose.source": "pose"}),
    "odom": (pose, {"pose.source": "odom"}),
}


def set_fields(message, changes) -> None:
    for name, value in changes.items():
        if name == "frame_id":
            message.header.frame_id = value
        elif name == "stamp":
            message.header.stamp.sec = message.header.stamp.sec if value is None else value
        elif name == "data" and isinstance(value, tuple):  # one byte of good data is changed
            place, byte = value
            message.data[place % len(message.data)] = byte
        elif name == "data":
            message.data = array.array("B", bytes(value) if isinstance(value, int) else value)
        else:
            setattr(message, name, value)


def bend_transform(tf, changes) -> None:
    stamped = tf.transforms[0]
    for name in ("translation", "rotation"):
        for axis, value in zip("xyzw", changes.get(name, ()), strict=False):
            setattr(getattr(stamped.transform, name), axis, value)
    stamped.header.frame_id = changes.get("parent", stamped.header.frame_id)
    stamped.child_frame_id = changes.get("child", stamped.child_frame_id)
    if changes.get("stamp") is not None:
        stamped.header.stamp.sec = changes["stamp"]


def pose_message(kind, changes, stamp_ns: int):
    """PoseStamped or Odometry of the camera, spoilt."""
    message = kind(header=Header(frame_id="map", stamp=stamp_msg(stamp_ns)))
    inner = message.pose if kind is PoseStamped else message.pose.pose
    inner.orientation.w = 1.0
    if kind is Odometry:
        message.child_frame_id = changes.get("child_frame_id", CAMERA)
    for part in ("position", "orientation"):
        for axis, value in changes.get(part, {}).items():
            setattr(getattr(inner, part), axis, value)
    set_fields(message, {n: changes[n] for n in ("frame_id", "stamp") if n in changes})
    return message


def fuzz(pytestconfig, strategy, example) -> None:
    """Run `example` on as many inputs as --fuzz says."""
    @settings(max_examples=pytestconfig.getoption("fuzz"), deadline=None, database=None,
              derandomize=True, phases=(Phase.generate,),
              suppress_health_check=list(HealthCheck))
    @given(strategy)
    def run(value):
        example(value)

    run()


def check(harness: Harness, name: str, before_bytes: int) -> None:
    """The node is whole: alive, finite, no internal error, no memory by header."""
    counts = harness.counts()
    assert "dropped.internal_error" not in counts, harness.camera.said[-5:]
    assert all(thread.is_alive() for _, thread in harness._threads)
    grown = peak_bytes() - before_bytes
    assert grown < MAX_GROWTH_BYTES, f"memory grew by {grown / 2**20:.0f} MiB"
    # frames were not waited for; now good ones may wait for their pose
    assert harness.set_parameter("pose.timeout_s", 0.5).successful
    recover(harness)
    print(f"\n{name}: {counts}, peak memory +{grown / 2**20:.0f} MiB")


def recover(harness: Harness) -> None:
    """Good frames are fused again; the first may be what time jumped back to."""
    harness.settle(harness.counts()["received"])
    for _ in range(3):
        received = harness.counts()["received"]
        harness.camera.send()
        harness.settle(received + 1)
    harness.assert_alive()


def peak_bytes() -> int:
    """Most memory that this process held since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def forget_peak() -> int:
    """Begin to measure anew; what is held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


@pytest.mark.parametrize("name", list(INPUTS))
def test_malformed_message(pytestconfig, name):
    strategy, parameters = INPUTS[name]
    harness = Harness(**{"pose.timeout_s": 0.0, "sync.queue_size": 1, **parameters})
    camera = harness.camera
    poses = {"pose": PoseStamped, "odom": Odometry}
    topic = camera.create_publisher(poses[name], name, 20) if name in poses else None

    def good_pose(changes) -> None:
        kind = poses[name]
        topic.publish(pose_message(kind, changes, camera.stamp_ns + 100_000_000))

    def example(changes) -> None:
        def bend(rgb, depth, info, tf) -> None:
            message = {"rgb": rgb, "depth": depth, "info": info}.get(name.split()[-1])
            if name == "tf":
                bend_transform(tf, changes)
            elif message is not None:
                set_fields(message, changes)

        received = harness.counts()["received"]
        if topic is not None:
            good_pose(changes)
        camera.send(bend, skip=("tf",) if topic else ())
        harness.wait(lambda: harness.counts()["received"] > received, "the frame", pause_s=0.001)

    before = forget_peak()
    try:
        if topic is not None:
            harness.wait_for_reader(topic)
        fuzz(pytestconfig, strategy, example)
        send = camera.send
        if topic is not None:  # good frames need good poses
            camera.send = lambda *a, **k: (good_pose({}), send(*a, **k))
        check(harness, name, before)
    finally:
        harness.close()


def test_malformed_questions(pytestconfig):
    """Both query topics; the answer to a good question comes all the same."""
    harness = Harness()
    try:
        harness.fuse()
        semantic = harness.camera.create_publisher(SemanticQuery, "semantic_query", 20)
        harness.wait(lambda: semantic.get_subscription_count() == 1, "a reader")
        strategy = st.tuples(st.integers(0, 255), st.lists(text, max_size=5),
                             st.lists(text, max_size=3), st.floats(width=32),
                             st.text(max_size=300))

        def example(value) -> None:
            action, prompts, negatives, threshold, words = value
            semantic.publish(SemanticQuery(
                action=action, prompts=prompts, negatives=negatives, threshold=threshold))
            words = words.replace("\x00", "").encode("utf-8", "ignore").decode()
            harness.camera.query.publish(String(data=words))

        before = forget_peak()
        fuzz(pytestconfig, strategy, example)
        harness.ask("red")
        check(harness, "questions", before)
    finally:
        harness.close()
