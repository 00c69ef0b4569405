"""What goes into a room, by its kind and by chance: furniture, chairs, things on things, lamps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.train.rooms import shapes
from geopurify_ros.train.rooms.catalogue import Model
from geopurify_ros.train.rooms.classes import room_classes
from geopurify_ros.train.rooms.layout import Box
from geopurify_ros.train.rooms.mesh import Mesh, centred
from geopurify_ros.train.rooms.room import SOFT, Room, RoomBuilder
from geopurify_ros.train.rooms.scene import Light
from geopurify_ros.train.rooms.shell import openings, rugs, shell
from geopurify_ros.train.rooms.variety import USUAL, Variety

_ESSENTIAL = {
    "living": ("sofa", "armchair", "coffee table", "tv stand", "bookshelf", "lamp", "plant",
               "table", "piano", "fireplace", "shelf", "ottoman"),
    "bedroom": ("bed", "wardrobe", "nightstand", "dresser", "desk", "chest", "crib", "bench",
                "dressing table", "shelf"),
    "kitchen": ("cabinet", "cabinet", "oven", "refrigerator", "sink", "washing machine", "table",
                "cabinet", "kitchen island", "wall cabinet", "range hood", "trash can", "stool"),
    "bathroom": ("sink", "toilet", "bathtub", "shower", "washing machine", "cabinet", "towel",
                 "laundry basket", "toilet paper", "radiator"),
    "office": ("desk", "desk", "bookshelf", "cabinet", "shelf", "whiteboard", "plant", "table",
               "trash can", "water cooler"),
    "playroom": ("table", "bench", "shelf", "exercise bike", "pool table", "toy", "bicycle",
                 "box", "person", "chest"),
}  # fmt: skip
_SOFT_THINGS = ("pillow", "pillow", "folded clothes", "book", "bag", "clothes", "hat")


def build_room(
    models: Sequence[Model], rng: np.random.Generator, variety: Variety = USUAL
) -> Room:
    """A room of random kind, size and contents.

    Args:
        models: to choose from.
        rng: decides everything.
        variety: how far models may be changed, and how many things there are.
    """
    room = RoomBuilder(models, str(rng.choice(list(_ESSENTIAL))), rng, variety)
    for step in (shell, openings, rugs, furniture, seats, mounted, lamps, things):
        step(room)
    return room.finished()


def furniture(room: RoomBuilder) -> None:
    """What stands on the floor."""
    rng = room.rng
    area = room.layout.size_m[0] * room.layout.size_m[1]
    wanted = [c for c in _ESSENTIAL[room.kind] if rng.random() < 0.75]
    standing = [
        c for c in room.models if room_classes()[c].place in ("wall", "floor")
    ]
    count = int(area / 2.5 * room.variety.crowding)
    wanted += [str(c) for c in rng.choice(standing, size=count)]
    for label in wanted:
        _stand(room, label)


def seats(room: RoomBuilder) -> None:
    """Chairs drawn up to tables and desks."""
    for host, label in list(room.seating):
        most = {"table": 6, "desk": 1, "kitchen island": 3}[label]
        kinds = ["chair", "chair", "chair", "office chair", "stool", "high chair"]
        kind = str(room.rng.choice(kinds))
        for model in room.some(kind, same=room.rng.random() < 0.8,
                                count=int(room.rng.integers(1, most + 1))):
            box = room.layout.drawn_up(model.size_m, host, room.rng)
            if box is not None:
                room.add_model(model, box, host)


def mounted(room: RoomBuilder) -> None:
    """What hangs on walls."""
    rng, crowding = room.rng, room.variety.crowding
    for _ in range(int(rng.integers(1, 6) * crowding)):
        size = rng.uniform(0.2, 0.9, 2)
        make = shapes.board if rng.random() < 0.1 else shapes.picture
        label = "whiteboard" if make is shapes.board else "picture"
        bottom = float(rng.uniform(1.0, 1.6))
        box = room.layout.against_wall((size[0], 0.03, size[1]), bottom, rng)
        if box is not None:
            room.add(label, make(size, rng).moved(np.eye(3), np.array([0, 0.015, 0])), box)
    kinds = [c for c in room.models if room_classes()[c].place == "mount"]
    wanted = [c for c in _ESSENTIAL[room.kind] if c in kinds]
    wanted += [str(c) for c in rng.choice(kinds, size=int(rng.integers(3, 9) * crowding))]
    for label in wanted:
        for model in room.some(label):
            _mount(room, model)


def lamps(room: RoomBuilder) -> None:
    """Lamps at the ceiling; a room may be lit by a plain one that is not seen."""
    rng = room.rng
    width, depth, height = room.layout.size_m
    for model in room.some("ceiling lamp", count=int(rng.integers(0, 3))) + (
        room.some("ceiling fan") if rng.random() < 0.15 else []
    ):
        w, d, h = model.size_m
        at = rng.uniform(0.25, 0.75, 2) * (width, depth)
        box = Box(float(at[0]), float(at[1]), w / 2, d / 2, rng.uniform(-3, 3), height - h, height)
        if height - h > 1.5 and room.layout.fits(box):
            room.add_model(model, box)
            if rng.random() < 0.7:
                _light(room, np.array([*at, height - h - 0.05]), 0.15)
    for _ in range(1 if not room.lights or rng.random() < 0.5 else 0):
        _light(room, rng.uniform([0.2, 0.2, 0.92], [0.8, 0.8, 0.97]) * (width, depth, height),
                    float(rng.uniform(0.05, 0.5)))


def things(room: RoomBuilder) -> None:
    """What lies on tables, shelves, beds and the floor."""
    rng, clutter = room.rng, room.variety.clutter
    small = [c for c in room.models if room_classes()[c].place == "top"]
    for host, label, area in room.surfaces:
        soft = label in SOFT
        for _ in range(int(rng.integers(0, 4 if soft else 7) * clutter)):
            kind = str(rng.choice(_SOFT_THINGS if soft else [*small, "book", "monitor", "tv"]))
            if label in ("bookshelf", "shelf") and rng.random() < 0.5:
                kind = "book"
            _put(room, kind, host, area)
    on_floor = int(rng.integers(2, 10) * clutter)
    for kind in rng.choice([*small, "box", "book", "pillow"], size=on_floor):
        for model in room.some(str(kind)):
            box = room.layout.free(model.size_m, rng)
            if box is not None and model.elevation_m == 0:
                room.add_model(model, box)


def _stand(room: RoomBuilder, label: str) -> None:
    rng = room.rng
    rule = room_classes()[label].place
    if label in ("shelf", "bookshelf") and rng.random() < 0.5:
        size = rng.uniform([0.4, 0.22, 0.7], [1.2, 0.4, 2.1])
        box = room.layout.against_wall(size.tolist(), 0.0, rng)
        if box is not None:
            rack = shapes.rack(size, rng)
            number = room.add(label, rack, box)
            if room.variety.clutter > 1:  # empty in others: those made before stay the same
                room.note_surfaces(number, label, rack, box)
        return
    for model in room.some(label):
        touching = 0.8 if room.kind == "kitchen" else 0.3
        if rule == "mount":
            _mount(room, model)
            continue
        if rule == "wall" or (rule == "top" and rng.random() < 0.6):
            box = room.layout.against_wall(model.size_m, model.elevation_m, rng, touching)
        else:
            box = room.layout.free(model.size_m, rng, turned=bool(rng.random() < 0.4))
        if box is not None:
            room.add_model(model, box)


def _mount(room: RoomBuilder, model: Model) -> None:
    if model.size_m[2] < 0.05:  # lies flat: clothes on a bed
        return
    low = model.elevation_m or float(room.rng.uniform(0.8, 1.7))
    low = min(low + float(room.rng.normal(0, 0.05)), room.layout.size_m[2] - model.size_m[2])
    if low <= 0:
        return
    touching = 0.7 if model.label in ("wall cabinet", "range hood") else 0.1
    box = room.layout.against_wall(model.size_m, low, room.rng, touching)
    if box is not None:
        room.add_model(model, box)


def _put(room: RoomBuilder, kind: str, host: int, area: Box) -> None:
    rng = room.rng
    if kind in ("book", "pillow", "monitor", "tv") and rng.random() < 0.8:
        made = centred(_made(room, kind))
        low, high = made.bounds()
        size = (high - low).tolist()
        box = room.layout.on_top(size, host, area, rng)
        if box is not None:
            room.add(kind, made, box, host)
        return
    for model in room.some(kind):
        box = room.layout.on_top(model.size_m, host, area, rng)
        if box is not None:
            room.add_model(model, box, host)


def _made(room: RoomBuilder, kind: str) -> Mesh:
    rng = room.rng
    if kind == "book":
        return shapes.books(float(rng.uniform(0.1, 0.6)), rng)
    if kind == "pillow":
        return shapes.pillow(rng.uniform([0.3, 0.3, 0.1], [0.6, 0.5, 0.2]), rng)
    width = rng.uniform(0.4, 0.65) if kind == "monitor" else rng.uniform(0.7, 1.3)
    return shapes.display(float(width), rng)


def _light(room: RoomBuilder, at: NDArray[np.float64], half_m: float) -> None:
    warm = room.rng.uniform(0, 1)
    tint = np.array([1.0, 0.97 - 0.2 * warm, 0.95 - 0.5 * warm])
    power = tint * room.rng.uniform(1.0, 6.0)
    edge = half_m * np.eye(3, dtype=np.float32)
    room.lights.append(Light(at.astype(np.float32), edge[0], edge[1],
                             np.zeros(3, np.float32), power.astype(np.float32)))
