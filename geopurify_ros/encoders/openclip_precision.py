"""The image tower of an open_clip model in a number type, to measure it on this machine."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import nn

from geopurify_ros.encoders.openclip_dense import DenseTower
from geopurify_ros.encoders.precision import GLANCE_PX, Call, Trial

_TRIAL_PX = 160  # towers of CLIP cost ten times what ours does


def trial_of(tower: DenseTower) -> Trial:
    """See `precision.pick_dtype`; copies of the tower, which stays as it is."""

    @cache
    def visual_in(dtype: torch.dtype) -> nn.Module:
        visual: nn.Module = copy.deepcopy(tower.visual).to(dtype)
        return visual

    def trial(dtype: torch.dtype, side_px: int) -> Call:
        side_px = side_px if side_px == GLANCE_PX else _TRIAL_PX
        height, width = (max(1, side_px // cell) * cell for cell in tower.cell_px)
        image = torch.linspace(-1, 1, 3 * height * width).view(1, 3, height, width).to(dtype)
        return lambda: tower.features(visual_in(dtype), image)

    return trial
