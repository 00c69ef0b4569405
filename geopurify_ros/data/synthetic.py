"""Synthetic RGB-D rooms with exact labels (METHODS 6.5): test data that needs no download.

One seed gives one room: furniture along the walls and around a table, things on things, posters
and a door in the plane of a wall. In `color_neutral` rooms the colour of an object says nothing
about its class, so nothing can be learned from it but where one object ends.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.data.synthetic_render import (
    Array,
    Box,
    Texture,
    View,
    looking_at,
    render,
    small_motion,
    upright,
)

CLASS_NAMES = (
    "wall", "floor", "door", "poster", "table", "chair", "sofa", "cushion", "shelf", "cabinet",
    "box",
)  # fmt: skip
_LABEL = {name: number + 1 for number, name in enumerate(CLASS_NAMES)}

_Depth = NDArray[np.float32]
_HEIGHT_M = 2.5
_GOLDEN_RATIO = 0.618033988749895
_FRAME_INTERVAL_NS = 200_000_000
# Width along the wall and depth into the room, metres
_FOOTPRINT = {"sofa": (1.8, 0.85), "shelf": (0.9, 0.32), "cabinet": (1.0, 0.45), "door": (0.9, 0)}


@dataclass(frozen=True)
class RoomSettings:
    """The camera and its faults; the room itself follows from the seed."""

    num_frames: int = 30
    height_px: int = 120
    width_px: int = 160
    focal_px: float = 125.0
    depth_noise: float = 0.0015  # sigma = depth_noise * depth^2, metres
    flying_share: float = 0.5  # of the pixels at depth edges
    dropout_share: float = 0.02  # of all pixels
    color_noise: float = 3.0  # sigma, of 255
    pose_noise_m: float = 0.004
    pose_noise_rad: float = 0.003


class LabeledFrame(NamedTuple):
    """A frame with its truth: label and instance are (H, W) int64 from 1, without noise."""

    frame: RgbdFrame
    label: NDArray[np.int64]
    instance: NDArray[np.int64]


class SyntheticRoom(NamedTuple):
    """All frames of one room; label i is class_names[i - 1]."""

    frames: list[LabeledFrame]
    class_names: tuple[str, ...]


def synthetic_room(
    seed: int, *, color_neutral: bool, settings: RoomSettings | None = None
) -> SyntheticRoom:
    """The room of `seed`, seen from a walk around its middle.

    Args:
        seed: decides on everything; the same seed gives the same bytes.
        color_neutral: draw the colours of objects independently of their class; otherwise a
            class has a colour of its own, with some variation.
        settings: camera and noise.
    """
    settings = settings or RoomSettings()
    rng = np.random.default_rng(seed)
    size = rng.uniform((3.6, 3.4), (5.4, 4.6))
    boxes = _furnish(rng, size, _Painter(rng, color_neutral))
    image_size = (settings.height_px, settings.width_px)
    lamp_m = np.array([*(size / 2), _HEIGHT_M - 0.2])
    intrinsics = np.diag([settings.focal_px, settings.focal_px, 1.0])
    intrinsics[:2, 2] = (settings.width_px - 1) / 2, (settings.height_px - 1) / 2
    T_world_room = upright(rng.uniform(-np.pi, np.pi), rng.uniform(-5.0, 5.0, 3))
    frames = []
    for number, T_room_camera in enumerate(_camera_path(rng, size, settings.num_frames)):
        view = render(boxes, intrinsics, T_room_camera, image_size, lamp_m)
        error = small_motion(rng, settings.pose_noise_m, settings.pose_noise_rad)
        pose = T_world_room @ T_room_camera @ error
        rgb, depth_m = _expose(rng, view, settings), _measure(rng, view.depth_m, settings)
        frame = RgbdFrame(rgb, depth_m, intrinsics, pose, number * _FRAME_INTERVAL_NS)
        frames.append(LabeledFrame(frame, view.label, view.instance))
    return SyntheticRoom(frames, CLASS_NAMES)


@dataclass
class _Painter:
    """Chooses the texture of each object."""

    rng: np.random.Generator
    color_neutral: bool

    def paint(self, name: str) -> Texture:
        """A texture for an object of class `name`."""
        rng = self.rng
        if self.color_neutral:
            hue, saturation, value = rng.uniform((0.0, 0.05, 0.35), (1.0, 0.7, 0.95))
        else:
            number = _LABEL[name]
            hue = (number * _GOLDEN_RATIO + rng.normal(0.0, 0.015)) % 1.0
            saturation = 0.25 + 0.4 * (number % 2) + rng.normal(0.0, 0.04)
            value = 0.55 + 0.15 * (number % 3) + rng.normal(0.0, 0.04)
        color = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, min(value, 0.95)))
        # the second colour of a pattern belongs to the same thing: darker, of the same hue
        colors = np.stack((color, color * rng.uniform(0.6, 0.9)))
        kind = "flat" if name == "wall" else rng.choice(("flat", "flat", "checker", "stripes"))
        return Texture(str(kind), colors, rng.uniform(0.08, 0.3))


@dataclass
class _Builder:
    """Collects boxes; each call of `add` is one object."""

    painter: _Painter
    boxes: list[Box] = field(default_factory=list)
    num_objects: int = 0

    def add(self, name: str, place: Array, parts: list[tuple[float, ...]]) -> None:
        """One object of parts (x, y, z low, x, y, z high) in its own frame; `place` is (4, 4)."""
        self.num_objects += 1
        texture = self.painter.paint(name)
        yaw = float(np.arctan2(place[1, 0], place[0, 0]))
        for part in parts:
            low, high = np.array(part[:3]), np.array(part[3:])
            center = place[:3, :3] @ ((low + high) / 2) + place[:3, 3]
            self.boxes.append(
                Box(center, (high - low) / 2, yaw, _LABEL[name], self.num_objects, texture)
            )


def _furnish(rng: np.random.Generator, size: Array, painter: _Painter) -> list[Box]:
    """The boxes of a room of (2,) `size` metres whose corner is the origin."""
    made = _Builder(painter)
    x, y = size
    made.add("floor", np.eye(4), [(-0.1, -0.1, -0.1, x + 0.1, y + 0.1, 0.0)])
    walls = [(0, -0.1, x, 0), (x, 0, x + 0.1, y), (0, y, x, y + 0.1), (-0.1, 0, 0, y)]
    made.add("wall", np.eye(4), [(a, b, 0.0, c, d, _HEIGHT_M) for a, b, c, d in walls])
    waiting = [str(k) for k in rng.permutation(("sofa", "shelf", "cabinet", "cabinet", "shelf"))]
    waiting.insert(int(rng.integers(len(waiting))), "door")
    corners = np.array([(0.0, 0.0), (x, 0.0), (x, y), (0.0, y)])
    for wall, corner in enumerate(corners):
        along = float(size[wall % 2])
        place = upright(wall * np.pi / 2, np.array([*corner, 0.0]))
        # the first metre of a wall belongs to the furniture of the wall before it
        if "door" not in _fill_wall(rng, made, place, (0.95, along - 0.05), waiting):
            _hang_poster(rng, made, place, along)
    _dining_place(rng, made, size)
    return made.boxes


def _fill_wall(
    rng: np.random.Generator, made: _Builder, place: Array,
    span_m: tuple[float, float], waiting: list[str],
) -> list[str]:
    """Stand furniture side by side with its back to the wall while there is room; what stands."""
    x, standing = span_m[0] + rng.uniform(0.0, 0.3), []
    while waiting and x + _FOOTPRINT[waiting[0]][0] <= span_m[1]:
        standing.append(waiting.pop(0))
        width, depth = _FOOTPRINT[standing[-1]]
        at = place @ upright(0.0, np.array([x, 0.0, 0.0]))
        _MAKERS[standing[-1]](rng, made, at, width, depth)
        x += width + rng.uniform(0.0, 0.5)
    return standing


def _door(rng: np.random.Generator, made: _Builder, at: Array, w: float, d: float) -> None:
    made.add("door", at, [(0, -0.02, 0, w, 0.003, 2.0)])


def _sofa(rng: np.random.Generator, made: _Builder, at: Array, w: float, d: float) -> None:
    arm = 0.18
    made.add("sofa", at, [
        (0, 0, 0.05, w, d, 0.42), (0, 0, 0.42, w, 0.2, 0.8),
        (0, 0.2, 0.42, arm, d, 0.6), (w - arm, 0.2, 0.42, w, d, 0.6),
    ])  # fmt: skip
    for x in (arm, w - arm - 0.45):
        made.add("cushion", at, [(x, 0.2, 0.42, x + 0.45, 0.36, 0.82)])
    if rng.random() < 0.5:
        made.add("cushion", at, [(0.75, 0.3, 0.42, 1.1, 0.65, 0.54)])


def _shelf(rng: np.random.Generator, made: _Builder, at: Array, w: float, d: float) -> None:
    height, board = rng.uniform(1.2, 1.9), 0.03
    levels = np.arange(0.08, height - 0.1, 0.36)
    made.add("shelf", at, [
        (0, 0, 0, w, 0.02, height), (0, 0, 0, board, d, height), (w - board, 0, 0, w, d, height),
        (0, 0, height - board, w, d, height),
        *((0, 0, z, w, d, z + board) for z in levels),
    ])  # fmt: skip
    for z in levels[1:4]:
        x = rng.uniform(board, w - 0.42)
        made.add("box", at, [(x, 0.03, z + board, x + 0.36, d - 0.03, z + board + 0.2)])


def _cabinet(rng: np.random.Generator, made: _Builder, at: Array, w: float, d: float) -> None:
    height = rng.uniform(0.75, 1.1)
    made.add("cabinet", at, [(0, 0, 0, w, d, height)])
    x = rng.uniform(0.05, w - 0.4)
    made.add("box", at, [(x, 0.03, height, x + 0.32, 0.3, height + 0.25)])


_MAKERS = {"sofa": _sofa, "shelf": _shelf, "cabinet": _cabinet, "door": _door}


def _hang_poster(rng: np.random.Generator, made: _Builder, place: Array, along: float) -> None:
    x, w, h = rng.uniform(0.4, along - 1.2), rng.uniform(0.5, 0.8), rng.uniform(0.5, 0.75)
    z = rng.uniform(1.2, 1.5)
    made.add("poster", place, [(x, -0.02, z, x + w, 0.004, z + h)])


def _dining_place(rng: np.random.Generator, made: _Builder, size: Array) -> None:
    """A table with two boxes on it and three chairs pushed up to it, in the middle of the room."""
    a, b, h = rng.uniform(0.5, 0.65), rng.uniform(0.36, 0.45), 0.74
    middle = np.array([*(size / 2 + rng.uniform(-0.15, 0.15, 2)), 0.0])
    place = upright(rng.uniform(-0.4, 0.4), middle)
    legs = [(sx * (a - 0.05), sy * (b - 0.05)) for sx in (-1, 1) for sy in (-1, 1)]
    made.add("table", place, [
        (-a, -b, h - 0.04, a, b, h),
        *((x - 0.03, y - 0.03, 0, x + 0.03, y + 0.03, h - 0.04) for x, y in legs),
    ])  # fmt: skip
    for x in (-0.35, 0.12):
        y = rng.uniform(-b + 0.02, b - 0.27)
        made.add("box", place, [(x, y, h, x + 0.28, y + 0.22, h + rng.uniform(0.12, 0.25))])
    sides = ((0.0, b), (np.pi / 2, a), (np.pi, b), (-np.pi / 2, a))
    for side in rng.permutation(4)[:3]:
        yaw, reach = sides[side]
        away = np.array([0.0, reach + rng.uniform(-0.1, 0.05), 0.0])
        turn = upright(rng.normal(0.0, 0.1), np.zeros(3))
        _chair(made, place @ upright(yaw, np.zeros(3)) @ upright(0.0, away) @ turn)


def _chair(made: _Builder, at: Array) -> None:
    legs = [(x, y) for x in (-0.2, 0.16) for y in (0.0, 0.36)]
    made.add("chair", at, [
        (-0.2, 0.0, 0.42, 0.2, 0.4, 0.46), (-0.2, 0.36, 0.46, 0.2, 0.4, 0.9),
        *((x, y, 0, x + 0.04, y + 0.04, 0.42) for x, y in legs),
    ])  # fmt: skip


def _camera_path(rng: np.random.Generator, size: Array, num_frames: int) -> list[Array]:
    """Poses (4, 4) on a loop around the middle that look across it, up and down by turns."""
    start = rng.uniform(0.0, 2 * np.pi)
    turn = start + np.linspace(0.0, 2 * np.pi, num_frames, endpoint=False)
    poses = []
    for number, angle in enumerate(turn):
        around = np.array([np.cos(angle), np.sin(angle)])
        eye = np.array([*(size / 2 + around * (size / 2 - 0.95)), 1.45 + 0.2 * np.sin(3 * angle)])
        aside = np.array([-around[1], around[0]]) * (0.8 if number % 2 else -0.8)
        height = (0.4, 0.9, 1.3)[number % 3]
        target = np.array([*(size / 2 - around * 0.35 * size + aside), height])
        poses.append(looking_at(eye, target + rng.normal(0.0, 0.1, 3)))
    return poses


def _expose(rng: np.random.Generator, view: View, settings: RoomSettings) -> NDArray[np.uint8]:
    """(H, W, 3) the image under an exposure of its own, with pixel noise."""
    noise = rng.normal(0.0, settings.color_noise, view.rgb.shape)
    return np.asarray((view.rgb * rng.uniform(0.9, 1.05) + noise).clip(0, 255), dtype=np.uint8)


def _measure(rng: np.random.Generator, depth_m: Array, settings: RoomSettings) -> _Depth:
    """(H, W) depth with noise, pixels that fly between two surfaces, and holes (NaN)."""
    shape, padded = depth_m.shape, np.pad(depth_m, 1, mode="edge")
    low, high = depth_m, depth_m
    for row, column in ((0, 1), (2, 1), (1, 0), (1, 2)):
        beside = padded[row : row + shape[0], column : column + shape[1]]
        low, high = np.fmin(low, beside), np.fmax(high, beside)
    flying = (high - low > 0.1) & (rng.random(shape) < settings.flying_share)
    mixed = np.where(flying, low + (high - low) * rng.random(shape), depth_m)
    noisy = mixed + rng.normal(0.0, 1.0, shape) * settings.depth_noise * mixed**2
    noisy[rng.random(shape) < settings.dropout_share] = np.nan
    return np.asarray(noisy, dtype=np.float32)
