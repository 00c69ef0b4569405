"""Linear probe: what a closed-form ridge can read from frozen voxel features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from geopurify_ros.config import Config
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.scene import VoxelScene, height_m
from geopurify_ros.data.readers.formats import open_labeled
from geopurify_ros.encoders.none import NoEncoder
from geopurify_ros.errors import InputError
from geopurify_ros.evaluate.metrics import ClassScores, class_scores, confusion_matrix
from geopurify_ros.evaluate.runner import map_sequence
from geopurify_ros.train.studies.table import scene_of

_RIDGE = 1e-3  # of the mean diagonal of the Gram matrix
_MOST_CLASSES = 20  # the commonest of the rooms to fit, as ScanNet's benchmark has 20
Features = Callable[[VoxelScene], Tensor]


@dataclass(frozen=True)
class LabeledScene:
    """A map with the name of the class of each voxel."""

    voxels: VoxelScene
    truth: Tensor  # (V,) 0 = unlabelled
    class_names: tuple[str, ...]


def labeled_scenes(folders: list[Path], config: Config, every: int = 1) -> list[LabeledScene]:
    """Map labelled sequences without any encoder."""
    scenes = []
    for folder in folders:
        mapped = map_sequence(open_labeled(folder), Pipeline(NoEncoder(), config), every)
        scenes.append(LabeledScene(scene_of(mapped), mapped.truth, mapped.class_names))
    return scenes


def raw_features(scene: VoxelScene) -> Tensor:  # (V, 8)
    """Colour, normal, share of the normal along up, height."""
    upright = scene.normal @ scene.up.to(scene.normal)
    extra = torch.stack((upright, height_m(scene)), dim=1)
    return torch.cat((scene.color / 255.0, scene.normal, extra), dim=1)


def probe(
    train: list[LabeledScene], test: list[LabeledScene], features: Features
) -> ClassScores:
    """Fit on `train`, score on all voxels of `test` together; only the commonest classes count.

    Every voxel weighs one over the root of the size of its class: walls would rule otherwise.

    Raises:
        InputError: there is no labelled voxel to fit.
    """
    names = commonest_classes(train)
    if not names:
        raise InputError("the probe has no labelled voxel to learn from")
    gram, target, count = _normal_equations(train, features, names)
    weight = count**-0.5
    left = (gram * weight[:, None, None]).sum(dim=0)
    ridge = _RIDGE * left.diagonal().mean()
    solution = torch.linalg.solve(left + ridge * torch.eye(len(left)), target * weight)
    total = torch.zeros((len(names) + 1, len(names) + 1), dtype=torch.int64)
    for scene in test:
        values = _with_one(features(scene.voxels)).to(torch.float64)
        predicted = (values @ solution).argmax(dim=1) + 1
        total += confusion_matrix(predicted.cpu(), _renamed(scene, names), len(names))
    return class_scores(total, names)


def commonest_classes(scenes: list[LabeledScene]) -> tuple[str, ...]:
    """The names of most voxels, the commonest first."""
    total: Counter[str] = Counter()
    for scene in scenes:
        count = torch.bincount(scene.truth.cpu(), minlength=len(scene.class_names) + 1)[1:]
        total.update(dict(zip(scene.class_names, count.tolist(), strict=True)))
    return tuple(name for name, count in total.most_common(_MOST_CLASSES) if count > 0)


def _normal_equations(
    scenes: list[LabeledScene], features: Features, names: tuple[str, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """X^T X of each class (C, T, T), sums of X of each class (T, C) and their numbers (C,)."""
    gram = target = count = torch.zeros(())
    for scene in scenes:
        values = _with_one(features(scene.voxels)).to(torch.float64).cpu()
        truth = _renamed(scene, names)
        parts = [values[truth == label + 1] for label in range(len(names))]
        gram = gram + torch.stack([part.T @ part for part in parts])
        target = target + torch.stack([part.sum(dim=0) for part in parts], dim=1)
        count = count + torch.tensor([float(len(part)) for part in parts], dtype=torch.float64)
    return gram, target, count


def _renamed(scene: LabeledScene, names: tuple[str, ...]) -> Tensor:
    """Labels in the order of `names`; 0 for classes that are not among them."""
    table = [0] + [names.index(n) + 1 if n in names else 0 for n in scene.class_names]
    return torch.tensor(table)[scene.truth.cpu()]


def _with_one(values: Tensor) -> Tensor:
    return torch.cat((values, torch.ones_like(values[:, :1])), dim=1)
