"""The number type an image tower runs in, from a short measurement on this machine.

bfloat16 is 1.8 to 4 times as fast as float32 on processors with AMX and several times slower on
those without (docs/encoders.md), and no flag that torch publishes tells which. So both are tried.
"""

from __future__ import annotations

import copy
import time

import torch

from geopurify_ros.encoders.openclip_dense import DenseTower

_TRIAL_PX = 160
_WORTH_IT = 0.8  # bfloat16 rounds to three digits: it must earn that


def pick_dtype(tower: DenseTower, device: torch.device) -> torch.dtype:
    """float16 on CUDA; on a CPU what is faster there; float32 elsewhere."""
    if device.type == "cuda":
        return torch.float16
    if device.type != "cpu":
        return torch.float32
    return faster_dtype(
        trial_seconds(tower, torch.float32), trial_seconds(tower, torch.bfloat16)
    )


def faster_dtype(float32_s: float, bfloat16_s: float) -> torch.dtype:
    """bfloat16 where it saves at least a fifth of the time."""
    return torch.bfloat16 if bfloat16_s < _WORTH_IT * float32_s else torch.float32


@torch.inference_mode()
def trial_seconds(tower: DenseTower, dtype: torch.dtype, repeats: int = 2) -> float:
    """Least processor time of a small image; processor time, because other programs run too."""
    visual = copy.deepcopy(tower.visual).to(dtype)
    height, width = (max(1, _TRIAL_PX // cell) * cell for cell in tower.cell_px)
    image = torch.linspace(-1, 1, 3 * height * width).view(1, 3, height, width).to(dtype)
    tower.features(visual, image)  # the first run prepares kernels
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        tower.features(visual, image)
        seconds.append(time.process_time() - start)
    return min(seconds)
