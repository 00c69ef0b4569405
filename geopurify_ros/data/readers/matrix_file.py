"""Matrices in text files, as people and exporters write them."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.core.mapping.frame import check_intrinsics
from geopurify_ros.errors import InputError

_PUNCTUATION = re.compile(r"[,;\[\](){}\s]+")
_WINDOWS_NAN = re.compile(r"-?1\.#\w+")  # -1.#IND, 1.#QNAN
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"),
         (codecs.BOM_UTF16_BE, "utf-16"))
_ONE_ROW = {16: (4, 4), 12: (3, 4), 9: (3, 3)}
_COMMENTS = ("#", "//", "%")


def read_pose(path: Path) -> NDArray[np.float64]:
    """(4, 4) from a text file: 4x4 or 3x4, in rows or all in one.

    Raises:
        InputError: it cannot be read, or has another shape.
    """
    return _as_4x4(path, _read(path), ((4, 4), (3, 4)), "4x4 or 3x4")


def read_intrinsics(path: Path) -> NDArray[np.float64]:
    """(3, 3) camera matrix from a text file: 4x4, 3x4 or 3x3, in rows or all in one.

    Raises:
        InputError: it cannot be read, has another shape, or is no camera matrix.
    """
    if not path.is_file():
        others = sorted(p.name for p in path.parent.glob("*") if p.is_file())
        raise InputError(
            f"{path} is missing ({path.parent.name}/ has {', '.join(others[:5]) or 'no file'}): "
            "copy the matrix of the other camera where colour and depth share one"
        )
    matrix = _as_4x4(path, _read(path), ((4, 4), (3, 4), (3, 3)), "3x3, 3x4 or 4x4")
    intrinsics = matrix[:3, :3]
    try:
        check_intrinsics(intrinsics)
    except InputError as error:
        raise InputError(f"{path} holds no camera matrix: {error}") from error
    return intrinsics


def _as_4x4(
    path: Path, matrix: NDArray[np.float64], shapes: tuple[tuple[int, int], ...], wanted: str
) -> NDArray[np.float64]:
    if 1 in matrix.shape and matrix.size in _ONE_ROW:
        matrix = matrix.reshape(_ONE_ROW[matrix.size])
    if matrix.shape not in shapes:
        rows, columns = matrix.shape
        raise InputError(f"{path} holds a matrix of {rows}x{columns} numbers, expected {wanted}")
    whole = np.eye(4)
    whole[: matrix.shape[0], : matrix.shape[1]] = matrix
    return whole


def _read(path: Path) -> NDArray[np.float64]:
    """The numbers of a text file in its rows."""
    try:
        data = path.read_bytes()
        encoding = next((name for bom, name in _BOMS if data.startswith(bom)), "utf-8")
        lines = _WINDOWS_NAN.sub("nan", data.decode(encoding)).splitlines()
        rows = [_PUNCTUATION.sub(" ", line).split() for line in lines
                if not line.lstrip().startswith(_COMMENTS)]
        matrix = np.array([row for row in rows if row], dtype=np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a matrix of numbers") from error
    return matrix if matrix.ndim == 2 else matrix.reshape(1, -1)
