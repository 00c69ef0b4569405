"""The map that frames are lifted into, and what stands behind it: means, or views that agree.

METHODS 1.8 fuses the views of a voxel by consensus; the weighted mean is the default here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from geopurify_ros.config import FusionConfig
from geopurify_ros.core.mapping.consensus import Consensus, new_consensus
from geopurify_ros.core.mapping.edits import write_all
from geopurify_ros.core.mapping.encoder import ImageTextEncoder
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.mapping.fusion import FrameVoxels
from geopurify_ros.core.mapping.map_records import MapSnapshot, Removal
from geopurify_ros.core.mapping.voxel_map import VoxelMap


class LiftedMap:
    """Features of voxels, fused over views."""

    def __init__(self, voxels: VoxelMap) -> None:
        """Go on with `voxels`, whose own views are not known."""
        self.voxels = voxels
        self.consensus: Consensus | None = None  # once a frame is in it

    def integrate(
        self,
        seen: FrameVoxels,
        frame: RgbdFrame,
        fusion: FusionConfig,
        encoder: ImageTextEncoder,
    ) -> int:
        """Fold what `frame` saw into the map; returns the number of new voxels.

        All of it or nothing: voxels, views and the up direction are as they were when this
        raises.
        """
        up_sum = self.voxels.up_sum - torch.from_numpy(frame.T_world_camera[:3, 1])
        update = self.voxels.planned(seen, frame.stamp_ns)
        views = None
        if fusion.mode == "consensus":
            views = self.consensus or new_consensus(self.voxels, fusion, encoder)
        write_all(update.edits + ([] if views is None else views.planned(seen, update)))
        self.voxels.accept(update)
        if views is not None:
            views.buffer.accept()
            self.consensus = views
        self.voxels.up_sum = up_sum
        return update.insertion.num_new

    def feature_chunks(self, first_row: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """Rows and their features (R, D): the mean, or the consensus of the views.

        From the chunk that holds `first_row`.
        """
        chunks = self.voxels.feature_chunks(first_row)
        return chunks if self.consensus is None else self.consensus.agreed(chunks)

    @torch.inference_mode()
    def snapshot(self) -> MapSnapshot:
        """The map as queries see it; a consensus takes a copy of its features."""
        shot = self.voxels.snapshot()
        if self.consensus is None:
            return shot
        agreed = tuple(chunk.to(torch.float16) for _, chunk in self.feature_chunks())
        return replace(shot, features=agreed)

    @torch.inference_mode()
    def remove(self, rows: Tensor) -> Removal:  # (M,) int64, distinct
        """Take voxels out, and with them their views; see `VoxelMap.remove`."""
        views = self.consensus
        return self.voxels.remove(rows, lambda r: [] if views is None else views.buffer.moved(r))

    @torch.inference_mode()
    def settle(self) -> None:
        """Write the consensus into the map, which is finished, and forget the views."""
        if self.consensus is not None:
            self.voxels.replace_features(agreed for _, agreed in self.feature_chunks())
        self.consensus = None
