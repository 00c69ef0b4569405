"""What a bad sensor records instead: poor colour, the depth of structured light, inexact poses.

The room, the true views and their labels stay as they are. What is wrong with a sensor is drawn
once per room; only noise, exposure and the jitter of the poses are new in every view.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from geopurify_ros.data.synthetic_render import small_motion
from geopurify_ros.train.rooms.mesh import Floats

Rng = np.random.Generator
Array = NDArray[np.float64]

_FOCAL_BASELINE_PX_M = 580 * 0.075  # disparity = this / depth
_DISPARITY_STEP_PX = 1 / 8
_DISPARITY_NOISE_PX = 0.05
_RANGE_M = (0.4, 5.5)
_WAVE_CELLS = (4, 5)  # rows and columns of bumps over the image
_HOLE_CELLS = (12, 16)
_DARK, _DARK_SPREAD = 0.13, 0.08  # of 1: the projected pattern is not seen on what is darker
_GRAZING, _GRAZING_SPREAD = 0.2, 0.08  # cosine between ray and normal, the same for the slanted
_JITTER_M, _JITTER_RAD = 0.008, float(np.radians(0.3))
_BLUR_WIDTH_PX = 320  # the blur is that of an image of this width


class Shot(NamedTuple):
    """What is recorded of a view.

    Attributes:
        jpeg: the colour image.
        depth_mm: (H, W), 0 = none.
        T_world_camera: (4, 4) where the recording says the camera was.
    """

    jpeg: bytes
    depth_mm: NDArray[np.uint16]
    T_world_camera: Array


@dataclass(frozen=True)
class BadColor:
    """A bad colour camera.

    Attributes:
        cast: (3,) factors on linear red, green and blue.
        swing: sigma of the logarithm of the exposure, of view to view.
        vignette: share of the light missing in the corners.
        blur_px: sigma.
        grain: sigma of the noise where the light is 1.
        quality: of the JPEG.
    """

    cast: Array
    swing: float
    vignette: float
    blur_px: float
    grain: float
    quality: int


@dataclass(frozen=True)
class Faults:
    """What is wrong with the sensors of one room.

    Attributes:
        color: the colour camera, None = a good one.
        waves: `_WAVE_CELLS` relative errors of the depth, spread smoothly over the image.
        jitters: whether the poses are inexact.
    """

    color: BadColor | None
    waves: Array
    jitters: bool


def random_faults(rng: Rng) -> Faults:
    """Sensors of a room: the depth is always bad, colour and poses in half of the rooms each."""
    waves = rng.uniform(-1, 1, _WAVE_CELLS)
    waves *= rng.uniform(0.002, 0.01) / np.abs(waves).max()
    bad, jitters = rng.random(2) < 0.5
    return Faults(_random_color(rng) if bad else None, waves, bool(jitters))


def _random_color(rng: Rng) -> BadColor:
    cast = np.exp(rng.normal(0, 0.3, 3))
    return BadColor(
        cast=cast / cast.mean(), swing=float(rng.uniform(0.2, 0.5)),
        vignette=float(rng.uniform(0.3, 0.8)), blur_px=float(rng.uniform(0.5, 1.5)),
        grain=float(rng.uniform(0.02, 0.08)), quality=int(rng.integers(15, 50)),
    )  # fmt: skip


def disturbed(shot: Shot, depth_m: Floats, intrinsics: Array, faults: Faults, rng: Rng) -> Shot:
    """What bad sensors record of a view.

    Args:
        shot: what good ones do.
        depth_m: (H, W) the true depth, NaN = nothing there.
        intrinsics: (3, 3) pixels.
        faults: of the sensors.
        rng: decides what is new in every view.
    """
    brightness = np.asarray(Image.open(io.BytesIO(shot.jpeg)).convert("L")) / 255
    depth_mm = structured_light(depth_m, brightness, intrinsics, faults.waves, rng)
    jpeg = shot.jpeg if faults.color is None else bad_color(shot.jpeg, faults.color, rng)
    pose = shot.T_world_camera
    if faults.jitters:
        pose = pose @ small_motion(rng, _JITTER_M, _JITTER_RAD)
    return Shot(jpeg, depth_mm, pose)


def bad_color(jpeg: bytes, camera: BadColor, rng: Rng) -> bytes:
    """The image as a bad camera takes it, a JPEG again."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    sigma_px = camera.blur_px * image.width / _BLUR_WIDTH_PX
    light = (np.asarray(image.filter(ImageFilter.GaussianBlur(sigma_px))) / 255) ** 2.2
    y, x = np.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j]
    shade = 1 - camera.vignette * (x * x + y * y) / 2
    exposure = np.exp(rng.normal(0, camera.swing))
    light = light * camera.cast * (exposure * shade)[..., None]
    light += rng.normal(0, camera.grain, light.shape) * np.sqrt(np.maximum(light, 0.01))
    encoded = (np.clip(light, 0, 1) ** (1 / 2.2) * 255).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(encoded).save(file, "JPEG", quality=camera.quality)
    return file.getvalue()


def structured_light(
    depth_m: Floats, brightness: Array, intrinsics: Array, waves: Array, rng: Rng
) -> NDArray[np.uint16]:
    """(H, W) millimetres, 0 = none, of a sensor that sees a projected pattern from the side.

    Args:
        depth_m: (H, W) the true depth, NaN = nothing there.
        brightness: (H, W) of the surfaces, 0 to 1.
        intrinsics: (3, 3) pixels.
        waves: relative errors, spread smoothly over the image.
        rng: decides on noise and holes.
    """
    clean = np.nan_to_num(depth_m, nan=0.0).astype(np.float64)
    disparity = _FOCAL_BASELINE_PX_M / np.maximum(clean, _RANGE_M[0] / 2)
    disparity += rng.normal(0, _DISPARITY_NOISE_PX, clean.shape)
    steps = np.maximum(np.round(disparity / _DISPARITY_STEP_PX), 1)
    measured = _FOCAL_BASELINE_PX_M / (steps * _DISPARITY_STEP_PX)
    measured *= 1 + _spread(waves, clean.shape)
    lost = _beside_edges(clean, rng) | _unseen(clean, brightness, intrinsics, rng)
    usable = (measured > _RANGE_M[0]) & (measured < _RANGE_M[1]) & (clean > 0) & ~lost
    return np.where(usable, np.round(measured * 1000), 0).astype(np.uint16)


def _spread(grid: Array, shape: tuple[int, ...]) -> Array:
    """(H, W) a coarse grid, smoothly; linear, as a spline would go beyond the bounds."""
    wide = Image.fromarray(grid.astype(np.float32)).resize(
        (shape[1], shape[0]), Image.Resampling.BILINEAR
    )
    return np.asarray(wide, dtype=np.float64)


def _beside_edges(depth_m: Array, rng: Rng) -> NDArray[np.bool_]:
    """(H, W) whether a pixel is at a depth edge: two pixels wide, three where by chance."""
    lost = np.zeros(depth_m.shape, dtype=bool)
    for axis in (0, 1):
        ahead = np.moveaxis(depth_m, axis, 0)
        band = np.moveaxis(lost, axis, 0)  # a view: writes go to `lost`
        step = np.abs(np.diff(ahead, axis=0)) > 0.05 + 0.03 * np.minimum(ahead[1:], ahead[:-1])
        band[1:] |= step
        band[:-1] |= step
        band[2:] |= step[:-1] & (rng.random(step[:-1].shape) < 0.5)
    return lost


def _unseen(
    depth_m: Array, brightness: Array, intrinsics: Array, rng: Rng
) -> NDArray[np.bool_]:
    """(H, W) whether too little of the pattern comes back: from the dark and the slanted.

    How little is too little differs smoothly over the image, so that holes come in patches.
    """
    patches = _spread(rng.normal(0, 1, _HOLE_CELLS), depth_m.shape)
    dark = brightness < _DARK + _DARK_SPREAD * patches
    slanted = _facing(depth_m, intrinsics) < _GRAZING + _GRAZING_SPREAD * patches
    return np.asarray(dark | slanted)


def _facing(depth_m: Array, intrinsics: Array) -> Array:
    """(H, W) cosine of the angle between ray and surface, from the differences of the depth."""
    v, u = np.indices(depth_m.shape)
    k = intrinsics
    rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(u.shape)], axis=-1)
    points = rays * depth_m[..., None]
    down, right = np.gradient(points, axis=(0, 1))
    normal = np.cross(right, down)
    size = np.linalg.norm(normal, axis=-1) * np.linalg.norm(rays, axis=-1)
    cosine: Array = np.abs((normal * rays).sum(axis=-1)) / np.maximum(size, 1e-12)
    return cosine
