"""Furniture built from parts."""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image

from geopurify_ros.cli import main
from geopurify_ros.errors import ConfigError
from geopurify_ros.train.rooms.built import tables
from geopurify_ros.train.rooms.built.furniture import BUILDERS, built_models
from geopurify_ros.train.rooms.built.parts import box, disc, drawn_out, rod, together, turned
from geopurify_ros.train.rooms.built.vessels import hollow
from geopurify_ros.train.rooms.catalogue import FURNITURE_FOLDER, KEPT_OUT_CLASSES
from geopurify_ros.train.rooms.classes import room_classes
from geopurify_ros.train.rooms.generate import RoomSettings
from geopurify_ros.train.rooms.shapes import painted

GREY = painted(np.full(3, 0.5))
needs_rooms = pytest.mark.skipif(
    not FURNITURE_FOLDER.is_dir() or importlib.util.find_spec("embreex") is None,
    reason="needs the Debian package sweethome3d-furniture and embreex (requirements-train.txt)",
)


def check(mesh, largest_m):
    """Finite, unit normals, neither a point nor a house."""
    assert np.isfinite(mesh.points).all()
    assert np.isfinite(mesh.uv).all()
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=-1), 1, atol=1e-3)
    assert 0 <= mesh.material.min() <= mesh.material.max() < len(mesh.materials)
    low, high = mesh.bounds()
    assert 0.03 < (high - low).max() < largest_m


@pytest.mark.slow
@pytest.mark.parametrize("label", BUILDERS)
def test_furniture_is_sound_and_each_piece_is_another(label):
    made = [BUILDERS[label](np.random.default_rng(seed)) for seed in range(20)]
    for mesh in made:
        check(mesh, 3.2)
    assert len({mesh.points.tobytes() for mesh in made}) == len(made)
    again = BUILDERS[label](np.random.default_rng(3))
    np.testing.assert_array_equal(again.points, made[3].points)


def test_only_trained_classes_are_built():
    assert set(BUILDERS) <= set(room_classes()) - KEPT_OUT_CLASSES


def test_models_stand_as_those_of_the_catalogue_do():
    made = built_models([], np.random.default_rng(0))
    assert {model.label for model in made} == set(BUILDERS)
    assert len({model.key for model in made}) == len(made)
    for model, mesh in made.items():
        low, high = mesh.bounds()
        np.testing.assert_allclose(high - low, model.size_m, atol=1e-5)
        np.testing.assert_allclose((low + high)[:2], 0, atol=1e-5)
        assert abs(low[2]) < 1e-6


@pytest.mark.parametrize("mesh", [
    turned([(0, 0), (0.5, 0), (0.7, 0.4), (0.3, 1), (0, 1)], GREY),
    drawn_out([(0.5, 0), (0.5, 1), (-0.2, 1), (-0.5, 0)], 2.0, GREY),
    box(GREY, 1, 2, 3),
    disc(0.2, 0.3, 0.4, 0.5, 0.1, GREY),
])  # fmt: skip
def test_surfaces_of_solids_look_outwards(mesh):
    middle = mesh.points.reshape(-1, 3).mean(axis=0)
    corners = mesh.points - middle
    area = np.linalg.norm(np.cross(mesh.points[:, 1] - mesh.points[:, 0],
                                   mesh.points[:, 2] - mesh.points[:, 0]), axis=1)
    assert ((corners * mesh.normals).sum(axis=-1) > -1e-6)[area > 1e-9].all()


def test_a_rod_reaches_from_end_to_end():
    points = rod((0.1, 0.2, 0.3), (0.5, 0.9, 1.3), 0.02, GREY, 8).points.reshape(-1, 3)
    length = np.linalg.norm([0.4, 0.7, 1.0])
    along = np.array([0.4, 0.7, 1.0]) / length
    at = (points - [0.1, 0.2, 0.3]) @ along
    np.testing.assert_allclose([at.min(), at.max()], [0, length], atol=1e-6)
    away = np.linalg.norm(points - [0.1, 0.2, 0.3] - at[:, None] * along, axis=1)
    np.testing.assert_allclose(away, 0.02, atol=1e-6)


def test_parts_of_one_material_share_it():
    red = painted(np.array([1.0, 0, 0]))
    whole = together([box(GREY, 1, 1, 1), box(red, 1, 1, 1), box(GREY, 1, 1, 1)])
    assert whole.materials == (GREY, red)
    np.testing.assert_array_equal(np.bincount(whole.material), [24, 12])


@pytest.mark.parametrize("outline", [
    [(0, 0), (0.3, 0), (0.5, 1)],
    [(0, 0), (0.5, 0.2), (0.2, 0.6), (0.4, 1)],
    [(0, 0), (0.2, 0.01), (0.6, 0.1), (0.7, 0.2)],
])  # fmt: skip
def test_the_inside_of_a_vessel_stays_inside(outline):
    inside = painted(np.array([1.0, 0, 0]))
    mesh = hollow(outline, GREY, inside)
    points = mesh.points[mesh.material == mesh.materials.index(inside)].reshape(-1, 3)
    radius, height = zip(*outline, strict=True)
    away = np.hypot(points[:, 0], points[:, 1])
    assert (away <= np.interp(points[:, 2], height, radius) + 1e-6).all()
    assert points[:, 2].min() > 0


def test_nothing_stands_out_from_under_a_round_table():
    num_round = 0
    for seed in range(150):
        points = tables.coffee_table(np.random.default_rng(seed)).points.reshape(-1, 3)
        half = np.abs(points).max(axis=0)
        away = np.hypot(*(points[:, :2] / half[:2]).T)
        if away[points[:, 2] > half[2] - 1e-6].max() < 1.01:  # its top has no corners
            num_round += 1
            assert away.max() < 1.01
    assert num_round > 10


@needs_rooms
def test_built_furniture_stands_in_rooms_and_is_labelled(tmp_path):
    out = tmp_path / "rooms"
    size = ["--num", "2", "--workers", "1", "--views", "6", "--size", "64x48", "--seed", "3"]
    assert main(["train", "rooms", "--out", str(out), *size, "--built"]) == 0
    seen = set()
    for room in sorted(out.glob("room_*")):
        names = json.loads((room / "classes.json").read_text())["classes"]
        credits_ = (room / "models.txt").read_text().splitlines()
        built = {line.split(": ")[1].split(" by ")[0] for line in credits_ if "built:" in line}
        assert built <= set(names.values()) <= set(room_classes())
        for path in room.glob("label/*.png"):
            numbers = np.unique(np.array(Image.open(path))).tolist()
            seen |= built & {names[str(number)] for number in numbers if number}
    assert seen


def test_rooms_to_measure_in_have_models_of_the_catalogue_alone():
    with pytest.raises(ConfigError, match="for training"):
        RoomSettings(split="test", built=True)
