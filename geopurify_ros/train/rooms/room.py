"""A room while it is being built: its boxes, its objects and the surfaces that carry things."""

from __future__ import annotations

import colorsys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.train.rooms.built.furniture import built_models
from geopurify_ros.train.rooms.catalogue import Model
from geopurify_ros.train.rooms.layout import Box, Layout
from geopurify_ros.train.rooms.mesh import Floats, Mesh, load_model
from geopurify_ros.train.rooms.scene import Item, Light
from geopurify_ros.train.rooms.textures import random_color
from geopurify_ros.train.rooms.variety import USUAL, Variety

Rng = np.random.Generator

_SURFACES = ("table", "coffee table", "desk", "nightstand", "dresser", "cabinet", "tv stand",
             "bookshelf", "shelf", "kitchen island", "chest", "filing cabinet", "dressing table",
             "fireplace", "bench", "washing machine", "sofa", "bed", "armchair")  # fmt: skip
SOFT = ("sofa", "bed", "armchair")
_NATURAL = ("person", "cat", "dog", "plant", "flowers", "food", "fruit", "fruit bowl")
_SEATED_AT = ("table", "desk", "kitchen island")
_LAMPS = ("lamp", "ceiling lamp", "wall lamp")
_LEVEL_M = 0.015  # surfaces are flat to that


@dataclass(frozen=True)
class Room:
    """A room ready to be looked at.

    Attributes:
        kind: of the room.
        layout: boxes of all that is in it, in metres.
        items: walls and furniture.
        lights: what shines.
        ambient: (3,) light from all sides.
    """

    kind: str
    layout: Layout
    items: list[Item]
    lights: list[Light]
    ambient: Floats


class RoomBuilder:
    """A room in the making.

    Attributes:
        rng: decides everything.
        variety: how far models may be changed, and how many things there are.
        kind: of the room.
        layout: boxes of all that is in it.
        items: objects, ready to be seen.
        lights: what shines.
        models: by class, what may be chosen.
        surfaces: (number of the carrier, its class, free rectangle and the height above it).
        seating: (number, class) of what chairs are drawn up to.
    """

    def __init__(
        self, models: Sequence[Model], kind: str, rng: Rng, variety: Variety = USUAL
    ) -> None:
        """An empty room of random size."""
        self.rng = rng
        self.variety = variety
        self.kind = kind
        width, depth = rng.uniform(2.8, 6.5), rng.uniform(2.8, 5.5)
        if kind == "bathroom":
            width, depth = width * 0.7, depth * 0.7
        self.layout = Layout(float(width), float(depth), float(rng.uniform(2.3, 3.1)))
        self.items: list[Item] = []
        self.lights: list[Light] = []
        self.models: dict[str, list[Model]] = defaultdict(list)
        built = built_models(models, rng) if variety.built else {}
        self._built = {model.key: mesh for model, mesh in built.items()}
        for model in (*models, *built):
            self.models[model.label].append(model)
        self._originals = {model.key: model for model in models}
        self.surfaces: list[tuple[int, str, Box]] = []
        self.seating: list[tuple[int, str]] = []

    def finished(self) -> Room:
        """The room, with the light that comes from all sides."""
        warm = self.rng.uniform(0, 1)
        tint = np.array([1.0, 0.95 - 0.1 * warm, 0.9 - 0.3 * warm], np.float32)
        ambient = (tint * self.rng.uniform(0.15, 0.6)).astype(np.float32)
        return Room(self.kind, self.layout, self.items, self.lights, ambient)

    def models_of(self, label: str) -> list[Model]:
        """The models of a class; none for an unknown one."""
        return self.models.get(label, [])

    def some(self, label: str, same: bool = True, count: int = 1) -> list[Model]:
        """Random models of a class in a random size: `count` of one, or each its own."""
        models = self.models_of(label)
        if not models:
            return []
        picks = self.rng.integers(len(models), size=1 if same else count)
        whole = self.rng.uniform(*self.variety.scale)
        scale = whole * self.rng.uniform(*self.variety.stretch, 3)
        chosen = [models[pick] for pick in np.resize(picks, count)]
        return [replace(m, size_m=_scaled(m.size_m, scale)) for m in chosen]

    def fitted(self, model: Model, size_m: Sequence[float]) -> Mesh:
        """The model in another size, repainted."""
        mesh = self._built.get(model.key) or load_model(self._originals[model.key])
        low, high = mesh.bounds()
        scale = np.asarray(size_m) / np.maximum(high - low, 1e-6)
        fitted = mesh.moved(np.diag(scale), np.zeros(3))
        return repainted(fitted, model.label, self.rng, self.variety)

    def add_model(self, model: Model, box: Box, host: int | None = None) -> None:
        """Put a model, repainted, where `box` is."""
        mesh = self.fitted(model, model.size_m)
        number = self.add(model.label, mesh, box, host, model.credit)
        if model.label in _SURFACES:
            self.note_surfaces(number, model.label, mesh, box)
        if model.label in _SEATED_AT:
            self.seating.append((number, model.label))

    def add(
        self, label: str, mesh: Mesh, box: Box, host: int | None = None, credit: str = ""
    ) -> int:
        """Put a mesh, centred at the origin and standing on z = 0, where `box` is."""
        c, s = np.cos(box.yaw), np.sin(box.yaw)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        placed = mesh.moved(turn, np.array([box.x, box.y, box.z0]))
        name = f"{label}_{box.x:.2f}_{box.y:.2f}_{box.z0:.2f}"
        self.items.append(Item(placed, label, name, credit))
        return self.layout.add(box, host)

    def note_surfaces(self, number: int, label: str, mesh: Mesh, box: Box) -> None:
        """Let things lie on what stands where `box` is."""
        for low, high in levels(mesh, self.layout.size_m[2]):
            center = (low[:2] + high[:2]) / 2
            x, y = np.array([box.x, box.y]) + center @ box.axes
            half = (high - low)[:2] / 2
            self.surfaces.append((number, label, Box(
                float(x), float(y), float(half[0]), float(half[1]), box.yaw,
                box.z0 + float(low[2]), box.z0 + float(high[2]),
            )))  # fmt: skip


def _scaled(size_m: Sequence[float], scale: NDArray[np.float64]) -> tuple[float, float, float]:
    width, depth, height = np.multiply(size_m, scale).tolist()
    return (width, depth, height)


def levels(mesh: Mesh, ceiling_m: float) -> list[tuple[Floats, Floats]]:
    """Free space on the flat upward surfaces of a piece of furniture that stands at z = 0.

    Returns:
        Lowest and highest corner, (3,) each, of an upright box for every surface.
    """
    edges = mesh.points[:, 1:] - mesh.points[:, :1]
    across = np.cross(edges[:, 0], edges[:, 1])
    area = np.abs(across[:, 2]) / 2
    flat = area > 0.475 * np.linalg.norm(across, axis=1)
    points, area = mesh.points[flat], area[flat]
    if not len(points):
        return []
    step = np.round(points[..., 2].mean(axis=1) / _LEVEL_M).astype(np.int64)
    covered = np.bincount(np.maximum(step, 0), weights=area)
    low, high = mesh.bounds()
    footprint = float(np.prod((high - low)[:2]))
    heights = np.flatnonzero(covered > 0.35 * footprint)
    found = []
    for k, height in enumerate(heights):
        own = points[step == height]
        above = [h for h in heights[k + 1 :] if (h - height) * _LEVEL_M > 0.06]
        if len(above) < len(heights) - k - 1 or own[..., 2].mean() < 0.1:
            continue  # the underside of a board, or a plinth
        corner, other = own.reshape(-1, 3).min(axis=0), own.reshape(-1, 3).max(axis=0)
        filled = covered[height] / max(float(np.prod((other - corner)[:2])), 1e-6)
        inset = (0.15 if filled < 0.85 else 0.03) * (other - corner)
        corner, other = corner + inset, other - inset
        corner[2] = own[..., 2].max()
        other[2] = above[0] * _LEVEL_M - 0.03 if above else min(corner[2] + 1.0, ceiling_m)
        found.append((corner, other))
    return found


def repainted(mesh: Mesh, label: str, rng: Rng, variety: Variety = USUAL) -> Mesh:
    """The mesh in other colours: sometimes close to its own, sometimes far from them."""
    far = label not in _NATURAL and rng.random() < variety.repainted
    turn = rng.uniform(0, 1) if far else rng.normal(0, 0.02)
    gain = rng.uniform(0.6, 1.25)
    lit = label in _LAMPS and rng.random() < 0.5
    gloss = rng.uniform(0, variety.gloss)
    dye = None
    if far and variety.dyed and rng.random() < variety.dyed:
        dye = random_color(rng, (0.3, variety.saturation), (0.6, 1.2))
    materials = []
    for material in mesh.materials:
        h, s, v = colorsys.rgb_to_hsv(*np.clip(material.color, 0, 1))
        if far and material.texture is None and rng.random() < 0.5:
            s, v = rng.uniform(0, variety.saturation), rng.uniform(0.05, 0.95)
        color = colorsys.hsv_to_rgb((h + turn) % 1.0, s, min(max(v, 0.015) * gain, 1.0))
        if material.texture is not None:
            tint = 1 + rng.normal(0, 0.15 if far else 0.04, 3)
            tint = tint if dye is None else tint * dye
            color = tuple(np.clip(gain * tint, 0.2 if dye is None else 0.02, 1.3).tolist())
        glow = 1.5 if lit and max(color) > 0.5 else 0.0
        materials.append(replace(material, color=color, gloss=material.gloss * gloss, glow=glow))
    return replace(mesh, materials=tuple(materials))
