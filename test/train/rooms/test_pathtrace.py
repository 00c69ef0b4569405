"""Path-traced light: the same geometry as the ray-cast view, lit by Cycles."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from geopurify_ros.errors import InputError
from geopurify_ros.train.rooms.pathtrace import PathTracer
from geopurify_ros.train.rooms.render import Camera, render
from geopurify_ros.train.rooms.scene import Item, Light, Scene
from geopurify_ros.train.rooms.shapes import block, painted

needs_embree = pytest.mark.skipif(
    importlib.util.find_spec("embreex") is None, reason="needs embreex (requirements-train.txt)")
needs_bpy = pytest.mark.skipif(
    importlib.util.find_spec("bpy") is None,
    reason="needs bpy, 350 MB, Python 3.11 (requirements-pathtrace.txt)")


def box_scene():
    """A red and a green box on a white floor under a lamp."""
    parts = {"floor": ([-3, -3, -0.1], [3, 3, 0], [0.8, 0.8, 0.8]),
             "sofa": ([-1.2, 1, 0], [-0.2, 2, 1], [0.8, 0.05, 0.05]),
             "chest": ([0.2, 1, 0], [1.2, 2, 1], [0.05, 0.7, 0.05])}
    items = [Item(block(np.array(low, float), np.array(high, float), painted(np.array(color))),
                  name, name)
             for name, (low, high, color) in parts.items()]
    lamp = Light(np.array([0, 0, 2.5], np.float32), np.array([0.3, 0, 0], np.float32),
                 np.array([0, 0.3, 0], np.float32), np.array([0, 0, -1], np.float32),
                 np.array([5, 5, 5], np.float32))
    return Scene(items), [lamp]


def camera():
    intrinsics = np.array([[40, 0, 31.5], [0, 40, 23.5], [0, 0, 1.0]])
    pose = np.eye(4)  # looks along +y from 2.5 m before the boxes, a metre above the floor
    pose[:3, :3] = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    pose[:3, 3] = [0, -1.5, 1]
    return Camera(intrinsics, pose, 48, 64)


@needs_embree
@needs_bpy
def test_what_is_traced_lies_where_it_is_cast():
    scene, lights = box_scene()
    ambient = np.full(3, 0.3, np.float32)
    view = render(scene, camera(), lights, ambient, np.random.default_rng(0))
    light = PathTracer(scene, lights, ambient, threads=1).render(camera())
    assert light.shape == (48, 64, 3)
    assert np.isfinite(light).all()
    red = light[..., 0] > 2 * light[..., 1]
    green = light[..., 1] > 2 * light[..., 0]
    for mask, item in ((red, 1), (green, 2)):
        truth = view.item == item
        assert (mask & truth).sum() / (mask | truth).sum() > 0.85


@needs_embree
def test_missing_blender_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bpy", None)
    scene, lights = box_scene()
    with pytest.raises(InputError, match=r"pip install -r requirements-pathtrace.txt"):
        PathTracer(scene, lights, np.zeros(3), threads=1)
