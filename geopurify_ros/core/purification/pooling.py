"""Geometry-guided pooling (GeoPurify, METHODS 1.9): features diffuse along similar neighbours.

F <- A F, T times, where A is a row-stochastic affinity between neighbouring voxels. Everything is
linear in F, so class scores can be pooled in place of features (METHODS 1.15a): L prompts instead
of D channels, with the same arg-max.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from geopurify_ros.core.mapping.scatter import bag_sum
from geopurify_ros.core.pauses import Pause, no_pause
from geopurify_ros.core.purification.affinity import Affinity
from geopurify_ros.errors import expect_shape

Needed = Callable[[int], int]  # round of pooling -> rows that are wanted after it
# Rows that are summed in one call on a CPU: what they gather and write stays in the cache, and a
# small result takes no fresh pages from the system (twice the time, for a large one).
_ROWS_AT_ONCE = 8192


def pool(
    values: Tensor,  # (V, C)
    affinity: Affinity,
    iterations: int,
    needed: Needed | None = None,
    pause: Pause = no_pause,
) -> Tensor:  # (V, C)
    """A applied to F `iterations` times: rounds of averaging over neighbours.

    C is D for purified features, or a few channels of text scores. Fastest where voxels that are
    near each other have rows near each other, see `spatial_order`.

    Args:
        values: F.
        affinity: A.
        iterations: T.
        needed: how many of the first rows are wanted after round t = 0, 1, ..., never more than
            the round before; the others stay as they are from then on. None: all.
        pause: between rounds, and within them.
    """
    expect_shape(values, (len(affinity), None), "values to pool")
    rounds = _Rounds(affinity, values)
    for t in range(iterations):
        rounds.go(len(affinity) if needed is None else needed(t), pause)
    return rounds.values


class _Rounds:
    """Two buffers that take turns."""

    def __init__(self, affinity: Affinity, values: Tensor) -> None:
        self.values = values
        self._given = values  # never written
        self._spare: Tensor | None = None
        self._num_live = len(affinity)
        self._num_neighbors = affinity.index.shape[1]
        self._columns = affinity.index.reshape(-1)
        self._weights = affinity.weight.to(values.dtype).reshape(-1)
        self._size = max(1, _ROWS_AT_ONCE if values.device.type == "cpu" else len(affinity))
        self._starts = torch.arange(
            0, self._size * self._num_neighbors, self._num_neighbors, dtype=self._columns.dtype,
            device=values.device,
        )  # fmt: skip

    def go(self, num_rows: int, pause: Pause) -> None:
        """One round for the first `num_rows` rows."""
        out = torch.empty_like(self.values) if self._spare is None else self._spare
        for first in range(0, num_rows, self._size):
            last = min(first + self._size, num_rows)
            entries = slice(first * self._num_neighbors, last * self._num_neighbors)
            out[first:last] = bag_sum(
                self.values, self._columns[entries], self._starts[: last - first],
                self._weights[entries],
            )  # fmt: skip
            pause()
        frozen = slice(num_rows, len(out) if self._spare is None else self._num_live)
        out[frozen] = self.values[frozen]
        self._spare = None if self.values is self._given else self.values
        self.values, self._num_live = out, num_rows


def pool_observations(
    values: Tensor,  # (V, C)
    pixels: Tensor,  # (V,)
    affinity: Affinity,
    iterations: int,
) -> Tensor:  # (V, C)
    """`pool`, where a voxel weighs as many pixels as it was seen by.

    The result is a mean over observations (normalised convolution), not over voxels. Voxels
    beyond the rows of the affinity are newer than it and stay as they are.
    """
    known = len(affinity)
    weight = pixels[:known, None].clamp_min(1.0)
    pooled = pool(torch.cat((values[:known] * weight, weight), dim=1), affinity, iterations)
    mean = pooled[:, :-1] / pooled[:, -1:]
    return torch.cat((mean, values[known:])) if len(values) > known else mean
