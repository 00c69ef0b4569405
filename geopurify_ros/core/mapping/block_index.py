"""Where a voxel lies in the map: blocks of 8^3 cells, each a dense table of row numbers.

Few blocks are touched by a frame and they are found by binary search in one sorted tensor; the
voxel inside a block is a plain look-up. Works on any device, needs no hash function, and gives
the neighbour search its own neighbourhoods for free.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.mapping.edits import Edit, grown, write_all
from geopurify_ros.core.mapping.scatter import sort_keys

BLOCK_SHIFT = 3
BLOCK_EDGE = 1 << BLOCK_SHIFT
BLOCK_CELLS = BLOCK_EDGE**3
_HALF_RANGE = 1 << 20  # block coordinates fit 21 bits each
# Beyond this a voxel coordinate does not fit the keys (400 km at 5 cm).
MAX_VOXEL_COORD = _HALF_RANGE << BLOCK_SHIFT


def block_key(block_coords: Tensor) -> Tensor:  # (..., 3) int64 -> (...) int64
    """One sortable number per block; the order is lexicographic in x, y, z."""
    x, y, z = (block_coords + _HALF_RANGE).unbind(dim=-1)
    return (x << 42) | (y << 21) | z


def _coords_of(keys: Tensor) -> Tensor:  # (N,) -> (N, 3), what block_key made the keys of
    mask = (1 << 21) - 1
    return torch.stack((keys >> 42, (keys >> 21) & mask, keys & mask), dim=1) - _HALF_RANGE


def spatial_order(coords: Tensor) -> Tensor:  # (N, 3) int64 -> (N,) int64
    """Rows block by block: what is near in space is near in this order."""
    return sort_keys(relative_key(coords >> BLOCK_SHIFT))[1]


def inverse_order(order: Tensor) -> Tensor:  # (N,) int64 -> (N,) int64
    """Where each row comes in an order."""
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    return place


def relative_key(coords: Tensor) -> Tensor:  # (N, 3) int64 -> (N,) int64
    """As block_key, of voxels or cells: distinct up to 2^21 of them across, wherever they lie."""
    if len(coords) == 0:
        return coords.new_zeros(0)
    return block_key(coords - coords.amin(dim=0) - _HALF_RANGE)


def cell_of(coords: Tensor) -> Tensor:  # (N, 3) int64 -> (N,) int64
    """Number of the voxel inside its block."""
    x, y, z = (coords & (BLOCK_EDGE - 1)).unbind(dim=-1)
    return (x << (2 * BLOCK_SHIFT)) | (y << BLOCK_SHIFT) | z


@dataclass(frozen=True)
class Insertion:
    """Voxels that an index has room for, but does not hold yet.

    Attributes:
        rows: (N,) int64, known ones and those that will be given out.
        num_new: how many will be given out.
        edits: to write before the insertion is accepted.
        keys, ids: of all blocks, then.
    """

    rows: Tensor
    num_new: int
    edits: list[Edit]
    keys: Tensor
    ids: Tensor


class BlockIndex:
    """Maps voxel coordinates to row numbers; rows are given out in order.

    They stay the same, but for `without`, which leaves no gaps.
    """

    def __init__(self, device: torch.device) -> None:
        """An empty index on `device`."""
        self._keys = torch.zeros(0, dtype=torch.int64, device=device)  # sorted
        self._ids = torch.zeros(0, dtype=torch.int64, device=device)  # block of each key
        self._table = torch.zeros((0, BLOCK_CELLS), dtype=torch.int32, device=device)
        self.num_rows = 0
        self.num_planned = 0  # rows once the plan that was made last is accepted

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

    def block_coords(self) -> Tensor:  # (num_blocks, 3) int64
        """Coordinates of each block: those of its voxels, divided by 8."""
        coords = torch.empty((self.num_blocks, 3), dtype=torch.int64, device=self.device)
        coords[self._ids] = _coords_of(self._keys)
        return coords

    def find_blocks(self, keys: Tensor) -> Tensor:  # (...) int64 -> (...) int64
        """Block number of each block key, -1 where there is none."""
        return _found(self._keys, self._ids, keys)

    def lookup(self, coords: Tensor) -> Tensor:  # (N, 3) int64 -> (N,) int64
        """Row of each voxel, -1 where there is none."""
        block = self.find_blocks(block_key(coords >> BLOCK_SHIFT))
        if self.num_blocks == 0:
            return block
        row = self._table[block.clamp_min(0), cell_of(coords)].to(torch.int64)
        return torch.where(block >= 0, row, -1)

    def copy(self) -> BlockIndex:
        """The index as it is now; 2 kB a block."""
        made = BlockIndex(self.device)
        made._keys, made._ids = self._keys, self._ids  # never written, only replaced
        made._table = self.table.clone()
        made.num_rows = made.num_planned = self.num_rows
        return made

    def without(
        self,
        gone: Tensor,  # (M, 3) int64, distinct, known
        moved: Tensor,  # (S, 3) int64, distinct, known
        rows: Tensor,  # (S,) int64
    ) -> BlockIndex:
        """Another index, without some voxels and with new rows for others, and no empty block."""
        made = self.copy()
        cells = made._table.view(-1)
        cells[self._place(gone)] = -1
        cells[self._place(moved)] = rows.to(torch.int32)
        made.num_rows = made.num_planned = self.num_rows - len(gone)
        is_used = (made._table >= 0).any(dim=1)
        if not bool(is_used.all()):
            number = torch.cumsum(is_used, dim=0) - 1
            stays = is_used[made._ids]
            made._table = made._table[is_used]
            made._keys, made._ids = made._keys[stays], number[made._ids[stays]]
        return made

    def _place(self, coords: Tensor) -> Tensor:  # (N, 3) -> (N,) of the flattened table
        block = self.find_blocks(block_key(coords >> BLOCK_SHIFT))
        return block * BLOCK_CELLS + cell_of(coords)

    def insert(self, coords: Tensor) -> tuple[Tensor, int]:  # (N, 3) int64, distinct
        """Rows of the voxels, with new rows for those not yet known, and the count of new ones."""
        insertion = self.planned(coords)
        write_all(insertion.edits)
        self.accept(insertion)
        return insertion.rows, insertion.num_new

    def planned(self, coords: Tensor) -> Insertion:  # (N, 3) int64, distinct
        """What `insert` would do; the index makes room for it and stays as it is."""
        wanted = block_key(coords >> BLOCK_SHIFT)
        unique, inverse = torch.unique(wanted, return_inverse=True)
        missing = unique[self.find_blocks(unique) < 0]
        keys, ids = self._with_blocks(missing)
        place = _found(keys, ids, unique)[inverse] * BLOCK_CELLS + cell_of(coords)
        cells = self._table.view(-1)
        rows = cells.index_select(0, place).to(torch.int64)
        new = torch.nonzero(rows < 0).squeeze(1)
        rows[new] = torch.arange(self.num_rows, self.num_rows + len(new), device=rows.device)
        edit = Edit.of(cells, place[new], rows[new])
        self.num_planned = self.num_rows + len(new)
        return Insertion(rows, len(new), [edit], keys, ids)

    def accept(self, insertion: Insertion) -> None:
        """Take over the plan that was made last, once its edits are written; cannot fail."""
        self._keys, self._ids = insertion.keys, insertion.ids
        self.num_rows += insertion.num_new

    def _with_blocks(self, missing: Tensor) -> tuple[Tensor, Tensor]:  # (B,) -> (all,), (all,)
        """Keys and ids with the missing blocks, whose tables lie empty behind the others."""
        first, total = self.num_blocks, self.num_blocks + len(missing)
        if len(missing) == 0:
            return self._keys, self._ids
        self._table = grown(self._table, total)
        self._table[first:total] = -1
        keys, order = torch.sort(torch.cat((self._keys, missing)))
        ids = torch.arange(first, total, device=keys.device)
        return keys, torch.cat((self._ids, ids))[order]


def _found(keys: Tensor, ids: Tensor, wanted: Tensor) -> Tensor:  # (...) int64
    """The id of each wanted key among the sorted ones, -1 where there is none."""
    if len(keys) == 0:
        return torch.full_like(wanted, -1)
    place = torch.searchsorted(keys, wanted).clamp_max_(len(keys) - 1)
    return torch.where(keys[place] == wanted, ids[place], -1)
