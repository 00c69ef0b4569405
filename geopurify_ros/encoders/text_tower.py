"""The built-in text encoder: three BERT layers over a factored table of sub-words.

Distilled from all-MiniLM-L6-v2 by `geopurify train text`; a prompt takes a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize, scaled_dot_product_attention

from geopurify_ros.encoders.wordpiece import WordPiece

MAX_TOKENS = 48


@dataclass(frozen=True)
class TextShape:
    """Sizes of the network.

    Attributes:
        num_pieces: of the vocabulary.
        rank: of the factored table.
        width: of the layers.
        num_layers: of them.
        num_heads: of the attention.
        hidden: of the feed-forward parts.
        feature_dim: of the result.
    """

    num_pieces: int
    rank: int = 128
    width: int = 384
    num_layers: int = 3
    num_heads: int = 12
    hidden: int = 1536
    feature_dim: int = 256


class TextTower(nn.Module):
    """Token numbers to unit vectors."""

    def __init__(self, shape: TextShape) -> None:
        """Random weights."""
        super().__init__()
        self.shape = shape
        self.pieces = nn.Embedding(shape.num_pieces, shape.rank)
        self.widen = nn.Linear(shape.rank, shape.width)
        self.positions = nn.Embedding(MAX_TOKENS, shape.width)
        self.norm = nn.LayerNorm(shape.width, eps=1e-12)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.num_layers))
        self.project = nn.Linear(shape.width, shape.feature_dim, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Encode a batch.

        Args:
            tokens: (L, T) int64.
            mask: (L, T) bool, False where a row is padded.

        Returns:
            (L, D), unit norm.
        """
        x = self.widen(self.pieces(tokens)) + self.positions.weight[: tokens.shape[1]]
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, mask)
        weight = mask[..., None].to(x)
        return normalize(self.project((x * weight).sum(dim=1) / weight.sum(dim=1)), dim=1)


class _Layer(nn.Module):
    """Attention and feed-forward, each followed by a norm, as in BERT (Devlin et al. 2019)."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.num_heads = shape.num_heads
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.norm1 = nn.LayerNorm(shape.width, eps=1e-12)
        self.up = nn.Linear(shape.width, shape.hidden)
        self.down = nn.Linear(shape.hidden, shape.width)
        self.norm2 = nn.LayerNorm(shape.width, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        rows, length, width = x.shape
        qkv = self.qkv(x).reshape(rows, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        seen = scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
        x = self.norm1(x + self.out(seen.transpose(1, 2).reshape(rows, length, width)))
        result: Tensor = self.norm2(x + self.down(gelu(self.up(x))))
        return result


def tokenize(splitter: WordPiece, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """(L, T) token numbers, padded with zeros, and (L, T) which are real."""
    rows = [splitter(text, MAX_TOKENS) for text in texts]
    length = max(len(row) for row in rows)
    tokens = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    mask = torch.tensor([[k < len(row) for k in range(length)] for row in rows])
    return tokens, mask
