"""Tables and desks: a top on legs, columns, panels or drawers."""

from __future__ import annotations

import numpy as np

from geopurify_ros.train.rooms.built.parts import box, finish, legs, metal, rod, together, turned
from geopurify_ros.train.rooms.built.storage import dresser
from geopurify_ros.train.rooms.mesh import Material, Mesh
from geopurify_ros.train.rooms.textures import Rng


def _top(
    rng: Rng, width: float, depth: float, height: float, material: Material, is_round: bool
) -> Mesh:
    """A board, rectangular or round."""
    thick = float(rng.uniform(0.015, 0.05))
    if is_round:
        disc = [(0.0, 0.0), (0.5, 0.0), (0.5, thick), (0.0, thick)]
        round_top = turned(disc, material, 32)
        return round_top.moved(np.diag([width, depth, 1.0]), np.array([0, 0, height - thick]))
    return box(material, width, depth, thick, 0, 0, height - thick)


def _under(rng: Rng, width: float, depth: float, height: float, material: Material) -> list[Mesh]:
    """What carries a table: four legs, a column with a foot, two panels or two trestles."""
    kind = rng.random()
    if kind < 0.55:
        made = legs(material, width, depth, height, rng, float(rng.uniform(0.02, 0.1)))
        if rng.random() < 0.5:
            made.append(box(material, width - 0.14, depth - 0.14, 0.07, 0, 0, height - 0.07))
        return made
    if kind < 0.75 and max(width, depth) < 1.3:
        foot, thick = min(width, depth) * 0.3, float(rng.uniform(0.025, 0.07))
        return [turned([(foot, 0), (foot, 0.02), (thick, 0.06), (thick, height)], material)]
    x, made = width / 2 - 0.08, []
    if kind < 0.9:
        made = [box(material, 0.03, depth * 0.8, height, s * x) for s in (-1, 1)]
    else:
        for s in (-1, 1):
            for y in (-0.4, 0.4):
                made.append(
                    rod(
                        (s * x, y * depth, 0), (s * x, y * depth * 0.2, height), 0.025, material, 4
                    )
                )
    made.append(box(material, width - 0.16, 0.03, 0.06, 0, 0, height * 0.3))
    return made


def _table(rng: Rng, low: tuple[float, float, float], high: tuple[float, float, float]) -> Mesh:
    width, depth, height = rng.uniform(low, high).tolist()
    top = finish(rng)
    carrier = top if rng.random() < 0.6 else metal(rng) if rng.random() < 0.5 else finish(rng)
    is_round = abs(width - depth) < 0.3 and rng.random() < 0.6
    board = _top(rng, width, depth, height, top, is_round)
    if is_round:  # what carries it stands in the largest rectangle inside
        width, depth = 0.7 * width, 0.7 * depth
    made = [*_under(rng, width, depth, height - 0.02, carrier), board]
    if height < 0.55 and rng.random() < 0.4:
        made.append(box(top, width - 0.12, depth - 0.12, 0.02, 0, 0, height * 0.35))
    return together(made)


def table(rng: Rng) -> Mesh:
    """To eat at."""
    return _table(rng, (0.7, 0.65, 0.68), (2.2, 1.1, 0.8))


def coffee_table(rng: Rng) -> Mesh:
    """Low, often with a board below."""
    return _table(rng, (0.5, 0.4, 0.3), (1.3, 0.8, 0.52))


def desk(rng: Rng) -> Mesh:
    """A top over drawers at one side or both, or over legs and a panel."""
    width, depth, height = rng.uniform((0.9, 0.5, 0.68), (1.9, 0.85, 0.8)).tolist()
    top = finish(rng)
    side = top if rng.random() < 0.7 else finish(rng)
    made = [
        box(top, width, depth, 0.03, 0, 0, height - 0.03),
        box(side, width - 0.1, 0.02, 0.3, 0, depth / 2 - 0.05, height - 0.33),
    ]
    drawers = rng.random()
    for s in (-1, 1):
        if drawers < 0.3 or (drawers < 0.7 and s == 1):
            unit = dresser(rng)
            low, high = unit.bounds()
            size = np.array([min(0.45, width / 3), depth - 0.04, height - 0.03]) / (high - low)
            made.append(
                unit.moved(
                    np.diag(size.astype(np.float64)),
                    np.array([s * (width / 2 - min(0.225, width / 6)), 0, 0]),
                )
            )
        elif rng.random() < 0.5:
            made.append(box(side, 0.03, depth - 0.04, height - 0.03, s * (width / 2 - 0.03)))
        else:
            for y in (-1, 1):
                x, y_m = s * (width / 2 - 0.04), y * (depth / 2 - 0.04)
                made.append(rod((x, y_m, 0), (x, y_m, height - 0.03), 0.028, side, 4))
    return together(made)
