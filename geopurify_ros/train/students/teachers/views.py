"""Views of a piece of a scene for self-distillation, and what they hide.

A network can say much about a voxel from its normal and height alone, and learn nothing else
(Sonata calls it the geometric shortcut): local views therefore often lack their normals, and
masked voxels have no attributes at all and stand a little beside their place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.mapping.block_index import relative_key
from geopurify_ros.core.purification.scene import VoxelScene, height_m
from geopurify_ros.train.students.teachers.sparse_unet import WIDTHS
from geopurify_ros.train.students.teachers.upright import first_of_each, random_turn

CHANNELS = 8  # colour, normal, height, and 1 where the voxel is shown
_MASK_CELL = 8  # voxels; masks are larger than what a surface gives away
_MASK_SHARE = 0.5
_COARSEST = 2 ** (len(WIDTHS) - 1)  # voxels, a cell of the last level
_LOCAL_SHARE = 0.25  # of the voxels of the piece


@dataclass(frozen=True)
class View:
    """What a network is shown.

    Attributes:
        coords: (W, 3) int64.
        values: (W, CHANNELS) float32.
        rows: (W,) int64, voxels of the piece.
        target: (W,) bool, where it is asked what the teacher says.
    """

    coords: Tensor
    values: Tensor
    rows: Tensor
    target: Tensor


def inputs_of(scene: VoxelScene) -> Tensor:  # (V, CHANNELS) float32
    """Colour -1..1, normal, height / 3 m, 1."""
    height = height_m(scene)[:, None] / 3.0
    return torch.cat(
        (scene.color / 127.5 - 1.0, scene.normal, height, torch.ones_like(height)), dim=1
    )


def global_view(coords: Tensor, values: Tensor, generator: torch.Generator) -> View:
    """Everything, turned, in slightly other colours: what the teacher sees."""
    return _turned(coords, values, torch.arange(len(coords), device=coords.device), generator,
                   jitter=0.05)


def masked_view(coords: Tensor, values: Tensor, generator: torch.Generator) -> View:
    """Half of the cells masked: no attributes, and each voxel up to one step beside its place."""
    view = _turned(coords, values, torch.arange(len(coords), device=coords.device), generator,
                   jitter=0.2)
    start = torch.randint(_MASK_CELL, (3,), generator=generator).to(coords.device)
    cell = relative_key(torch.div(coords + start, _MASK_CELL, rounding_mode="floor"))
    cells, member = torch.unique(cell, return_inverse=True)
    lottery = torch.rand(len(cells), generator=generator).to(coords.device)
    masked = ((lottery < _MASK_SHARE) | (lottery == lottery.min()))[member]  # one cell or more
    step = torch.randint(-1, 2, coords.shape, generator=generator).to(coords.device)
    moved = view.coords + step * masked[:, None]
    hidden = view.values * ~masked[:, None]
    keep, _ = first_of_each(moved)
    return View(moved[keep], hidden[keep], view.rows[keep], masked[keep])


def local_view(coords: Tensor, values: Tensor, generator: torch.Generator) -> View:
    """The voxels around a random one; often without normals, sometimes without colour."""
    center = coords[int(torch.randint(len(coords), (1,), generator=generator))]
    distance = ((coords - center) ** 2).sum(dim=1)
    size = max(64, int(_LOCAL_SHARE * len(coords)))
    rows = distance.topk(min(size, len(coords)), largest=False).indices.sort().values
    view = _turned(coords, values, rows, generator, jitter=0.2)
    lottery = torch.rand(2, generator=generator)
    if lottery[0] < 0.5:
        view.values[:, 3:6] = 0.0
    if lottery[1] < 0.2:
        view.values[:, :3] = view.values[:, :3].mean(dim=1, keepdim=True)
    return view


def _turned(
    coords: Tensor, values: Tensor, rows: Tensor, generator: torch.Generator, jitter: float
) -> View:
    symmetry = random_turn(generator).to(coords.device)
    changed = values[rows].clone()
    gain = 1.0 + jitter * torch.randn(1, generator=generator)
    shift = jitter * torch.randn(3, generator=generator)
    changed[:, :3] = changed[:, :3] * gain.to(coords.device) + shift.to(coords.device)
    changed[:, 3:6] = changed[:, 3:6] @ symmetry.T
    # CUDA multiplies no integer matrices; small ones are exact in float64
    turned = (coords[rows].to(torch.float64) @ symmetry.T.to(torch.float64)).to(torch.int64)
    start = torch.randint(_COARSEST, (3,), generator=generator)  # other cells at each level
    return View(turned + start.to(coords.device), changed, rows, torch.ones_like(rows).bool())

