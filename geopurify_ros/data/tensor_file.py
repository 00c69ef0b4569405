"""Safetensors with a JSON header, written whole or not at all. Never pickle."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from geopurify_ros.data.output_files import check_replaceable


def write_tensors(
    path: Path, tensors: dict[str, Tensor], kind: str, header: dict[str, Any]
) -> None:
    """Write `tensors` with `header` under the key `kind`; the old file stays until it is safe.

    Raises:
        OSError, SafetensorError: the file cannot be written.
        InputError: it would replace a file of another kind.
    """
    check_replaceable(path, kind)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # as the user's umask wants it; save_file takes 600
        save_file(tensors, temporary, {kind: json.dumps(header)})
        temporary.chmod(mode)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], Any] | None:
    """Tensors and header of a file that `write_tensors` made; None if it is of another kind.

    Raises:
        OSError, SafetensorError, ValueError: damaged, or no such file.
    """
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(kind)
        if text is None:
            return None
        header = json.loads(text)
        return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118


__all__ = ["SafetensorError", "read_tensors", "write_tensors"]
