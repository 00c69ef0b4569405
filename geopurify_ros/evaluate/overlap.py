"""Whether frames see the same surfaces, and under which reading of their poses.

Each frame's points are looked up in the depth images of frames before: where poses are right, many
of them lie on what is seen there. Poses of another convention still make a map, a smeared one; but
then another reading of them makes the frames agree better, and tells which it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.config import DepthConfig
from geopurify_ros.core.mapping.frame import RgbdFrame

_Matrix = NDArray[np.float64]
_POINTS = 800  # per frame, enough for a share
_PARTNERS = 8  # earlier frames that each one is compared with
_ALIKE = 0.5  # frames that share so much where they are say nothing of their poses
_TOLERANCE_M, _TOLERANCE = 0.04, 0.03  # of the depth; the larger counts
_GL = np.diag([1.0, -1.0, -1.0, 1.0])  # y up and the camera looks along -z
_BODY = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # x is forward


def _inverse(pose: _Matrix) -> _Matrix:
    rotation = pose[:3, :3].T
    inverse = np.eye(4)
    inverse[:3, :3], inverse[:3, 3] = rotation, -rotation @ pose[:3, 3]
    return inverse


def _scaled(pose: _Matrix, factor: float) -> _Matrix:
    scaled = pose.copy()
    scaled[:3, 3] *= factor
    return scaled


AS_GIVEN, STILL = "as given", "standing still"
READINGS: dict[str, Callable[[_Matrix], _Matrix]] = {
    AS_GIVEN: lambda pose: pose,
    "world-to-camera": _inverse,
    "camera-to-world in OpenGL axes (y up, looking along -z)": lambda pose: pose @ _GL,
    "world-to-camera in OpenGL axes": lambda pose: _inverse(pose) @ _GL,
    "those of a body (x forward, z up), not of the optical frame": lambda pose: pose @ _BODY,
    "in millimetres": lambda pose: _scaled(pose, 0.001),
    "ten times too large for the depth (centimetres? see --depth-unit)":
        lambda pose: _scaled(pose, 0.1),
    "five times too small for the depth (1/5000 m? see --depth-unit)":
        lambda pose: _scaled(pose, 5.0),
    "ten times too small for the depth (0.1 mm? see --depth-unit)":
        lambda pose: _scaled(pose, 10.0),
    STILL: lambda pose: np.eye(4),  # no convention: what frames show whose poses mean nothing
}


class Overlap:
    """Shares of the points of each frame that frames before it confirm, for each reading."""

    def __init__(self, config: DepthConfig) -> None:
        """No frame yet."""
        self._config = config
        self._last: RgbdFrame | None = None
        self._consecutive: list[float] = []
        self._judged, self._stride = 0, 1
        self._reference: RgbdFrame | None = None  # the last frame that looked unlike its own one
        self._partners: list[RgbdFrame] = []  # earlier ones, spread over all that was
        self._best: dict[str, list[float]] = {reading: [] for reading in READINGS}

    def add(self, frame: RgbdFrame) -> None:
        """Compare a frame with the one before, and where it shows something new with others."""
        points = self._points(frame)
        last, self._last = self._last, frame
        if last is not None and len(points):
            self._consecutive.append(_confirmed(points, frame, last, READINGS[AS_GIVEN]))
        if self._reference is None:
            self._reference = frame
        elif len(points):
            still = _confirmed(points, frame, self._reference, READINGS[STILL])
            if still < _ALIKE:
                self._judge(points, frame, self._reference, still)

    def _judge(
        self, points: _Matrix, frame: RgbdFrame, reference: RgbdFrame, still: float
    ) -> None:
        partners = [reference, *self._partners]
        for reading, read in READINGS.items():
            shares = [_confirmed(points, frame, partner, read) for partner in partners]
            self._best[reading].append(still if reading == STILL else max(shares))
        if self._judged % self._stride == 0:
            self._partners.append(reference)
            if len(self._partners) > _PARTNERS:
                self._partners, self._stride = self._partners[::2], 2 * self._stride
        self._judged += 1
        self._reference = frame

    @property
    def num_judged(self) -> int:
        """Frames that showed something new and were compared under all readings."""
        return self._judged

    @property
    def consecutive(self) -> float | None:
        """Mean share that the frame before confirms; None while there is no pair of frames."""
        return float(np.mean(self._consecutive)) if self._consecutive else None

    def best(self) -> dict[str, float]:
        """Mean share that the best of the earlier frames confirms, by reading.

        Empty while the camera has not moved. STILL is compared with the reference alone.
        """
        return {r: float(np.mean(found)) for r, found in self._best.items() if found}

    def _points(self, frame: RgbdFrame) -> _Matrix:  # (N, 3) in the camera, on a sparse grid
        step = max(1, round((frame.depth_m.size / _POINTS) ** 0.5))
        rows, columns = (np.arange(step // 2, n, step) for n in frame.depth_m.shape)
        z = frame.depth_m[np.ix_(rows, columns)].astype(np.float64)
        v, u = np.meshgrid(rows, columns, indexing="ij")
        k = frame.intrinsics
        points = np.stack(((u - k[0, 2]) / k[0, 0] * z, (v - k[1, 2]) / k[1, 1] * z, z), axis=-1)
        believed = (z >= self._config.min_m) & (z <= self._config.max_m)
        picked: _Matrix = points[believed]
        return picked


def _confirmed(
    points: _Matrix,  # (N, 3) in the camera of `frame`
    frame: RgbdFrame,
    partner: RgbdFrame,
    read: Callable[[_Matrix], _Matrix],
) -> float:
    """Share of the points that lie on the surface which `partner` sees."""
    T_partner_frame = _inverse(read(partner.T_world_camera)) @ read(frame.T_world_camera)
    points = points @ T_partner_frame[:3, :3].T + T_partner_frame[:3, 3]
    height, width = partner.depth_m.shape
    k, z = partner.intrinsics, np.maximum(points[:, 2], 1e-6)
    u = np.rint(np.clip(k[0, 0] * points[:, 0] / z + k[0, 2], -1, width)).astype(np.int64)
    v = np.rint(np.clip(k[1, 1] * points[:, 1] / z + k[1, 2], -1, height)).astype(np.int64)
    inside = (points[:, 2] > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    seen = partner.depth_m[v[inside], u[inside]]
    limit = np.maximum(_TOLERANCE_M, _TOLERANCE * seen)
    return float((np.abs(seen - z[inside]) <= limit).sum() / len(points))  # false for NaN
