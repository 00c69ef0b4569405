"""Text embeddings on disk, by a hash of what made them: text towers are slow on small machines."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def cache_folder() -> Path:
    """`$GEOPURIFY_CACHE`, else `~/.cache/geopurify_ros`; for a user without a home, temporary."""
    if chosen := os.environ.get("GEOPURIFY_CACHE"):
        return Path(chosen)
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a container may run as a user that it does not know
        base = Path(tempfile.gettempdir())
    return base / "geopurify_ros"


def cached_text(
    encoder_id: str, texts: tuple[str, ...], compute: Callable[[], Tensor]
) -> Tensor:  # (L, D)
    """`compute()`, or what it returned the last time for this encoder and these texts."""
    key = hashlib.sha256(json.dumps([encoder_id, texts]).encode()).hexdigest()
    path = cache_folder() / f"text-{key[:32]}.npy"
    try:
        with path.open("rb") as file:
            stored = np.lib.format.read_array(file, allow_pickle=False)
        as_written = stored.dtype == np.float32 and stored.ndim == 2 and len(stored) == len(texts)
        if as_written and np.isfinite(stored).all():
            return torch.from_numpy(stored)
    except Exception:
        pass
    made = compute().to("cpu", torch.float32)
    _write(path, made)
    return made


def _write(path: Path, array: Tensor) -> None:
    """Whole or not at all; a cache that cannot be written is only slower."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            try:
                np.save(file, array.numpy())
                file.close()
                temporary.replace(path)
            finally:  # a full disk must not fill up with halves
                temporary.unlink(missing_ok=True)
