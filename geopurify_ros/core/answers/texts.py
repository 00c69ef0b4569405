"""Texts as vectors, and the logits of features that are compared with them (METHODS 1.10)."""

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
    """

    vectors: Tensor
    is_unreadable: Tensor
    logit_scale: float

    def logits(
        self,
        scores: Tensor,  # (V, L) products of features and vectors
        lengths: Tensor,  # (V,) of the features
    ) -> Tensor:  # (V, L)
        """Scaled cosines; -inf where a text cannot be read."""
        logits = self.logit_scale * scores / lengths[:, None].clamp_min(1e-6)
        return logits.masked_fill_(self.is_unreadable, -torch.inf)


def encode_texts(
    encoder: ImageTextEncoder, texts: tuple[str, ...], device: torch.device
) -> EncodedTexts:
    """The texts of a query."""
    vectors = encoder.encode_text(texts).to(device, torch.float32)
    unknown = [bool(unreadable(encoder, text)) for text in texts]
    is_unreadable = torch.tensor(unknown, dtype=torch.bool, device=device)
    return EncodedTexts(vectors, is_unreadable, encoder.logit_scale)
