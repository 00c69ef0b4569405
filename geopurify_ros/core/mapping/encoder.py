"""What the pipeline asks of an encoder, and the one place that hands it a frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.errors import expect_shape


class ImageTextEncoder(Protocol):
    """Images and text land in one space."""

    id: str
    feature_dim: int
    logit_scale: float

    def encode_image(self, rgb: Tensor) -> Tensor:
        """(1, 3, H, W) float 0..1 -> (1, D, h, w), unit norm over D."""
        ...

    def encode_text(self, texts: tuple[str, ...]) -> Tensor:
        """L texts -> (L, D), unit norm."""
        ...


@runtime_checkable
class RgbdEncoder(Protocol):
    """What an encoder that looks at shape offers beside."""

    def encode_rgbd(self, rgb: Tensor, depth_m: Tensor, intrinsics: Tensor) -> Tensor:
        """(1, 3, H, W) float 0..1, (H, W) metres or NaN, (3, 3) -> (1, D, h, w), unit norm."""
        ...


@runtime_checkable
class Reader(Protocol):
    """What an encoder offers beside that knows which texts it understands."""

    reads: str  # "builtin reads English"

    def unreadable(self, text: str) -> tuple[str, ...]:
        """The words of a text that mean nothing to it; empty where it understands all."""
        ...


@runtime_checkable
class Typed(Protocol):
    """What an encoder offers beside that computes images in a number type of its choice."""

    dtype: torch.dtype


@runtime_checkable
class Based(Protocol):
    """What an encoder offers beside that knows which directions its features use."""

    basis: Tensor  # (D, r) float32, orthonormal columns


@runtime_checkable
class Vocabulary(Protocol):
    """What an encoder offers beside that names what the world may hold, asked for or not."""

    vocabulary: tuple[str, ...]


@dataclass(frozen=True)
class AnswerProfile:
    """What is known of the names of a vocabulary, and how far answers can be trusted.

    Attributes:
        synonyms: other words for a name -> the name.
        areas_m2: name -> the surface that a thing of it usually shows; not known of all.
        same_similarity: cosine from which two texts say the same; above 1: by words alone.
        slope: of the calibration, see `answers.leads`; 0: nobody calibrated the encoder.
        offset: of it.
    """

    synonyms: Mapping[str, str] = field(default_factory=dict)
    areas_m2: Mapping[str, float] = field(default_factory=dict)
    same_similarity: float = 2.0
    slope: float = 0.0
    offset: float = 0.0

    @property
    def is_calibrated(self) -> bool:
        """Whether scores are probabilities."""
        return self.slope > 0


@runtime_checkable
class Profiled(Protocol):
    """What an encoder with a vocabulary offers beside that knows more of it."""

    answer_profile: AnswerProfile


def dtype_name(encoder: ImageTextEncoder) -> str:
    """The number type that images are computed in, "bfloat16"; "unknown" if it does not say."""
    return str(encoder.dtype).removeprefix("torch.") if isinstance(encoder, Typed) else "unknown"


def unreadable(encoder: ImageTextEncoder, text: str) -> str:
    """Why a text cannot be answered, as a sentence; empty where it can."""
    words = encoder.unreadable(text) if isinstance(encoder, Reader) else ()
    if not words or not isinstance(encoder, Reader):
        return ""
    known = ", ".join(f"'{word}'" for word in words)
    return f"the encoder does not know {known}; {encoder.reads}"


def encode_frame(
    encoder: ImageTextEncoder, frame: RgbdFrame, device: torch.device | str, use_depth: bool
) -> Tensor:  # (1, D, h, w)
    """The feature grid of a frame, with its depth where the encoder takes it.

    Raises:
        InputError: what the encoder returned is no grid of its width.
    """
    rgb, depth_m = (
        torch.from_numpy(np.ascontiguousarray(image)).to(device)
        for image in (frame.rgb, frame.depth_m)
    )
    rgb = rgb.permute(2, 0, 1)[None] / 255.0
    if use_depth and isinstance(encoder, RgbdEncoder):
        grid = encoder.encode_rgbd(rgb, depth_m, torch.from_numpy(frame.intrinsics))
    else:
        grid = encoder.encode_image(rgb)
    expect_shape(grid, (1, encoder.feature_dim, None, None), "feature grid")
    return grid
