"""Teacher `selfsup`: a 3D network that taught itself on unlabelled scenes, and its training.

Self-distillation over views, the idea of Sonata (Wu et al., CVPR 2025): a moving average of the
network looks at whole pieces of a scene and assigns each voxel to one of many prototypes; the
network must find the same assignment from a masked piece or from a small part of it. That all
voxels fall into a few prototypes is kept from them by centring with a running mean and sharpening
(Caron et al., DINO) and by a reward for the spread of the network's own answers (Assran et al.,
MSN); balancing within a step would cut the walls of one room into many prototypes.
"""

from __future__ import annotations

import copy
import hashlib
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, log_softmax, normalize

from geopurify_ros.core.student import VoxelScene
from geopurify_ros.data.tensor_file import SafetensorError, read_tensors, write_tensors
from geopurify_ros.errors import CheckpointError
from geopurify_ros.train.crops import Crop, crops_of
from geopurify_ros.train.scenes import TrainingScene
from geopurify_ros.train.sparse_unet import SparseUNet, pyramid_of
from geopurify_ros.train.trainer import Schedule, fit
from geopurify_ros.train.views import (
    CHANNELS,
    View,
    global_view,
    inputs_of,
    local_view,
    masked_view,
)

_KIND = "geopurify_teacher"
_PROTOTYPES = 256
_HEAD = 64
_TARGETS = 2048  # voxels per step that are asked for
_STUDENT_TEMPERATURE = 0.1
_TEACHER_TEMPERATURE = 0.04  # sharper than the student's, or both agree on nothing
_LOCAL_VIEWS = 2
_CENTER_RATE = 0.05
_SPREAD = 1.0  # weight of the reward; without it four prototypes were left after 200 steps


class Branch(nn.Module):
    """Network and head: (V, CHANNELS) -> cosines with the prototypes (V, P)."""

    def __init__(self) -> None:
        """Random weights."""
        super().__init__()
        self.net = SparseUNet(CHANNELS)
        self.hidden = nn.Linear(self.net.out_channels, 128)
        self.out = nn.Linear(128, _HEAD)
        # centred and scaled over the voxels of a view: without it all codes fall into one
        self.spread = nn.BatchNorm1d(_HEAD, affine=False, track_running_stats=False)
        self.prototypes = nn.Parameter(torch.randn(_PROTOTYPES, _HEAD))

    def forward(self, view: View, rows: Tensor) -> Tensor:  # rows of the view -> (R, P)
        """Cosines of some voxels of a view."""
        levels = self.net(view.values, pyramid_of(view.coords))
        features = torch.cat(levels, dim=1)[rows]
        code = normalize(self.spread(self.out(gelu(self.hidden(features)))), dim=1)
        return code @ normalize(self.prototypes, dim=1).T


class SelfDistillation(nn.Module):
    """The network that learns, its moving average that teaches, and the mean of its answers."""

    center: Tensor

    def __init__(self) -> None:
        """Both start equal."""
        super().__init__()
        self.register_buffer("center", torch.zeros(_PROTOTYPES))
        self.student = Branch()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)


def assignments(cosines: Tensor, center: Tensor) -> Tensor:  # (R, P), (P,) -> (R, P)
    """The teacher's: centred, sharpened, rows sum to 1."""
    return torch.softmax((cosines - center) / _TEACHER_TEMPERATURE, dim=1)


@dataclass(frozen=True)
class _Unit:
    scene: TrainingScene
    crop: Crop
    values: Tensor  # (M, CHANNELS)


class SelfDistillationTask:
    """`trainer.Task` of the teacher."""

    def __init__(
        self, net: SelfDistillation, scenes: list[TrainingScene], schedule: Schedule,
        most_voxels: int,
    ) -> None:
        """Train `net` on pieces of `scenes`."""
        self.net: nn.Module = net
        self._pair, self._schedule = net, schedule
        self._mean = torch.zeros(_PROTOTYPES)  # of the teacher's answers in the last step
        self._units = [
            _Unit(scene, crop, values[crop.rows])
            for scene in scenes
            for values in (inputs_of(scene.voxels),)
            for crop in crops_of(scene.voxels, most_voxels)
            if len(crop) >= 256
        ]

    def groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """One group: the network that learns."""
        return [(1.0, list(self._pair.student.parameters()))]

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Cross entropy between the teacher's assignments and the network's, less the spread."""
        unit = self._unit(step)
        coords, values = unit.crop.coords, unit.values
        views = [masked_view(coords, values, generator)]
        views += [local_view(coords, values, generator) for _ in range(_LOCAL_VIEWS)]
        with torch.no_grad():
            whole = global_view(coords, values, generator)
            cosines = self._pair.teacher(whole, whole.rows)
            assigned = assignments(cosines, self._pair.center)
            self._mean = cosines.mean(dim=0)
        losses, answers = zip(
            *(self._loss_of(view, assigned, generator) for view in views), strict=True
        )
        spread = torch.special.entr(torch.stack(answers).mean(dim=0)).sum()
        used = assigned.mean(dim=0)
        logged = {
            "masked": losses[0].item(), "local": losses[1].item(), "spread": spread.item(),
            # the number of prototypes in use, and how sure the teacher is
            "used_prototypes": math.exp(torch.special.entr(used).sum().item()),
            "teacher_entropy": torch.special.entr(assigned).sum(dim=1).mean().item(),
        }
        return torch.stack(losses).mean() - _SPREAD * spread, logged

    def _loss_of(
        self, view: View, assigned: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Cross entropy of a view, and how often the network answers each prototype (P,)."""
        asked = torch.nonzero(view.target).squeeze(1)
        order = torch.randperm(len(asked), generator=generator)[:_TARGETS].to(asked.device)
        asked = asked[order]
        cosines = self._pair.student(view, asked)
        likely = log_softmax(cosines / _STUDENT_TEMPERATURE, dim=1)
        loss = -(assigned[view.rows[asked]] * likely).sum(dim=1).mean()
        return loss, likely.exp().mean(dim=0)

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """The teacher follows, ever more slowly (0.98 to 0.999), and so does the centre."""
        self._pair.center.lerp_(self._mean, _CENTER_RATE)
        progress = step / self._schedule.steps
        keep = 0.999 - 0.019 * 0.5 * (1 + math.cos(math.pi * progress))
        pairs = zip(self._pair.teacher.parameters(), self._pair.student.parameters(), strict=True)
        for slow, fast in pairs:
            slow.lerp_(fast, 1.0 - keep)

    def where(self, step: int) -> str:
        """The scene of a step."""
        return f"scene {self._unit(step).scene.name}"

    def _unit(self, step: int) -> _Unit:
        epoch, place = divmod(step, len(self._units))
        generator = torch.Generator().manual_seed(self._schedule.seed * 7_368_787 + epoch)
        return self._units[int(torch.randperm(len(self._units), generator=generator)[place])]


class SelfSupTeacher:
    """`teachers.Teacher` from a trained (or, for comparison, a random) network."""

    def __init__(self, net: SparseUNet) -> None:
        """The network is frozen in eval mode."""
        self._net = net.eval().requires_grad_(False)
        content = hashlib.blake2b(digest_size=6)
        for tensor in net.state_dict().values():
            content.update(tensor.cpu().numpy().tobytes())
        self.id = f"selfsup-{content.hexdigest()}"

    @torch.inference_mode()
    def features(self, scene: VoxelScene) -> Tensor:  # (V, 240) unit norm
        """All levels side by side, each centred over the scene and of equal length."""
        net = self._net.to(scene.coords.device)
        levels = net(inputs_of(scene), pyramid_of(scene.coords))
        centered = [normalize(level - level.mean(dim=0), dim=1) for level in levels]
        return normalize(torch.cat(centered, dim=1), dim=1)


def random_teacher(seed: int = 0) -> SelfSupTeacher:
    """An untrained one, to compare with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SelfSupTeacher(SparseUNet(CHANNELS))


def train_selfsup(
    scenes: list[TrainingScene], schedule: Schedule, out: Path, most_voxels: int,
    stop_after: int | None = None,
) -> dict[str, Any]:
    """Train, resume where an earlier run was cut off, and write out/teacher.safetensors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(schedule.seed)
        net = SelfDistillation().to(scenes[0].voxels.coords.device)
    settings = {
        "teacher": "selfsup", "scenes": [scene.name for scene in scenes],
        "most_voxels": most_voxels,
    }
    task = SelfDistillationTask(net, scenes, schedule, most_voxels)
    history = fit(task, schedule, out, settings, stop_after=stop_after)
    path = out / "teacher.safetensors"
    if len(history) == schedule.steps:
        state = {n: t.cpu().contiguous() for n, t in net.teacher.net.state_dict().items()}
        header = {**settings, "schedule": asdict(schedule), "widths": net.teacher.net.widths,
                  "voxel_size_m": scenes[0].voxels.voxel_size_m}
        write_tensors(path, state, _KIND, header)
    return {"out": str(path), "steps": len(history), "last": history[-1]}


def load_selfsup(path: Path) -> SelfSupTeacher:
    """The teacher that `train teacher` wrote.

    Raises:
        CheckpointError: no such file, or no teacher.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no teacher {path}")
    try:
        content = read_tensors(path, _KIND)
        if content is None:
            raise CheckpointError(f"{path} is no teacher of geopurify")
        net = SparseUNet(CHANNELS, tuple(content[1]["widths"]))
        net.load_state_dict(content[0])
    except (SafetensorError, ValueError, TypeError, LookupError, RuntimeError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or no teacher") from error
    return SelfSupTeacher(net)
