"""Where a voxel lies in the map: blocks of 8^3 cells, each a dense table of row numbers.

Few blocks are touched by a frame and they are found by binary search in one sorted tensor; the
voxel inside a block is a plain look-up. Works on any device, needs no hash function, and gives
the neighbour search its own neighbourhoods for free.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK_SHIFT = 3
BLOCK_EDGE = 1 << BLOCK_SHIFT
BLOCK_CELLS = BLOCK_EDGE**3
_HALF_RANGE = 1 << 20  # block coordinates fit 21 bits each
_GROWTH = 1.2


def block_key(block_coords: Tensor) -> Tensor:  # (..., 3) int64 -> (...) int64
    """One sortable number per block; the order is lexicographic in x, y, z."""
    x, y, z = (block_coords + _HALF_RANGE).unbind(dim=-1)
    return (x << 42) | (y << 21) | z


def cell_of(coords: Tensor) -> Tensor:  # (N, 3) int64 -> (N,) int64
    """Number of the voxel inside its block."""
    x, y, z = (coords & (BLOCK_EDGE - 1)).unbind(dim=-1)
    return (x << (2 * BLOCK_SHIFT)) | (y << BLOCK_SHIFT) | z


class BlockIndex:
    """Maps voxel coordinates to row numbers; rows are given out in order and never change."""

    def __init__(self, device: torch.device) -> None:
        """An empty index on `device`."""
        self._keys = torch.zeros(0, dtype=torch.int64, device=device)  # sorted
        self._ids = torch.zeros(0, dtype=torch.int64, device=device)  # block of each key
        self._table = torch.zeros((0, BLOCK_CELLS), dtype=torch.int32, device=device)
        self.num_rows = 0

    @property
    def device(self) -> torch.device:
        """Where the index lives."""
        return self._table.device

    @property
    def num_blocks(self) -> int:
        """Blocks with at least one voxel."""
        return len(self._keys)

    @property
    def num_bytes(self) -> int:
        """Memory of the tensors."""
        return sum(t.numel() * t.element_size() for t in (self._keys, self._ids, self._table))

    @property
    def table(self) -> Tensor:  # (num_blocks, 512) int32
        """Row of each cell of each block, -1 where there is no voxel."""
        return self._table[: self.num_blocks]

    def find_blocks(self, keys: Tensor) -> Tensor:  # (...) int64 -> (...) int64
        """Block number of each block key, -1 where there is none."""
        if self.num_blocks == 0:
            return torch.full_like(keys, -1)
        place = torch.searchsorted(self._keys, keys).clamp_max_(self.num_blocks - 1)
        return torch.where(self._keys[place] == keys, self._ids[place], -1)

    def lookup(self, coords: Tensor) -> Tensor:  # (N, 3) int64 -> (N,) int64
        """Row of each voxel, -1 where there is none."""
        block = self.find_blocks(block_key(coords >> BLOCK_SHIFT))
        if self.num_blocks == 0:
            return block
        row = self._table[block.clamp_min(0), cell_of(coords)].to(torch.int64)
        return torch.where(block >= 0, row, -1)

    def insert(self, coords: Tensor) -> tuple[Tensor, int]:  # (N, 3) int64, distinct
        """Rows of the voxels, with new rows for those not yet known, and the count of new ones."""
        keys = block_key(coords >> BLOCK_SHIFT)
        unique, inverse = torch.unique(keys, return_inverse=True)
        missing = unique[self.find_blocks(unique) < 0]
        if len(missing):
            self._add_blocks(missing)
        block = self.find_blocks(unique)[inverse]
        cell = cell_of(coords)
        row = self._table[block, cell].to(torch.int64)
        new = torch.nonzero(row < 0).squeeze(1)
        row[new] = torch.arange(self.num_rows, self.num_rows + len(new), device=row.device)
        self._table[block[new], cell[new]] = row[new].to(torch.int32)
        self.num_rows += len(new)
        return row, len(new)

    def _add_blocks(self, keys: Tensor) -> None:
        first, total = self.num_blocks, self.num_blocks + len(keys)
        if total > len(self._table):
            grown = torch.empty(
                (max(total, int(total * _GROWTH)), BLOCK_CELLS),
                dtype=torch.int32,
                device=self._table.device,
            )
            grown[:first] = self._table[:first]
            self._table = grown
        self._table[first:total] = -1
        self._keys, order = torch.sort(torch.cat((self._keys, keys)))
        ids = torch.arange(first, total, device=keys.device)
        self._ids = torch.cat((self._ids, ids))[order]
