"""What a map hands out: itself as it was, and what a frame will make of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.core.mapping.block_index import BlockIndex, Insertion
from geopurify_ros.core.mapping.edits import Edit


@dataclass(frozen=True)
class MapSnapshot:
    """A map as it was, on its device; the map may go on growing meanwhile.

    Attributes:
        features: chunks (R, D) float16 of the V rows, in order; shared with the map, never write.
        coords: (V, 3) int32.
        attributes: (V, 7) float32, colour 0..255, normal sum, weight.
        last_seen_ns: (V,) int64.
        up_sum: (3,) float64, sum of the up directions of the cameras.
        index: its rows.
        version: of the map.
        changed_at: (V,) int32, version at which each voxel changed last.
        loaded_dtype: see VoxelMap.
        basis: see VoxelMap.
    """

    feature_dim: int
    voxel_size_m: float
    features: tuple[Tensor, ...]
    coords: Tensor
    attributes: Tensor
    last_seen_ns: Tensor
    up_sum: Tensor
    index: BlockIndex
    version: int
    changed_at: Tensor
    loaded_dtype: str = ""
    basis: Tensor | None = None

    def __len__(self) -> int:
        """Number of voxels V."""
        return len(self.coords)

    def colors(self) -> Tensor:  # (V, 3) float32
        """Mean colour, 0..255."""
        return self.attributes[:, :3]

    def normals(self) -> Tensor:  # (V, 3) float32
        """See VoxelMap."""
        return normalize(self.attributes[:, 3:6], dim=1)

    def weights(self) -> Tensor:  # (V,) float32
        """Number of pixels seen."""
        return self.attributes[:, 6]


@dataclass(frozen=True)
class MapUpdate:
    """A frame that a map has room for, but does not hold yet; see `VoxelMap.planned`.

    Attributes:
        rows: (M,) int64, ascending, of the frame's voxels.
        order: (M,) int64, the number in the frame of each row's voxel.
        features: chunks (R, D) float16 of the M rows, what they will hold.
        edits: to write before the update is accepted.
        insertion: into the index.
    """

    rows: Tensor
    order: Tensor
    features: list[Tensor]
    edits: list[Edit]
    insertion: Insertion


@dataclass(frozen=True)
class Removal:
    """Voxels that are gone; the last rows of the map moved into theirs.

    Attributes:
        coords: (M,3) int64 of the voxels that are gone.
        sources: (S,) int64, rows that moved ...
        targets: (S,) int64, ... and where to.
        num_rows: of the map afterwards.
    """

    coords: Tensor
    sources: Tensor
    targets: Tensor
    num_rows: int
