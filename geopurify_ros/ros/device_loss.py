"""Whether the device still computes: after some CUDA errors nothing does in this process."""

from __future__ import annotations

import torch


def is_lost(device: torch.device) -> bool:
    """True where not even a small sum can be computed; want of memory passes and is no loss."""
    if device.type == "cpu":
        return False
    try:
        torch.ones(2, device=device).sum().item()
    except torch.OutOfMemoryError:
        return False
    except RuntimeError:
        return True
    return False
