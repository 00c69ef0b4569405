"""Which number type is faster on this machine: both are tried for a moment.

bfloat16 is 1.8 to 4 times as fast as float32 on processors with AMX and several times slower on
those without (docs/encoders.md), and no flag that torch publishes tells which.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

_WORTH_IT = 0.8  # bfloat16 rounds to three digits: it must earn that


def faster_dtype(float32_s: float, bfloat16_s: float) -> torch.dtype:
    """bfloat16 where it saves at least a fifth of the time."""
    return torch.bfloat16 if bfloat16_s < _WORTH_IT * float32_s else torch.float32


def least_seconds(*calls: Callable[[], object], repeats: int = 2) -> list[float]:
    """Least processor time of each call, in turns after one to warm up; other programs run too."""
    for call in calls:
        call()
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, found in zip(calls, seconds, strict=True):
            start = time.process_time()
            call()
            found.append(time.process_time() - start)
    return [min(found) for found in seconds]
