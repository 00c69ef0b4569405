"""`geopurify train rooms` end to end, and the OBJ reader on a model of our own."""

import importlib.util
import json
import re
import zipfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from geopurify_ros.cli import main
from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.errors import ConfigError
from geopurify_ros.train.rooms.camera import measure_depth
from geopurify_ros.train.rooms.catalogue import (
    FURNITURE_FOLDER,
    reserved_keys,
    splits_of,
    usable_models,
)
from geopurify_ros.train.rooms.classes import room_classes
from geopurify_ros.train.rooms.mesh import read_obj
from geopurify_ros.train.rooms.room import levels
from geopurify_ros.train.rooms.shapes import block, painted, rack

needs_furniture = pytest.mark.skipif(
    not FURNITURE_FOLDER.is_dir(), reason="needs the Debian package sweethome3d-furniture"
)
needs_embree = pytest.mark.skipif(
    importlib.util.find_spec("embreex") is None,
    reason="needs embreex: pip install -r requirements-train.txt",
)
TINY = ["--views", "2", "--size", "64x48", "--seed", "7"]


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*"))
            if p.is_file()}


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """Two tiny rooms."""
    out = tmp_path_factory.mktemp("rooms")
    assert main(["train", "rooms", "--out", str(out), "--num", "2", "--workers", "1", *TINY]) == 0
    return out


@needs_furniture
@needs_embree
def test_a_room_is_a_labelled_sequence(rooms):
    sequence = Sequence(rooms / "room_0000")
    assert len(sequence) == 2
    assert sequence.has_labels
    names = sequence.class_names
    assert {"wall", "floor", "ceiling"} <= set(names.values()) <= set(room_classes())
    instances = json.loads((rooms / "room_0000/classes.json").read_text())["instances"]
    for number in range(2):
        frame, label = sequence.frame(number), sequence.label(number)
        assert frame.rgb.shape == (48, 64, 3)
        assert frame.rgb.std() > 5
        seen = np.isfinite(frame.depth_m)
        assert seen.mean() > 0.5
        assert frame.depth_m[seen].max() < 6.2
        assert set(np.unique(label)) <= {0, *names}
        instance = np.array(Image.open(rooms / f"room_0000/instance/{number:06d}.png"))
        for value in np.unique(instance[instance > 0]):
            of_instance = {names[i] for i in np.unique(label[instance == value])}
            assert of_instance == {instances[str(value)]["label"]}


@needs_furniture
@needs_embree
def test_rooms_show_no_reserved_and_no_held_out_model(rooms):
    held_out = {model.key for model in usable_models() if "train" not in splits_of(model)}
    for folder in rooms.glob("room_*"):
        lines = (folder / "models.txt").read_text().splitlines()
        assert len(lines) > 5
        assert all(re.fullmatch(r"\w+:.+: .+ by .+ \(.+, CC.+\)", line) for line in lines)
        keys = {":".join(line.split(":")[:2]) for line in lines}
        assert not keys & reserved_keys()
        assert not keys & held_out


@needs_furniture
@needs_embree
def test_workers_do_not_change_the_rooms_and_finished_ones_are_kept(rooms, tmp_path, capsys):
    arguments = ["train", "--json", "rooms", "--out", str(tmp_path), "--num", "2", *TINY]
    assert main([*arguments, "--workers", "2"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["made"] == 2
    assert contents(tmp_path) == contents(rooms)
    (tmp_path / "room_0001").rename(tmp_path / ".tmp_room_0001")  # as if it was cut off
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["made"] == 1
    assert contents(tmp_path) == contents(rooms)


@needs_furniture
@needs_embree
def test_other_settings_do_not_mix(rooms, capsys):
    assert main(["train", "rooms", "--out", str(rooms), "--num", "2", "--seed", "8"]) == 2
    assert "other settings" in capsys.readouterr().err


@needs_furniture
@needs_embree
def test_rooms_made_before_a_setting_was_there_are_continued(rooms):
    note = rooms / "rooms.json"
    settings = json.loads(note.read_text())
    for name in ("wide", "dense", "disturbed"):
        assert settings.pop(name) is False
    note.write_text(json.dumps(settings))
    assert main(["train", "rooms", "--out", str(rooms), "--num", "2", *TINY]) == 0
    assert json.loads(note.read_text())["wide"] is False


@needs_furniture
def test_wide_rooms_have_furniture_of_any_colour():
    """The same models; what was white or wooden may be red."""
    from geopurify_ros.train.rooms.mesh import load_model
    from geopurify_ros.train.rooms.room import repainted
    from geopurify_ros.train.rooms.variety import USUAL, WIDE

    cabinets = [load_model(m) for m in usable_models() if m.label == "cabinet"][:10]

    def share_of_vivid(variety) -> float:
        rng = np.random.default_rng(0)
        colors = np.array([
            material.color for mesh in cabinets * 20
            for material in repainted(mesh, "cabinet", rng, variety).materials
        ])
        return float(((colors.max(1) - colors.min(1)) / colors.max(1) > 0.7).mean())

    usual, wide = share_of_vivid(USUAL), share_of_vivid(WIDE)
    assert usual < 0.1
    assert wide > usual + 0.1


@needs_furniture
@needs_embree
def test_views_from_nearby_are_nearer():
    from geopurify_ros.train.rooms.camera import random_intrinsics, random_pose
    from geopurify_ros.train.rooms.furnish import build_room
    from geopurify_ros.train.rooms.generate import models_of
    from geopurify_ros.train.rooms.render import Camera
    from geopurify_ros.train.rooms.scene import Scene

    room = build_room(models_of("train"), np.random.default_rng(1))
    scene = Scene(room.items)

    def median_m(close: float) -> float:
        rng, size_px = np.random.default_rng(0), (32, 24)
        intrinsics = random_intrinsics(*size_px, rng)
        depths = []
        for _ in range(12):
            pose = random_pose(room, scene, intrinsics, size_px, rng, close)
            rays = Camera(intrinsics, pose, *size_px[::-1]).rays()
            eyes = np.broadcast_to(pose[:3, 3].astype(np.float32), rays.shape)
            depths.append(np.median(scene.cast(eyes, rays).distance_m))
        return float(np.median(depths))

    assert 0.7 <= median_m(1.0) < median_m(0.0)


@needs_furniture
@needs_embree
def test_what_reaches_into_what_is_a_chair_or_stands_on_it():
    from geopurify_ros.train.rooms.furnish import build_room
    from geopurify_ros.train.rooms.generate import models_of
    from geopurify_ros.train.rooms.layout import TOLERANCE_M, overlap_m

    labels = Counter()
    for seed in range(3):
        room = build_room(models_of("train"), np.random.default_rng(seed))
        labels.update(item.label for item in room.items)
        layout = room.layout
        for k, one in enumerate(layout.boxes):
            for m in range(k):
                related = layout.hosts[k] == m or layout.hosts[m] == k or (
                    layout.hosts[k] is not None and layout.hosts[k] == layout.hosts[m])
                assert related or overlap_m(one, layout.boxes[m]) <= TOLERANCE_M
    assert len(labels) > 25


def test_missing_parts_are_named(tmp_path, monkeypatch, capsys):
    from geopurify_ros.train.rooms import catalogue

    monkeypatch.setattr(catalogue, "FURNITURE_FOLDER", tmp_path / "none")
    catalogue.usable_models.cache_clear()
    try:
        assert main(["train", "rooms", "--out", str(tmp_path / "out"), "--num", "1", *TINY]) == 2
    finally:
        catalogue.usable_models.cache_clear()
    assert "apt-get install sweethome3d-furniture" in capsys.readouterr().err


@pytest.mark.parametrize("bad", [["--num", "0"], ["--views", "0"], ["--size", "big"],
                                 ["--split", "x"], ["--seed", "-1"]])
def test_bad_numbers_are_one_sentence(tmp_path, capsys, bad):
    assert main(["train", "rooms", "--out", str(tmp_path), *bad]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_settings_are_checked():
    from geopurify_ros.train.rooms.generate import RoomSettings

    with pytest.raises(ConfigError):
        RoomSettings(width_px=4)


def test_obj_reader(tmp_path):
    """A square of one quad, a triangle with normals; negative indices; a texture that is lost."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as files:
        files.writestr("m/a.mtl", "newmtl red\nKd 1 0 0\nd 0.5\nnewmtl lost\nmap_Kd no.png\n")
        files.writestr("m/a.obj", "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\n"
                       "vn 0 0 -2\nusemtl red\nf 1 2 3 4\nusemtl lost\nf -4//1 -3//1 -2//1\n")
    mesh = read_obj(zipfile.ZipFile(path), "m/a.obj")
    assert mesh.points.shape == (3, 3, 3)
    assert mesh.materials[0].color == (1, 0, 0)
    assert mesh.materials[0].alpha == 0.5
    assert mesh.materials[1].texture is None
    np.testing.assert_allclose(mesh.normals[:2], np.broadcast_to([0, 0, 1], (2, 3, 3)))
    np.testing.assert_allclose(mesh.normals[2], np.broadcast_to([0, 0, -1], (3, 3)))
    np.testing.assert_allclose(mesh.points[1], [[0, 0, 0], [1, 1, 0], [0, 1, 0]])


def test_surfaces_of_a_box_and_of_a_rack():
    red = painted(np.array([1.0, 0, 0]))
    (low, high), = levels(block(np.array([-1, -0.5, 0]), np.array([1, 0.5, 0.7]), red), 2.5)
    assert low[2] == pytest.approx(0.7)
    assert high[2] == pytest.approx(1.7)
    rng = np.random.default_rng(0)
    found = levels(rack(np.array([1.0, 0.3, 1.8]), rng), 2.5)
    assert len(found) >= 3
    assert all(high[2] - low[2] > 0.1 for low, high in found)


def test_depth_camera_noise_and_lost_edges():
    """0.8 mm + 1.2 mm * z^2; half of the pixels at an edge are lost; nothing beyond 6 m."""
    depth = np.full((200, 200), 2.0, np.float32)
    depth[:, 100:] = 3.0
    depth[:20] = 7.0
    measured = measure_depth(depth, np.random.default_rng(0))
    assert measured.dtype == np.uint16
    assert (measured[:20] == 0).all()
    flat = measured[30:, 10:90].astype(float) / 1000
    assert flat.std() == pytest.approx(0.0008 + 0.0012 * 4, rel=0.1)
    assert 0.35 < (measured[30:, 99:101] == 0).mean() < 0.65
