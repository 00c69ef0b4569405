"""Triangle meshes with materials, and the OBJ and MTL reader for catalogue models."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geopurify_ros.train.rooms.catalogue import Model

Floats = NDArray[np.floating[Any]]
TEXTURE_PX = 256


@dataclass(frozen=True)
class Material:
    """What a surface looks like.

    Attributes:
        color: (3,) diffuse, linear-ish 0..1, times the texture.
        alpha: 1 = opaque.
        texture: (TEXTURE_PX, TEXTURE_PX, 4) uint8 RGBA or None.
        glow: 0 = lit by the lamps, 1 = shines by itself.
        gloss: 0 = matt, 1 = mirrors the lamps.
    """

    color: tuple[float, float, float]
    alpha: float = 1.0
    texture: NDArray[np.uint8] | None = field(default=None, compare=False)
    glow: float = 0.0
    gloss: float = 0.0


@dataclass(frozen=True)
class Mesh:
    """Triangles; z is up, metres, unless said otherwise.

    Attributes:
        points: (T, 3, 3) corners.
        normals: (T, 3, 3) unit, at the corners.
        uv: (T, 3, 2) texture coordinates, v upwards.
        material: (T,) index into `materials`.
        materials: of the mesh.
    """

    points: Floats
    normals: Floats
    uv: Floats
    material: NDArray[np.int32]
    materials: tuple[Material, ...]

    def bounds(self) -> tuple[Floats, Floats]:
        """Lowest and highest corner, (3,) each."""
        flat = self.points.reshape(-1, 3)
        return flat.min(axis=0), flat.max(axis=0)

    def moved(self, linear: NDArray[np.float64], shift: NDArray[np.float64]) -> Mesh:
        """The mesh under x -> linear @ x + shift; linear (3, 3) may scale and mirror."""
        linear = np.asarray(linear, dtype=np.float64)
        points = (self.points @ linear.T + shift).astype(np.float32)
        normals = self.normals @ np.linalg.inv(linear)
        normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
        return replace(self, points=points, normals=normals.astype(np.float32))


def joined(meshes: list[Mesh]) -> Mesh:
    """One mesh of several."""
    offsets = np.cumsum([0] + [len(m.materials) for m in meshes])
    return Mesh(
        np.concatenate([m.points for m in meshes]),
        np.concatenate([m.normals for m in meshes]),
        np.concatenate([m.uv for m in meshes]),
        np.concatenate([m.material + np.int32(o) for m, o in zip(meshes, offsets, strict=False)]),
        tuple(material for m in meshes for material in m.materials),
    )


def centred(mesh: Mesh) -> Mesh:
    """The middle of the footprint at the origin, the lowest point at z = 0."""
    low, high = mesh.bounds()
    x, y, _ = ((low + high) / 2).tolist()
    return mesh.moved(np.eye(3), -np.array([x, y, float(low[2])]))


@lru_cache(maxsize=400)
def load_model(model: Model) -> Mesh:
    """The model upright, front to -y: centre of its footprint at the origin, lowest z = 0."""
    files = _archive(model.archive)
    mesh = read_obj(files, model.path)
    mesh = mesh.moved(model.rotation_matrix, np.zeros(3))
    low, high = mesh.bounds()
    width, depth, height = model.size_m
    scale = np.array([width, height, depth]) / np.maximum(high - low, 1e-6)
    center = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    upright = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ np.diag(scale)
    return mesh.moved(upright, -upright @ center)


@cache
def _archive(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def read_obj(files: zipfile.ZipFile, path: str) -> Mesh:
    """Read an OBJ with its MTL and textures, in its own axes and units.

    Args:
        files: the archive.
        path: of the OBJ inside it.
    """
    points, normals, uv = [], [], []
    faces: dict[tuple[str, int, int], list[str]] = defaultdict(list)
    materials: dict[str, Material] = {}
    used = ""
    for line in files.read(path).decode("latin-1").replace("\\\n", " ").splitlines():
        kind, _, rest = line.strip().partition(" ")
        if kind == "v":
            points.append(rest)
        elif kind == "vn":
            normals.append(rest)
        elif kind == "vt":
            uv.append(rest)
        elif kind == "f":
            corners = rest.split()
            if len(corners) >= 3:
                slashes = corners[0].count("/")
                faces[used, len(corners), slashes].append(rest)
        elif kind == "usemtl":
            used = rest.strip()
        elif kind == "mtllib":
            materials.update(_read_mtl(files, posixpath.join(posixpath.dirname(path), rest)))
    tables = (_table(points, 3), _table(uv, 2), _table(normals, 3))
    parts = [
        _part(lines, corners, slashes, tables, materials.get(name, Material((0.6, 0.6, 0.6))))
        for (name, corners, slashes), lines in faces.items()
    ]
    return joined(parts)


def _table(lines: list[str], width: int) -> Floats:
    rows = [line.split()[:width] for line in lines]
    return np.array([row + ["0"] * (width - len(row)) for row in rows], dtype=np.float32).reshape(
        -1, width
    )


def _part(
    lines: list[str], num_corners: int, slashes: int,
    tables: tuple[Floats, Floats, Floats], material: Material,
) -> Mesh:  # fmt: skip
    """Faces of one material, corner count and form; polygons become fans."""
    text = " ".join(lines).replace("//", "/0/").replace("/", " ")
    index = np.array(text.split(), dtype=np.int64).reshape(-1, num_corners, slashes + 1)
    fan = np.stack([np.array([0, k, k + 1]) for k in range(1, num_corners - 1)])
    index = index[:, fan].reshape(-1, 3, slashes + 1)
    points = _look_up(tables[0], index[..., 0])
    flat = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    flat /= np.maximum(np.linalg.norm(flat, axis=-1, keepdims=True), 1e-12)
    normals = np.repeat(flat[:, None], 3, axis=1)
    uv = np.zeros((*points.shape[:2], 2), dtype=np.float32)
    if slashes >= 1 and len(tables[1]):
        uv = np.where((index[..., 1] != 0)[..., None], _look_up(tables[1], index[..., 1]), uv)
    if slashes == 2 and len(tables[2]):
        given = _look_up(tables[2], index[..., 2])
        length = np.linalg.norm(given, axis=-1, keepdims=True)
        usable = (length > 1e-6) & (index[..., 2] != 0)[..., None]
        normals = np.where(usable, given / np.maximum(length, 1e-6), normals)
    return Mesh(
        points, normals.astype(np.float32), uv, np.zeros(len(points), dtype=np.int32), (material,)
    )


def _look_up(table: Floats, index: NDArray[np.int64]) -> Floats:
    """Rows of `table`; OBJ counts from 1, or from the end with negative numbers."""
    return table[np.where(index > 0, index - 1, index)]


def _read_mtl(files: zipfile.ZipFile, path: str) -> dict[str, Material]:
    try:
        text = files.read(posixpath.normpath(path.strip())).decode("latin-1")
    except KeyError:
        return {}
    found: dict[str, Material] = {}
    name = ""
    for line in text.splitlines():
        kind, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if kind == "newmtl":
            name = rest
            found[name] = Material((0.6, 0.6, 0.6))
        elif name and rest:
            found[name] = _with_property(found[name], kind, rest, files, posixpath.dirname(path))
    return found


def _with_property(
    material: Material, kind: str, rest: str, files: zipfile.ZipFile, folder: str
) -> Material:
    if kind == "Kd":
        red, green, blue = (float(word) for word in rest.split()[:3])
        return replace(material, color=(red, green, blue))
    if kind == "d":
        return replace(material, alpha=float(rest.split()[-1]))
    if kind == "Ks":
        return replace(material, gloss=min(1.0, max(float(word) for word in rest.split()[:3])))
    if kind == "map_Kd":
        image = _texture(files, posixpath.join(folder, rest))
        return replace(material, texture=image, color=(1.0, 1.0, 1.0))
    return material


@lru_cache(maxsize=600)
def _texture(files: zipfile.ZipFile, path: str) -> NDArray[np.uint8] | None:
    try:
        image = Image.open(io.BytesIO(files.read(posixpath.normpath(path)))).convert("RGBA")
    except (KeyError, OSError):
        return None
    return np.array(image.resize((TEXTURE_PX, TEXTURE_PX), Image.Resampling.BOX))
