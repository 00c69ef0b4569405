"""Weights on disk as bytes: every row of a matrix times its own scale (symmetric, 8 bits)."""

from __future__ import annotations

import torch
from torch import Tensor

_SCALE = ".scale"


def packed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices as int8 with a float16 scale per row under `name.scale`, the rest as float16.

    The error of a value is at most half a step, 1/254 of the largest of its row.
    """
    result: dict[str, Tensor] = {}
    for name, value in weights.items():
        if value.dim() < 2:
            result[name] = value.half()
            continue
        rows = value.reshape(len(value), -1).float()
        # rounded first, so that what is multiplied on loading is what was divided by
        scale = (rows.abs().amax(dim=1).clamp(min=1e-4) / 127).half()
        steps = (rows / scale.float()[:, None]).round().clamp(-127, 127)
        result[name] = steps.to(torch.int8).reshape(value.shape)
        result[name + _SCALE] = scale
    return result


def unpacked(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The float32 weights of `packed`."""
    result: dict[str, Tensor] = {}
    for name, value in stored.items():
        if name.endswith(_SCALE):
            continue
        scale = stored.get(name + _SCALE)
        result[name] = value.float()
        if scale is not None:
            result[name] *= scale.float().reshape(-1, *[1] * (value.dim() - 1))
    return result
