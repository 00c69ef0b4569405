"""Encoders: images and text into one feature space (`core.mapping.encoder.ImageTextEncoder`)."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from geopurify_ros.core.mapping.encoder import ImageTextEncoder
from geopurify_ros.encoders.precision import asked_dtype
from geopurify_ros.errors import ConfigError

_log = logging.getLogger(__name__)

__all__ = ["ImageTextEncoder", "load_encoder", "pick_device"]


def pick_device(name: str) -> torch.device:
    """The torch device of `name`; "auto" is CUDA where there is a card that works, else the CPU.

    Raises:
        ConfigError: no such device on this machine, or one that cannot compute.
    """
    if name != "auto":
        return _tried(name)
    if torch.cuda.is_available():
        try:
            return _tried("cuda")
        except ConfigError as error:
            reason = " ".join(str(error.__cause__).split())[:200]
            _log.warning("the CUDA device cannot be used, the CPU is: %s", reason)
    return torch.device("cpu")


def _tried(name: str) -> torch.device:
    """The device, once it has multiplied: a card may be too old for this torch, or full."""
    try:
        device = torch.device(name)
        ones = torch.ones((8, 8), device=device)
        (ones @ ones).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"the device '{name}' cannot be used here: set encoder.device to cpu or auto"
        ) from error
    return device


def load_encoder(name: str, device: torch.device, dtype: str = "auto") -> ImageTextEncoder:
    """The encoder of the parameters `encoder.name` and `encoder.dtype`.

    Raises:
        ConfigError: no such encoder or number type, or one that the device cannot compute in.
        CheckpointError: its weights are missing.
    """
    number_type = asked_dtype(dtype)
    if name == "builtin":
        from geopurify_ros.encoders.builtin import BuiltinEncoder

        return BuiltinEncoder(device, dtype=number_type)
    if name.endswith(".safetensors") and ":" not in name:
        from geopurify_ros.encoders.builtin import BuiltinEncoder

        return BuiltinEncoder(device, Path(name), number_type)
    if name.startswith("open_clip:"):
        from geopurify_ros.encoders.openclip import load_open_clip

        return load_open_clip(name, device, number_type)
    raise ConfigError(
        f"there is no encoder '{name}': use builtin, or open_clip:<model>:<tag or checkpoint>, "
        "for example open_clip:ViT-B-16:laion2b_s34b_b88k"
    )
