"""The errors of this package: one root, one kind per thing a user can do about it."""

from __future__ import annotations

from typing import Any


class GeoPurifyError(Exception):
    """Root of all errors raised on purpose; the message is one sentence for the user."""


class ConfigError(GeoPurifyError, ValueError):
    """A parameter, YAML key or command-line value that cannot be used."""


class InputError(GeoPurifyError, ValueError):
    """An image, pose, file or query that cannot be used; it never enters the map."""


class CheckpointError(GeoPurifyError):
    """Weights that are missing or belong to something else."""


class TransformError(GeoPurifyError, LookupError):
    """No transform between two frames at the asked time."""


def expect_shape(array: Any, shape: tuple[int | None, ...], name: str) -> None:
    """Raise InputError unless `array.shape` matches `shape` (None: any length)."""
    actual = tuple(array.shape)
    matches = len(actual) == len(shape) and all(
        want is None or want == have for want, have in zip(shape, actual, strict=True)
    )
    if not matches:
        wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise InputError(f"{name} has shape {actual}, expected {wanted}")
