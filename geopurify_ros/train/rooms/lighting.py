"""How light falls on the surfaces of a room: lamps, surroundings, reflections, and smoothing."""

from __future__ import annotations

import numpy as np

from geopurify_ros.train.rooms.mesh import Floats
from geopurify_ros.train.rooms.scene import Hits, Light, Scene


def lamps(
    scene: Scene, points: Floats, normal: Floats, lights: list[Light], draws: Floats
) -> Floats:
    """(N, 3) irradiance of one lamp per point, drawn at random, with a soft shadow."""
    if not lights:
        return np.zeros_like(points)
    scaled = draws[:, 0] * len(lights)
    chosen = np.minimum(scaled.astype(np.int64), len(lights) - 1)
    spread = 2 * np.stack([scaled - chosen, draws[:, 1]])[..., None] - 1

    def column(name: str) -> Floats:
        return np.stack([getattr(light, name) for light in lights])[chosen]

    target = column("center") + spread[0] * column("edge_a") + spread[1] * column("edge_b")
    ray = target - points
    distance = np.maximum(np.linalg.norm(ray, axis=1), 0.05)
    ray /= distance[:, None]
    incidence = np.maximum((ray * normal).sum(axis=1), 0)
    facing = column("normal")
    has_side = (facing != 0).any(axis=1)
    exit_cosine = np.where(has_side, np.maximum(-(ray * facing).sum(axis=1), 0), 1.0)
    strength = incidence * exit_cosine / np.maximum(distance, 0.3) ** 2
    useful = strength > 1e-5
    blocked = np.ones(len(points), dtype=bool)
    blocked[useful] = scene.is_blocked(points[useful], ray[useful], distance[useful] - 0.12)
    strength = np.where(blocked, 0, strength) * len(lights)
    return np.asarray(column("power") * strength[:, None], dtype=np.float32)


def surroundings(
    scene: Scene, points: Floats, normal: Floats, ambient: Floats, draws: Floats
) -> Floats:
    """(N, 3) light from one random direction above each surface, coloured by what is there."""
    turn, up = 2 * np.pi * draws[:, 0], 2 * draws[:, 1] - 1
    flat = np.sqrt(1 - up * up)
    ray = np.stack([flat * np.cos(turn), flat * np.sin(turn), up], axis=1)
    ray = normal + 0.999 * ray  # cosine distribution
    ray = (ray / np.linalg.norm(ray, axis=1, keepdims=True)).astype(np.float32)
    return _glimpse(scene, scene.cast(points, ray), ambient)


def samples(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """(H * W, 2) in 0..1: every 4x4 pixels share one of each of 16 cells, so that they smooth."""
    height, width = shape
    tiles = (-(-height // 4), -(-width // 4))
    order = np.argsort(rng.random((*tiles, 16)), axis=-1).reshape(*tiles, 4, 4)
    cell = order.transpose(0, 2, 1, 3).reshape(tiles[0] * 4, tiles[1] * 4)[:height, :width]
    corner = np.stack(np.divmod(cell.reshape(-1), 4), axis=1)
    return ((corner + rng.random((height * width, 2))) / 4).astype(np.float32)


def _glimpse(scene: Scene, hits: Hits, ambient: Floats) -> Floats:
    """(N, 3) roughly the light that comes from hits: their mean colour, dimmer close by."""
    material = scene.material[hits.triangle]
    distance = np.minimum(hits.distance_m, 100.0)
    open_sky = distance / (distance + 0.25)
    light = scene.mean_color[material] * 0.8 + 0.2
    light = light * (1.5 * ambient * open_sky[:, None])
    light += scene.mean_color[material] * np.minimum(scene.glow[material], 2.0)[:, None]
    return np.asarray(np.where(hits.triangle[:, None] >= 0, light, ambient), dtype=np.float32)


def mirrored(
    scene: Scene, points: Floats, directions: Floats, normal: Floats, hits: Hits, ambient: Floats
) -> Floats:
    """(N, 3) reflections on glossy surfaces."""
    gloss = scene.gloss[scene.material[hits.triangle]]
    result = np.zeros_like(points)
    glossy = np.flatnonzero(gloss > 0.05)
    if len(glossy):
        ray, up = directions[glossy], normal[glossy]
        cosine = -(ray * up).sum(axis=1, keepdims=True)
        fresnel = 0.04 + 0.96 * (1 - np.clip(cosine, 0, 1)) ** 5
        seen = scene.cast(points[glossy], ray + 2 * cosine * up)
        result[glossy] = _glimpse(scene, seen, ambient) * fresnel * gloss[glossy, None]
    return result


def smoothed(light: Floats, normal: Floats, depth: Floats) -> Floats:
    """(H, W, 3) mean over neighbours on the same surface, in three growing rounds."""
    depth = np.nan_to_num(depth, nan=1e3).astype(np.float32)
    for step in (1, 2, 4):
        total, weights = light.copy(), np.ones((*depth.shape, 1), np.float32)
        for dy in (-step, 0, step):
            for dx in (-step, 0, step):
                if dx or dy:
                    _add_neighbour(total, weights, light, normal, depth, dy, dx)
        light = total / weights
    return light


def _add_neighbour(
    total: Floats, weights: Floats, light: Floats, normal: Floats, depth: Floats, dy: int, dx: int
) -> None:
    height, width = depth.shape
    here = (slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx)))
    there = (slice(max(0, dy), height - max(0, -dy)), slice(max(0, dx), width - max(0, -dx)))
    alike = np.einsum("hwd,hwd->hw", normal[here], normal[there])
    near = np.abs(depth[here] - depth[there]) < 0.04 * depth[here] * max(abs(dy), abs(dx)) ** 0.5
    weight = (np.maximum(alike, 0) ** 8 * near)[..., None].astype(np.float32)
    total[here] += light[there] * weight
    weights[here] += weight
