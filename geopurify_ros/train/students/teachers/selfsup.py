"""Teacher `selfsup`: a 3D network that taught itself on unlabelled scenes, and its training.

Self-distillation over views, the idea of Sonata (Wu et al., CVPR 2025): a moving average of the
network looks at whole pieces of a scene, and the network must find the same from a masked piece
or from a small part of it. "The same" is the code that the average gives to that voxel, told from
those of other voxels of the scene and of scenes before (He et al., MoCo, CVPR 2020), and the group
that this code falls into among those of all scenes (groups.py). Where an image network that taught
itself has looked at the scenes, the network must also tell what that one saw (image_targets.py);
it is shown coordinates, colour and normals all the same.
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
from torch.nn.functional import cross_entropy, normalize

from geopurify_ros.core.purification.scene import VoxelScene
from geopurify_ros.data.tensor_file import SafetensorError, read_tensors, write_tensors
from geopurify_ros.errors import CheckpointError
from geopurify_ros.train.students.crops import crops_of
from geopurify_ros.train.students.scenes import TrainingScene
from geopurify_ros.train.students.teachers.groups import equal_shares, group_loss
from geopurify_ros.train.students.teachers.image_targets import (
    image_loss,
    image_targets,
    target_dim,
)
from geopurify_ros.train.students.teachers.sparse_unet import FUSED, SparseUNet, pyramid_of
from geopurify_ros.train.students.teachers.upright import upright_scene
from geopurify_ros.train.students.teachers.views import (
    CHANNELS,
    View,
    global_view,
    inputs_of,
    local_view,
    masked_view,
)
from geopurify_ros.train.trainer import Schedule, fit

_KIND = "geopurify_teacher"
_CODE_DIM = 64
_GROUPS = 256
_QUEUE = 4096  # codes of earlier scenes
_QUEUED_PER_STEP = 256
_TARGETS = 1024  # voxels per view that are asked for
_TEMPERATURE = 0.1
_IMAGE_WEIGHT = 4.0  # that loss falls from 1 to a half, the others from 5 to 7 to 3 to 5
_LOCAL_VIEWS = 2
_TAUGHT_LEVELS = 2  # the finest: an embedding of all purifies worse (docs/log)


class Branch(nn.Module):
    """Network and heads: a view -> codes, and what an image network would give."""

    def __init__(self, image_dim: int = 0) -> None:
        """Random weights; `image_dim` is of the image network's features, 0 without one."""
        super().__init__()
        self.net = SparseUNet(CHANNELS)
        self.out = nn.Linear(FUSED, _CODE_DIM)
        self.image = nn.Linear(FUSED, image_dim) if image_dim else None
        self.groups = nn.Parameter(normalize(torch.randn(_GROUPS, _CODE_DIM), dim=1))

    def forward(self, view: View, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Unit codes (R, _CODE_DIM) of some voxels of a view, and image features (R, D)."""
        levels = self.net(view.values, pyramid_of(view.coords))
        fused = self.net.fused([level.index_select(0, rows) for level in levels])
        told = None if self.image is None else self.image(fused)
        return normalize(self.out(fused), dim=1), told


class SelfDistillation(nn.Module):
    """The network that learns, its moving average that teaches, and codes of earlier scenes."""

    queue: Tensor

    def __init__(self, image_dim: int = 0) -> None:
        """Both networks start equal, the queue with random codes; see Branch."""
        super().__init__()
        self.register_buffer("queue", normalize(torch.randn(_QUEUE, _CODE_DIM), dim=1))
        self.student = Branch(image_dim)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)


def contrast_loss(
    codes: Tensor,  # (R, C) of the network, unit norm
    taught: Tensor,  # (R, C) of the teacher, the same voxels
    queue: Tensor,  # (Q, C) of other scenes
) -> Tensor:
    """Cross entropy of finding each voxel's own code again among all others."""
    others = torch.cat((taught, queue))
    target = torch.arange(len(codes), device=codes.device)
    return cross_entropy(codes @ others.T / _TEMPERATURE, target)


@dataclass(frozen=True)
class _Unit:
    scene: str
    coords: Tensor  # (M, 3)
    values: Tensor  # (M, CHANNELS)
    image: Tensor  # (M, D), see image_targets; D is 0 without


class SelfDistillationTask:
    """`trainer.Task` of the teacher."""

    def __init__(
        self, net: SelfDistillation, scenes: list[TrainingScene], schedule: Schedule,
        most_voxels: int,
    ) -> None:
        """Train `net` on pieces of `scenes`."""
        self.net: nn.Module = net
        self._pair, self._schedule = net, schedule
        self._fresh = torch.zeros((0, _CODE_DIM))  # for the queue, of the last step
        self._units = [
            _Unit(scene.name, crop.coords, values[crop.rows], image[crop.rows])
            for scene, shown in zip(scenes, image_targets(scenes), strict=True)
            for voxels, _, kept in (upright_scene(scene.voxels),)
            for values, image in ((inputs_of(voxels), shown[kept]),)
            for crop in crops_of(voxels, most_voxels)
            if len(crop) >= _QUEUED_PER_STEP
        ]

    def groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """One group: the network that learns."""
        return [(1.0, list(self._pair.student.parameters()))]

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Mean of both losses over a masked and some local views."""
        unit = self._unit(step)
        coords, values = unit.coords, unit.values
        views = [masked_view(coords, values, generator)]
        views += [local_view(coords, values, generator) for _ in range(_LOCAL_VIEWS)]
        with torch.no_grad():
            whole = global_view(coords, values, generator)
            taught, _ = self._pair.teacher(whole, whole.rows)
        picks = torch.randperm(len(taught), generator=generator)[:_QUEUED_PER_STEP]
        self._fresh = taught[picks.to(taught.device)]
        goals = (taught, unit.image)
        parts = torch.stack([self._losses_of(view, goals, generator) for view in views])
        # of random pairs of codes: 1 where all are one
        alike = (self._fresh[1:] * self._fresh[:-1]).sum(dim=1).mean().item()
        logged = {"masked": parts[0, 0].item(), "local": parts[1, 0].item(),
                  "groups": parts[:, 1].mean().item(), "image": parts[:, 2].mean().item(),
                  "alike": alike}
        return parts.sum(dim=1).mean(), logged

    def _losses_of(
        self, view: View, goals: tuple[Tensor, Tensor], generator: torch.Generator
    ) -> Tensor:  # (3,)
        taught, image = goals
        asked = torch.nonzero(view.target).squeeze(1)
        order = torch.randperm(len(asked), generator=generator)[:_TARGETS].to(asked.device)
        asked = asked[order]
        goal, queue = taught[view.rows[asked]], self._pair.queue
        shares = equal_shares(torch.cat((goal, queue)), self._pair.teacher.groups)[: len(goal)]
        codes, told = self._pair.student(view, asked)
        grouped = group_loss(codes, self._pair.student.groups, shares)
        shown = codes.new_zeros(())
        if told is not None:
            shown = _IMAGE_WEIGHT * image_loss(told, image[view.rows[asked]])
        return torch.stack((contrast_loss(codes, goal, queue), grouped, shown))

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """The teacher follows, ever more slowly (0.99 to 0.9995); the queue takes new codes."""
        queue = self._pair.queue
        queue.copy_(torch.cat((queue[len(self._fresh) :], self._fresh)))
        progress = step / self._schedule.steps
        keep = 0.9995 - 0.0095 * 0.5 * (1 + math.cos(math.pi * progress))
        pairs = zip(self._pair.teacher.parameters(), self._pair.student.parameters(), strict=True)
        for slow, fast in pairs:
            slow.lerp_(fast, 1.0 - keep)

    def where(self, step: int) -> str:
        """The scene of a step."""
        return f"scene {self._unit(step).scene}"

    def _unit(self, step: int) -> _Unit:
        epoch, place = divmod(step, len(self._units))
        generator = torch.Generator().manual_seed(self._schedule.seed * 7_368_787 + epoch)
        return self._units[int(torch.randperm(len(self._units), generator=generator)[place])]


class SelfSupTeacher:
    """`teachers.Teacher` from a trained (or, for comparison, a random) network."""

    def __init__(self, net: SparseUNet) -> None:
        """The network is frozen in eval mode."""
        self._net = net.eval().requires_grad_(False)
        content = hashlib.blake2b(bytes([_TAUGHT_LEVELS]), digest_size=6)
        for tensor in net.state_dict().values():
            content.update(tensor.cpu().numpy().tobytes())
        self.id = f"selfsup-{content.hexdigest()}"

    def features(self, scene: VoxelScene) -> Tensor:  # (V, 80) unit norm
        """The two finest levels side by side, each centred over the scene and of equal length."""
        finest = self._levels(scene)[:_TAUGHT_LEVELS]
        centered = [normalize(level - level.mean(dim=0), dim=1) for level in finest]
        return normalize(torch.cat(centered, dim=1), dim=1)

    @torch.inference_mode()
    def fused(self, scene: VoxelScene) -> Tensor:  # (V, 256)
        """All levels in one, not centred: for a probe across scenes."""
        return self._net.fused(self._levels(scene))

    def uncentered(self, scene: VoxelScene) -> Tensor:  # (V, 368)
        """All levels side by side as the network gives them: for a probe across scenes."""
        return torch.cat(self._levels(scene), dim=1)

    @torch.inference_mode()
    def _levels(self, scene: VoxelScene) -> list[Tensor]:
        net = self._net.to(scene.coords.device)
        upright, row, _ = upright_scene(scene)
        levels = net(inputs_of(upright), pyramid_of(upright.coords))
        return [level.index_select(0, row) for level in levels]


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
        net = SelfDistillation(target_dim(scenes)).to(scenes[0].voxels.coords.device)
    settings = {
        "teacher": "selfsup", "scenes": [scene.name for scene in scenes],
        "most_voxels": most_voxels, "channels": CHANNELS, "widths": net.teacher.net.widths,
        "fused": FUSED, "groups": len(net.teacher.groups), "image_dim": target_dim(scenes),
    }
    task = SelfDistillationTask(net, scenes, schedule, most_voxels)
    history = fit(task, schedule, out, settings, stop_after=stop_after)
    path = out / "teacher.safetensors"
    if len(history) == schedule.steps:
        state = {n: t.cpu().contiguous() for n, t in net.teacher.net.state_dict().items()}
        header = {**settings, "schedule": asdict(schedule),
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
        if (content[1]["channels"], content[1].get("fused")) != (CHANNELS, FUSED):
            raise CheckpointError(
                f"{path} is a teacher of another version: geopurify train teacher makes a new one"
            )
        net = SparseUNet(CHANNELS, tuple(content[1]["widths"]))
        net.load_state_dict(content[0])
    except (SafetensorError, ValueError, TypeError, LookupError, RuntimeError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or no teacher") from error
    return SelfSupTeacher(net)
