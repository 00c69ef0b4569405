"""Parts of built furniture: blocks, rods, turned and drawn-out shapes, and what they are made of.

Everything stands on z = 0 with its front to -y; lengths are metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from geopurify_ros.train.rooms.mesh import Floats, Material, Mesh, joined
from geopurify_ros.train.rooms.shapes import block, matt, painted
from geopurify_ros.train.rooms.textures import Rng, pattern, plain, random_color, wood, wood_color


def box(
    material: Material, width: float, depth: float, height: float,
    x: float = 0.0, y: float = 0.0, z: float = 0.0,
) -> Mesh:  # fmt: skip
    """An upright block: the middle of its footprint at (x, y), its lower side at z."""
    half = np.array([width / 2, depth / 2, 0.0])
    low = np.array([x, y, z]) - half
    return block(low, low + np.array([width, depth, height]), material)


def turned(
    profile: Sequence[tuple[float, float]], material: Material, sides: int = 20,
    at: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Mesh:  # fmt: skip
    """A solid of revolution around an upright axis through `at`.

    Args:
        profile: (radius, z) from below to above along the outside.
        material: its only one.
        sides: of the polygon that stands for the circle.
        at: where radius 0, z 0 comes to lie.
    """
    line = np.asarray(profile, dtype=np.float64)
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.empty((len(line), sides + 1, 3))
    points[..., :2] = line[:, None, :1] * ring
    points[..., 2] = line[:, 1:]
    along = np.diff(line, axis=0)
    across = np.stack([along[:, 1], -along[:, 0]], axis=1)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    normals = np.empty((len(along), sides + 1, 3))
    normals[..., :2] = across[:, None, :1] * ring
    normals[..., 2] = across[:, 1:]
    return _grid(points + np.asarray(at), normals, material)


def rod(
    start: Sequence[float], end: Sequence[float], radius: float, material: Material,
    sides: int = 6, end_radius: float | None = None,
) -> Mesh:  # fmt: skip
    """A straight round or, with four sides, square bar between two points, (3,) each.

    Its ends are open, and a square one is shaded as if it were round.
    """
    a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    along = (b - a) / max(float(np.linalg.norm(b - a)), 1e-9)
    side = np.cross(along, [1.0, 0, 0] if abs(along[0]) < 0.9 else [0, 1.0, 0])
    side /= np.linalg.norm(side)
    angle = np.linspace(0, 2 * np.pi, sides + 1) + np.pi / 4
    ring = np.outer(np.cos(angle), side) + np.outer(np.sin(angle), np.cross(along, side))
    far = radius if end_radius is None else end_radius
    points = np.stack([a + radius * ring, b + far * ring])
    return _grid(points, ring[None], material)


def drawn_out(
    profile: Sequence[tuple[float, float]], width: float, material: Material,
    ends: Material | None = None,
) -> Mesh:  # fmt: skip
    """A convex outline in the (y, z) plane, counter-clockwise, drawn out along x."""
    line = np.asarray([*profile, profile[0]], dtype=np.float64)
    left = np.column_stack([np.full(len(line), -width / 2), line])
    right = left + np.array([width, 0, 0])
    edge = np.diff(line, axis=0)
    normals = np.column_stack([np.zeros(len(edge)), edge[:, 1], -edge[:, 0]])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    points = np.stack([left, right], axis=1)
    shell = _grid(points, np.repeat(normals[:, None], 2, axis=1), material)
    fans = []
    for side, sign in ((left, -1.0), (right, 1.0)):
        middle = side[:-1].mean(axis=0)
        fan = np.stack([np.broadcast_to(middle, side[1:].shape), side[:-1], side[1:]], axis=1)
        fans.append(_triangles(fan, np.tile([sign, 0.0, 0.0], (len(fan), 3, 1)), ends or material))
    return together([shell, *fans])


def together(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of several; a material that they share is kept once, to be repainted as one."""
    whole = joined([*meshes])
    kinds = {id(material): material for material in whole.materials}
    places = {key: place for place, key in enumerate(kinds)}
    table = np.array([places[id(material)] for material in whole.materials], dtype=np.int32)
    return replace(whole, material=table[whole.material], materials=tuple(kinds.values()))


def legs(
    material: Material, width: float, depth: float, height: float, rng: Rng,
    inset: float = 0.04,
) -> list[Mesh]:  # fmt: skip
    """Four legs under a rectangle: square or round, upright or splayed, thinner below or not."""
    radius = float(rng.uniform(0.018, 0.045)) * 0.7
    sides = 4 if rng.random() < 0.6 else 8
    below = radius * float(rng.uniform(0.5, 1.0))
    splay = float(rng.uniform(0, 0.06)) if rng.random() < 0.4 else 0.0
    corners = [(sx, sy) for sx in (-1, 1) for sy in (-1, 1)]
    x, y = max(width / 2 - inset - splay, radius), max(depth / 2 - inset - splay, radius)
    return [
        rod(
            (sx * (x + splay), sy * (y + splay), 0),
            (sx * x, sy * y, height),
            below,
            material,
            sides,
            radius,
        )
        for sx, sy in corners
    ]


def finish(rng: Rng) -> Material:
    """What furniture is made of: wood, pale paint, now and then a strong colour."""
    chance = rng.random()
    gloss = 0.3 * float(rng.random())
    if chance < 0.55:
        return matt(wood(rng, wood_color(rng)), gloss)
    color = random_color(rng, (0, 0.12), (0.6, 0.97)) if chance < 0.85 else random_color(rng)
    return painted(color, gloss)


def metal(rng: Rng) -> Material:
    """Steel, chrome or black iron."""
    return painted(random_color(rng, (0, 0.08), (0.1, 0.9)), float(rng.uniform(0.2, 0.9)))


def enamel(rng: Rng) -> Material:
    """The skin of household machines: white, steel, black, seldom a colour."""
    chance = rng.random()
    value = (0.85, 0.98) if chance < 0.55 else (0.4, 0.7) if chance < 0.8 else (0.03, 0.15)
    colour = random_color(rng, (0, 0.06), value) if chance < 0.92 else random_color(rng)
    return painted(colour, float(rng.uniform(0.1, 0.5)))


def cloth(rng: Rng) -> Material:
    """Upholstery: of one colour or with a pattern."""
    return matt(pattern(rng) if rng.random() < 0.25 else plain(rng, random_color(rng), 0.06))


def dark(rng: Rng) -> Material:
    """Black glass, rubber, slots."""
    return painted(random_color(rng, (0, 0.2), (0.02, 0.15)), float(rng.uniform(0, 0.6)))


def random_size(
    rng: Rng, low: tuple[float, float, float], high: tuple[float, float, float]
) -> tuple[float, float, float]:
    """(width, depth, height) between two others."""
    width, depth, height = rng.uniform(low, high).tolist()
    return (width, depth, height)


def disc(x: float, y: float, z: float, radius: float, thick: float, material: Material) -> Mesh:
    """A round plate that looks to -y."""
    flat = turned([(0.0, 0.0), (radius, 0.0), (radius, thick), (0.0, thick)], material, 20)
    # its axis, z, comes to lie along -y
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    return flat.moved(turn, np.array([x, y, z]))


def _grid(points: Floats, normals: Floats, material: Material) -> Mesh:
    """Quads between neighbouring rows and columns of points (R, C, 3).

    Args:
        points: R rows.
        normals: (R - 1, C, 3) of the strips between them.
        material: its only one.
    """
    rows, columns = points.shape[:2]
    index = np.array([[0, 0], [0, 1], [1, 1], [0, 0], [1, 1], [1, 0]])
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    at_row = row.reshape(-1, 1) + index[:, 0]
    at_column = column.reshape(-1, 1) + index[:, 1]
    normals = np.broadcast_to(normals, (rows - 1, columns, 3))[row.reshape(-1, 1), at_column]
    uv = np.stack([at_column / max(columns - 1, 1), at_row / max(rows - 1, 1)], axis=-1)
    return _triangles(
        points[at_row, at_column].reshape(-1, 3, 3), normals.reshape(-1, 3, 3), material,
        uv.reshape(-1, 3, 2),
    )  # fmt: skip


def _triangles(
    points: Floats, normals: Floats, material: Material, uv: Floats | None = None
) -> Mesh:
    if uv is None:
        uv = points[..., 1:]
    return Mesh(
        points.astype(np.float32), normals.astype(np.float32), uv.astype(np.float32),
        np.zeros(len(points), np.int32), (material,),
    )  # fmt: skip
