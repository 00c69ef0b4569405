"""Files that are written: nothing but a file of the same kind is ever replaced."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import SafetensorError, safe_open

from geopurify_ros.errors import InputError

_WRITTEN_BY = {"written_by": "geopurify"}
_BEGINS = {"PNG picture": (b"\x89PNG\r\n\x1a\n",), "PLY cloud": (b"ply\n", b"ply\r")}


def check_target(path: Path, kind: str) -> None:
    """Say before the work what would fail after it, or destroy what somebody needs.

    Args:
        path: file that is to be written.
        kind: "PNG picture", "PLY cloud", "report" (JSON), "list of sub-words", or the key in the
            header of a safetensors file.

    Raises:
        InputError: the folder is missing or may not be written to, or `path` is a folder or a
            file of another kind.
    """
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist")
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file to write")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"the folder {path.parent} may not be written to")
    check_replaceable(path, kind)


def check_replaceable(path: Path, kind: str) -> None:
    """Raise InputError where `path` holds something that is not of this `kind`."""
    if os.path.lexists(path) and not _is_of(path, kind):
        raise InputError(
            f"{path} exists and is no {kind.replace('_', ' ')}: it is left as it is; choose "
            "another name, or move it away"
        )


def write_report(path: Path, result: Mapping[str, Any], indent: int = 1) -> None:
    """`result` as JSON, marked as ours.

    Raises:
        InputError: it cannot be written, or would replace a file that is no such report.
    """
    check_replaceable(path, "report")
    try:
        path.write_text(json.dumps({**result, **_WRITTEN_BY}, indent=indent) + "\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def save_picture(image: Image.Image, path: Path) -> None:
    """A picture, PNG by its ending.

    Raises:
        InputError: it cannot be written, or would replace a file that is no picture.
    """
    check_replaceable(path, "PNG picture")
    try:
        image.save(path)
    except (OSError, ValueError) as error:  # ValueError: an ending that is no picture's
        raise InputError(f"{path} cannot be written: {error}") from error


def _is_of(path: Path, kind: str) -> bool:
    with contextlib.suppress(OSError, ValueError, SafetensorError):
        if path.is_file() and not path.stat().st_size:
            return True  # an empty file, as mktemp makes it
        if kind in _BEGINS:
            with path.open("rb") as file:
                return file.read(8).startswith(_BEGINS[kind])
        if kind in _OTHERS:
            return _OTHERS[kind](path)
        with safe_open(path, framework="pt") as file:
            return kind in (file.metadata() or {})
    return False


def _is_report(path: Path) -> bool:
    found = json.loads(path.read_text())
    is_older = isinstance(found, dict) and set(found) == {"settings", "steps"}  # a training's
    return is_older or (isinstance(found, dict) and _WRITTEN_BY.items() <= found.items())


def _is_vocabulary(path: Path) -> bool:
    return "[UNK]" in path.read_text().split("\n")


_OTHERS: dict[str, Callable[[Path], bool]] = {
    "report": _is_report, "list of sub-words": _is_vocabulary
}  # fmt: skip
