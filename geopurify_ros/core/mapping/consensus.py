"""View consensus (GeoPurify, METHODS 1.8 and 6.1): a voxel believes the views that agree.

The mean over all views decides what a voxel is (its class among a vocabulary, or the mean feature
itself); the few views that agree best with it are averaged, weighted by a soft-max of their
agreement. A voxel keeps a buffer of B views. Up to B views the result is exactly that of the
batch rule; beyond, the view that agrees least is forgotten (the oldest of equals) and the mean is
the map's own, which weighs views by their pixels.

Memory: B (2 D + 9) + 1 bytes per voxel beside the map's 2 D: 3.1 kB at B = 4 and D = 384.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.config import FusionConfig
from geopurify_ros.core.mapping.edits import Edit, grown, write_all
from geopurify_ros.core.mapping.encoder import ImageTextEncoder
from geopurify_ros.core.mapping.fusion import FrameVoxels
from geopurify_ros.core.mapping.map_records import MapUpdate, Removal
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.errors import expect_shape

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class ConsensusRule:
    """How views are weighed.

    Attributes:
        top: views that are averaged.
        scale: of the agreement inside the soft-max.
        text: (L, D) unit-norm vocabulary; empty (0, D): agreement with the mean feature.
    """

    top: int
    scale: float
    text: Tensor


def agreement_of(
    views: Tensor,  # (R, B, D) float32
    mean: Tensor,  # (R, D) float32
    text: Tensor,  # (L, D)
) -> Tensor:  # (R, B)
    """Cosine of each view with what the mean of all views stands for."""
    views = normalize(views, dim=2)
    target = normalize(mean, dim=1)
    if len(text):
        target = text[(mean @ text.T).argmax(dim=1)]
    return torch.einsum("rbd,rd->rb", views, target)


def fused(
    views: Tensor,  # (R, B, D) float32
    held: Tensor,  # (R, B) bool
    mean: Tensor,  # (R, D) float32
    rule: ConsensusRule,
) -> Tensor:  # (R, D) float32
    """Weighted mean of the views that agree best; the mean where no view is held."""
    agreement = agreement_of(views, mean, rule.text).masked_fill(~held, -torch.inf)
    best, place = agreement.topk(min(rule.top, agreement.shape[1]), dim=1)
    known = torch.isfinite(best)
    weight = torch.softmax(torch.where(known, rule.scale * best, -1e9), dim=1) * known
    chosen = views.gather(1, place[:, :, None].expand(-1, -1, views.shape[2]))
    result = torch.einsum("rk,rkd->rd", weight, chosen)
    return torch.where(held.any(dim=1, keepdim=True), result, mean)


class ViewBuffer:
    """The last best B views of every voxel; rows are those of the map."""

    def __init__(
        self, feature_dim: int, num_views: int, device: torch.device | str = "cpu"
    ) -> None:
        """No voxel yet."""
        device = torch.device(device)
        self._views = torch.zeros((0, num_views, feature_dim), dtype=torch.float16, device=device)
        self._stamp = torch.zeros((0, num_views), dtype=torch.int64, device=device)
        self._held = torch.zeros((0, num_views), dtype=torch.bool, device=device)
        self._forgot = torch.zeros(0, dtype=torch.bool, device=device)
        self._num_inserted = 0

    def __len__(self) -> int:
        """Rows there is room for."""
        return len(self._views)

    @property
    def num_bytes(self) -> int:
        """Memory of the buffer."""
        tensors = (self._views, self._stamp, self._held, self._forgot)
        return sum(t.numel() * t.element_size() for t in tensors)

    def insert(
        self,
        rows: Tensor,  # (M,) int64, distinct
        features: Tensor,  # (M, D), one view of each voxel
        mean: Tensor,  # (M, D), the map's, this view included
        rule: ConsensusRule,
    ) -> None:
        """Add a view to each row; where the buffer is full the worst of B + 1 views goes."""
        write_all(self.planned(rows, features, mean, rule))
        self.accept()

    def planned(
        self, rows: Tensor, features: Tensor, mean: Tensor, rule: ConsensusRule
    ) -> list[Edit]:
        """What `insert` would write; the buffer makes room for it and stays as it is."""
        expect_shape(features, (len(rows), self._views.shape[2]), "features of a view")
        self._reserve(int(rows.max()) + 1 if len(rows) else 0)
        edits = []
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            edits += self._edits(rows[part], features[part], mean[part], rule)
        return edits

    def accept(self) -> None:
        """A plan's edits are written: the next view is newer; cannot fail."""
        self._num_inserted += 1

    def _edits(
        self, rows: Tensor, features: Tensor, mean: Tensor, rule: ConsensusRule
    ) -> list[Edit]:
        number = self._num_inserted + 1
        held, stamp = self._held[rows], self._stamp[rows]
        place = held.to(torch.uint8).argmin(dim=1)  # the first free one
        full = held.all(dim=1)
        crowded = rows[full]
        if len(crowded):
            views = self._views[crowded].to(torch.float32)
            new = features[full].to(torch.float16).to(torch.float32)
            everything = torch.cat((views, new[:, None]), dim=1)
            agreement = agreement_of(everything, mean[full], rule.text)
            worst = agreement == agreement.amin(dim=1, keepdim=True)
            age = torch.cat((stamp[full], torch.full_like(stamp[full][:, :1], number)), dim=1)
            place[full] = age.masked_fill(~worst, 1 << 62).argmin(dim=1)
        stays = place < held.shape[1]  # otherwise the new view itself is the worst
        slots = rows[stays] * held.shape[1] + place[stays]
        return [
            Edit.of(self._forgot, crowded, torch.ones_like(crowded)),
            Edit.of(self._views.flatten(0, 1), slots, features[stays]),
            Edit.of(self._stamp.flatten(), slots, torch.full_like(slots, number)),
            Edit.of(self._held.flatten(), slots, torch.ones_like(slots)),
        ]

    def seed(self, chunks: Iterator[tuple[slice, Tensor]]) -> None:
        """Take a map's means (R, D) as one view each, for voxels whose own views are not known."""
        for rows, mean in chunks:
            self._reserve(rows.stop)
            self._views[rows, 0] = mean.to(torch.float16)
            self._held[rows, 0] = True
            self._forgot[rows] = True  # the map's mean stays what views must agree with

    def fused(self, start: int, mean: Tensor, rule: ConsensusRule) -> Tensor:  # (R, D)
        """Consensus of rows start .. start + R - 1, whose means in the map are given."""
        out = mean.clone()
        for first in range(0, min(len(mean), max(0, len(self) - start)), _ROWS_AT_ONCE):
            rows = slice(start + first, min(start + first + _ROWS_AT_ONCE, start + len(mean)))
            views = self._views[rows].to(torch.float32)
            part = slice(first, first + len(views))
            held = self._held[rows]
            of_all = (views * held[:, :, None]).sum(dim=1) / held.sum(dim=1).clamp_min(1)[:, None]
            known = held.any(dim=1) & ~self._forgot[rows]
            target = torch.where(known[:, None], of_all, mean[part])
            out[part] = fused(views, held, target, rule)
        return out

    def moved(self, removal: Removal) -> list[Edit]:
        """Follows the voxels of a map that moved; rows behind the last voxel hold no view."""
        self._reserve(removal.num_rows + len(removal.coords))
        edits = [
            Edit.of(held, removal.targets, held[removal.sources])
            for held in (self._views, self._stamp, self._held, self._forgot)
        ]
        behind = torch.arange(removal.num_rows, len(self), device=self._held.device)
        return edits + [
            Edit.of(flag, behind, torch.zeros_like(flag[behind]))
            for flag in (self._held, self._forgot)
        ]

    def _reserve(self, num_rows: int) -> None:
        self._held = grown(self._held, num_rows)
        self._stamp = grown(self._stamp, num_rows)
        self._forgot = grown(self._forgot, num_rows)
        self._views = grown(self._views, num_rows)


@dataclass(frozen=True)
class Consensus:
    """A buffer and the rule that it follows."""

    buffer: ViewBuffer
    rule: ConsensusRule

    def planned(self, voxels: FrameVoxels, update: MapUpdate) -> list[Edit]:
        """Adds the views of a frame that the map is about to take; see ViewBuffer."""
        views = voxels.bags.features().index_select(0, update.order)
        mean = torch.cat(update.features).to(torch.float32)
        return self.buffer.planned(update.rows, views, mean, self.rule)

    def agreed(self, chunks: Iterator[tuple[slice, Tensor]]) -> Iterator[tuple[slice, Tensor]]:
        """The map's features (R, D), chunk by chunk, as consensus float32."""
        for rows, mean in chunks:
            yield rows, self.buffer.fused(rows.start, mean.to(torch.float32), self.rule)


def new_consensus(
    voxel_map: VoxelMap, settings: FusionConfig, encoder: ImageTextEncoder
) -> Consensus:
    """For the frames to come; what the map holds already is one view of each voxel."""
    names = tuple(n.strip() for n in settings.vocabulary.split(",") if n.strip())
    text = encoder.encode_text(names) if names else torch.zeros((0, 0))
    scale = settings.sharpness * encoder.logit_scale
    rule = ConsensusRule(settings.top, scale, text.to(voxel_map.device, torch.float32))
    buffer = ViewBuffer(voxel_map.feature_dim, settings.views, voxel_map.device)
    buffer.seed(voxel_map.feature_chunks())
    return Consensus(buffer, rule)
