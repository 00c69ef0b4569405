"""Any camera: compressed, distorted, unregistered; what cannot be read is refused by name."""

from __future__ import annotations

import array
import io
import struct

import numpy as np
import pytest
from PIL import Image as Picture
from ros_camera import compressed
from ros_harness import Harness, running

from geopurify_ros.cameras import CAMERAS, Topics, remappings
from geopurify_ros.cli import main
from geopurify_ros.config import Config, with_values

COMPRESSED = {"camera.rgb_transport": "compressed", "camera.depth_transport": "compressed"}


@pytest.fixture(scope="module")
def shared_compressed():
    with running(**COMPRESSED) as harness:
        yield harness


@pytest.fixture
def harness(shared_compressed):
    shared_compressed.camera.said.clear()
    shared_compressed.node._reporter._last.clear()
    return shared_compressed


def refused(harness: Harness, bend, *parts: str) -> None:
    before = harness.counts()
    voxels = len(harness.node.worker.pipeline.map)
    harness.camera.send(bend)
    counts = harness.settle(before["received"] + 1)
    assert counts["dropped.bad_input"] == before.get("dropped.bad_input", 0) + 1
    harness.wait_for_warning(*parts)
    assert len(harness.node.worker.pipeline.map) == voxels
    harness.assert_alive()


def z_of(harness: Harness) -> np.ndarray:
    return harness.node.worker.pipeline.map.centers_m()[:, 2].numpy()


# --- compressed


def test_compressed_colour_and_depth_make_the_same_map(harness):
    harness.fuse()
    assert np.allclose(z_of(harness), 2.0, atol=0.06)
    assert harness.ask("red, green").results[0].num_voxels > 0


def test_quantised_float_depth_is_metres(harness):
    """32FC1 is stored as inverse depth with two constants."""
    a, b = 100.0, 7.0

    def bend(rgb, depth, info, tf):
        values = np.full((48, 64), round(a / 2.0 + b), np.uint16)
        buffer = io.BytesIO()
        Picture.fromarray(values).save(buffer, "PNG")
        depth.format = "32FC1; compressedDepth png"
        depth.data = array.array("B", struct.pack("<iff", 0, a, b) + buffer.getvalue())

    harness.fuse(bend=bend)
    assert np.allclose(z_of(harness), 2.0, atol=0.06)


@pytest.mark.parametrize(("change", "parts"), [
    (("rgb", "data", b"no jpeg"), ("/geopurify/rgb/image/compressed", "no JPEG or PNG")),
    (("rgb", "data", b""), ("/geopurify/rgb/image/compressed", "no JPEG or PNG")),
    (("rgb", "half", b""), ("/geopurify/rgb/image/compressed", "is damaged")),
    (("depth", "data", b"1234"), ("/compressedDepth", "too few")),
    (("depth", "data", bytes(40)), ("/compressedDepth", "no PNG")),
    (("depth", "half", b""), ("/compressedDepth", "is damaged")),
    (("depth", "format", "16UC1; compressedDepth rvl"), ("RVL", "format to png")),
    (("depth", "format", "16UC1; png"), ("no compressed depth",)),
], ids=lambda value: "-".join(str(v) for v in value)[:30])
def test_damaged_or_foreign_compression(harness, change, parts):
    topic, field, value = change

    def bend(rgb, depth, info, tf):
        message = {"rgb": rgb, "depth": depth}[topic]
        if field == "half":
            message.data = message.data[:-25]
        else:
            setattr(message, field, array.array("B", value) if field == "data" else value)

    refused(harness, bend, *parts)


def test_a_picture_of_a_billion_pixels_is_refused_before_it_is_decoded(harness):
    def bend(rgb, depth, info, tf):
        data = bytearray(compressed(np.zeros((48, 64), np.uint16)))
        at = data.index(b"IHDR") + 4
        data[at : at + 8] = struct.pack(">II", 30000, 30000)
        depth.data = array.array("B", bytes(data))

    refused(harness, bend, "/compressedDepth")


# --- distortion


@pytest.mark.parametrize("model", ["equidistant", "fisheye", "mei"])
def test_other_distortion_models_are_refused_by_name(harness, model):
    def bend(rgb, depth, info, tf):
        info.distortion_model, info.d = model, [0.1, 0.0, 0.0, 0.0]

    refused(harness, bend, "/geopurify/rgb/camera_info", f"'{model}' is not supported")


# --- presets


def test_every_preset_names_its_topics_and_parameters():
    assert {"generic", "realsense", "orbbec", "azure_kinect", "oak", "zed"} <= set(CAMERAS)
    for name, preset in CAMERAS.items():
        with_values(Config(), preset.parameters)
        assert len(preset.about) > 20
        topics = [given for _, given in remappings(preset.topics)]
        assert len(set(topics)) == len(topics)
        if name != "generic":
            assert len(topics) >= 3
            assert all(topic.startswith("/") for topic in topics)
    assert remappings(Topics()) == []


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--camera", "kinect3000"], "no camera preset 'kinect3000': use generic, realsense"),
    (["--topic", "depth"], "'depth' is not of the form INPUT=TOPIC"),
    (["--topic", "sonar=/x"], "'sonar=/x' is not of the form INPUT=TOPIC"),
])
def test_a_wrong_preset_or_topic_is_one_sentence(arguments, sentence, capsys):
    assert main(["run", *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
