"""What a purification leaves: pooled features in few directions, which answer any text.

Rows are of length one, so that a cosine is one product: a query pools nothing (METHODS 1.9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.purification.affinity import Affinity
from geopurify_ros.core.purification.basis import FeatureBasis
from geopurify_ros.core.purification.gate import Effect
from geopurify_ros.core.purification.pooling import Needed, pool

_ROWS_AT_ONCE = 1024  # that are read together: fastest on one AVX2 thread
_LEAST_COLUMNS = 32  # that are pooled together, and numbers where there are few rows: 64 MB
_NUMBERS_AT_ONCE = 1 << 24
_LEAST_LENGTH = 1e-6
IsUnwanted = Callable[[], bool]  # whether a result is not waited for any more


@dataclass(frozen=True)
class Purified:
    """The purified features of the V0 voxels that a map had; its later ones are not in it.

    Attributes:
        basis: what the rows are in.
        values: (V0, r) float16, of length one.
        lengths: (V0,) float32, of the features before they were made of length one.
        affinity: that they were pooled with.
        entropy: of its rows, see affinity.row_entropy.
        misfit: share of the energy of the features outside the basis that the map had before.
        effect: on the best names of the encoder's vocabulary; None: it has none, see `Answer`.
        objection: why purified labels should not be used, by that effect; empty: they should.
    """

    basis: FeatureBasis
    values: Tensor
    lengths: Tensor
    affinity: Affinity
    entropy: float
    misfit: float
    effect: Effect | None = None
    objection: str = ""

    def __len__(self) -> int:
        """Number of voxels V0."""
        return len(self.values)

    @property
    def num_bytes(self) -> int:
        """Memory of the features; the affinity apart."""
        return sum(t.numel() * t.element_size() for t in (self.values, self.lengths))

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Some rows (R, r) float32 at a time."""
        for start in range(0, len(self), _ROWS_AT_ONCE):
            rows = slice(start, min(start + _ROWS_AT_ONCE, len(self)))
            yield rows, self.values[rows].to(torch.float32)

    def features(self, rows: slice) -> Tensor:  # (R, D) float32
        """Purified features in the space of the encoder, of the length that pooling gave them."""
        return self.basis.expanded(self.values[rows]) * self.lengths[rows, None]


def pooled_in(
    basis: FeatureBasis,
    chunks: tuple[Tensor, ...],  # (R, D) float16, V rows together
    pixels: Tensor,  # (V,)
    affinity: Affinity,
    rounds: int,
    is_unwanted: IsUnwanted,
    needed: Needed | None = None,
) -> tuple[Tensor, Tensor] | None:  # (V, r) float16 of length one, (V,) float32
    """Features of the voxels of a map, pooled in a basis; None when it is unwanted.

    As `pool_observations`, some columns at a time, so that memory does not grow with the rank;
    `needed` as there is for `pool`.
    """
    weight = pixels[:, None].clamp_min(1.0)
    values = weight.new_empty((len(weight), basis.rank), dtype=torch.float16)
    squared = weight.new_zeros(len(weight))
    total = weight  # replaced by the first group
    for columns in _column_groups(len(weight), basis.rank):
        if is_unwanted():
            return None
        vectors = basis.vectors[:, columns]
        part = torch.cat([chunk.to(torch.float32) @ vectors for chunk in chunks]).mul_(weight)
        if columns.start == 0:
            part = torch.cat((weight, part), dim=1)
        pooled = pool(part, affinity, rounds, needed)
        del part
        if columns.start == 0:
            total, pooled = pooled[:, :1], pooled[:, 1:]
        mean = pooled / total
        squared += mean.square().sum(dim=1)
        values[:, columns] = mean
    lengths = squared.sqrt()
    for start in range(0, len(values), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        unit = values[rows].to(torch.float32) / lengths[rows, None].clamp_min(_LEAST_LENGTH)
        values[rows] = unit
    return values, lengths


def _column_groups(num_rows: int, rank: int) -> list[slice]:
    """Wide groups are faster, and take more memory."""
    most = max(_LEAST_COLUMNS, _NUMBERS_AT_ONCE // max(1, num_rows))
    count = -(-rank // most)
    width = -(-rank // count) if count else 1
    return [slice(first, min(first + width, rank)) for first in range(0, rank, width)]
