"""The shell of a room: walls, floor, ceiling, doors, windows with daylight, curtains, rugs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.train.rooms import shapes, textures
from geopurify_ros.train.rooms.layout import Box
from geopurify_ros.train.rooms.mesh import Material, joined
from geopurify_ros.train.rooms.room import RoomBuilder
from geopurify_ros.train.rooms.scene import Item, Light

Vector = NDArray[np.float64]


def shell(room: RoomBuilder) -> None:
    """Walls, floor, ceiling and skirting boards."""
    rng = room.rng
    width, depth, height = room.layout.size_m
    wall, wall_period = _wall_material(room)
    other = (wall, wall_period) if rng.random() < 0.7 else _wall_material(room)
    floor, floor_period = _floor_material(room)
    x, y, z = np.diag([width, depth, height])
    corner = np.zeros(3)
    _surface(room, "floor", corner, x, y, floor, floor_period)
    ceiling = shapes.painted(textures.random_color(rng, (0, 0.08), (0.75, 0.97)))
    _surface(room, "ceiling", corner + z, y, x, ceiling, 1.0)
    for start, edge in ((y, x), (corner, y), (x, -x), (x + y, -y)):
        # fronts look into the room
        chosen = other if start is y else (wall, wall_period)
        _surface(room, "wall", start, edge, z, *chosen)
    _skirting(room, width, depth)


def openings(room: RoomBuilder) -> None:
    """Doors, windows with the light they let in, curtains and blinds."""
    for _ in range(int(room.rng.integers(1, 3))):
        _opening(room, "door")
    for _ in range(int(room.rng.integers(1, 4))):
        _opening(room, "window")


def rugs(room: RoomBuilder) -> None:
    """Carpets and mats; furniture may stand on them."""
    rng = room.rng
    for _ in range(int(rng.integers(0, 3))):
        size = rng.uniform(0.5, 0.6, 2) * rng.uniform(1, 4, 2)
        box = room.layout.free((*size.tolist(), 0.0), rng, turned=bool(rng.random() < 0.2))
        if box is None:
            continue
        label = "bath mat" if size.max() < 1.0 else "rug"
        models = room.models_of(label)
        if models and rng.random() < 0.3:
            room.add_model(models[rng.integers(len(models))], box)
        else:
            room.add(label, shapes.rug(size, rng), box)


def _opening(room: RoomBuilder, label: str) -> None:
    rng = room.rng
    for model in room.some(label):
        width, depth, height = model.size_m
        low = 0.0 if label == "door" or height > 1.7 else float(rng.uniform(0.5, 1.1))
        high = min(low + height, room.layout.size_m[2] - 0.02)
        deep = min(depth, 0.12)
        size = (width * rng.uniform(0.85, 1.15), deep, high - low)
        box = room.layout.against_wall((size[0], 0.5 if label == "door" else 0.25, size[2]),
                                       low, rng, touching=0)
        if box is None:
            return
        front = np.array([0, box.half_d - deep / 2, 0])  # the model is at the wall's side
        outside = shapes.view_outside(size[0], size[2], rng)
        mesh = room.fitted(model, size).moved(np.eye(3), front)
        behind = outside.moved(np.eye(3), np.array([0, box.half_d, 0]))
        number = room.add(label, joined([mesh, behind]), box, credit=model.credit)
        if label == "window":
            _daylight(room, box)
            _curtains(room, box, number)


def _curtains(room: RoomBuilder, window: Box, host: int) -> None:
    rng = room.rng
    if rng.random() > 0.6:
        return
    floor_long = rng.random() < 0.6
    low = 0.03 if floor_long else max(0.03, window.z0 - 0.15)
    high = min(window.z1 + 0.12, room.layout.size_m[2] - 0.01)
    models = room.models_of("blind")
    if models and rng.random() < 0.15:
        mesh = room.fitted(models[0], (2 * window.half_w, 0.04, high - low))
        room.add("blind", mesh.moved(np.eye(3), np.array([0, -0.02, 0])),
                  replace(window, z0=low, z1=high), host, models[0].credit)
        return
    wide = float(rng.uniform(0.2, 0.5))
    for side in (-1, 1):
        mesh = shapes.curtain(wide, high - low, rng)
        shift = np.array([side * (window.half_w - wide * 0.3), 0.02, 0])
        room.add("curtain", mesh.moved(np.eye(3), shift), replace(window, z0=low, z1=high), host)


def _daylight(room: RoomBuilder, window: Box) -> None:
    inward = -window.axes[1]
    center = np.array([window.x, window.y]) + inward * 0.1
    power = textures.random_color(room.rng, (0, 0.2), (0.9, 1.0)) * room.rng.uniform(0, 5)
    room.lights.append(Light(
        np.array([*center, (window.z0 + window.z1) / 2], np.float32),
        np.array([*window.axes[0] * window.half_w, 0], np.float32),
        np.array([0, 0, (window.z1 - window.z0) / 2], np.float32),
        np.array([*inward, 0], np.float32), power.astype(np.float32),
    ))  # fmt: skip


def _surface(
    room: RoomBuilder, label: str, corner: Vector, a: Vector, b: Vector,
    material: Material, period_m: float,
) -> None:  # fmt: skip
    repeat = np.array([np.linalg.norm(a), np.linalg.norm(b)]) / period_m
    room.items.append(Item(shapes.quad(corner, a, b, material, repeat), label, label))


def _skirting(room: RoomBuilder, width: float, depth: float) -> None:
    """Boards along the foot of the walls; part of the first wall."""
    rng = room.rng
    if rng.random() < 0.3:
        return
    tall, thick = rng.uniform(0.04, 0.15), 0.012
    material = shapes.painted(
        textures.random_color(rng, (0, 0.1), (0.7, 0.95)) if rng.random() < 0.6
        else textures.wood_color(rng)
    )
    boards = [
        shapes.block(np.array(low), np.array([*high, tall]), material)
        for low, high in (
            ((0, 0, 0), (width, thick)), ((0, depth - thick, 0), (width, depth)),
            ((0, 0, 0), (thick, depth)), ((width - thick, 0, 0), (width, depth)),
        )
    ]  # fmt: skip
    room.items.append(Item(joined(boards), "wall", "skirting board"))


def _wall_material(room: RoomBuilder) -> tuple[Material, float]:
    """A material and the metres after which it repeats."""
    rng = room.rng
    kind = rng.random()
    if kind < 0.65 and room.kind not in ("bathroom", "kitchen"):
        return shapes.matt(textures.plain(rng, textures.wall_color(rng))), rng.uniform(1, 3)
    if kind < 0.8:
        return shapes.matt(textures.plain(rng, textures.wall_color(rng), 0.01)), 2.0
    if kind < 0.9 and room.kind not in ("bathroom", "kitchen"):
        return shapes.matt(textures.pattern(rng)), rng.uniform(0.3, 1.5)
    return shapes.matt(textures.tiles(rng), 0.3 * rng.random()), rng.uniform(0.4, 1.6)


def _floor_material(room: RoomBuilder) -> tuple[Material, float]:
    rng = room.rng
    kind = rng.random()
    if kind < 0.5:
        return shapes.matt(textures.planks(rng), 0.4 * rng.random()), rng.uniform(0.8, 2.0)
    if kind < 0.75:
        return shapes.matt(textures.tiles(rng), 0.4 * rng.random()), rng.uniform(0.6, 2.4)
    return shapes.matt(textures.plain(rng, textures.random_color(rng), 0.12)), 0.7
