"""The map: a weighted mean feature, colour and normal per voxel, grown frame by frame.

Features are stored in half precision (`feature_chunks`) and updated in float32. The weighted mean
does not depend on the order of the frames, up to the rounding of half precision: 5e-4 relative
per update (test/core/mapping).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from geopurify_ros.core.mapping.block_index import MAX_VOXEL_COORD, BlockIndex
from geopurify_ros.core.mapping.edits import Edit, grown, write_all
from geopurify_ros.core.mapping.feature_chunks import CHUNK_ROWS, FeatureChunks
from geopurify_ros.core.mapping.fusion import FrameVoxels
from geopurify_ros.core.mapping.map_records import MapSnapshot, MapUpdate, Removal
from geopurify_ros.errors import InputError, expect_shape


class VoxelMap:
    """Sparse voxels with features; a row keeps its number until `remove` says otherwise."""

    def __init__(
        self, feature_dim: int, voxel_size_m: float, device: torch.device | str = "cpu"
    ) -> None:
        """An empty map of `feature_dim` wide features."""
        self.feature_dim = feature_dim
        self.voxel_size_m = voxel_size_m
        self.device = torch.device(device)
        self.index = BlockIndex(self.device)
        self.version = 0  # grows whenever the content changes
        # Sum of the up directions of the cameras that saw it: which way it stands.
        self.up_sum = torch.zeros(3, dtype=torch.float64)
        # Number type of the encoder that filled the file this map was read from; empty: none was.
        self.loaded_dtype = ""
        # What its features are pooled in, (D, r) float32; None: of the encoder, or not yet known.
        self.basis: Tensor | None = None
        # 52 bytes a voxel beside its feature, in tensors that grow: colour 0..255, normal sum,
        # weight | coordinates | stamp | version at which it changed last.
        self._features = FeatureChunks(feature_dim, self.device)
        self._attributes = torch.zeros((0, 7), device=self.device)
        self._coords = torch.zeros((0, 3), dtype=torch.int32, device=self.device)
        self._last_seen_ns = torch.zeros(0, dtype=torch.int64, device=self.device)
        self._changed_at = torch.zeros(0, dtype=torch.int32, device=self.device)

    def __len__(self) -> int:
        """Number of voxels V."""
        return self.index.num_rows

    @property
    def up(self) -> tuple[float, float, float]:
        """Mean up direction of the cameras, of length one; zeros before the first frame."""
        x, y, z = (self.up_sum / self.up_sum.norm().clamp_min(1e-9)).tolist()
        return x, y, z

    @property
    def num_bytes(self) -> int:
        """Memory of the voxels and of their index."""
        held = sum(t.numel() * t.element_size() for t in self._beside)
        return held + self._features.num_bytes + self.index.num_bytes

    @property
    def _beside(self) -> tuple[Tensor, ...]:
        return self._attributes, self._coords, self._last_seen_ns, self._changed_at

    def integrate(self, voxels: FrameVoxels, stamp_ns: int) -> int:
        """Fold one frame into the running means; returns the number of new voxels.

        All of it or nothing: the map is as it was when this raises.

        Raises:
            InputError: the features have another width than the map's.
        """
        update = self.planned(voxels, stamp_ns)
        write_all(update.edits)
        self.accept(update)
        return update.insertion.num_new

    def planned(self, voxels: FrameVoxels, stamp_ns: int) -> MapUpdate:
        """What `integrate` would do; the map makes room for it and stays as it is.

        Raises:
            InputError: see `integrate`.
        """
        expect_shape(voxels.bags.cells, (None, self.feature_dim), "frame features")
        # one sum is NaN or Inf if any value is, and ten times faster than looking at each
        if not bool(torch.isfinite(voxels.bags.cells.sum())):
            raise InputError("the encoder returned features that are not finite")
        insertion = self.index.planned(voxels.coords)
        self._reserve()
        rows, order = torch.sort(insertion.rows)
        old = self._attributes.index_select(0, rows)
        new = torch.cat((voxels.color, voxels.normal, voxels.weight[:, None]), dim=1)
        new = new.index_select(0, order)
        total = old[:, 6:] + new[:, 6:]
        share = new[:, 6:] / total  # mean += share * (value - mean)
        mean = torch.cat((torch.lerp(old[:, :6], new[:, :6], share), total), dim=1)
        features = self._features.edits(rows, voxels.bags.reordered(order), share)
        edits = [
            *insertion.edits,
            Edit(self._attributes, rows, old, mean),
            Edit.of(self._coords, rows, voxels.coords.index_select(0, order)),
            Edit.of(self._last_seen_ns, rows, torch.full_like(rows, stamp_ns)),
            Edit.of(self._changed_at, rows, torch.full_like(rows, self.version + 1)),
            *features,
        ]
        return MapUpdate(rows, order, [edit.after for edit in features], edits, insertion)

    def accept(self, update: MapUpdate) -> None:
        """Take over the plan that was made last, once its edits are written; cannot fail."""
        self.index.accept(update.insertion)
        self.version += 1

    def remove(
        self,
        rows: Tensor,  # (M,) int64, distinct
        also: Callable[[Removal], list[Edit]] = lambda _: [],
    ) -> Removal:
        """Take voxels out; the last ones move into their rows, so that no row is empty.

        All of them or none, as `integrate`; with the edits that `also` makes of it.

        Raises:
            InputError: a row is no voxel of the map, or named twice.
        """
        rows = torch.sort(rows.to(self.device, torch.int64)).values
        is_gone = torch.zeros(len(self), dtype=torch.bool, device=self.device)
        if len(rows) and (int(rows[0]) < 0 or int(rows[-1]) >= len(self)):
            raise InputError(f"there are rows 0 to {len(self) - 1}, not {rows.tolist()[:3]} ...")
        is_gone[rows] = True
        count = len(self) - int(is_gone.sum())
        if count != len(self) - len(rows):
            raise InputError("a voxel can be removed once only")
        targets = rows[rows < count]
        sources = count + torch.nonzero(~is_gone[count:]).squeeze(1)
        gone, moved = (self._coords[some].to(torch.int64) for some in (rows, sources))
        removal = Removal(gone, sources, targets, count)
        index = self.index.without(gone, moved, targets)
        behind = torch.arange(count, len(self), device=self.device)
        write_all([
            *(Edit.of(held, targets, held[sources]) for held in self._beside[:-1]),
            Edit.of(self._changed_at, targets, torch.full_like(targets, self.version + 1)),
            # what is seen there next starts from nothing
            Edit.of(self._attributes, behind, torch.zeros_like(self._attributes[behind])),
            *self._features.moved(sources, targets), *also(removal),
        ])  # fmt: skip
        self._features.drop_behind(count)
        self.index, self.version = index, self.version + 1
        return removal

    def _reserve(self) -> None:
        """Room for every row that the index has planned."""
        count = max(self.index.num_planned, len(self))
        self._features.reserve(count)
        self._attributes = grown(self._attributes, count)
        self._coords = grown(self._coords, count)
        self._last_seen_ns = grown(self._last_seen_ns, count)
        self._changed_at = grown(self._changed_at, count)

    def snapshot(self) -> MapSnapshot:
        """The map as it is now, without a copy of the features.

        The index and 52 bytes a voxel are copied. Chunks of features are copied later, one by
        one, when a frame changes them.
        """
        count = len(self)
        shot = MapSnapshot(
            self.feature_dim,
            self.voxel_size_m,
            tuple(chunk for _, chunk in self.feature_chunks()),
            self._coords[:count].clone(),
            self._attributes[:count].clone(),
            self._last_seen_ns[:count].clone(),
            self.up_sum.clone(),
            self.index.copy(),
            self.version,
            self._changed_at[:count].clone(),
            self.loaded_dtype,
            self.basis,
        )
        self._features.share()
        return shot

    def feature_chunks(self, first_row: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """Rows and their features (R, D) float16, chunk by chunk; views, do not write.

        From the chunk that holds `first_row`.
        """
        return self._features.chunks(len(self), first_row)

    def replace_features(self, chunks: Iterable[Tensor]) -> None:
        """Take features (R, D), cut as `feature_chunks` cuts them; snapshots keep the old."""
        changed_at = torch.full_like(self._changed_at, self.version + 1)
        self._features.replace(chunks)
        self._changed_at, self.version = changed_at, self.version + 1

    def features(self) -> Tensor:  # (V, D) float32
        """A copy of all features in float32 (4 D bytes per voxel)."""
        out = torch.empty((len(self), self.feature_dim), device=self.device)
        for rows, chunk in self.feature_chunks():
            out[rows] = chunk
        return out

    def features_of(self, rows: Tensor) -> Tensor:  # (M,) int64 -> (M, D) float32
        """Features of some voxels."""
        return self._features.rows(rows).to(torch.float32)

    def changed_at(self) -> Tensor:  # (V,) int32
        """Version of the map at which each voxel changed last."""
        return self._changed_at[: len(self)]

    def coords(self) -> Tensor:  # (V, 3) int64
        """Integer coordinates; the voxel covers coords .. coords + 1 times voxel_size_m."""
        return self._coords[: len(self)].to(torch.int64)

    def centers_m(self) -> Tensor:  # (V, 3) float64
        """Centres of the voxels in the map frame."""
        return (self.coords().to(torch.float64) + 0.5) * self.voxel_size_m

    def rows_inside(
        self, low_m: tuple[float, float, float], high_m: tuple[float, float, float]
    ) -> Tensor:  # (M,) int64
        """Rows of voxels whose centre lies in a box of the map frame, its faces included."""
        low, high = (torch.tensor(m, dtype=torch.float64, device=self.device)
                     for m in (low_m, high_m))
        centers = self.centers_m()
        return torch.nonzero(((centers >= low) & (centers <= high)).all(dim=1)).squeeze(1)

    def colors(self) -> Tensor:  # (V, 3) float32
        """Mean colour, 0..255."""
        return self._attributes[: len(self), :3].clone()

    def normals(self) -> Tensor:  # (V, 3) float32
        """Unit mean normals that look at the cameras; zero where no pixel had one."""
        return torch.nn.functional.normalize(self._attributes[: len(self), 3:6], dim=1)

    def weights(self) -> Tensor:  # (V,) float32
        """Number of pixels seen."""
        return self._attributes[: len(self), 6].clone()

    def last_seen_ns(self) -> Tensor:  # (V,) int64
        """Stamp of the newest frame that saw the voxel."""
        return self._last_seen_ns[: len(self)].clone()

    def state(self) -> dict[str, Tensor]:
        """The whole content as tensors, for saving; `from_state` reads it back."""
        empty = torch.zeros((0, self.feature_dim), dtype=torch.float16, device=self.device)
        features = torch.cat([empty, *(chunk for _, chunk in self.feature_chunks())])
        tensors = {
            "coords": self._coords[: len(self)],
            "features": features,
            "attributes": self._attributes[: len(self)],
            "last_seen_ns": self._last_seen_ns[: len(self)],
        }
        # copies, so that a writer is not disturbed by the next frame
        return {name: t.detach().to("cpu", copy=True) for name, t in tensors.items()}

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
        if len(coords) and int(coords.abs().max()) >= MAX_VOXEL_COORD:
            raise InputError("the map is damaged: it has voxels out of reach")
        made = cls(features.shape[1], voxel_size_m, device)
        made.index.insert(coords.to(made.device, torch.int64))
        made._reserve()
        made._coords[: len(coords)] = coords
        made._attributes[: len(coords)] = state["attributes"]
        made._last_seen_ns[: len(coords)] = state["last_seen_ns"]
        made.replace_features(torch.split(features.to(made.device), CHUNK_ROWS))
        return made
