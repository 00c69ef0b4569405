"""Texts as vectors (METHODS 1.10)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.mapping.encoder import ImageTextEncoder, unreadable


@dataclass(frozen=True)
class EncodedTexts:
    """L texts in the space of the features.

    Attributes:
        vectors: (L, D) unit norm.
        is_unreadable: (L,) bool, texts that mean nothing to the encoder.
        logit_scale: of cosines.
        has_gaps: whether any text is unreadable.
    """

    vectors: Tensor
    is_unreadable: Tensor
    logit_scale: float
    has_gaps: bool

    def readable(self, logits: Tensor) -> Tensor:  # (R, L)
        """The same tensor, -inf where a text cannot be read."""
        return logits.masked_fill_(self.is_unreadable, -torch.inf) if self.has_gaps else logits


def encode_texts(
    encoder: ImageTextEncoder, texts: tuple[str, ...], device: torch.device
) -> EncodedTexts:
    """The texts of a query."""
    vectors = encoder.encode_text(texts).to(device, torch.float32)
    unknown = [bool(unreadable(encoder, text)) for text in texts]
    is_unreadable = torch.tensor(unknown, dtype=torch.bool, device=device)
    return EncodedTexts(vectors, is_unreadable, encoder.logit_scale, any(unknown))
