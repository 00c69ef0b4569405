"""Cupboards from boards: bodies with doors, drawers and open compartments."""

from __future__ import annotations

import numpy as np

from geopurify_ros.train.rooms.built.parts import (
    box,
    dark,
    enamel,
    finish,
    legs,
    metal,
    random_size,
    rod,
    together,
)
from geopurify_ros.train.rooms.mesh import Material, Mesh
from geopurify_ros.train.rooms.shapes import books, painted
from geopurify_ros.train.rooms.textures import Rng, random_color

_BOARD_M = 0.018


def _handle(kind: int, width: float, height: float, is_door: bool, right: bool,
            material: Material, at: tuple[float, float, float]) -> Mesh:  # fmt: skip
    """A knob or a bar on a door or drawer whose middle is `at`."""
    x, y, z = at
    if is_door:
        x += (0.5 if right else -0.5) * (width - 0.09)
    long = min(0.5 * height, 0.25) if is_door else min(0.5 * width, 0.3)
    if kind == 0:
        return rod((x, y, z), (x, y - 0.025, z), 0.013, material, 8)
    step = np.array([0, 0, long / 2] if is_door else [long / 2, 0, 0])
    middle = np.array([x, y - 0.02, z])
    return rod(middle - step, middle + step, 0.007, material, 4 if kind == 1 else 6)


def _front(width: float, height: float, y: float, z: float, columns: int,
           rows: list[tuple[str, float]], front: Material, rng: Rng) -> list[Mesh]:  # fmt: skip
    """Doors and drawers on the plane y; `rows` from above: (kind, share of the height)."""
    gap, kind, steel = float(rng.uniform(0.003, 0.008)), int(rng.integers(0, 4)), metal(rng)
    total, top, made = sum(share for _, share in rows), z + height, []
    pane = painted(random_color(rng, (0, 0.1), (0.3, 0.8)), 0.9)
    raised = rng.random() < 0.35
    for what, share in rows:
        tall = height * share / total
        top -= tall
        for column in range(columns):
            w = width / columns
            x = -width / 2 + (column + 0.5) * w
            if what == "open":
                continue
            face = pane if what == "glass" else front
            made.append(box(face, w - gap, _BOARD_M, tall - gap, x, y - _BOARD_M / 2, top))
            if raised and what in ("door", "drawer") and min(w, tall) > 0.16:
                made.append(
                    box(front, w - 0.12, 0.008, tall - 0.12, x, y - _BOARD_M - 0.004, top + 0.06)
                )
            if kind < 3:
                is_door = what != "drawer"
                right = column % 2 == 0 if columns > 1 else bool(rng.random() < 0.5)
                made.append(
                    _handle(
                        kind, w, tall, is_door, right, steel, (x, y - _BOARD_M, top + tall / 2)
                    )
                )
    return made


def _body(width: float, depth: float, height: float, z: float, material: Material,
          columns: int, boards: list[float]) -> list[Mesh]:  # fmt: skip
    """Sides, top, bottom, back, uprights between columns and boards at the given heights."""
    t = _BOARD_M
    made = [box(material, width, t, height, 0, depth / 2 - t / 2, z)]
    for column in range(columns + 1):
        x = -width / 2 + t / 2 + column * (width - t) / columns
        made.append(box(material, t, depth, height, x, 0, z))
    for at in (z, z + height - t, *boards):
        made.append(box(material, width, depth - t, t, 0, -t / 2, at))
    return made


def _cupboard(size: tuple[float, float, float], columns: int, rows: list[tuple[str, float]],
              rng: Rng, skin: Material | None = None, top: bool = False) -> Mesh:  # fmt: skip
    """A body with a front on a plinth, on legs or on the floor."""
    width, depth, height = size
    body = skin or finish(rng)
    front = body if rng.random() < 0.65 else finish(rng)
    under = rng.random()
    z = 0.0 if under < 0.3 else float(rng.uniform(0.05, 0.18))
    z = min(z, 0.3 * height)
    made: list[Mesh] = []
    if under >= 0.65:
        made += legs(metal(rng) if rng.random() < 0.4 else body, width, depth, z, rng)
    elif z:
        made.append(box(dark(rng), width - 0.02, depth - 0.08, z, 0, 0.03))
    if top:
        t = float(rng.uniform(0.02, 0.05))
        height -= t
        over = float(rng.uniform(0, 0.04))
        made.append(box(finish(rng), width + over, depth + over, t, 0, 0, height))
    total, boards, at = sum(s for _, s in rows), [], height
    for _, share in rows[:-1]:
        at -= (height - z) * share / total
        boards.append(at - _BOARD_M / 2)
    made += _body(width, depth, height - z, z, body, columns, boards)
    made += _front(width, height - z, -depth / 2, z, columns, rows, front, rng)
    return together(made)


def wardrobe(rng: Rng) -> Mesh:
    """Tall, with two to four doors and perhaps drawers or a cupboard above."""
    size = random_size(rng, (0.7, 0.45, 1.6), (2.2, 0.68, 2.35))
    rows: list[tuple[str, float]] = [("door", 1.0)]
    if rng.random() < 0.35:
        rows += [("drawer", 0.18)] * int(rng.integers(1, 3))
    if rng.random() < 0.2:
        rows = [("door", 0.3), *rows]
    return _cupboard(size, max(2, round(size[0] / rng.uniform(0.42, 0.6))), rows, rng)


def dresser(rng: Rng) -> Mesh:
    """Drawers above each other, in one to three columns."""
    size = random_size(rng, (0.5, 0.38, 0.65), (1.5, 0.55, 1.3))
    columns = 1 if size[0] < 0.8 else int(rng.integers(1, 4))
    rows = [("drawer", float(rng.uniform(0.8, 1.2))) for _ in range(int(rng.integers(3, 7)))]
    return _cupboard(size, columns, rows, rng, top=bool(rng.random() < 0.5))


def nightstand(rng: Rng) -> Mesh:
    """Low and narrow, a drawer or two, open or closed below."""
    size = random_size(rng, (0.32, 0.3, 0.38), (0.58, 0.46, 0.68))
    below = [("drawer", 1.0), ("open", 1.2), ("door", 1.3)][int(rng.integers(3))]
    return _cupboard(size, 1, [("drawer", 1.0), below], rng, top=bool(rng.random() < 0.4))


def tv_stand(rng: Rng) -> Mesh:
    """Long and low."""
    size = random_size(rng, (0.9, 0.33, 0.32), (2.0, 0.52, 0.62))
    kinds = ["drawer", "door", "open", "glass"]
    rows = [
        (str(rng.choice(kinds)), float(rng.uniform(0.5, 1))) for _ in range(rng.integers(1, 3))
    ]
    return _cupboard(size, int(rng.integers(2, 4)), rows, rng)


def cabinet(rng: Rng) -> Mesh:
    """Of a kitchen or a living room: doors, drawers above them, a worktop."""
    size = random_size(rng, (0.4, 0.35, 0.7), (1.3, 0.65, 1.0))
    rows = [("door", 1.0)]
    if rng.random() < 0.5:
        rows = [("drawer", 0.25), *rows]
    return _cupboard(size, max(1, round(size[0] / rng.uniform(0.4, 0.6))), rows, rng, top=True)


def wall_cabinet(rng: Rng) -> Mesh:
    """Hangs: doors of wood or glass, no feet."""
    width, depth, height = random_size(rng, (0.35, 0.26, 0.32), (1.4, 0.4, 0.95))
    body = finish(rng)
    columns = max(1, round(width / rng.uniform(0.35, 0.55)))
    kind = str(rng.choice(["door", "door", "door", "glass"]))
    rows = [(kind, 1.0)] if rng.random() < 0.7 else [(kind, 1.0), ("open", 0.4)]
    front = body if rng.random() < 0.7 else finish(rng)
    made = _body(width, depth, height, 0, body, columns, [])
    return together([*made, *_front(width, height, -depth / 2, 0, columns, rows, front, rng)])


def kitchen_island(rng: Rng) -> Mesh:
    """A counter with a wide top."""
    width, depth, height = random_size(rng, (1.0, 0.6, 0.82), (2.3, 1.1, 0.98))
    body, t = finish(rng), float(rng.uniform(0.03, 0.06))
    over = float(rng.uniform(0.02, 0.25))
    made = [
        box(body, width - over, depth - over, height - t),
        box(finish(rng), width, depth, t, 0, 0, height - t),
    ]
    made += _front(
        width - over,
        height - t - 0.1,
        -(depth - over) / 2,
        0.1,
        int(rng.integers(2, 5)),
        [("drawer", 0.3), ("door", 1.0)],
        body,
        rng,
    )
    return together(made)


def filing_cabinet(rng: Rng) -> Mesh:
    """Narrow drawers under each other."""
    size = random_size(rng, (0.36, 0.42, 0.55), (0.55, 0.66, 1.4))
    rows = [("drawer", 1.0)] * max(2, round(size[2] / 0.33))
    return _cupboard(size, 1, rows, rng, enamel(rng))


def bookshelf(rng: Rng) -> Mesh:
    """Sides, a back and boards, with rows of books."""
    width, depth, height = random_size(rng, (0.5, 0.22, 0.8), (1.4, 0.38, 2.2))
    board, columns = finish(rng), int(rng.integers(1, 4)) if rng.random() < 0.5 else 1
    count = max(2, round(height / rng.uniform(0.28, 0.4)))
    step = height / count
    made = _body(width, depth, height, 0, board, columns, [k * step for k in range(1, count)])
    for k in range(count):
        if rng.random() < 0.6:
            row = books(float(rng.uniform(0.3, 0.9) * (width - 0.08)), rng)
            tall = min(1.0, (step - 0.03) / 0.29)
            made.append(row.moved(np.diag([1, 1, tall]), np.array([0, 0, k * step + _BOARD_M])))
    return together(made)
