"""Meshes made here: quads, boxes, curtains, pillows, pictures, books, screens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.train.rooms.mesh import Floats, Material, Mesh, joined
from geopurify_ros.train.rooms.textures import (
    Rng,
    Texture,
    outdoors,
    painting,
    pattern,
    plain,
    random_color,
    screen,
    wood,
    wood_color,
)

Vector = NDArray[np.float64]


def matt(texture: Texture, gloss: float = 0.0, glow: float = 0.0) -> Material:
    """A material that shows a texture as it is."""
    return Material((1.0, 1.0, 1.0), texture=texture, gloss=gloss, glow=glow)


def painted(color: Floats, gloss: float = 0.0) -> Material:
    """A material of one colour, (3,) RGB 0..1."""
    red, green, blue = (float(c) for c in color)
    return Material((red, green, blue), gloss=gloss)


def quad(corner: Vector, a: Vector, b: Vector, material: Material, repeat: Vector) -> Mesh:
    """A parallelogram with edges a and b; its front is at a x b.

    Args:
        corner: (3,) where texture (0, 0) lies, metres.
        a: (3,) edge along which u grows.
        b: (3,) edge along which v grows.
        material: its only one.
        repeat: (2,) how often the texture repeats along a and b.
    """
    four = np.stack([corner, corner + a, corner + a + b, corner + b])
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * repeat
    order = np.array([[0, 1, 2], [0, 2, 3]])
    up = np.cross(a, b)
    normals = np.broadcast_to(up / np.linalg.norm(up), (2, 3, 3))
    return Mesh(
        four[order].astype(np.float32), normals.astype(np.float32), uv[order].astype(np.float32),
        np.zeros(2, np.int32), (material,),
    )  # fmt: skip


def block(low: Vector, high: Vector, material: Material, period_m: float = 1.0) -> Mesh:
    """An upright box between two corners, (3,) metres."""
    x, y, z = np.diag(np.subtract(high, low))
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    sides = [
        (low, x, z), (high - z, -x, z), (low + y, -y, z), (high - y - z, y, z),
        (low + z, x, y), (low, y, x),
    ]  # fmt: skip
    return joined([
        quad(c, a, b, material, np.array([np.linalg.norm(a), np.linalg.norm(b)]) / period_m)
        for c, a, b in sides
    ])


def picture(size_m: Vector, rng: Rng) -> Mesh:
    """A framed picture, back at y = 0, lower edge at z = 0; size_m is (width, height)."""
    width, height = size_m
    rim, deep = rng.uniform(0.01, 0.05), rng.uniform(0.01, 0.03)
    color = wood_color(rng) if rng.random() < 0.6 else random_color(rng, (0, 0.1), (0.02, 0.95))
    frame = block(np.array([-width / 2, -deep, 0]), np.array([width / 2, 0, height]),
                  painted(color, 0.3))
    canvas = quad(
        np.array([-width / 2 + rim, -deep - 0.002, rim]), np.array([width - 2 * rim, 0, 0]),
        np.array([0, 0, height - 2 * rim]), matt(painting(rng), 0.3 * rng.random()), np.ones(2),
    )  # fmt: skip
    return joined([frame, canvas])


def view_outside(width_m: float, height_m: float, rng: Rng) -> Mesh:
    """What shows through a window, at y = 0, lower edge at z = 0."""
    inset = 0.03
    return quad(
        np.array([-width_m / 2 + inset, -0.003, inset]), np.array([width_m - 2 * inset, 0, 0]),
        np.array([0, 0, height_m - 2 * inset]), matt(outdoors(rng), 0.3, rng.uniform(0.6, 4.0)),
        np.ones(2),
    )  # fmt: skip


def curtain(width_m: float, height_m: float, rng: Rng) -> Mesh:
    """Hanging folds around y = -0.06, lower edge at z = 0."""
    count = 48
    x = np.linspace(-width_m / 2, width_m / 2, count + 1)
    folds, phase = rng.uniform(8, 20), rng.uniform(0, 6)
    y = -0.06 + 0.04 * np.sin(x / width_m * folds * 2 + phase) * rng.uniform(0.6, 1)
    cloth = pattern(rng) if rng.random() < 0.5 else plain(rng, random_color(rng))
    material = matt(cloth)
    up = np.array([0, 0, height_m])
    strips = []
    for k in range(count):
        strip = quad(np.array([x[k], y[k], 0]), np.array([x[k + 1] - x[k], y[k + 1] - y[k], 0]),
                     up, material, np.array([1 / count, 1.0]))
        uv = strip.uv + np.array([k / count, 0], np.float32)
        strips.append(Mesh(strip.points, strip.normals, uv, strip.material, strip.materials))
    return joined(strips)


def pillow(size_m: Vector, rng: Rng) -> Mesh:
    """A cushion that lies at z = 0; size_m is (width, depth, height)."""
    n = 12
    u, v = np.meshgrid(np.linspace(-1, 1, n + 1), np.linspace(-1, 1, n + 1), indexing="ij")
    bulge = ((1 - u**4) * (1 - v**4)) ** 0.5
    half = np.asarray(size_m) / 2
    cloth = pattern(rng) if rng.random() < 0.4 else plain(rng, random_color(rng))
    sides = []
    for side in (1, -1):
        grid = np.stack([u * half[0], v * half[1], half[2] + side * bulge * half[2]], axis=-1)
        coordinates = np.stack([u, v], axis=-1) / 2 + 0.5
        index = np.array([[0, n + 1, n + 2], [0, n + 2, 1]])
        corner = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).reshape(-1, 1, 1)
        triangles = (corner + index).reshape(-1, 3)
        points = grid.reshape(-1, 3)[triangles]
        middle = points - np.array([0, 0, half[2]])
        normals = middle / (half**2 + 1e-6)
        normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
        sides.append(Mesh(
            points.astype(np.float32), normals.astype(np.float32),
            coordinates.reshape(-1, 2)[triangles].astype(np.float32),
            np.zeros(len(points), np.int32), (matt(cloth),),
        ))  # fmt: skip
    return joined(sides)


def books(width_m: float, rng: Rng) -> Mesh:
    """A row of books that stand side by side, or a pile; centred, on z = 0, spines to -y."""
    parts = []
    if rng.random() < 0.3:
        z = 0.0
        for _ in range(int(rng.integers(1, 6))):
            thick, w, d = rng.uniform(0.01, 0.04), rng.uniform(0.12, 0.22), rng.uniform(0.16, 0.28)
            cover = painted(random_color(rng), 0.2)
            parts.append(block(np.array([-w / 2, -d / 2, z]), np.array([w / 2, d / 2, z + thick]),
                               cover))
            z += thick
        return joined(parts)
    x = -width_m / 2
    while x < width_m / 2 - 0.012:
        thick = min(rng.uniform(0.012, 0.05), width_m / 2 - x)
        tall, deep = rng.uniform(0.17, 0.29), rng.uniform(0.12, 0.2)
        parts.append(block(np.array([x, -0.1, 0]), np.array([x + thick, deep - 0.1, tall]),
                           painted(random_color(rng, (0, 0.9)), 0.2)))
        x += thick + 0.001
    return joined(parts)


def display(width_m: float, rng: Rng) -> Mesh:
    """A flat monitor or television on a foot; on or off."""
    height = width_m * rng.uniform(0.54, 0.65)
    foot = rng.uniform(0.05, 0.15)
    dark = painted(random_color(rng, (0, 0.1), (0.02, 0.25)), 0.4)
    side = width_m / 2
    body = block(np.array([-side, -0.02, foot]), np.array([side, 0.02, foot + height]), dark)
    stand = block(np.array([-0.03, -0.01, 0.01]), np.array([0.03, 0.03, foot]), dark)
    plate = block(np.array([-width_m / 6, -0.08, 0]), np.array([width_m / 6, 0.1, 0.012]), dark)
    is_on = rng.random() < 0.5
    color = random_color(rng, (0, 0.1), (0.01, 0.08))
    face = matt(screen(rng), 0.3, 1.2) if is_on else painted(color, 0.9)
    rim = rng.uniform(0.005, 0.02)
    glass = quad(np.array([-width_m / 2 + rim, -0.022, foot + rim]),
                 np.array([width_m - 2 * rim, 0, 0]), np.array([0, 0, height - 2 * rim]), face,
                 np.ones(2))
    return joined([body, stand, plate, glass])


def board(size_m: Vector, rng: Rng) -> Mesh:
    """A whiteboard, back at y = 0; size_m is (width, height)."""
    width, height = size_m
    face = painted(np.full(3, rng.uniform(0.8, 0.95)), 0.4)
    return block(np.array([-width / 2, -0.025, 0]), np.array([width / 2, 0, height]), face)


def rack(size_m: Vector, rng: Rng) -> Mesh:
    """Shelves: two sides, boards and mostly a back; front at -y; size_m (width, depth, height)."""
    width, depth, height = size_m
    material = matt(wood(rng, wood_color(rng)), 0.2 * rng.random())
    thick = 0.02
    x, y = width / 2, depth / 2
    parts = [
        block(np.array([-x, -y, 0]), np.array([-x + thick, y, height]), material),
        block(np.array([x - thick, -y, 0]), np.array([x, y, height]), material),
    ]
    if rng.random() < 0.7:
        parts.append(block(np.array([-x, y - 0.01, 0]), np.array([x, y, height]), material))
    num_boards = max(2, round(height / rng.uniform(0.28, 0.42)) + 1)
    for z in np.linspace(0.04, height - thick, num_boards):
        low = np.array([-x + thick, -y, z])
        parts.append(block(low, np.array([x - thick, y - 0.01, z + thick]), material))
    return joined(parts)


def rug(size_m: Vector, rng: Rng) -> Mesh:
    """A carpet on z = 0; size_m is (width, depth)."""
    width, depth = size_m
    cloth = pattern(rng) if rng.random() < 0.7 else plain(rng, random_color(rng), 0.1)
    low, high = np.array([-width / 2, -depth / 2, 0.001]), np.array([width / 2, depth / 2, 0.009])
    return block(low, high, matt(cloth), float(rng.uniform(0.5, 1)) * max(width, depth))
