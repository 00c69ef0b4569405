"""The order in which a network in use visits voxels, so that empty taps cost little (METHODS 1.2).

Of the 27 taps of a voxel on a surface about 17 are occupied. Voxels that lie near each other are
sorted by which taps those are; a chunk of them shares most of its empty taps, and these are
neither gathered nor multiplied. All layers of a network use one order, and its rows lie in it.

Where only some embeddings are wanted, the order begins with their voxels, and those that one more
convolution looks at follow: every layer does a shorter beginning than the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.mapping.block_index import BlockIndex
from geopurify_ros.core.purification.sparse_conv import taps_around

_SEGMENT = 1 << 15  # voxels that are sorted together: 6 MB of 48 channels
_ROWS_AT_ONCE = 256  # gathered together: a megabyte of 48 channels, which stays in the cache
_ROWS_AT_ONCE_GPU = 1 << 15
_NUMBERS_AT_ONCE = 1 << 19  # gathered together of wider rows
_NUMBERS_AT_ONCE_GPU = 1 << 26


@dataclass(frozen=True)
class _Chunk:
    """Voxels that come one after the other: their place, C occupied taps, (R C,) int32 inputs."""

    rows: slice
    columns: Tensor
    taps: Tensor


@dataclass(frozen=True)
class TapOrder:
    """N voxels in the order of a network.

    Attributes:
        rows: (N,) int64, their rows in the map.
        ends: the first ends[d] are those that d convolutions look at; ends[0] those wanted.
        wanted: (ends[0],) int64, which of the wanted voxels the first ones are.
        occupied: (N,) float32, voxels among the 26 around each.
        chunks: of all voxels, in order.
    """

    rows: Tensor
    ends: list[int]
    wanted: Tensor
    occupied: Tensor
    chunks: list[_Chunk]

    def __len__(self) -> int:
        """Number of voxels N."""
        return len(self.rows)

    def table(self, width: int) -> Tensor:  # (N + 1, C) float32
        """Room for values of the voxels; the last row is what an empty tap sees, zero."""
        values = torch.empty((len(self) + 1, width), device=self.rows.device)
        values[-1] = 0.0
        return values

    def convolved(
        self,
        values: Tensor,  # (N + 1, C), in this order, the last row zero
        weight: Tensor,  # (27, C, C_out)
        depth: int,
    ) -> Iterator[tuple[slice, Tensor]]:
        """`sparse_conv` for the first ends[depth] voxels: some rows and their values at a time.

        The values (R, C_out) are good until the next are asked for.
        """
        width, stop = values.shape[1], self.ends[depth]
        is_cpu = values.device.type == "cpu"
        most = max(1, (_NUMBERS_AT_ONCE if is_cpu else _NUMBERS_AT_ONCE_GPU) // (27 * width))
        largest = min(most, max((c.rows.stop - c.rows.start for c in self.chunks), default=0))
        gathered = values.new_empty((largest * 27, width))
        out = values.new_empty((largest, weight.shape[2]))
        for chunk in self.chunks:
            if chunk.rows.start >= stop:
                return
            num_columns = len(chunk.columns)
            matrix = weight.index_select(0, chunk.columns).view(num_columns * width, -1)
            for first in range(chunk.rows.start, chunk.rows.stop, most):
                rows = slice(first, min(first + most, chunk.rows.stop))
                count, skipped = rows.stop - first, (first - chunk.rows.start) * num_columns
                taps = chunk.taps[skipped : skipped + count * num_columns]
                inputs = torch.index_select(values, 0, taps, out=gathered[: len(taps)])
                yield rows, torch.mm(inputs.view(count, -1), matrix, out=out[:count])


def tap_order(
    index: BlockIndex,
    coords: Tensor,  # (V, 3) int64, the voxels of `index` in row order
    depth: int,  # convolutions of the network
    rows: Tensor | None = None,  # (R,) int64, distinct: those wanted; None: all
) -> TapOrder:
    """The order for the wanted voxels, after as many 3x3x3 convolutions as `depth` says."""
    total = len(coords)
    level = torch.arange(total, device=coords.device) if rows is None else rows
    place = torch.full((total + 1,), -1, dtype=torch.int32, device=coords.device)
    place[total] = 0  # of what is not there: known, only where it lies is not
    ordered, tables, ends, wanted = [], [], [0], level
    for number in range(depth + 1):
        order, taps = _sorted(index, coords[level], total)
        wanted = order if number == 0 else wanted
        ordered.append(level[order])
        tables.append(taps)
        ends.append(ends[-1] + len(level))
        place[ordered[-1]] = torch.arange(
            ends[-2], ends[-1], dtype=torch.int32, device=coords.device
        )
        if ends[-1] == total:
            break
        seen = place.index_select(0, taps.view(-1)) >= 0
        level = torch.unique(taps.view(-1)[~seen]).to(torch.int64)
    place[total] = ends[-1]
    occupied = torch.cat([(taps < total).sum(dim=1) - 1 for taps in tables]).to(torch.float32)
    chunks = [
        chunk for first, taps in zip(ends, tables[:depth], strict=False)
        for chunk in _chunks(taps, place, first)
    ]
    ends = ends[1:] + ends[-1:] * (depth + 2 - len(ends))
    return TapOrder(torch.cat(ordered), ends, wanted, occupied, chunks)


def _sorted(
    index: BlockIndex, coords: Tensor, missing: int
) -> tuple[Tensor, Tensor]:  # (R,) int64, (R, 27) int32
    """Order of the voxels (R, 3), and their taps in it, `missing` where there is none."""
    order = torch.empty(len(coords), dtype=torch.int64, device=coords.device)
    taps = torch.empty((len(coords), 27), dtype=torch.int32, device=coords.device)
    stop = 0
    for numbers, near in taps_around(index, coords):
        rows = slice(stop, stop := stop + len(numbers))
        order[rows] = numbers
        taps[rows] = torch.where(near < 0, missing, near)
    bits = 2.0 ** torch.arange(27, dtype=torch.float64, device=coords.device)
    for start in range(0, len(coords), _SEGMENT):
        rows = slice(start, start + _SEGMENT)
        alike = torch.argsort((taps[rows] < missing).to(torch.float64) @ bits, stable=True)
        order[rows], taps[rows] = order[rows][alike], taps[rows][alike]
    return order, taps


def _chunks(taps: Tensor, place: Tensor, first: int) -> Iterator[_Chunk]:
    """Chunks of voxels in order, the first of which is number `first`."""
    size = _ROWS_AT_ONCE if taps.device.type == "cpu" else _ROWS_AT_ONCE_GPU
    missing = len(place) - 1
    for start in range(0, len(taps), size):
        part = taps[start : start + size]
        columns = torch.nonzero((part < missing).any(dim=0)).squeeze(1)
        inputs = place.index_select(0, part.index_select(1, columns).view(-1))
        yield _Chunk(slice(first + start, first + start + len(part)), columns, inputs)
