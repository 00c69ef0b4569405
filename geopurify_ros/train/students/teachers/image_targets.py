"""What an image network gave scenes, as a target for teacher `selfsup`.

A 3D network that must also tell what a 2D one sees learns more than from either alone (Concerto,
Zhang et al., NeurIPS 2025). The 2D network taught itself too: no label of a scene comes in.
Scenes of any other encoder are not looked at, since those learned from labels or words.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.train.students.scenes import TrainingScene
from geopurify_ros.train.students.teachers import image_ssl

_DIRECTIONS = 64  # hold nine tenths of what differs


def target_dim(scenes: list[TrainingScene]) -> int:
    """Width of the targets: 0 where no self-supervised image network looked at the scenes."""
    return _DIRECTIONS if scenes[0].encoder == image_ssl.ImageSslEncoder.id else 0


def image_targets(scenes: list[TrainingScene]) -> list[Tensor]:
    """Per scene (V, D) float32 unit norm: its features along the main directions of all scenes."""
    if target_dim(scenes) == 0:
        return [one.voxels.color.new_zeros((len(one.voxels), 0)) for one in scenes]
    mean, directions = _main_directions(scenes)
    return [normalize((_unit(one) - mean) @ directions, dim=1) for one in scenes]


def _main_directions(scenes: list[TrainingScene]) -> tuple[Tensor, Tensor]:  # (D,), (D, 64)
    dim, count = scenes[0].voxels.features.shape[1], 0
    total = torch.zeros(dim, dtype=torch.float64)
    products = torch.zeros((dim, dim), dtype=torch.float64)
    for scene in scenes:
        features = _unit(scene)
        total += features.sum(dim=0, dtype=torch.float64).cpu()
        products += (features.T @ features).cpu()
        count += len(features)
    mean = total / count
    spread = products / count - mean[:, None] * mean
    directions = torch.linalg.eigh(spread).eigenvectors[:, -_DIRECTIONS:]
    device = scenes[0].voxels.coords.device
    return mean.to(device, torch.float32), directions.to(device, torch.float32)


def _unit(scene: TrainingScene) -> Tensor:
    return normalize(scene.voxels.features.to(torch.float32), dim=1)


def image_loss(told: Tensor, targets: Tensor) -> Tensor:  # (R, D) each, targets unit norm -> ()
    """One less the cosine, mean over voxels."""
    return (1.0 - (normalize(told, dim=1) * targets).sum(dim=1)).mean()
