"""Training the student: which piece of which scene, its input, and the loss (METHODS 1.5, 1.6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.scene import geometry_channels, student_input
from geopurify_ros.core.purification.sparse_conv import submanifold_map
from geopurify_ros.core.purification.student import StudentNet
from geopurify_ros.errors import InputError
from geopurify_ros.train.students.crops import Crop, crops_of, random_symmetry, turned
from geopurify_ros.train.students.distill import (
    PairRules,
    Pairs,
    PairTable,
    draw_pairs,
    info_nce,
    pair_table,
)
from geopurify_ros.train.students.scenes import TrainingScene

_COLOR_JITTER = 0.1  # of the range -1..1
_LR_GROUPS = (("stem", 0.1), ("body", 1.0), ("head", 5.0))  # METHODS 1.6


@dataclass(frozen=True)
class Unit:
    """What one step trains on: a piece of a scene, its input and its candidate pairs."""

    scene: TrainingScene
    crop: Crop
    geometry: Tensor  # (M, 6 or 8)
    table: PairTable


def make_units(
    scenes: list[TrainingScene], teach: Callable[[TrainingScene], Tensor], kind: str,
    rules: PairRules, most_voxels: int, seed: int,
) -> list[Unit]:
    """All pieces of all scenes; `teach` gives the teacher's features (V, T) of a scene.

    Raises:
        InputError: a piece is too small to learn from; the sentence names the scene.
    """
    units = []
    for number, scene in enumerate(scenes):
        voxels, teacher = scene.voxels, teach(scene)
        taps = submanifold_map(voxels.index, voxels.coords)
        geometry = geometry_channels(voxels, taps, kind)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
        for crop in crops_of(voxels, most_voxels):
            try:
                table = _table(crop, teacher[crop.rows], rules, generator)
            except InputError as error:
                if len(crop.interior) < len(voxels) // 20:
                    continue  # a stray corner
                raise InputError(f"scene {scene.name} cannot be learned from: {error}") from error
            units.append(Unit(scene, crop, geometry[crop.rows], table))
    return units


def _table(
    crop: Crop, teacher: Tensor, rules: PairRules, generator: torch.Generator
) -> PairTable:
    """Candidates of the anchors of a piece; a fixed draw where it has more than a step takes."""
    near = nearest_neighbors(crop.index, crop.coords, rules.near)
    order = torch.randperm(len(crop.interior), generator=generator)[: rules.anchors]
    anchor = crop.interior[order.to(crop.interior.device)]
    return pair_table(teacher, crop.coords, near, anchor, rules, generator)


class StudentTask:
    """`trainer.Task` of a student."""

    def __init__(
        self, net: StudentNet, units: list[Unit], rules: PairRules, seed: int = 0
    ) -> None:
        """Train `net` on `units`; sets its input statistics from them."""
        self.net: nn.Module = net
        self._student, self._units, self._rules, self._seed = net, units, rules, seed
        net.set_statistics(*_statistics(units, net.shape.input))

    def groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """Stem 0.1, body 1, head 5 (T1.10)."""
        return [
            (rate, [p for name, p in self.net.named_parameters() if name.startswith(part)])
            for part, rate in _LR_GROUPS
        ]

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Mean InfoNCE over the anchors of one piece, seen in a random symmetry."""
        unit, kind = self._unit(step), self._student.shape.input
        symmetry = random_symmetry(generator)
        geometry = _jittered(unit.geometry, symmetry, generator)
        features = unit.scene.voxels.features[unit.crop.rows]
        taps = turned(unit.crop.taps, symmetry)
        embeddings = self.net(student_input(features, geometry, kind), taps)
        pairs = draw_pairs(unit.table, len(unit.crop), self._rules, generator)
        each = info_nce(embeddings, pairs, self._rules.temperature)
        return each.mean(), _diagnosis(embeddings.detach(), pairs, self._rules)

    def after_step(self, step: int) -> None:
        """Nothing follows."""

    def where(self, step: int) -> str:
        """The scene of a step."""
        return f"scene {self._unit(step).scene.name}"

    def _unit(self, step: int) -> Unit:
        """Every piece once, in a new order each time round."""
        epoch, place = divmod(step, len(self._units))
        generator = torch.Generator().manual_seed(self._seed * 7_368_787 + epoch)
        return self._units[int(torch.randperm(len(self._units), generator=generator)[place])]


def _jittered(geometry: Tensor, symmetry: Tensor, generator: torch.Generator) -> Tensor:
    """Normals turned with the lattice, colours a little brighter, darker or tinted."""
    changed = geometry.clone()
    gain = 1.0 + _COLOR_JITTER * torch.randn(1, generator=generator)
    shift = _COLOR_JITTER * torch.randn(3, generator=generator)
    changed[:, :3] = geometry[:, :3] * gain.to(geometry.device) + shift.to(geometry.device)
    changed[:, 3:6] = geometry[:, 3:6] @ symmetry.T.to(geometry.device)
    return changed


def _statistics(units: list[Unit], kind: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every input channel over the interiors of all pieces."""
    count, first, second = 0, torch.zeros(()), torch.zeros(())
    for unit in units:
        rows = unit.crop.interior
        features = unit.scene.voxels.features[unit.crop.rows[rows]]
        values = student_input(features, unit.geometry[rows], kind).to(torch.float64)
        first, second = first + values.sum(dim=0), second + (values**2).sum(dim=0)
        count += len(rows)
    mean = first / count
    return mean.float(), (second / count - mean**2).clamp_min(0.0).sqrt().float()


def _diagnosis(embeddings: Tensor, pairs: Pairs, rules: PairRules) -> dict[str, float]:
    """What METHODS 6.7 asks to be logged per step."""
    anchor, micro = embeddings[pairs.anchor], pairs.mask[:, rules.macro :]
    squared = ((anchor - anchor.roll(1, 0)) ** 2).sum(dim=1)
    return {
        "positive_cosine": (anchor * embeddings[pairs.positive]).sum(1).mean().item(),
        "masked_micro": 1.0 - micro.float().mean().item(),
        "distinct_macro": float(len(set(pairs.negative[:, : rules.macro].flatten().tolist()))),
        # log of the mean Gaussian potential of random pairs; 0 where all embeddings are one
        "uniformity": squared.mul(-2.0).exp().mean().clamp_min(1e-9).log().item(),
    }
