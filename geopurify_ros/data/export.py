"""Point clouds as PLY files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.data.output_files import check_replaceable
from geopurify_ros.errors import InputError

_PLY_TYPE = {"f4": "float", "u1": "uchar", "u4": "uint", "i4": "int"}


def write_ply(path: Path, columns: dict[str, NDArray[np.generic]], comments: list[str]) -> None:
    """Binary PLY with one vertex property per column; all columns are (N,).

    Raises:
        InputError: the file cannot be written, or would replace one that is no PLY.
    """
    check_replaceable(path, "PLY cloud")
    dtype = np.dtype([(name, values.dtype.newbyteorder("<")) for name, values in columns.items()])
    vertices = np.empty(len(next(iter(columns.values()))), dtype=dtype)
    for name, values in columns.items():
        vertices[name] = values
    header = ["ply", "format binary_little_endian 1.0"]
    # ASCII only: readers stumble over anything else
    header += ["comment " + c.encode("ascii", "replace").decode() for c in comments]
    header.append(f"element vertex {len(vertices)}")
    header += [f"property {_PLY_TYPE[v.dtype.str[1:]]} {n}" for n, v in columns.items()]
    header.append("end_header\n")
    try:
        with path.open("wb") as file:
            file.write("\n".join(header).encode("ascii"))
            file.write(vertices.tobytes())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def write_labeled_ply(
    path: Path,
    points_m: NDArray[np.float32],  # (N, 3)
    rgb: NDArray[np.uint8],  # (N, 3)
    label: NDArray[np.integer],  # (N,)
    score: NDArray[np.float32],  # (N,)
    prompts: tuple[str, ...],
) -> None:
    """A labelled cloud; the names of the labels stand in comments."""
    columns: dict[str, NDArray[np.generic]] = {
        "x": points_m[:, 0].astype("f4"),
        "y": points_m[:, 1].astype("f4"),
        "z": points_m[:, 2].astype("f4"),
        "red": rgb[:, 0],
        "green": rgb[:, 1],
        "blue": rgb[:, 2],
        "label": label.astype("u4"),
        "score": score.astype("f4"),
    }
    names = ["label 0 not there", *(f"label {i} {p}" for i, p in enumerate(prompts, start=1))]
    write_ply(path, columns, names)
