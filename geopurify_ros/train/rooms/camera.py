"""Where a hand-held camera looks from, and what its sensor makes of the light."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geopurify_ros.train.rooms.mesh import Floats
from geopurify_ros.train.rooms.render import Camera, View
from geopurify_ros.train.rooms.room import Room
from geopurify_ros.train.rooms.scene import Scene

Rng = np.random.Generator

MAX_DEPTH_M = 6.0
_MIN_DEPTH_M = 0.2
_TRIES = 25
_CLEARANCE_M = 0.25


class _Wanted(NamedTuple):
    """A good view: the nearest tenth of it, its middle, and how many objects are enough."""

    near_m: float
    middle_m: float
    objects: int


_USUAL, _CLOSE = _Wanted(0.7, 1.3, 6), _Wanted(0.4, 0.7, 2)


def random_intrinsics(width_px: int, height_px: int, rng: Rng) -> NDArray[np.float64]:
    """(3, 3) of a camera with 52 to 80 degrees across."""
    focal = width_px / 2 / np.tan(np.radians(rng.uniform(52, 80)) / 2)
    return np.array([[focal, 0, width_px / 2 - 0.5], [0, focal, height_px / 2 - 0.5], [0, 0, 1]])


def random_pose(
    room: Room, scene: Scene, intrinsics: NDArray[np.float64], size_px: tuple[int, int], rng: Rng,
    close: float = 0.0,
) -> NDArray[np.float64]:
    """(4, 4) T_world_camera of a view that shows several objects from a good distance.

    Args:
        room: to stand in.
        scene: of that room.
        intrinsics: (3, 3) pixels.
        size_px: width and height of the image.
        rng: decides.
        close: chance of a view from nearby, which may show few.
    """
    wanted = _CLOSE if close and rng.random() < close else _USUAL
    best, best_worth = np.eye(4), -1.0
    for _ in range(_TRIES):
        pose = _candidate(room, rng)
        if pose is None:
            continue
        worth = _worth(scene, pose, intrinsics, size_px, wanted)
        if worth > best_worth:
            best, best_worth = pose, worth
        if worth >= wanted.objects:
            break
    if best_worth < 0:  # too full to stand anywhere: look down from a corner
        width, depth, height = room.layout.size_m
        best = _looking(np.array([0.1, 0.1, height - 0.1]), np.array([width, depth, 0]), 0.0)
    return best


def _candidate(room: Room, rng: Rng) -> NDArray[np.float64] | None:
    width, depth, height = room.layout.size_m
    tall = float(min(rng.uniform(0.8, 1.8), height - 0.3))
    eye = np.array([rng.uniform(0.2, width - 0.2), rng.uniform(0.2, depth - 0.2), tall])
    for box in room.layout.boxes:
        if box.z0 - 0.15 < tall < box.z1 + 0.15:
            local = np.abs(box.axes @ (eye[:2] - [box.x, box.y]))
            if (local < np.array([box.half_w, box.half_d]) + _CLEARANCE_M).all():
                return None
    boxes = room.layout.boxes
    if boxes and rng.random() < 0.7:
        aim = boxes[rng.integers(len(boxes))]
        target = np.array([aim.x, aim.y, (aim.z0 + aim.z1) / 2])
    else:
        target = np.array([*rng.uniform(0, 1, 2) * (width, depth), tall - rng.uniform(-0.2, 1.0)])
    ahead = target - eye
    reach = np.linalg.norm(ahead[:2])
    pitch = np.clip(np.arctan2(ahead[2], reach), np.radians(-55), np.radians(15))
    if reach < 0.3:
        return None
    target = eye + np.array([*ahead[:2] / reach, np.tan(pitch)])
    return _looking(eye, target, float(rng.normal(0, np.radians(3))))


def _looking(
    eye: NDArray[np.float64], target: NDArray[np.float64], roll_rad: float
) -> NDArray[np.float64]:
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(roll_rad), np.sin(roll_rad)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([c * right + s * down, c * down - s * right, forward], axis=1)
    pose[:3, 3] = eye
    return pose


def _worth(
    scene: Scene, pose: NDArray[np.float64], intrinsics: NDArray[np.float64],
    size_px: tuple[int, int], wanted: _Wanted,
) -> float:  # fmt: skip
    """Number of objects in view; below 0 if something is right before the lens."""
    small = np.array([24 / size_px[0], 18 / size_px[1], 1])
    rays = Camera(intrinsics * small[:, None], pose, 18, 24).rays()
    hits = scene.cast(np.broadcast_to(pose[:3, 3].astype(np.float32), rays.shape), rays)
    nearest, middle = np.percentile(hits.distance_m, [10, 50])
    if nearest < wanted.near_m or middle < wanted.middle_m:
        return -1.0
    items, counts = np.unique(scene.instance[hits.triangle], return_counts=True)
    shown = [scene.items[item].label for item in items[counts >= 2]]
    return float(sum(label not in ("wall", "floor", "ceiling") for label in shown))


def develop(view: View, rng: Rng) -> bytes:
    """What a cheap colour camera makes of the light: a JPEG, (H, W) of the view.

    Exposure, white balance, blur, motion blur, vignette, noise, tone curve and compression vary.
    """
    light = _blurred(view.light, rng)
    middle = float(np.mean(np.minimum(light, 4.0))) + 1e-4
    light = light * (rng.uniform(0.28, 0.6) / middle) * rng.normal(1, 0.06, 3).clip(0.8, 1.25)
    height, width = light.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = light * (1 - rng.uniform(0, 0.3) * (x * x + y * y) / 2)[..., None]
    light = np.where(light < 0.8, light, 0.8 + 0.2 * np.tanh((light - 0.8) / 0.2 / 1.5) * 1.5)
    grain = rng.uniform(0.002, 0.02)
    light = light + rng.normal(0, 1, light.shape) * grain * np.sqrt(np.maximum(light, 0.02) + 0.05)
    image = np.clip(light, 0, 1) ** (1 / rng.uniform(1.8, 2.5))
    contrast = rng.uniform(0.85, 1.2)
    image = np.clip((image - 0.5) * contrast + 0.5, 0, 1)
    file = io.BytesIO()
    encoded = Image.fromarray((image * 255).round().astype(np.uint8))
    encoded.save(file, "JPEG", quality=int(rng.integers(75, 96)))
    return file.getvalue()


def _blurred(light: Floats, rng: Rng) -> NDArray[np.float64]:
    """Defocus, and in some images a short smear."""
    image = light.astype(np.float64)
    side = rng.uniform(0.02, 0.2)
    for axis in (0, 1):
        image = (1 - 2 * side) * image + side * (_moved(image, 1, axis) + _moved(image, -1, axis))
    if rng.random() < 0.25:
        axis, count = int(rng.integers(2)), int(rng.integers(2, 5))
        image = sum((_moved(image, k, axis) for k in range(count)), np.zeros_like(image)) / count
    return image


def _moved(image: NDArray[np.float64], by: int, axis: int) -> NDArray[np.float64]:
    index = np.clip(np.arange(image.shape[axis]) + by, 0, image.shape[axis] - 1)
    return np.take(image, index, axis=axis)


def measure_depth(depth_m: Floats, rng: Rng) -> NDArray[np.uint16]:
    """(H, W) millimetres, 0 = none, of a depth camera.

    Noise of 0.8 mm + 1.2 mm * z^2, half of the pixels at depth edges lost, nothing beyond 6 m.
    """
    clean = np.nan_to_num(depth_m, nan=0.0).astype(np.float64)
    noisy = clean + rng.normal(0, 1, clean.shape) * (0.0008 + 0.0012 * clean**2)
    edge = np.zeros(clean.shape, dtype=bool)
    for axis in (0, 1):
        for by in (-1, 1):
            edge |= np.abs(clean - _moved(clean, by, axis)) > 0.05 + 0.03 * clean
    lost = edge & (rng.random(clean.shape) < 0.5)
    usable = (clean > _MIN_DEPTH_M) & (clean < MAX_DEPTH_M) & ~lost
    return np.where(usable, np.clip(np.round(noisy * 1000), 0, 65000), 0).astype(np.uint16)
