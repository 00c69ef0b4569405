"""A purification from beginning to end on a snapshot: any thread can do it, nothing else moves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.pauses import Pause, no_pause
from geopurify_ros.core.purification.full_pass import frozen_of, full_pass
from geopurify_ros.core.purification.purified import Patch, Purified
from geopurify_ros.core.purification.region import MOST_SHARE, Region, region_around
from geopurify_ros.core.purification.region_pass import region_pass
from geopurify_ros.core.purification.task import PurifyTask

_LEAST_COSINE = 0.9998  # of the up directions: one degree
_MOST_VOXELS = 0.5  # that the floor may move


@dataclass(frozen=True)
class PurifyJob:
    """One purification.

    Attributes:
        task: what is to be purified.
        before: the one before, which must not change meanwhile; None: all is done anew.
    """

    task: PurifyTask
    before: Purified | None = None

    @torch.inference_mode()
    def run(
        self, pause: Pause = no_pause, embeddings: Tensor | None = None
    ) -> Purified | Patch | None:
        """Purify what changed, or all; None where there is nothing to do.

        Args:
            pause: made now and then.
            embeddings: (V, E) of unit norm, in place of those that the settings name.

        Raises:
            UnwantedError: by the pause.
        """
        task = self.task
        if not len(task.shot) or (task.settings.embedding == "none" and embeddings is None):
            return None
        region = self.region() if embeddings is None else None
        if region is not None and region.share <= MOST_SHARE and self.before is not None:
            if not len(region.seeds):
                return None
            made = region_pass(task, self.before, region, pause)
            if made is not None:
                return made
        return full_pass(task, pause, embeddings)

    def region(self) -> Region | None:
        """What there is to look at since the purification before; None: all of the map."""
        task, before = self.task, self.before
        if before is None or not self._fits(before):
            return None
        sees = 0 if task.student is None else task.student.shape.reach_voxels
        return region_around(self._changed(before), task.shot, sees, task.settings)

    def _changed(self, before: Purified) -> Tensor:  # (M, 3) int64
        """Voxels that are new, are not what they were, or are gone."""
        shot = self.task.shot
        changed = shot.coords[shot.changed_at > before.version].to(torch.int64)
        return torch.cat([changed, *before.gone])

    def _fits(self, before: Purified) -> bool:
        """Whether what was found before still holds where nothing changed."""
        task = self.task
        if before.learnt is None or (task.vocabulary is not None and before.judged is None):
            return False
        if task.basis is None or task.basis.vectors is not before.basis.vectors:
            return False
        if before.frozen.floor_m is None:
            return True
        now = frozen_of(task)
        moved = abs((now.floor_m or 0.0) - before.frozen.floor_m)
        return (
            float(now.up @ before.frozen.up) >= _LEAST_COSINE
            and moved <= _MOST_VOXELS * task.shot.voxel_size_m
        )
