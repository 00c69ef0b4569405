"""Nothing but a file of the same kind is ever replaced, whatever the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.data.export import write_ply
from geopurify_ros.data.map_file import MAP_KIND, save_map
from geopurify_ros.data.output_files import check_target, save_picture, write_report
from geopurify_ros.data.tensor_file import read_tensors, write_tensors
from geopurify_ros.errors import InputError

WRITERS = {
    "map": lambda path: save_map(path, VoxelMap(4, 0.05), "e", "map"),
    "ply": lambda path: write_ply(path, {"x": np.zeros(2, "f4")}, []),
    "png": lambda path: save_picture(Image.new("RGB", (2, 2)), path),
    "report": lambda path: write_report(path, {"miou": 0.5}),
    "student": lambda path: write_tensors(path, {"a": torch.zeros(2)}, "student", {}),
}
ENDINGS = {"map": ".safetensors", "student": ".safetensors", "report": ".json"}


def foreign(path, kind):
    """Files that a user would miss."""
    if kind == "text":
        path.write_text("precious")
    elif kind == "json":
        path.write_text(json.dumps({"name": "my-project", "version": "1.0"}))
    elif kind == "binary":
        path.write_bytes(bytes(range(256)))
    else:
        WRITERS[kind](path)
    return path.read_bytes()


@pytest.mark.parametrize("other", ["text", "json", "binary", *WRITERS])
@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_file_of_another_kind_is_left_as_it_is(tmp_path, kind, other):
    path = tmp_path / f"thesis{ENDINGS.get(kind, '.' + kind)}"
    if other == kind:
        WRITERS[kind](path)
        WRITERS[kind](path)  # its own kind is replaced
        return
    elsewhere = tmp_path / f"other{ENDINGS.get(other, '.' + other)}"
    before = foreign(elsewhere, other)
    elsewhere.rename(path)
    with pytest.raises(InputError, match="is left as it is"):
        WRITERS[kind](path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", list(WRITERS))
def test_an_empty_file_may_be_filled(tmp_path, kind):
    path = tmp_path / f"new{ENDINGS.get(kind, '.' + kind)}"
    path.touch()
    WRITERS[kind](path)
    assert path.stat().st_size


@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_link_to_a_foreign_file_leaves_both(tmp_path, kind):
    (tmp_path / "thesis.tex").write_text("precious")
    path = tmp_path / f"link{ENDINGS.get(kind, '.' + kind)}"
    path.symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(InputError, match="is left as it is"):
        WRITERS[kind](path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"
    assert path.is_symlink()


def test_a_target_is_judged_before_the_work(tmp_path):
    check_target(tmp_path / "new.safetensors", MAP_KIND)
    with pytest.raises(InputError, match="does not exist"):
        check_target(tmp_path / "no" / "new.safetensors", MAP_KIND)
    with pytest.raises(InputError, match="is a folder"):
        check_target(tmp_path, MAP_KIND)


def test_reports_of_older_trainings_count_as_ours(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"settings": {}, "steps": []}))
    write_report(path, {"settings": {}, "steps": [1]})
    assert json.loads(path.read_text()) == {
        "settings": {}, "steps": [1], "written_by": "geopurify"
    }


def test_tensors_of_the_same_kind_are_replaced_whole(tmp_path):
    path = tmp_path / "a.safetensors"
    for value in (1.0, 2.0):
        write_tensors(path, {"a": torch.tensor([value])}, "student", {})
    tensors, _ = read_tensors(path, "student")
    assert tensors["a"].item() == 2.0
