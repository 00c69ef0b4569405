"""For maps whose geometry and colour alone are looked at."""

from __future__ import annotations

import torch
from torch import Tensor


class NoEncoder:
    """Features of one useless channel."""

    id = "none"
    feature_dim = 1
    logit_scale = 1.0

    def encode_image(self, rgb: Tensor) -> Tensor:
        """(1, 3, H, W) -> (1, 1, 1, 1) ones."""
        return rgb.new_ones((1, 1, 1, 1))

    def encode_text(self, texts: tuple[str, ...]) -> Tensor:
        """(L, 1) ones."""
        return torch.ones((len(texts), 1))
