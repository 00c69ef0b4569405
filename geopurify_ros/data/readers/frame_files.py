"""Which files of a sequence folder belong to one frame."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from geopurify_ros.errors import InputError

_Key = TypeVar("_Key", str, int)
PARTS = {  # and the endings of their files
    "color": (".jpg", ".jpeg", ".png"),
    "depth": (".png", ".tif", ".tiff"),
    "pose": (".txt",),
}
_DIGITS = re.compile(r"\d+")


def frame_files(folder: Path) -> list[tuple[Path, Path, Path]]:
    """Colour, depth and pose of each frame in the order of their numbers.

    Files of one name belong together. Where names differ by more than their ending, as
    frame-08.color.png and 8.txt, it is the one number that counts within each folder.

    Raises:
        InputError: nothing fits together.
    """
    files = {part: _files(folder / part, endings) for part, endings in PARTS.items()}
    by_name = {part: {p.stem: p for p in found} for part, found in files.items()}
    by_number = {part: _numbered(found) for part, found in files.items()}
    named = sorted(set.intersection(*map(set, by_name.values())), key=_order)
    numbered = sorted(set.intersection(*map(set, by_number.values())))
    if len(numbered) > len(named):
        return [_frame(by_number, number) for number in numbered]
    if not named:
        raise InputError(_nothing_fits(folder, files))
    return [_frame(by_name, name) for name in named]


def _frame(files: Mapping[str, Mapping[_Key, Path]], key: _Key) -> tuple[Path, Path, Path]:
    return files["color"][key], files["depth"][key], files["pose"][key]


def _files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """Not those that begin with a dot: other systems leave ._000000.png beside 000000.png."""
    return sorted(
        path for path in folder.iterdir()
        if path.suffix.lower() in endings and not path.name.startswith(".")
    )


def _numbered(files: list[Path]) -> dict[int, Path]:
    """Files by the only number that changes among their names; none where two do."""
    templates = {_DIGITS.sub("#", path.stem) for path in files}
    if len(templates) != 1:
        return {}
    numbers = [tuple(map(int, _DIGITS.findall(path.stem))) for path in files]
    places = [i for i, values in enumerate(zip(*numbers, strict=True)) if len(set(values)) > 1]
    if len(files) == 1:
        places = list(range(len(numbers[0])))
    if len(places) != 1:
        return {}
    found = {row[places[0]]: path for row, path in zip(numbers, files, strict=True)}
    return found if len(found) == len(files) else {}


def _order(name: str) -> tuple[int, str]:
    digits = "".join(c for c in name if c.isdigit())
    return (int(digits) if digits else 0, name)


def _nothing_fits(folder: Path, files: dict[str, list[Path]]) -> str:
    empty = [part for part, found in files.items() if not found]
    if empty:
        endings = " or ".join(PARTS[empty[0]])
        return f"{folder} has no frame: there is no {endings} file in {empty[0]}/"
    names = ", ".join(f"{part}/{found[0].name}" for part, found in files.items())
    return (
        f"{folder} has no frame with colour, depth and a pose: the names do not pair ({names}): "
        "name the three files of a frame alike"
    )
