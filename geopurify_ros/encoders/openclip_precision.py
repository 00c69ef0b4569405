"""The number type an open_clip image tower runs in, from a short measurement on this machine."""

from __future__ import annotations

import copy

import torch

from geopurify_ros.encoders.openclip_dense import DenseTower
from geopurify_ros.encoders.precision import faster_dtype, least_seconds

_TRIAL_PX = 160


def pick_dtype(tower: DenseTower, device: torch.device) -> torch.dtype:
    """float16 on CUDA; on a CPU what is faster there; float32 elsewhere."""
    if device.type == "cuda":
        return torch.float16
    if device.type != "cpu":
        return torch.float32
    return faster_dtype(
        trial_seconds(tower, torch.float32), trial_seconds(tower, torch.bfloat16)
    )


@torch.inference_mode()
def trial_seconds(tower: DenseTower, dtype: torch.dtype, repeats: int = 2) -> float:
    """Least processor time of a small image."""
    visual = copy.deepcopy(tower.visual).to(dtype)
    height, width = (max(1, _TRIAL_PX // cell) * cell for cell in tower.cell_px)
    image = torch.linspace(-1, 1, 3 * height * width).view(1, 3, height, width).to(dtype)
    (seconds,) = least_seconds(lambda: tower.features(visual, image), repeats=repeats)
    return seconds
