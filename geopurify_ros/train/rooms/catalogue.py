"""The furniture models of the Debian package sweethome3d-furniture: what there is, and by whom.

Each .sh3f file is a zip archive with PluginFurnitureCatalog.properties and OBJ models.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.errors import InputError
from geopurify_ros.train.rooms.classes import class_of

FURNITURE_FOLDER = Path("/usr/share/sweethome3d/furniture")
HELD_OUT_SHARE = 0.12
# No model of these is ever in a training room, so that they show what the encoder knows without
# having been trained on it: a plain noun each, large and small, hardly ever asked of a robot.
KEPT_OUT_CLASSES = frozenset({
    "piano", "bicycle", "crib", "bathtub", "umbrella", "pool table", "punching bag", "toaster",
    "teapot", "ball",
})  # fmt: skip
_LIBRARIES = {
    "B0": ("BlendSwap-CC-0", "CC0 1.0"), "BY": ("BlendSwap-CC-BY", "CC BY 3.0"),
    "K": ("KatorLegaz", "CC BY 3.0 US"), "R": ("Reallusion", "CC BY 3.0 US"),
    "S": ("Scopia", "CC BY 3.0"),
}  # fmt: skip
_RESERVED = Path(__file__).parent / "reserved_models.txt"
_SPLIT_SEED = 0
# "held-out" is all that is not for training: "validation", to choose by, and "test", to report on.
SPLITS = ("train", "held-out", "validation", "test")


@dataclass(frozen=True)
class Model:
    """One model of the catalogue.

    Attributes:
        key: library:id.
        name: English name.
        author: who made it.
        licence: of the model.
        label: canonical class name.
        size_m: width (left to right), depth (back to front), height.
        elevation_m: of its lowest point where it is usually hung; 0 = stands.
        rotation: (3, 3) turns the OBJ (y up, front +z) upright, before it is scaled to size_m.
        archive: the .sh3f file.
        path: OBJ inside the archive.
    """

    key: str
    name: str
    author: str
    licence: str
    label: str
    size_m: tuple[float, float, float]
    elevation_m: float
    rotation: tuple[float, ...]
    archive: Path
    path: str

    @property
    def rotation_matrix(self) -> NDArray[np.float64]:
        """(3, 3) of `rotation`."""
        return np.array(self.rotation).reshape(3, 3)

    @property
    def credit(self) -> str:
        """One line for models.txt."""
        library = self.archive.stem
        return f"{self.key}: {self.name} by {self.author} ({library}, {self.licence})"


@cache
def reserved_keys() -> frozenset[str]:
    """library:id of the models that only tests may show."""
    lines = _RESERVED.read_text(encoding="utf-8").splitlines()
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def splits_of(model: Model) -> tuple[str, ...]:
    """The `SPLITS` that a model belongs to; they depend on its class and key alone."""
    digest = hashlib.sha256(f"{_SPLIT_SEED}/{model.key}".encode()).digest()
    if model.label in KEPT_OUT_CLASSES:
        return ("held-out", "test")
    if int.from_bytes(digest[:4], "big") / 2**32 >= HELD_OUT_SHARE:
        return ("train",)
    return ("held-out", "test" if digest[4] % 2 else "validation")


@cache
def usable_models(folder: Path | None = None) -> tuple[Model, ...]:
    """All models that have a class and are not reserved, by key.

    Raises:
        InputError: the furniture is not installed.
    """
    folder = folder or FURNITURE_FOLDER
    if not any((folder / f"{name}.sh3f").is_file() for name, _ in _LIBRARIES.values()):
        raise InputError(
            f"no furniture in {folder}: install the Debian package sweethome3d-furniture "
            "(apt-get install sweethome3d-furniture)"
        )
    found = [model for prefix in _LIBRARIES for model in _read_library(folder, prefix)]
    return tuple(sorted((m for m in found if m.key not in reserved_keys()), key=lambda m: m.key))


def _read_library(folder: Path, prefix: str) -> list[Model]:
    name, licence = _LIBRARIES[prefix]
    archive = folder / f"{name}.sh3f"
    if not archive.is_file():
        return []
    with zipfile.ZipFile(archive) as files:
        text = files.read("PluginFurnitureCatalog.properties").decode("latin-1")
    entries: dict[int, dict[str, str]] = defaultdict(dict)
    for key, number, value in re.findall(r"^(\w+)#(\d+)\s*=\s*(.*?)\s*$", text, re.MULTILINE):
        entries[int(number)][key] = value
    models = (_model(entry, prefix, licence, archive) for entry in entries.values())
    return [model for model in models if model is not None]


def _model(entry: dict[str, str], prefix: str, licence: str, archive: Path) -> Model | None:
    key = f"{prefix}:{entry['id'].split('#')[-1]}"
    label = class_of(key, entry["name"])
    if label is None:
        return None
    width, depth, height = (float(entry[side]) / 100 for side in ("width", "depth", "height"))
    rotation = entry.get("modelRotation", "1 0 0 0 1 0 0 0 1").split()
    return Model(
        key, entry["name"], entry.get("creator", "unknown"), licence, label,
        (width, depth, height), float(entry.get("elevation", 0)) / 100,
        tuple(float(r) for r in rotation), archive, entry["model"].lstrip("/"),
    )  # fmt: skip
