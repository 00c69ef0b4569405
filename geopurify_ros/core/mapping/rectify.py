"""Brings colour and depth onto the pixels of one ideal pinhole camera.

Lens distortion is undone by looking up, for each ideal pixel, the pixel that the lens put it on:
the models are given in that direction, so nothing has to be inverted. Depth of a second camera is
projected into the colour camera, the nearest surface wins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.errors import InputError

# names of the one family that is undone here: plumb_bob is rational without a denominator
_PLUMB_BOB = ("plumb_bob", "radtan", "radial_tangential", "brown_conrady", "")
_RATIONAL = ("rational_polynomial", "rational")
_FISHEYE = ("equidistant", "fisheye", "kannala_brandt", "kannala_brandt4")
_LENGTHS = (4, 5, 8, 12)  # k1 k2 p1 p2 | k3 | k4 k5 k6 | s1 s2 s3 s4; then the tilt of the sensor
_NUM_COEFFICIENTS = 12
_OFF_CENTER = 0.1  # share of an image that principal points may differ by
_WIDER = 3.0  # ratio of two fields of view
_WIDEST_RAY = 4.0  # tangent of the angle to the axis, 76 degrees: no such lens sees farther
_COARSER = 0.9  # colour is scaled to this share of the depth camera's resolution, so that the
# projected depth covers its pixels without holes


def check_distortion(model: str, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """(12,) k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 of a lens; zeros where it needs no correction.

    Drivers fill up with zeros to the 8, 12 or 14 numbers that their library holds, and few keep
    to the name: a plumb_bob with k4 to k6 is a rational_polynomial.

    Raises:
        InputError: a model that is not known, or coefficients that do not belong to it.
    """
    if not np.isfinite(coefficients).all():
        raise InputError("the distortion coefficients are not finite")
    name = "_".join(model.lower().replace("-", " ").replace("_", " ").split())
    known = name in (*_PLUMB_BOB, *_RATIONAL)
    if name in _FISHEYE or (coefficients.any() and not known and name != "none"):
        raise InputError(
            f"the distortion model '{model}' is not supported (plumb_bob and rational_polynomial "
            "are): subscribe to rectified images and set camera.rectified"
        )
    if not coefficients.any():
        return np.zeros(_NUM_COEFFICIENTS)
    if coefficients[_NUM_COEFFICIENTS:].any():
        raise InputError(
            f"the distortion model '{model}' has a tilted sensor, which is not supported: "
            "subscribe to rectified images and set camera.rectified"
        )
    used = int(np.flatnonzero(coefficients)[-1]) + 1
    length = len(coefficients)
    if not known or length < _LENGTHS[0] or (used == length and length not in _LENGTHS):
        raise InputError(f"{length} distortion coefficients do not belong to model '{model}'")
    given = coefficients[:_NUM_COEFFICIENTS]
    return np.pad(given, (0, _NUM_COEFFICIENTS - len(given)))


class Undistortion:
    """A look-up from ideal to distorted pixels; `unseen` (H, W) bool: the lens saw nothing."""

    def __init__(
        self,
        coefficients: NDArray[np.float64],  # (12,)
        intrinsics: NDArray[np.float64],  # (3, 3), of the distorted image
        size: tuple[int, int],  # H, W
        T_pixel_ray: NDArray[np.float64] | None = None,  # (3, 3)
    ) -> None:
        """Compute the nearest distorted pixel of each ideal one.

        `T_pixel_ray` takes rays of the lens to ideal pixels; without it ideal and distorted image
        have the same camera matrix.
        """
        (fx, _, cx), (_, fy, cy) = intrinsics[0], intrinsics[1]
        v, u = np.mgrid[: size[0], : size[1]]
        if T_pixel_ray is None:
            ideal_x, ideal_y = (u - cx) / fx, (v - cy) / fy
        else:
            rays = np.stack((u, v, np.ones(size)), axis=-1) @ np.linalg.inv(T_pixel_ray).T
            ideal_x, ideal_y = rays[..., 0] / rays[..., 2], rays[..., 1] / rays[..., 2]
        x, y = _distort(ideal_x, ideal_y, coefficients)
        # clipped before the cast: far outside, the polynomial has no bounds
        column = np.rint(np.clip(fx * x + cx, -1, size[1])).astype(np.int64)
        row = np.rint(np.clip(fy * y + cy, -1, size[0])).astype(np.int64)
        inside = (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0])
        inside &= np.hypot(ideal_x, ideal_y) < _fold_radius(coefficients)
        self.unseen = ~inside
        self._pixel = np.where(inside, row * size[1] + column, 0)

    def apply(self, image: NDArray[Any], outside: float) -> NDArray[Any]:  # (H, W) or (H, W, C)
        """The image as an ideal camera sees it; `outside` where the lens saw nothing."""
        flat = image.reshape(-1, *image.shape[2:])
        ideal = flat[self._pixel]
        ideal[self.unseen] = outside
        return ideal


def _distort(
    x: NDArray[np.float64], y: NDArray[np.float64], coefficients: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Normalised ideal coordinates to distorted ones."""
    _, _, p1, p2, _, _, _, _, s1, s2, s3, s4 = coefficients
    r2 = x * x + y * y
    radial = _radial(r2, coefficients)
    distorted_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + r2 * (s1 + s2 * r2)
    distorted_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + r2 * (s3 + s4 * r2)
    finite = np.isfinite(distorted_x) & np.isfinite(distorted_y)
    return np.where(finite, distorted_x, np.inf), np.where(finite, distorted_y, np.inf)


def _radial(r2: NDArray[np.float64], coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distorted over ideal radius, of the square of the ideal one."""
    k1, k2, _, _, k3, k4, k5, k6 = coefficients[:8]
    stretch: NDArray[np.float64] = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (
        1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return stretch


def _fold_radius(coefficients: NDArray[np.float64]) -> float:
    """The ideal radius from which on the model brings farther points nearer: there it is not
    fitted, and would show the middle of the image a second time."""
    radius = np.linspace(0.0, _WIDEST_RAY, 4096)
    with np.errstate(all="ignore"):
        shrinks = ~(np.diff(radius * _radial(radius**2, coefficients)) > 0)
    return float(radius[np.argmax(shrinks)]) if shrinks.any() else np.inf


def register_depth(
    depth_m: NDArray[np.float32],  # (H, W), NaN = none
    depth_intrinsics: NDArray[np.float64],  # (3, 3)
    T_color_depth: NDArray[np.float64],  # (4, 4)
    color_intrinsics: NDArray[np.float64],  # (3, 3)
    color_size: tuple[int, int],  # H, W
) -> NDArray[np.float32]:
    """(H, W) depth along the colour camera's axis on its pixels, NaN where none falls."""
    rows, columns = np.nonzero(np.isfinite(depth_m))
    z = depth_m[rows, columns].astype(np.float64)
    (fx, _, cx), (_, fy, cy) = depth_intrinsics[0], depth_intrinsics[1]
    points = np.stack([(columns - cx) / fx * z, (rows - cy) / fy * z, z], axis=1)
    points = points @ T_color_depth[:3, :3].T + T_color_depth[:3, 3]
    points = points[points[:, 2] > 0]
    z = points[:, 2]
    (fx, _, cx), (_, fy, cy) = color_intrinsics[0], color_intrinsics[1]
    height, width = color_size
    u = np.clip(fx * points[:, 0] / z + cx, -2, width + 1)
    v = np.clip(fy * points[:, 1] / z + cy, -2, height + 1)
    nearest = np.full(height * width, np.inf)
    for column in (np.floor(u), np.ceil(u)):  # each point covers the pixels around it
        for row in (np.floor(v), np.ceil(v)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            pixel = (row[inside] * width + column[inside]).astype(np.int64)
            np.minimum.at(nearest, pixel, z[inside])
    nearest[np.isinf(nearest)] = np.nan
    return nearest.reshape(height, width).astype(np.float32)


def check_alike(
    color_intrinsics: NDArray[np.float64],
    color_size: tuple[int, ...],  # H, W
    depth_intrinsics: NDArray[np.float64],
    depth_size: tuple[int, ...],
) -> None:
    """Raise InputError unless two cameras of one place can see the same.

    A matrix of images of another size puts the principal point elsewhere in the image, which
    lenses of different width do not.
    """
    sizes = (np.array(color_size)[::-1], np.array(depth_size)[::-1])
    color, depth = (
        (k[:2, 2] / size, size / k[[0, 1], [0, 1]])
        for k, size in zip((color_intrinsics, depth_intrinsics), sizes, strict=True)
    )
    ratio = color[1] / depth[1]
    if np.abs(color[0] - depth[0]).max() > _OFF_CENTER or not (
        (ratio > 1 / _WIDER) & (ratio < _WIDER)
    ).all():
        said = [
            f"{name} of {size[0]} x {size[1]} pixels with fx = {k[0, 0]:g}, cx = {k[0, 2]:g}, "
            f"cy = {k[1, 2]:g}"
            for name, size, k in zip(
                ("colour", "depth"), sizes, (color_intrinsics, depth_intrinsics), strict=True
            )
        ]
        raise InputError(
            f"{said[0]} and {said[1]} do not look the same way: is a camera matrix that of images "
            "of another size?"
        )


def color_scale(
    color_intrinsics: NDArray[np.float64], depth_intrinsics: NDArray[np.float64]
) -> float:
    """By how much colour must shrink for projected depth to leave no holes; 1 at most."""
    ratio = depth_intrinsics[[0, 1], [0, 1]] / color_intrinsics[[0, 1], [0, 1]]
    return float(min(1.0, _COARSER * ratio.min()))


def scaled_intrinsics(
    intrinsics: NDArray[np.float64], old_size: tuple[int, int], new_size: tuple[int, int]
) -> NDArray[np.float64]:
    """The camera matrix after a resize from (H, W) to (H, W); pixel centres are integers."""
    scaled = intrinsics.copy()
    for axis, (old, new) in enumerate(
        zip(reversed(old_size), reversed(new_size), strict=True)
    ):
        factor = new / old
        scaled[axis, :2] *= factor
        scaled[axis, 2] = (intrinsics[axis, 2] + 0.5) * factor - 0.5
    return scaled
