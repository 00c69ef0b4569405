"""A room as tables of triangles, ready for ray casting (embreex)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.errors import InputError
from geopurify_ros.train.rooms.mesh import TEXTURE_PX, Floats, Material, Mesh

_NUM_LEVELS = 6  # 256, 128, .. 8 pixels
_LEVEL_SIZE = [TEXTURE_PX >> level for level in range(_NUM_LEVELS)]
_LEVEL_START = np.cumsum([0] + [size * size for size in _LEVEL_SIZE])


@dataclass(frozen=True)
class Item:
    """One object of a room.

    Attributes:
        mesh: in room coordinates, z up, metres.
        label: class name.
        name: for people.
        credit: line for models.txt; "" for what we make ourselves.
    """

    mesh: Mesh
    label: str
    name: str
    credit: str = ""


@dataclass(frozen=True)
class Light:
    """A lamp or a window that sheds light.

    Attributes:
        center: (3,) room frame, metres.
        edge_a: (3,) half of one edge of the shining rectangle.
        edge_b: (3,) half of the other.
        normal: (3,) direction it shines in; zero = in all.
        power: (3,) RGB; irradiance = power * cosines / distance_m^2.
    """

    center: Floats
    edge_a: Floats
    edge_b: Floats
    normal: Floats
    power: Floats


@dataclass(frozen=True)
class Hits:
    """Where rays meet the room first.

    Attributes:
        triangle: (N,) -1 where nothing is met.
        distance_m: (N,) inf where nothing is met.
        weights: (N, 3) of the three corners.
    """

    triangle: NDArray[np.int32]
    distance_m: Floats
    weights: Floats


class Scene:
    """All items of a room in flat tables: T triangles, M materials."""

    def __init__(self, items: list[Item]) -> None:
        """Build the tables and the ray caster.

        Raises:
            InputError: embreex is not installed.
        """
        self.items = items
        meshes = [item.mesh for item in items]
        sizes = [len(mesh.points) for mesh in meshes]
        starts = np.cumsum([0] + [len(mesh.materials) for mesh in meshes])
        self.points = np.concatenate([mesh.points for mesh in meshes])  # (T, 3, 3)
        self.normals = np.concatenate([mesh.normals for mesh in meshes])  # (T, 3, 3)
        self.uv = np.concatenate([mesh.uv for mesh in meshes])  # (T, 3, 2)
        self.material = np.concatenate(
            [mesh.material + start for mesh, start in zip(meshes, starts, strict=False)]
        )  # (T,)
        self.instance = np.repeat(np.arange(len(items)), sizes)  # (T,) index into items
        materials = [material for mesh in meshes for material in mesh.materials]
        self._add_materials(materials)
        edges = self.points[:, 1:] - self.points[:, :1]
        across = np.cross(edges[:, 0], edges[:, 1])  # (T, 3)
        twice_area = np.maximum(np.linalg.norm(across, axis=1), 1e-9)
        self._flat = (across / twice_area[:, None]).astype(np.float32)
        self._texel_density = self._density(twice_area)
        self._caster = _caster(self.points)

    def cast(self, origins: Floats, directions: Floats) -> Hits:
        """First hits of rays, (N, 3) origins and unit directions."""
        found = self._caster.run(_rows(origins), _rows(directions), query="INTERSECT", output=True)
        triangle = found["primID"]
        distance = np.where(triangle >= 0, found["tfar"], np.inf).astype(np.float32)
        u, v = found["u"], found["v"]
        return Hits(triangle, distance, np.stack([1 - u - v, u, v], axis=1))

    def is_blocked(
        self, origins: Floats, directions: Floats, reach_m: Floats
    ) -> NDArray[np.bool_]:
        """(N,) whether anything lies within `reach_m` along the rays."""
        found = self._caster.run(
            _rows(origins), _rows(directions), dists=reach_m.astype(np.float32), query="OCCLUDED"
        )
        return np.asarray(found == 0)

    def normals_at(self, hits: Hits, directions: Floats) -> tuple[Floats, Floats]:
        """(N, 3) unit normals turned against the rays: smooth ones, and those of the triangles."""
        flat = self._flat[hits.triangle]
        flat = np.where(((flat * directions).sum(axis=1) > 0)[:, None], -flat, flat)
        normal = np.einsum("nk,nkd->nd", hits.weights, self.normals[hits.triangle])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        away = (normal * flat).sum(axis=1) < 0
        return np.where(away[:, None], -normal, normal).astype(np.float32), flat

    def surface_at(self, hits: Hits, pixel_angle: float) -> tuple[Floats, Floats]:
        """Diffuse colour (N, 3) and opacity (N,) under the hits.

        Args:
            hits: all on a triangle.
            pixel_angle: radians per pixel, chooses the texture's resolution.
        """
        material = self.material[hits.triangle]
        color = self.color[material].copy()
        alpha = self.alpha[material].copy()
        textured = np.flatnonzero(self.texture[material] >= 0)
        if len(textured):
            triangle = hits.triangle[textured]
            uv = np.einsum("nk,nkd->nd", hits.weights[textured], self.uv[triangle])
            footprint = self._texel_density[triangle] * hits.distance_m[textured] * pixel_angle
            level = np.clip(np.log2(np.maximum(footprint, 1e-3)), 0, _NUM_LEVELS - 1)
            rgba = self._sample(self.texture[material[textured]], uv, level.astype(np.int64))
            color[textured] *= rgba[:, :3]
            alpha[textured] *= rgba[:, 3]
        return color, alpha

    def _add_materials(self, materials: list[Material]) -> None:
        self.alpha = np.array([m.alpha for m in materials], dtype=np.float32)  # (M,)
        self.glow = np.array([m.glow for m in materials], dtype=np.float32)  # (M,)
        self.gloss = np.array([m.gloss for m in materials], dtype=np.float32)  # (M,)
        self.color = np.array([m.color for m in materials], dtype=np.float32)  # (M, 3)
        self.mean_color = self.color.copy()  # (M, 3) with the texture
        number: dict[int, int] = {}
        pyramids: list[NDArray[np.uint8]] = []
        self.texture = np.full(len(materials), -1, dtype=np.int64)  # (M,)
        for row, material in enumerate(materials):
            if material.texture is not None:
                if id(material.texture) not in number:
                    number[id(material.texture)] = len(pyramids)
                    pyramids.append(_pyramid(material.texture))
                self.texture[row] = number[id(material.texture)]
                self.mean_color[row] *= pyramids[self.texture[row]][-1, :3] / 255.0
        self._texels = np.stack(pyramids) if pyramids else np.zeros((0, 1, 4), np.float32)

    def _density(self, twice_area: Floats) -> Floats:
        """(T,) texels per metre at full resolution."""
        p, q = self.uv[:, 1] - self.uv[:, 0], self.uv[:, 2] - self.uv[:, 0]
        uv_area = np.abs(p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0])
        density = np.sqrt(uv_area / twice_area) * TEXTURE_PX
        return np.asarray(density, dtype=np.float32)

    def _sample(
        self, texture: NDArray[np.int64], uv: Floats, level: NDArray[np.int64]
    ) -> Floats:
        """(N, 4) bilinear, repeated outside 0..1."""
        size = np.array(_LEVEL_SIZE)[level]
        x = uv[:, 0] % 1.0 * size - 0.5
        y = (1.0 - uv[:, 1]) % 1.0 * size - 0.5
        x0, y0 = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        fx, fy = x - x0, y - y0
        start = _LEVEL_START[level]
        result = np.zeros((len(uv), 4), dtype=np.float32)
        for dy, wy in ((0, 1 - fy), (1, fy)):
            for dx, wx in ((0, 1 - fx), (1, fx)):
                index = start + (y0 + dy) % size * size + (x0 + dx) % size
                result += self._texels[texture, index] * (wx * wy)[:, None]
        return result / np.float32(255.0)


def _rows(vectors: Floats) -> Floats:
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _pyramid(texture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(sum of texels, 4) all resolutions of one texture, the finest first."""
    image = texture.astype(np.float32)
    levels = []
    for size in _LEVEL_SIZE:
        levels.append(np.round(image).astype(np.uint8).reshape(-1, 4))
        image = image.reshape(size // 2, 2, size // 2, 2, 4).mean(axis=(1, 3))
    return np.concatenate(levels)


def _caster(points: Floats) -> Any:
    try:
        from embreex.mesh_construction import TriangleMesh  # type: ignore[import-untyped]
        from embreex.rtcore_scene import EmbreeScene  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(
            "rendering rooms needs the ray caster embreex: pip install -r requirements-train.txt"
        ) from error
    scene = EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(points, dtype=np.float32))
    return scene
