"""Recordings that were cut off, moved, packed or made by something else."""

from __future__ import annotations

import shutil

import pytest
from bag_writer import write_bag
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Writer

from geopurify_ros.cameras import Topics
from geopurify_ros.cli import main
from geopurify_ros.cli.options import sample_room
from geopurify_ros.config import Config
from geopurify_ros.data.readers.bag import Bag
from geopurify_ros.data.readers.bag_files import is_bag
from geopurify_ros.errors import InputError

FRAMES = range(0, 6, 2)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """One recording per storage, not to be changed."""
    folder = tmp_path_factory.mktemp("bags")
    return {storage: write_bag(folder / storage, sample_room(), FRAMES, storage)
            for storage in ("mcap", "sqlite3")}


@pytest.fixture(params=["mcap", "sqlite3"])
def bag(request, recorded, tmp_path):
    return shutil.copytree(recorded[request.param], tmp_path / "bag")


def stamps(path):
    with Bag(path, Topics(), Config()) as opened:
        return [frame.stamp_ns for frame in opened.frames()]


def storage_of(bag):
    return next(p for p in bag.iterdir() if p.suffix in (".mcap", ".db3"))


@pytest.mark.parametrize("fault", ["none", "empty", "no YAML", "another name"])
def test_storage_is_read_where_metadata_is_of_no_use(bag, fault):
    """A recorder that was killed writes none; a file that was renamed is not the one in it."""
    expected = stamps(bag)
    assert len(expected) == len(FRAMES)
    metadata = bag / "metadata.yaml"
    if fault == "none":
        metadata.unlink()
    elif fault == "another name":
        storage_of(bag).rename(bag / f"kitchen{storage_of(bag).suffix}")
    else:
        metadata.write_text("" if fault == "empty" else ":\x00[")
    assert is_bag(bag)
    assert stamps(bag) == expected
    assert is_bag(storage_of(bag))
    assert stamps(storage_of(bag)) == expected


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_the_parts_of_a_split_recording_are_one(tmp_path, storage):
    parts = [write_bag(tmp_path / str(i), sample_room(), range(2 * i, 2 * i + 2), storage)
             for i in range(2)]
    whole = tmp_path / "whole"
    whole.mkdir()
    for i, part in enumerate(parts):
        source = storage_of(part)
        shutil.copy(source, whole / f"run_{i}{source.suffix}")
    with Bag(whole, Topics(), Config()) as opened:
        assert len(opened) == 4
        assert sum(1 for _ in opened.frames()) > 0


def test_a_recording_that_was_cut_off_names_the_remedy(bag):
    storage = storage_of(bag)
    content = storage.read_bytes()
    storage.write_bytes(content[: len(content) // 2])
    (bag / "metadata.yaml").unlink()
    remedy = "mcap recover" if storage.suffix == ".mcap" else "sqlite3"
    for path in (bag, storage):
        with pytest.raises(InputError, match=(
            rf"{storage.name} cannot be read as a rosbag2: .* repair it with `{remedy} "
        )):
            stamps(path)


def test_a_recording_with_a_hole_is_used_as_far_as_it_goes(recorded, tmp_path, caplog):
    bag = shutil.copytree(recorded["mcap"], tmp_path / "bag")
    storage = storage_of(bag)
    content = bytearray(storage.read_bytes())
    content[len(content) // 3 : len(content) // 2] = b"\xff" * (
        len(content) // 2 - len(content) // 3)
    storage.write_bytes(content)
    assert len(stamps(bag)) < len(FRAMES)
    assert "is damaged" in caplog.text


def test_metadata_alone_is_no_recording(bag):
    storage_of(bag).unlink()
    with pytest.raises(InputError, match=r"cannot be read as a rosbag2: .*ros2 bag reindex"):
        stamps(bag)


def test_a_file_that_is_packed_as_a_whole_is_called_that(tmp_path, recorded, capsys):
    packed = tmp_path / "packed"
    writer = Writer(packed, version=9)
    writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)
    with writer:
        pass
    (source,) = packed.glob("*.zstd")
    lone = shutil.copy(source, tmp_path / "lone.mcap.zstd")
    (packed / "metadata.yaml").unlink()
    for path in (lone, packed):
        assert is_bag(path)
        assert main(["map", str(path), "--out", str(tmp_path / "m")]) == 2
        said = capsys.readouterr().err
        assert "is compressed as a whole: unpack it with `zstd -d " in said
        assert said.count("\n") == 1


def test_a_bag_of_ros_1_is_named_with_the_way_out(tmp_path, capsys):
    path = tmp_path / "old" / "lab.bag"
    path.parent.mkdir()
    with Ros1Writer(path):
        pass
    for given in (path, path.parent):
        assert main(["map", str(given), "--out", str(tmp_path / "m")]) == 2
        said = capsys.readouterr().err
        assert f"lab.bag is a bag of ROS 1: convert it with `rosbags-convert --src {path}" in said
        assert said.count("\n") == 1


def test_a_recording_that_is_not_there_is_called_that(tmp_path, capsys):
    assert main(["map", str(tmp_path / "no.mcap"), "--out", str(tmp_path / "m")]) == 2
    assert f"there is no recording {tmp_path}/no.mcap" in capsys.readouterr().err
