"""Bags: what they hold is what the sequence held, whatever the storage and the transport."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bag_writer import PREFIX, BagWriter, write_bag
from ros_harness import ColorEncoder

from geopurify_ros.cameras import Topics, camera, with_topics
from geopurify_ros.cli import main
from geopurify_ros.cli.options import sample_room
from geopurify_ros.config import Config, with_values
from geopurify_ros.data.map_file import load_map
from geopurify_ros.data.readers.bag import Bag
from geopurify_ros.data.readers.bag_files import is_bag
from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.errors import InputError

FRAMES = range(0, 8, 2)


@pytest.fixture(scope="module", params=["sqlite3", "mcap"])
def bag(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("bags") / request.param
    return write_bag(path, sample_room(), FRAMES, request.param)


def read(path, topics=None, **parameters):
    with Bag(path, topics or Topics(), with_values(Config(), parameters)) as opened:
        return list(opened.frames()), opened.refused


def assert_like_the_sequence(frames, colour_tolerance=0):
    sequence = Sequence(sample_room())
    assert len(frames) == len(FRAMES)
    for frame, number in zip(frames, FRAMES, strict=True):
        original = sequence.frame(number)
        difference = np.abs(frame.rgb.astype(int) - original.rgb)
        assert difference.mean() <= colour_tolerance
        np.testing.assert_allclose(frame.depth_m, original.depth_m, atol=6e-4)
        np.testing.assert_allclose(frame.T_world_camera, original.T_world_camera, atol=1e-7)
        np.testing.assert_allclose(frame.intrinsics, original.intrinsics)


def test_a_bag_gives_the_frames_that_were_recorded(bag):
    assert is_bag(bag)
    frames, refused = read(bag)
    assert_like_the_sequence(frames)
    assert not refused


def test_a_single_mcap_file_is_a_bag_too(bag):
    for path in bag.glob("*.mcap"):
        assert is_bag(path)
        assert_like_the_sequence(read(path)[0])


def test_compressed_images_are_found_by_their_type(tmp_path):
    path = write_bag(tmp_path / "bag", sample_room(), FRAMES, "mcap", compressed=True)
    assert_like_the_sequence(read(path)[0], colour_tolerance=3.0)


@pytest.mark.parametrize("preset", ["realsense", "generic"])
def test_the_raw_name_of_a_compressed_topic_is_enough(tmp_path, preset):
    """Presets and users name image topics as image_transport does, without the suffix."""
    path = write_bag(tmp_path / "bag", sample_room(), FRAMES, "mcap", compressed=True)
    topics = dataclasses.replace(
        camera(preset).topics, camera_info=Topics().camera_info, rgb=f"{PREFIX[0]}/image_raw",
        depth=f"{PREFIX[1]}/image_raw",
    )
    with Bag(path, topics, Config()) as opened:
        assert opened.topics.rgb == f"{PREFIX[0]}/image_raw/compressed"
        assert opened.topics.depth == f"{PREFIX[1]}/image_raw/compressedDepth"
        assert opened.config.camera.rgb_transport == "compressed"
    assert_like_the_sequence(read(path, topics)[0], colour_tolerance=3.0)


def test_what_is_there_raw_and_compressed_is_taken_raw(tmp_path):
    path = write_bag(tmp_path / "bag", sample_room(), FRAMES, "mcap", twice=True)
    with Bag(path, Topics(), Config()) as opened:
        assert opened.topics.rgb == f"{PREFIX[0]}/image_raw"
        assert opened.config.camera.rgb_transport == "raw"


def test_the_only_camera_info_is_that_of_colour_whatever_its_name(tmp_path):
    """Else a player that publishes each topic once would leave colour without calibration."""
    only = "/camera/aligned_depth_to_color/camera_info"
    path = write_bag(tmp_path / "bag", sample_room(), FRAMES, "mcap", info_topic=only)
    with Bag(path, Topics(), Config()) as opened:
        assert opened.topics.camera_info == only
        assert opened.topics.depth_camera_info == Topics().depth_camera_info
    assert_like_the_sequence(read(path)[0])


@pytest.mark.parametrize("preset", ["realsense", "zed"])
def test_a_preset_may_name_topics_that_nobody_needs(bag, preset):
    """As `--camera realsense` without the camera info of registered depth."""
    known = camera(preset).topics
    topics = dataclasses.replace(known, **{
        "rgb": f"{PREFIX[0]}/image_raw", "depth": f"{PREFIX[1]}/image_raw",
        "camera_info": f"{PREFIX[0]}/camera_info"})
    assert topics.depth_camera_info == known.depth_camera_info != Topics().depth_camera_info
    assert_like_the_sequence(read(bag, topics)[0])


def test_poses_from_odometry(tmp_path):
    path = write_bag(tmp_path / "bag", sample_room(), FRAMES, "sqlite3", pose="odom")
    assert_like_the_sequence(read(path, **{"pose.source": "odom"})[0])
    with pytest.raises(InputError, match=r"has no /tf: .*pose\.source=odom.*/odom \(Odometry\)"):
        read(path)


def test_topics_that_are_not_there_or_ambiguous_are_named(bag, tmp_path):
    with pytest.raises(InputError, match=r"has no topic /nowhere .*it has .*camera_info"):
        read(bag, with_topics(Topics(), ["depth=/nowhere"]))
    with pytest.raises(InputError, match=r"has no topic /tf of type sensor_msgs/msg/Image"):
        read(bag, with_topics(Topics(), ["rgb=/tf"]))
    path = tmp_path / "two"
    made = BagWriter(path, "sqlite3")
    frame = Sequence(sample_room()).frame(0)
    with made.writer:
        for name in ("/left", "/right"):
            made.image(name, frame.rgb, "rgb8", 1)
        made.image("/depth", frame.rgb[..., 0].copy(), "mono8", 1)
        made.camera_info(frame, 1)
    with pytest.raises(InputError, match=r"which of /left.*, /right.* --topic rgb=TOPIC"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"not a bag", b"\x89MCAP0\r\n"])
def test_a_damaged_bag_is_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "broken.mcap"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a rosbag2"):
        read(path)


def test_frames_that_cannot_be_used_are_counted_with_the_reason(tmp_path):
    made = BagWriter(tmp_path / "bag", "sqlite3")
    frame = Sequence(sample_room()).frame(0)
    with made.writer:
        made.camera_info(frame, 1)
        made.transform(frame.T_world_camera, 1)
        made.image(PREFIX[0], frame.rgb, "rgb8", 1)
        made.image(PREFIX[1], frame.rgb[..., 0].copy(), "mono8", 1)
        made.image(PREFIX[0], frame.rgb, "rgb8", 2_000_000_000)
    frames, refused = read(tmp_path / "bag")
    assert frames == []
    assert sorted(reason.split(":")[0] for reason in refused) == [
        f"{PREFIX[1]}/image_raw", f"{PREFIX[0]}/image_raw"]
    assert any("'mono8' is not a depth encoding" in reason for reason in refused)
    assert any("no depth image within" in reason for reason in refused)


def test_the_map_of_a_bag_is_the_map_of_its_sequence(bag, tmp_path, monkeypatch):
    from geopurify_ros.offline import pipeline as offline

    monkeypatch.setattr(offline, "load_encoder", lambda *_: ColorEncoder())
    out = tmp_path / "bag.safetensors"
    assert main(["map", str(bag), "--out", str(out)]) == 0
    part = tmp_path / "part"
    for name in ("color", "depth", "pose"):
        (part / name).mkdir(parents=True)
        files = sorted((sample_room() / name).iterdir())
        for number in FRAMES:
            (part / name / files[number].name).symlink_to(files[number])
    (part / "intrinsic").symlink_to(sample_room() / "intrinsic")
    assert main(["map", str(part), "--out", str(tmp_path / "part.safetensors")]) == 0
    ours, _ = load_map(out)
    theirs, _ = load_map(tmp_path / "part.safetensors")
    known = theirs.index.lookup(ours.coords())
    assert (known >= 0).float().mean() > 0.98  # millimetres are rounded
    assert abs(len(ours) - len(theirs)) < 0.02 * len(theirs)


def test_a_bag_has_no_labels_to_score_by(bag, capsys):
    assert main(["eval", str(bag)]) == 2
    assert f"{bag} has no ground truth" in capsys.readouterr().err
