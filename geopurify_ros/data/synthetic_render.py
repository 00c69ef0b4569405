"""Analytic ray casting of textured boxes: what an ideal RGB-D camera sees of a made-up room.

No meshes and no z-buffer: each ray is cut with each box it may hit, so depth, label and instance
are exact to the pixel, and a room of sixty boxes takes some milliseconds per image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_NEAR_M = 0.05
_AMBIENT = 0.6  # share of the colour that a face turned away from the lamp keeps
_LAMP_REACH_M = 2.5  # the lamp's share has halved at this distance


@dataclass(frozen=True)
class Texture:
    """What is painted on the faces of a box.

    Attributes:
        kind: "flat", "checker" or "stripes".
        colors: (2, 3) RGB 0..255; "flat" shows the first only.
        period_m: edge of a square, or width of a stripe.
    """

    kind: str
    colors: Array
    period_m: float


@dataclass(frozen=True)
class Box:
    """A box that stands upright in the room.

    Attributes:
        center_m: (3,) room frame, z up.
        half_m: (3,) half of the edges.
        yaw_rad: turn about z.
        label: class 1..C.
        instance: number of the object it is a part of, from 1.
        texture: of all six faces.
    """

    center_m: Array
    half_m: Array
    yaw_rad: float
    label: int
    instance: int
    texture: Texture

    @property
    def rotation(self) -> Array:
        """(3, 3) columns are the axes of the box in the room."""
        c, s = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])

    def corners_m(self) -> Array:
        """(8, 3) room frame."""
        signs = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3), axis=-1).reshape(8, 3)
        return self.center_m + (signs * self.half_m) @ self.rotation.T


@dataclass(frozen=True)
class View:
    """One noise-free image.

    Attributes:
        rgb: (H, W, 3) float, 0..255.
        depth_m: (H, W) along the optical axis, NaN where no box is hit.
        label: (H, W) int64 class, 0 where no box is hit.
        instance: (H, W) int64 object, 0 where no box is hit.
    """

    rgb: Array
    depth_m: Array
    label: NDArray[np.int64]
    instance: NDArray[np.int64]


def render(
    boxes: list[Box],
    intrinsics: Array,  # (3, 3) pixels
    T_room_camera: Array,  # (4, 4), camera axes x right, y down, z forward
    size: tuple[int, int],  # H, W
    lamp_m: Array,  # (3,) room frame
) -> View:
    """What a pinhole camera at `T_room_camera` sees of `boxes`; it must stand in none of them.

    A lamp lights the faces turned to it, the near ones more; there are no shadows.
    """
    height, width = size
    origin, rays = T_room_camera[:3, 3], _rays(intrinsics, T_room_camera[:3, :3], size)
    depth = np.full(size, np.inf)
    box_of = np.full(size, -1)
    axis_of = np.zeros(size, dtype=np.int64)
    for number, box in enumerate(boxes):
        window = _window(box, intrinsics, T_room_camera, size)
        if window is None:
            continue
        distance, axis = _hit(box, origin, rays[window])
        nearer = distance < depth[window]
        depth[window][nearer] = distance[nearer]
        box_of[window][nearer] = number
        axis_of[window][nearer] = axis[nearer]
    rgb = np.zeros((height, width, 3))
    for number in np.unique(box_of[box_of >= 0]):
        seen = box_of == number
        points = origin + rays[seen] * depth[seen][:, None]
        rgb[seen] = _paint(boxes[number], points, axis_of[seen])
        rgb[seen] *= _light(boxes[number], points, axis_of[seen], -rays[seen], lamp_m)[:, None]
    table = np.array([(0, 0), *((b.label, b.instance) for b in boxes)], dtype=np.int64)
    depth[box_of < 0] = np.nan
    return View(rgb, depth, table[box_of + 1, 0], table[box_of + 1, 1])


def _rays(intrinsics: Array, rotation: Array, size: tuple[int, int]) -> Array:
    """(H, W, 3) directions in the room with z = 1 in the camera: their length is depth."""
    v, u = np.mgrid[: size[0], : size[1]]
    x = (u - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1]
    rays: Array = np.stack((x, y, np.ones(size)), axis=-1) @ rotation.T
    return rays


def _window(
    box: Box, intrinsics: Array, T_room_camera: Array, size: tuple[int, int]
) -> tuple[slice, slice] | None:
    """Rows and columns that can show the box; None where it is out of sight."""
    rotation, origin = T_room_camera[:3, :3], T_room_camera[:3, 3]
    corners = (box.corners_m() - origin) @ rotation
    if corners[:, 2].max() < _NEAR_M:
        return None
    if corners[:, 2].min() < _NEAR_M:  # it reaches behind the camera: its outline is unbounded
        return slice(0, size[0]), slice(0, size[1])
    pixels = (corners @ intrinsics.T)[:, :2] / corners[:, 2:]
    left, top = np.floor(pixels.min(axis=0)).astype(int).clip(0)
    right, bottom = np.ceil(pixels.max(axis=0)).astype(int) + 1
    if left >= min(right, size[1]) or top >= min(bottom, size[0]):
        return None
    return slice(top, bottom), slice(left, right)


def _hit(box: Box, origin: Array, rays: Array) -> tuple[Array, NDArray[np.int64]]:
    """Slab test: depth (h, w) where each ray (h, w, 3) enters or inf, and the axis of the face."""
    local_origin = (origin - box.center_m) @ box.rotation
    direction = rays @ box.rotation
    direction[np.abs(direction) < 1e-12] = 1e-12
    toward = np.sign(direction) * box.half_m
    enter = (-toward - local_origin) / direction
    leave = ((toward - local_origin) / direction).min(axis=-1)
    axis = enter.argmax(axis=-1)
    distance = enter.max(axis=-1)
    return np.where((distance < leave) & (distance > _NEAR_M), distance, np.inf), axis


def _paint(
    box: Box,
    points_m: Array,  # (N, 3) room frame
    axis: NDArray[np.int64],  # (N,) of the face, box frame
) -> Array:  # (N, 3) 0..255
    """The texture of the box at points of its faces."""
    local = (points_m - box.center_m) @ box.rotation
    rows = np.arange(len(axis))
    first, second = np.array([1, 0, 0])[axis], np.array([2, 2, 1])[axis]  # axes of the face
    texture = box.texture
    tile = np.zeros(len(axis), dtype=np.int64)
    if texture.kind != "flat":
        tile += np.floor(local[rows, first] / texture.period_m).astype(np.int64)
    if texture.kind == "checker":
        tile += np.floor(local[rows, second] / texture.period_m).astype(np.int64)
    painted: Array = texture.colors[tile % 2]
    return painted


def _light(
    box: Box,
    points_m: Array,  # (N, 3) room frame
    axis: NDArray[np.int64],  # (N,) of the face, box frame
    to_camera: Array,  # (N, 3)
    lamp_m: Array,  # (3,)
) -> Array:  # (N,) 0..1
    """Lambert shading with a soft fall-off."""
    normal = box.rotation.T[axis]
    normal = normal * np.sign((normal * to_camera).sum(axis=1, keepdims=True))
    to_lamp = lamp_m - points_m
    distance = np.linalg.norm(to_lamp, axis=1)
    facing = ((normal * to_lamp).sum(axis=1) / distance).clip(0.0)
    lit: Array = _AMBIENT + (1 - _AMBIENT) * facing / (1 + (distance / _LAMP_REACH_M) ** 2) * 2
    return lit.clip(0.0, 1.0)


def looking_at(eye: Array, target: Array) -> Array:
    """(4, 4) pose of an optical frame at `eye` that looks at `target`, upright."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack((right, np.cross(forward, right), forward), axis=1)
    pose[:3, 3] = eye
    return pose


def upright(yaw_rad: float, shift_m: Array) -> Array:
    """(4, 4) turn about z, then a shift."""
    pose = np.eye(4)
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    pose[:2, :2] = (c, -s), (s, c)
    pose[:3, 3] = shift_m
    return pose


def small_motion(rng: np.random.Generator, sigma_m: float, sigma_rad: float) -> Array:
    """(4, 4) the error of a pose source, sigma along and about each axis."""
    turn = rng.normal(0.0, sigma_rad, 3)
    pose = np.eye(4)
    skew = np.array([[0, -turn[2], turn[1]], [turn[2], 0, -turn[0]], [-turn[1], turn[0], 0]])
    left, _, right = np.linalg.svd(np.eye(3) + skew)  # the nearest rotation
    pose[:3, :3] = left @ right
    pose[:3, 3] = rng.normal(0.0, sigma_m, 3)
    return pose
