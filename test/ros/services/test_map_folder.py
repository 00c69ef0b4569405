"""Services reach maps in one folder, and no other file of the user."""

from __future__ import annotations

from pathlib import Path

import pytest

from geopurify_ros.errors import InputError
from geopurify_ros.ros.services.map_folder import MapFolder


@pytest.mark.parametrize(("text", "expected"), [
    ("kitchen", "kitchen.safetensors"),
    (" kitchen ", "kitchen.safetensors"),
    ("floor_1/kitchen.safetensors", "floor_1/kitchen.safetensors"),
    ("floor_1/../kitchen", "kitchen.safetensors"),
    ("{folder}/kitchen.v2", "kitchen.v2"),
])
def test_a_name_or_a_path_below_the_folder_is_taken(tmp_path, text, expected):
    found = MapFolder(str(tmp_path)).inside(text.format(folder=tmp_path))
    assert found == (tmp_path / expected).resolve()


@pytest.mark.parametrize("text", [
    "../kitchen", "/etc/passwd", "a/../../kitchen", "../..safetensors",
    "{folder}_2/kitchen", "link/kitchen", "file_link", "dangling",
])
def test_what_lies_elsewhere_is_refused(tmp_path, text):
    folder, outside = tmp_path / "maps", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "thesis").write_text("precious")
    (folder / "link").symlink_to(outside)
    (folder / "file_link.safetensors").symlink_to(outside / "thesis")
    (folder / "dangling.safetensors").symlink_to(outside / "new")
    with pytest.raises(InputError, match=r"file_path is '"):
        MapFolder(str(folder)).inside(text.format(folder=folder))


@pytest.mark.parametrize("text", ["", "  ", ".", "/", "..", "{folder}/..", "\0", "a\0b"])
def test_no_name_is_told(tmp_path, text):
    with pytest.raises(InputError, match="expected the name of a map"):
        MapFolder(str(tmp_path)).inside(text)


def test_the_folder_itself_may_be_reached_over_a_link(tmp_path):
    """Home folders often lie on another disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    folder = MapFolder(str(tmp_path / "home"))
    assert folder.inside("a") == (tmp_path / "disk/a.safetensors").resolve()
    assert folder.inside(str(tmp_path / "home/a.safetensors")) == folder.inside("a")


def test_the_usual_folder_is_that_of_ros(monkeypatch, tmp_path):
    monkeypatch.setenv("ROS_HOME", str(tmp_path))
    assert MapFolder("").path == tmp_path / "geopurify_maps"
    monkeypatch.delenv("ROS_HOME")
    assert MapFolder("").path == Path.home() / ".ros/geopurify_maps"


def test_folders_are_made_for_a_map(tmp_path):
    folder = MapFolder(str(tmp_path / "new"))
    path = folder.inside("floor/kitchen")
    folder.make_room(path)
    assert path.parent.is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"map\.folder"):
        MapFolder(str(tmp_path / "file")).make_room(tmp_path / "file/a/b")
