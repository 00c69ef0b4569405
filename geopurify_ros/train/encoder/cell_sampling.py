"""Which cells of a batch of maps a training step looks at, and what the maps hold there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding

CELLS = 4096  # of a batch that the loss looks at
_LEFT_OUT_NAMES = 0.3  # share of the wrong names that a step does without


def flat(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (B * h * w, C)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def cells_at(maps: Tensor, picks: Tensor) -> Tensor:
    """(K, C) of `flat` of the maps, with a gradient that is summed in a fixed order.

    That of an index is summed as threads come: a resumed training would be another one.
    """
    return embedding(picks, flat(maps))


def enlarged_at(maps: Tensor, size: tuple[int, int], picks: Tensor) -> Tensor:
    """What `flat` of the maps holds in some cells once they are enlarged, bilinear.

    All cells would be sixteen times as many as a step looks at.

    Args:
        maps: (B, C, h, w).
        size: they are enlarged to.
        picks: (K,) of its B * size[0] * size[1] cells.

    Returns:
        (K, C).
    """
    height, width = maps.shape[2:]
    above, below, down = _between(picks // size[1] % size[0], size[0], height)
    left, right, across = _between(picks % size[1], size[1], width)
    first = picks // (size[0] * size[1]) * height  # row of the image
    upper, lower = (
        torch.lerp(
            cells_at(maps, (first + row) * width + left),
            cells_at(maps, (first + row) * width + right), across,
        )
        for row in (above, below)
    )  # fmt: skip
    return torch.lerp(upper, lower, down)


def _between(where: Tensor, count: int, cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two of `cells` that position `where` of `count` lies between, and how far, (K, 1)."""
    at = ((where + 0.5) * (cells / count) - 0.5).clamp(0, cells - 1)
    low = at.long()
    return low, (low + 1).clamp(max=cells - 1), (at - low)[:, None]


def balanced(rows: Tensor, weight: Tensor, rng: np.random.Generator) -> Tensor:
    """(CELLS,) random cells of a known class, the rare classes more often.

    Args:
        rows: (N,) class of each cell, -1 = none.
        weight: (C,) of the classes.
        rng: decides.
    """
    chance = torch.where(rows >= 0, weight[rows.clamp(min=0)], 0).double().cumsum(0)
    draws = torch.from_numpy(rng.random(CELLS)) * chance[-1]
    return torch.searchsorted(chance, draws, right=True).clamp(max=len(rows) - 1)


def left_out(present: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """(count,) names that are no choice in this step; never one of a class that is present."""
    out = torch.from_numpy(rng.random(count) < _LEFT_OUT_NAMES)
    out[present] = False
    return out
