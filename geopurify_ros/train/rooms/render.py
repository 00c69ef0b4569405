"""Ray-cast images of a room: lamps with soft shadows, light from all sides with one bounce.

Lighting is sampled with few rays per pixel and smoothed along surfaces, so that textures stay
sharp; depth, label and instance are those of the rays through the pixel centres.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.train.rooms.lighting import lamps, mirrored, samples, smoothed, surroundings
from geopurify_ros.train.rooms.mesh import Floats
from geopurify_ros.train.rooms.scene import Hits, Light, Scene

_OFF_SURFACE_M = 2e-3
_SEEN_FROM_ALPHA = 0.15  # a surface less opaque than this has no depth and no label
_MAX_LAYERS = 4
_EDGE_SAMPLES = 3


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        intrinsics: (3, 3) pixels; an integer is the centre of a pixel.
        T_world_camera: (4, 4) optical axes (x right, y down, z forward) to the room, metres.
        height_px: of the image.
        width_px: of the image.
    """

    intrinsics: NDArray[np.float64]
    T_world_camera: NDArray[np.float64]
    height_px: int
    width_px: int

    def rays(self) -> Floats:
        """(H * W, 3) unit directions in the room, through the pixel centres, row by row."""
        return self.rays_through(np.arange(self.height_px * self.width_px), np.zeros((1, 2)))

    def rays_through(self, pixel: NDArray[np.int64], offset_px: NDArray[np.float64]) -> Floats:
        """(N, 3) unit directions in the room.

        Args:
            pixel: (N,) counted row by row.
            offset_px: (N, 2) from the pixel's centre.
        """
        v, u = np.divmod(pixel, self.width_px)
        k = self.intrinsics
        x = (u + offset_px[:, 0] - k[0, 2]) / k[0, 0]
        y = (v + offset_px[:, 1] - k[1, 2]) / k[1, 1]
        length = np.sqrt(x * x + y * y + 1)
        local = np.stack([x / length, y / length, 1 / length], axis=1).astype(np.float32)
        return local @ self.T_world_camera[:3, :3].T.astype(np.float32)


@dataclass(frozen=True)
class View:
    """One noise-free image.

    Attributes:
        light: (H, W, 3) linear RGB, 0 and up.
        depth_m: (H, W) along the optical axis, NaN = nothing there.
        item: (H, W) index of the object, -1 = nothing there.
    """

    light: Floats
    depth_m: Floats
    item: NDArray[np.int64]


def render(
    scene: Scene, camera: Camera, lights: list[Light], ambient: Floats, rng: np.random.Generator
) -> View:
    """See the room.

    Args:
        scene: the room.
        camera: where from.
        lights: what shines.
        ambient: (3,) light from all sides, before it is shaded by things nearby.
        rng: for the samples.
    """
    shape = (camera.height_px, camera.width_px)
    directions = camera.rays()
    origins = np.broadcast_to(camera.T_world_camera[:3, 3].astype(np.float32), directions.shape)
    angle = 1.0 / float(camera.intrinsics[0, 0])
    first, color, behind, passed = _layers(scene, origins, directions, angle, ambient)
    seen = first.triangle >= 0
    normal = np.zeros_like(directions)
    irradiance = np.zeros_like(directions)
    hits = _subset(first, seen)
    normal[seen], off = scene.normals_at(hits, directions[seen])
    points = origins[seen] + directions[seen] * hits.distance_m[:, None] + off * _OFF_SURFACE_M
    irradiance[seen] = lamps(scene, points, normal[seen], lights, samples(shape, rng)[seen])
    irradiance[seen] += surroundings(
        scene, points, normal[seen], ambient, samples(shape, rng)[seen]
    )
    forward = camera.T_world_camera[:3, 2].astype(np.float32)
    depth = np.where(seen, first.distance_m * (directions @ forward), np.nan)
    smooth = smoothed(
        irradiance.reshape(*shape, 3), normal.reshape(*shape, 3), depth.reshape(shape)
    ).reshape(-1, 3)
    light = _shine(scene, first, color, smooth)
    light[seen] += mirrored(scene, points, directions[seen], normal[seen], hits, ambient)
    light = light * (1 - passed[:, None]) + behind
    item = np.where(seen, scene.instance[first.triangle], -1)
    result = View(light.reshape(*shape, 3), depth.reshape(shape).astype(np.float32),
                  item.reshape(shape))
    _soften_edges(scene, camera, result, smooth, ambient, rng)
    return replace(result, light=_without_specks(result.light))


def _subset(hits: Hits, mask: NDArray[np.bool_]) -> Hits:
    return Hits(hits.triangle[mask], hits.distance_m[mask], hits.weights[mask])


def _shine(scene: Scene, hits: Hits, color: Floats, irradiance: Floats) -> Floats:
    """(N, 3) light that leaves the surfaces."""
    glow = np.where(hits.triangle >= 0, scene.glow[scene.material[hits.triangle]], 0.0)[:, None]
    return np.asarray(color * (irradiance + glow), dtype=np.float32)


def _layers(
    scene: Scene, origins: Floats, directions: Floats, angle: float, ambient: Floats
) -> tuple[Hits, Floats, Floats, Floats]:
    """Follow rays through glass and leaves.

    Returns:
        The first surface with an opacity that counts, its colour (N, 3), the light (N, 3) of what
        shows through it, already weighted, and the share (N,) of that.
    """
    count = len(directions)
    first = Hits(
        np.full(count, -1, np.int32), np.full(count, np.inf, np.float32),
        np.zeros((count, 3), np.float32),
    )  # fmt: skip
    color = np.zeros((count, 3), np.float32)
    behind = np.zeros((count, 3), np.float32)
    passed = np.zeros(count, np.float32)
    active = np.arange(count)
    travelled = np.zeros(count, np.float32)
    through = np.ones(count, np.float32)
    for layer in range(_MAX_LAYERS):
        start = origins[active] + directions[active] * travelled[active, None]
        hits = scene.cast(start, directions[active])
        met = hits.triangle >= 0
        active, hits = active[met], _subset(hits, met)
        if not len(active):
            break
        far = travelled[active] + hits.distance_m
        hits = Hits(hits.triangle, far, hits.weights)
        own, alpha = scene.surface_at(hits, angle)
        if layer == _MAX_LAYERS - 1:
            alpha = np.ones_like(alpha)
        fresh = first.triangle[active] < 0
        here = fresh & (alpha >= _SEEN_FROM_ALPHA)
        rows = active[here]
        first.triangle[rows] = hits.triangle[here]
        first.distance_m[rows] = far[here]
        first.weights[rows] = hits.weights[here]
        color[rows] = own[here]
        passed[rows] = 1 - alpha[here]
        through[rows] = 1 - alpha[here]
        later = ~fresh
        rows = active[later]
        lit = own[later] * (ambient + scene.glow[scene.material[hits.triangle[later]]][:, None])
        behind[rows] += lit * (through[rows] * alpha[later])[:, None]
        through[rows] *= 1 - alpha[later]
        travelled[active] = far + 2e-3
        active = active[alpha < 0.98]
    return first, color, behind, passed


def _soften_edges(
    scene: Scene, camera: Camera, view: View, lighting: Floats, ambient: Floats,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Average a few more rays into the pixels at outlines, in place."""
    item = view.item
    edge = np.zeros(item.shape, dtype=bool)
    step = np.abs(np.diff(np.nan_to_num(view.depth_m), axis=1)) > 0.05
    across = (item[:, 1:] != item[:, :-1]) | step
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    down = (item[1:] != item[:-1]) | (np.abs(np.diff(np.nan_to_num(view.depth_m), axis=0)) > 0.05)
    edge[1:] |= down
    edge[:-1] |= down
    rows = np.flatnonzero(edge)
    if not len(rows):
        return
    flat = view.light.reshape(-1, 3)
    total = flat[rows].copy()
    origin = camera.T_world_camera[:3, 3].astype(np.float32)
    angle = 1.0 / float(camera.intrinsics[0, 0])
    for _ in range(_EDGE_SAMPLES):
        rays = camera.rays_through(rows, rng.uniform(-0.5, 0.5, (len(rows), 2)))
        origins = np.broadcast_to(origin, rays.shape)
        hits, color, behind, passed = _layers(scene, origins, rays, angle, ambient)
        borrowed = _lighting_nearby(scene, hits, rows, view, lighting)
        total += _shine(scene, hits, color, borrowed) * (1 - passed[:, None]) + behind
    flat[rows] = total / (1 + _EDGE_SAMPLES)


def _without_specks(light: Floats) -> Floats:
    """Single pixels far darker or brighter than all four beside them come closer to those."""
    padded = np.pad(light, ((1, 1), (1, 1), (0, 0)), mode="edge")
    beside = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
    return np.asarray(np.clip(light, 0.7 * beside.min(axis=0), 1.4 * beside.max(axis=0)))


def _lighting_nearby(
    scene: Scene, hits: Hits, rows: NDArray[np.int64], view: View, lighting: Floats
) -> Floats:
    """(N, 3) lighting of the pixel next to each row that shows the same item."""
    height, width = view.item.shape
    wanted = np.where(hits.triangle >= 0, scene.instance[hits.triangle], -1)
    result = lighting[rows].copy()
    found = view.item.reshape(-1)[rows] == wanted
    y, x = np.divmod(rows, width)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)):
        near = np.clip(y + dy, 0, height - 1) * width + np.clip(x + dx, 0, width - 1)
        take = ~found & (view.item.reshape(-1)[near] == wanted)
        result[take] = lighting[near[take]]
        found |= take
    return result
