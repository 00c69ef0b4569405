"""The node over real DDS: what a good stream gives, and what bad input does not do."""

from __future__ import annotations

import array
import time

import numpy as np
import pytest
from ros_harness import CAMERA, START_NS, Harness, running
from std_msgs.msg import String
from std_srvs.srv import Trigger

from geopurify_ros.msg import SemanticQuery
from geopurify_ros.ros.outputs.point_cloud2 import read_points
from geopurify_ros.ros.outputs.to_messages import stamp_msg
from geopurify_ros.srv import Query


@pytest.fixture(scope="module")
def shared_harness():
    with running() as harness:
        yield harness


@pytest.fixture
def harness(shared_harness):
    """The node of the module, with one good frame in and nothing said."""
    received = shared_harness.counts()["received"]
    shared_harness.camera.send()
    shared_harness.settle(received + 1)
    shared_harness.camera.said.clear()
    shared_harness.node._reporter._last.clear()
    return shared_harness


def dropped_by(harness: Harness, reason: str, bend=None, **kwargs) -> None:
    """Send one bad frame: it is dropped for `reason` and the map stays as it was."""
    before = harness.counts()
    voxels = len(harness.node.worker.pipeline.map)
    harness.camera.send(bend, **kwargs)
    after = harness.settle(before["received"] + 1)
    name = f"dropped.{reason}"
    assert after.get(name, 0) == before.get(name, 0) + 1, (after, harness.camera.said)
    assert len(harness.node.worker.pipeline.map) == voxels


def spoil_pose(tf, **values) -> None:
    for name, value in values.items():
        part, axis = name.split("_")
        setattr(getattr(tf.transforms[0].transform, part), axis, value)


# --- good input


def test_query_labels_what_is_there_and_says_what_is_not(harness):
    result = harness.ask("red, green")
    red, green = result.results
    assert (red.prompt, red.label, red.found) == ("red", 1, True)
    assert red.score > 0.9
    assert (green.label, green.found, green.num_voxels) == (2, False, 0)
    harness.wait(lambda: "labeled_cloud" in harness.camera.clouds, "the labelled cloud")
    cloud = harness.camera.clouds["labeled_cloud"]
    assert [f.name for f in cloud.fields] == ["x", "y", "z", "rgb", "label", "score"]
    assert cloud.header.frame_id == "map"
    assert red.best_position.z == pytest.approx(2.0, abs=0.06)


def test_cloud_carries_the_stamp_of_the_newest_fused_frame(harness):
    result = harness.ask("red")
    assert result.header.stamp == stamp_msg(harness.camera.stamp_ns)


def test_query_is_answered_again_after_each_purification(harness):
    first = harness.ask("red").num_purifications
    client = harness.camera.create_client(Trigger, "mapping/purify")
    assert client.wait_for_service(5)
    future = client.call_async(Trigger.Request())
    harness.wait(future.done, "the purify service")
    assert future.result().success
    harness.wait(
        lambda: harness.camera.results[-1].num_purifications == first + 1, "the second answer"
    )


def test_query_service_answers_without_touching_the_active_query(harness):
    harness.ask("red")
    client = harness.camera.create_client(Query, "mapping/query")
    assert client.wait_for_service(5)
    for prompts, success in ((["green", "red"], True), ([], False)):
        future = client.call_async(Query.Request(prompts=prompts))
        harness.wait(future.done, "the query service")
        assert future.result().success is success
        assert future.result().message
    assert [r.prompt for r in harness.camera.results[-1].results] == ["red"]


def test_semantic_query_sets_adds_removes_and_clears(harness):
    publisher = harness.camera.create_publisher(SemanticQuery, "semantic_query", 10)
    harness.wait(lambda: publisher.get_subscription_count() == 1, "discovery")

    def send(action, prompts):
        publisher.publish(SemanticQuery(action=action, prompts=prompts))

    def active():
        query = harness.node.worker.query
        return list(query.prompts) if query else []

    for action, prompts, expected in (
        (SemanticQuery.ACTION_SET, ["red"], ["red"]),
        (SemanticQuery.ACTION_ADD, ["green", "red"], ["red", "green"]),
        (SemanticQuery.ACTION_REMOVE, ["Red"], ["green"]),
        (SemanticQuery.ACTION_CLEAR, [], []),
    ):
        send(action, prompts)
        harness.wait(lambda e=expected: active() == e, f"{expected}")
    harness.wait(lambda: not harness.camera.results[-1].results, "the empty result")
    cloud = harness.camera.clouds["labeled_cloud"]
    assert cloud.width == len(harness.node.worker.pipeline.map)
    harness.wait(
        lambda: not read_points(harness.camera.clouds["labeled_cloud"])["label"].any(),
        "a cloud without labels",
    )
    send(77, ["red"])
    harness.wait_for_warning("semantic_query", "no action 77")


@pytest.mark.parametrize(
    ("encoding", "channels", "red_at"),
    [("rgb8", 3, 0), ("bgr8", 3, 2), ("rgba8", 4, 0), ("bgra8", 4, 2)],
)
def test_colour_encodings_mean_the_same(harness, encoding, channels, red_at):
    def bend(rgb, depth, info, tf):
        pixels = np.zeros((rgb.height, rgb.width, channels), np.uint8)
        pixels[..., red_at] = 200
        rgb.encoding, rgb.step = encoding, rgb.width * channels
        rgb.data = array.array("B", pixels.tobytes())

    before = harness.counts()
    harness.camera.send(bend)
    assert harness.settle(before["received"] + 1)["fused"] == before["fused"] + 1
    result = harness.ask("red, blue")
    assert result.results[0].num_voxels > 0
    assert result.results[1].num_voxels == 0


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_depth_encodings_mean_the_same(harness, encoding, big_endian):
    def bend(rgb, depth, info, tf):
        kind = {"16UC1": "u2", "32FC1": "f4"}[encoding]
        values = np.full((depth.height, depth.width), 2000 if kind == "u2" else 2.0, ">" + kind)
        values = values if big_endian else values.astype("<" + kind)
        depth.encoding, depth.is_bigendian = encoding, int(big_endian)
        depth.step = depth.width * values.itemsize
        depth.data = array.array("B", values.tobytes())

    before = harness.counts()
    harness.camera.send(bend)
    assert harness.settle(before["received"] + 1)["fused"] == before["fused"] + 1
    z = harness.node.worker.pipeline.map.centers_m()[:, 2]
    assert z.min() > 1.9
    assert z.max() < 2.1


def test_mono8_is_grey(harness):
    def bend(rgb, depth, info, tf):
        rgb.encoding, rgb.step = "mono8", rgb.width
        rgb.data = array.array("B", bytes([90]) * (rgb.width * rgb.height))

    before = harness.counts()
    harness.camera.send(bend)
    assert harness.settle(before["received"] + 1)["fused"] == before["fused"] + 1


# --- bad input: dropped, counted, named once with its topic; the node lives on


@pytest.mark.parametrize(
    "values",
    [
        {"translation_x": float("nan")},
        {"translation_y": float("inf")},
        {"rotation_z": float("-inf")},
        {"rotation_w": 0.0},
    ],
    ids=["nan", "inf", "inf rotation", "zero quaternion"],
)
def test_bad_transform_is_refused(harness, values):
    dropped_by(harness, "no_pose", lambda r, d, i, tf: spoil_pose(tf, **values))
    harness.wait_for_warning("/tf", CAMERA)
    harness.assert_alive()


def test_depth_of_another_size_than_camera_info(harness):
    def bend(rgb, depth, info, tf):
        depth.height, depth.width, depth.step = 24, 32, 64
        depth.data = array.array("B", bytes(24 * 64))

    dropped_by(harness, "bad_input", bend)
    harness.wait_for_warning("/geopurify/depth/image", "32 x 24", "64 x 48")
    harness.assert_alive()


@pytest.mark.parametrize(
    ("topic", "encoding"),
    [("rgb", "yuv444"), ("rgb", "16UC1"), ("rgb", ""), ("depth", "rgb8"), ("depth", "mono8")],
)
def test_unknown_encoding(harness, topic, encoding):
    def bend(rgb, depth, info, tf):
        {"rgb": rgb, "depth": depth}[topic].encoding = encoding

    dropped_by(harness, "bad_input", bend)
    harness.wait_for_warning(f"/geopurify/{topic}/image", f"'{encoding}'")
    harness.assert_alive()


@pytest.mark.parametrize("change", ["short", "long", "step", "huge", "empty"])
def test_image_whose_data_does_not_fit_its_header(harness, change):
    def bend(rgb, depth, info, tf):
        if change == "short":
            rgb.data = rgb.data[:-1]
        elif change == "long":
            rgb.data.append(0)
        elif change == "step":
            rgb.step, rgb.data = 10, rgb.data[:480]
        elif change == "huge":
            rgb.width = rgb.height = 2**31
        elif change == "empty":
            rgb.width = rgb.height = rgb.step = 0
            rgb.data = array.array("B")

    dropped_by(harness, "bad_input", bend)
    harness.wait_for_warning("/geopurify/rgb/image")
    harness.assert_alive()


@pytest.mark.parametrize("value", [0, 65535], ids=["none", "out of range"])
def test_depth_without_a_valid_pixel(harness, value):
    def bend(rgb, depth, info, tf):
        pixels = np.full((depth.height, depth.width), value, np.uint16)
        depth.data = array.array("B", pixels.tobytes())

    dropped_by(harness, "bad_input", bend)
    harness.wait_for_warning("no depth between")
    harness.assert_alive()


def test_depth_of_nan_and_inf(harness):
    def bend(rgb, depth, info, tf):
        pixels = np.full((depth.height, depth.width), np.nan, np.float32)
        pixels[::2], pixels[1::4] = np.inf, -np.inf
        depth.encoding, depth.step = "32FC1", 4 * depth.width
        depth.data = array.array("B", pixels.tobytes())

    dropped_by(harness, "bad_input", bend)
    harness.assert_alive()


def test_uncalibrated_camera(harness):
    dropped_by(harness, "bad_input", lambda r, d, info, tf: setattr(info, "k", [0.0] * 9))
    harness.wait_for_warning("/geopurify/rgb/camera_info", "focal length")
    harness.assert_alive()


def test_transform_not_available(harness):
    dropped_by(harness, "no_pose", skip=("tf",))
    harness.wait_for_warning("/tf", "no pose for the image", CAMERA)
    harness.assert_alive()


def test_frame_nobody_knows(harness):
    def bend(rgb, depth, info, tf):
        depth.header.frame_id = "nowhere"

    dropped_by(harness, "no_pose", bend)
    harness.wait_for_warning("/tf", "'nowhere'", "'map'")
    harness.assert_alive()


def test_stamp_that_goes_backwards_is_dropped(harness):
    dropped_by(harness, "stamp_backwards", stamp_ns=harness.camera.stamp_ns - 50_000_000)
    harness.wait_for_warning("/geopurify/rgb/image", "before the newest")
    harness.assert_alive()


def test_repeated_stamp_is_dropped(harness):
    dropped_by(harness, "stamp_backwards", stamp_ns=harness.camera.stamp_ns)
    harness.assert_alive()


def test_restarted_source_is_told_and_followed(harness):
    """A looping bag: the first frame is given up, mapping goes on with the new time."""
    newest = harness.camera.stamp_ns
    harness.camera.stamp_ns = START_NS - 600_000_000_000
    dropped_by(harness, "stamp_backwards")
    harness.wait_for_warning("restarted")
    harness.assert_alive()
    harness.camera.stamp_ns = newest


def test_depth_missing_is_named(harness):
    before = harness.counts()
    for _ in range(12):
        harness.camera.send(skip=("depth",))
        time.sleep(0.03)  # the queue of the subscription holds five
    harness.camera.send()
    after = harness.settle(before["received"] + 13)
    assert after["dropped.unpaired"] == before.get("dropped.unpaired", 0) + 12
    harness.wait_for_warning("/geopurify/rgb/image", "no partner on /geopurify/depth/image")
    harness.assert_alive()


def test_fault_is_named_once(harness):
    for _ in range(5):
        dropped_by(harness, "bad_input", lambda rgb, d, i, t: setattr(rgb, "encoding", "yuv444"))
    assert sum("yuv444" in text for text in harness.camera.said) == 1


def test_frames_of_changing_size(harness):
    """A camera that switches its mode is followed, as long as its camera info does, too."""
    before = harness.counts()
    for size in ((48, 64), (24, 32), (31, 45), (48, 64)):
        harness.camera.send(size=size)
        before["received"] += 1
        after = harness.settle(before["received"])
    assert after["fused"] == before["fused"] + 4
    harness.assert_alive()


@pytest.mark.parametrize(
    ("text", "part"),
    [("", "empty"), (" , ,", "empty"), ("x" * 5000, "5000 characters"),
     (",".join(f"thing {i}" for i in range(200)), "200 prompts")],
    ids=["empty", "commas", "over-long", "too many"],
)
def test_bad_query_is_named_and_the_old_one_stays(harness, text, part):
    harness.ask("red")
    harness.camera.query.publish(String(data=text))
    harness.wait_for_warning("/geopurify/query", part)
    assert harness.node.worker.query.prompts == ("red",)
    harness.assert_alive()


@pytest.mark.parametrize("text", ["стул", "椅子, 机", "кот 🐈", "red\n\x07 chair"])
def test_non_ascii_query_is_answered(harness, text):
    result = harness.ask(text)
    assert len(result.results) == len(text.split(","))
    harness.assert_alive()


def test_labels_of_the_cloud_are_those_of_the_result(harness):
    result = harness.ask("red, green")

    def matches() -> bool:
        cloud = harness.camera.clouds.get("labeled_cloud")
        return cloud is not None and cloud.width == result.num_voxels

    harness.wait(matches, "the cloud of the answer")
    points = read_points(harness.camera.clouds["labeled_cloud"])
    assert (points["label"] == 1).sum() == result.results[0].num_voxels
    for name in ("x", "y", "z", "score"):
        assert np.isfinite(points[name]).all()
