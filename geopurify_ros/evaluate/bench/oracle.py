"""An encoder that knows what it looks at: features of a flat, and the texts that name them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.config import Config
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.data.student_file import load_student
from geopurify_ros.evaluate.bench.timing import Clock, StageClock

DIM, RANK = 256, 144  # as of builtin, whose student it is used with
NUM_CLASSES, _OTHER_NAMES = 20, 40
_STUDENT = Path(__file__).parents[2] / "assets" / "student_builtin.safetensors"
# Lengths of what is added to a class: what a thing's voxels share, and a view of it; of each.
_OF_THING, _OF_VIEW, _OF_VOXEL = 1.2, 0.3, 1.5
_NOISES = 8192  # distinct ones


class Oracle:
    """Classes at a cosine of one half; things and voxels scatter around them."""

    id = "bench oracle"
    feature_dim = DIM
    logit_scale = 20.0

    def __init__(self, device: torch.device) -> None:
        """The same every time."""
        self._generator = torch.Generator().manual_seed(6)
        vectors = torch.linalg.qr(torch.randn((DIM, RANK), generator=self._generator)).Q
        self._vectors = vectors.contiguous()
        self._common = self._directions(1)
        self._texts = normalize(
            self._common + self._directions(NUM_CLASSES + _OTHER_NAMES), dim=1
        )
        self._noises = self._directions(_NOISES)
        self._device = device
        self.basis = self._vectors.to(device)
        self.vocabulary = tuple(f"name {k}" for k in range(len(self._texts)))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of what is there."""
        return self.vocabulary[:NUM_CLASSES]

    def encode_image(self, rgb: Tensor) -> Tensor:  # (1, 3, H, W) -> (1, D, H, W)
        """The first class everywhere: who looks at pictures asks another encoder."""
        return self._texts[0].to(rgb).view(1, DIM, 1, 1).repeat(1, 1, *rgb.shape[-2:])

    def encode_text(self, texts: tuple[str, ...]) -> Tensor:  # (L, D)
        """Vectors of names of the vocabulary."""
        return self._texts[[self.vocabulary.index(text) for text in texts]].to(self._device)

    def features(
        self,
        things: Tensor,  # (N,) int64, 0 .. P - 1
        classes: Tensor,  # (P,) int64
        of_things: torch.Generator,
        of_view: torch.Generator,
    ) -> Tensor:  # (N, D) unit
        """Features of voxels of some things."""
        means = normalize(
            self._texts[classes] + _OF_THING * self._directions(len(classes), of_things), dim=1
        )
        means = means + _OF_VIEW * self._directions(len(classes), of_view)
        picked = torch.randint(_NOISES, (len(things),), generator=of_view)
        found: Tensor = normalize(means[things] + _OF_VOXEL * self._noises[picked], dim=1)
        return found

    def _directions(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Random unit vectors (N, D) within the basis."""
        drawn = torch.randn((count, RANK), generator=generator or self._generator)
        made: Tensor = normalize(drawn, dim=1) @ self._vectors.T
        return made


def oracle_pipeline(clock: Clock) -> tuple[Pipeline, Oracle, StageClock]:
    """An empty map with the shipped student, and the stopwatch of its stages."""
    oracle, watch = Oracle(clock.device), StageClock(clock)
    student, _ = load_student(_STUDENT, clock.device)
    pipeline = Pipeline(oracle, Config(), clock.device, student)
    pipeline.stopwatch = watch
    return pipeline, oracle, watch
