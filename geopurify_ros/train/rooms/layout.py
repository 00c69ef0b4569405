"""Where things stand: boxes on a floor plan that may touch but not overlap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TOLERANCE_M = 0.01
_TRIES = 30
_WALL_YAW = (0.0, np.pi / 2, np.pi, -np.pi / 2)  # back to the walls y = max, x = 0, y = 0, x = max


@dataclass(frozen=True)
class Box:
    """An upright box in the room.

    Attributes:
        x, y: centre of the footprint, metres.
        half_w, half_d: half of its width and depth, metres.
        yaw: turn about z, radians; at 0 the front looks along -y.
        z0, z1: lowest and highest point, metres.
    """

    x: float
    y: float
    half_w: float
    half_d: float
    yaw: float
    z0: float
    z1: float

    @property
    def axes(self) -> Array:
        """(2, 2) rows are the directions of width and depth."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([[c, s], [-s, c]])

    def corners(self) -> Array:
        """(4, 2) of the footprint."""
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        return np.array([self.x, self.y]) + signs * [self.half_w, self.half_d] @ self.axes

    def at(self, x: float, y: float) -> Box:
        """The same box elsewhere."""
        return replace(self, x=float(x), y=float(y))


def overlap_m(a: Box, b: Box) -> float:
    """How deep two boxes reach into each other, metres; 0 or less: they do not."""
    depth = min(a.z1, b.z1) - max(a.z0, b.z0)
    corners_a, corners_b = a.corners(), b.corners()
    for axis in (*a.axes, *b.axes):
        along_a, along_b = corners_a @ axis, corners_b @ axis
        depth = min(depth, along_a.max() - along_b.min(), along_b.max() - along_a.min())
        if depth <= 0:
            break
    return float(depth)


class Layout:
    """The boxes of one room, which spans (0, 0, 0) to (width_m, depth_m, height_m)."""

    def __init__(self, width_m: float, depth_m: float, height_m: float) -> None:
        """An empty room."""
        self.size_m = (width_m, depth_m, height_m)
        self.boxes: list[Box] = []
        self.hosts: list[int | None] = []

    def fits(self, box: Box, host: int | None = None) -> bool:
        """Whether a box is in the room and clear of all others but its host."""
        corners = box.corners()
        low, high = corners.min(axis=0), corners.max(axis=0)
        inside = (low >= -TOLERANCE_M).all() and (high <= np.add(self.size_m[:2], 1e-6)).all()
        if not inside or box.z1 > self.size_m[2]:
            return False
        return all(
            number == host or overlap_m(box, other) <= TOLERANCE_M
            for number, other in enumerate(self.boxes)
        )

    def add(self, box: Box, host: int | None = None) -> int:
        """Keep a box; `host` is what it stands on or is drawn up to. Returns its number."""
        self.boxes.append(box)
        self.hosts.append(host)
        return len(self.boxes) - 1

    def against_wall(
        self, size_m: Iterable[float], z0: float, rng: np.random.Generator, touching: float = 0.3
    ) -> Box | None:
        """A place with the back to a wall; with chance `touching`, beside something there."""
        width, depth, height = size_m
        for _ in range(_TRIES):
            yaw = _WALL_YAW[rng.integers(4)]
            blank = Box(0, 0, width / 2, depth / 2, yaw, z0, z0 + height)
            along = self._wall_position(blank, rng, touching)
            if along is not None:
                gap = 0.0 if z0 > 0 or rng.random() < 0.5 else float(rng.uniform(0, 0.06))
                box = blank.at(*self._wall_point(yaw, along, depth / 2 + gap))
                if self.fits(box):
                    return box
        return None

    def free(
        self, size_m: Iterable[float], rng: np.random.Generator, turned: bool = True
    ) -> Box | None:
        """A place anywhere on the floor, at any angle or square to the walls."""
        width, depth, height = size_m
        for _ in range(_TRIES):
            yaw = rng.uniform(-np.pi, np.pi) if turned else rng.integers(4) * np.pi / 2
            at = rng.uniform(0, self.size_m[:2])
            box = Box(float(at[0]), float(at[1]), width / 2, depth / 2, float(yaw), 0.0, height)
            if self.fits(box):
                return box
        return None

    def drawn_up(
        self, size_m: Iterable[float], host: int, rng: np.random.Generator
    ) -> Box | None:
        """A place that faces one side of `host`, a little under it at most."""
        width, depth, height = size_m
        table = self.boxes[host]
        for _ in range(_TRIES):
            side = int(rng.integers(4))
            reach = table.half_d if side % 2 == 0 else table.half_w
            span = table.half_w if side % 2 == 0 else table.half_d
            tuck = float(rng.uniform(-0.15, 0.12))
            yaw = table.yaw + side * np.pi / 2 + float(rng.normal(0, 0.12))
            # side 0 stands behind the table, front (-y) towards it
            local = np.array([rng.uniform(-0.8, 0.8) * span, reach + depth / 2 + tuck])
            c, s = np.cos(table.yaw + side * np.pi / 2), np.sin(table.yaw + side * np.pi / 2)
            at = np.array([table.x, table.y]) + np.array([[c, -s], [s, c]]) @ local
            box = Box(float(at[0]), float(at[1]), width / 2, depth / 2, yaw, 0.0, height)
            if self.fits(box, host):
                return box
        return None

    def on_top(
        self, size_m: Iterable[float], host: int, area: Box, rng: np.random.Generator
    ) -> Box | None:
        """A place on a surface of `host`: `area` is its free rectangle and the room above it."""
        width, depth, height = size_m
        if height > area.z1 - area.z0:
            return None
        for _ in range(8):
            turn = rng.normal(0, 0.25) if rng.random() < 0.8 else rng.uniform(-np.pi, np.pi)
            c, s = abs(np.cos(turn)), abs(np.sin(turn))
            half = np.array([width * c + depth * s, width * s + depth * c]) / 2
            room = np.array([area.half_w, area.half_d]) - half
            if (room < 0).any():
                continue
            at = np.array([area.x, area.y]) + rng.uniform(-room, room) @ area.axes
            box = Box(float(at[0]), float(at[1]), width / 2, depth / 2, area.yaw + float(turn),
                      area.z0, area.z0 + height)
            if self.fits(box, host):
                return box
        return None

    def _wall_position(
        self, blank: Box, rng: np.random.Generator, touching: float
    ) -> float | None:
        """Where along its wall the centre of a box goes, metres from the left end."""
        length = self._wall_length(blank.yaw)
        room = length - 2 * blank.half_w
        if room < 0:
            return None
        beside = [b for b in self.boxes if abs(b.yaw - blank.yaw) < 1e-6 and b.z0 < blank.z1]
        if beside and rng.random() < touching:
            other = beside[rng.integers(len(beside))]
            side = 1 if rng.random() < 0.5 else -1
            return self._along(other) + side * (other.half_w + blank.half_w)
        return blank.half_w + float(rng.uniform(0, room))

    def _wall_length(self, yaw: float) -> float:
        return self.size_m[0] if abs(np.cos(yaw)) > 0.5 else self.size_m[1]

    def _along(self, box: Box) -> float:
        return box.x if abs(np.cos(box.yaw)) > 0.5 else box.y

    def _wall_point(self, yaw: float, along: float, off: float) -> tuple[float, float]:
        width, depth, _ = self.size_m
        wall = _WALL_YAW.index(yaw)
        return [(along, depth - off), (off, along), (along, off), (width - off, along)][wall]
