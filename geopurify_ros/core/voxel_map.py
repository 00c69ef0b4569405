"""The map: a weighted mean feature, colour and normal per voxel, grown frame by frame.

Rows live in chunks that are allocated once and never copied; features are stored in half
precision and updated in float32. The weighted mean does not depend on the order of the frames,
up to the rounding of half precision (5e-4 relative per update; test_core_voxel_map.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.block_index import BlockIndex
from geopurify_ros.core.fusion import FrameVoxels
from geopurify_ros.errors import InputError, expect_shape

CHUNK_ROWS = 4096
_ROWS_AT_ONCE = 512  # rows updated together: 1 MB of float32 features stays in the cache


@dataclass
class _Chunk:
    """CHUNK_ROWS voxels.

    features (R, D) f16; attributes (R, 7) f32 = colour 0..255, normal sum, weight; coords (R, 3)
    i32; last_seen_ns (R,) i64.
    """

    features: Tensor
    attributes: Tensor
    coords: Tensor
    last_seen_ns: Tensor

    @classmethod
    def empty(cls, feature_dim: int, device: torch.device) -> _Chunk:
        return cls(
            torch.zeros((CHUNK_ROWS, feature_dim), dtype=torch.float16, device=device),
            torch.zeros((CHUNK_ROWS, 7), device=device),
            torch.zeros((CHUNK_ROWS, 3), dtype=torch.int32, device=device),
            torch.zeros(CHUNK_ROWS, dtype=torch.int64, device=device),
        )

    def num_bytes(self) -> int:
        tensors = (self.features, self.attributes, self.coords, self.last_seen_ns)
        return sum(t.numel() * t.element_size() for t in tensors)


class VoxelMap:
    """Sparse voxels with features; rows keep their number for the life of the map."""

    def __init__(
        self, feature_dim: int, voxel_size_m: float, device: torch.device | str = "cpu"
    ) -> None:
        """An empty map of `feature_dim` wide features."""
        self.feature_dim = feature_dim
        self.voxel_size_m = voxel_size_m
        self.device = torch.device(device)
        self.index = BlockIndex(self.device)
        self._chunks: list[_Chunk] = []

    def __len__(self) -> int:
        """Number of voxels V."""
        return self.index.num_rows

    @property
    def num_bytes(self) -> int:
        """Memory of the voxels and of their index."""
        return sum(chunk.num_bytes() for chunk in self._chunks) + self.index.num_bytes

    def integrate(self, voxels: FrameVoxels, stamp_ns: int) -> int:
        """Fold one frame into the running means; returns the number of new voxels.

        Raises:
            InputError: the features have another width than the map's.
        """
        expect_shape(voxels.features, (len(voxels.coords), self.feature_dim), "frame features")
        # one sum is NaN or Inf if any value is, and ten times faster than looking at each
        if not bool(torch.isfinite(voxels.features.sum())):
            raise InputError("the encoder returned features that are not finite")
        rows, num_new = self.index.insert(voxels.coords)
        while len(self._chunks) * CHUNK_ROWS < len(self):
            self._chunks.append(_Chunk.empty(self.feature_dim, self.device))
        attributes = torch.cat((voxels.color, voxels.normal, voxels.weight[:, None]), dim=1)
        rows, order = torch.sort(rows)
        edges = torch.arange(0, (len(self._chunks) + 1) * CHUNK_ROWS, CHUNK_ROWS)
        cuts: list[int] = torch.searchsorted(rows, edges.to(self.device)).tolist()
        for number, chunk in enumerate(self._chunks):
            for start in range(cuts[number], cuts[number + 1], _ROWS_AT_ONCE):
                part = slice(start, min(start + _ROWS_AT_ONCE, cuts[number + 1]))
                local = rows[part] - number * CHUNK_ROWS
                pick = order[part]
                features = voxels.features.index_select(0, pick)
                _update(chunk, local, features, attributes.index_select(0, pick))
                chunk.coords[local] = voxels.coords.index_select(0, pick).to(torch.int32)
                chunk.last_seen_ns[local] = stamp_ns
        return num_new

    def feature_chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows and their features (R, D) float16, chunk by chunk; views, do not write."""
        for number, chunk in enumerate(self._chunks):
            start = number * CHUNK_ROWS
            stop = min(start + CHUNK_ROWS, len(self))
            yield slice(start, stop), chunk.features[: stop - start]

    def features(self) -> Tensor:  # (V, D) float32
        """A copy of all features in float32 (4 D bytes per voxel)."""
        out = torch.empty((len(self), self.feature_dim), device=self.device)
        for rows, chunk in self.feature_chunks():
            out[rows] = chunk
        return out

    def project(self, matrix: Tensor) -> Tensor:  # (D, C) float32 -> (V, C) float32
        """features() @ matrix, without the float32 copy of the whole map."""
        out = torch.empty((len(self), matrix.shape[1]), device=self.device)
        for rows, chunk in self.feature_chunks():
            torch.mm(chunk.to(torch.float32), matrix, out=out[rows])
        return out

    def coords(self) -> Tensor:  # (V, 3) int64
        """Integer coordinates; the voxel covers coords .. coords + 1 times voxel_size_m."""
        return self._cat([chunk.coords for chunk in self._chunks], 3).to(torch.int64)

    def centers_m(self) -> Tensor:  # (V, 3) float64
        """Centres of the voxels in the map frame."""
        return (self.coords().to(torch.float64) + 0.5) * self.voxel_size_m

    def colors(self) -> Tensor:  # (V, 3) float32
        """Mean colour, 0..255."""
        return self._attributes()[:, :3]

    def normals(self) -> Tensor:  # (V, 3) float32
        """Unit mean normals that look at the cameras; zero where no pixel had one."""
        return torch.nn.functional.normalize(self._attributes()[:, 3:6], dim=1)

    def weights(self) -> Tensor:  # (V,) float32
        """Number of pixels seen."""
        return self._attributes()[:, 6]

    def last_seen_ns(self) -> Tensor:  # (V,) int64
        """Stamp of the newest frame that saw the voxel."""
        return self._cat([chunk.last_seen_ns for chunk in self._chunks], 0)

    def _attributes(self) -> Tensor:  # (V, 7)
        return self._cat([chunk.attributes for chunk in self._chunks], 7)

    def _cat(self, parts: list[Tensor], width: int) -> Tensor:
        if not parts:
            return torch.zeros((0, width) if width else (0,), device=self.device)
        return torch.cat(parts)[: len(self)]

    def state(self) -> dict[str, Tensor]:
        """The whole content as tensors, for saving; `from_state` reads it back."""
        rows = [chunk.features for chunk in self._chunks]
        features = torch.cat(rows)[: len(self)] if rows else torch.zeros((0, self.feature_dim))
        return {
            "coords": self.coords().to(torch.int32).cpu(),
            "features": features.to(torch.float16).cpu(),
            "attributes": self._attributes().cpu(),
            "last_seen_ns": self.last_seen_ns().to(torch.int64).cpu(),
        }

    @classmethod
    def from_state(
        cls, state: dict[str, Tensor], voxel_size_m: float, device: torch.device | str = "cpu"
    ) -> VoxelMap:
        """A map with exactly the content of `state`, rows in the same order.

        Raises:
            InputError: the tensors do not belong together.
        """
        features, coords = state["features"], state["coords"]
        expect_shape(coords, (None, 3), "coords")
        expect_shape(features, (len(coords), None), "features")
        expect_shape(state["attributes"], (len(coords), 7), "attributes")
        expect_shape(state["last_seen_ns"], (len(coords),), "last_seen_ns")
        made = cls(features.shape[1], voxel_size_m, device)
        made.index.insert(coords.to(made.device, torch.int64))
        for start in range(0, len(coords), CHUNK_ROWS):
            chunk = _Chunk.empty(made.feature_dim, made.device)
            stop = min(start + CHUNK_ROWS, len(coords))
            for name in ("features", "attributes", "coords", "last_seen_ns"):
                getattr(chunk, name)[: stop - start] = state[name][start:stop].to(made.device)
            made._chunks.append(chunk)
        return made


def _update(
    chunk: _Chunk,
    rows: Tensor,  # (M,) rows of the chunk, distinct
    features: Tensor,  # (M, D)
    attributes: Tensor,  # (M, 7)
) -> None:
    """mean += share * (value - mean), share = new weight / total weight."""
    old = chunk.attributes.index_select(0, rows)
    weight = attributes[:, 6:]
    total = old[:, 6:] + weight
    share = weight / total
    mean = chunk.features.index_select(0, rows).to(torch.float32)
    mean.lerp_(features, share)
    chunk.features.index_copy_(0, rows, mean.to(torch.float16))
    old[:, :6].lerp_(attributes[:, :6], share)
    old[:, 6:] = total
    chunk.attributes.index_copy_(0, rows, old)
