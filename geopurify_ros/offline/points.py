"""Purification alone: anybody's points, with features or scores of any model (METHODS 1.9)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.config import Config, PurifyConfig
from geopurify_ros.core.mapping.block_index import BlockIndex, relative_key
from geopurify_ros.core.mapping.scatter import scatter_mean
from geopurify_ros.core.purification.affinity import Affinity, affinity_weights
from geopurify_ros.core.purification.embedding import geometric_embedding
from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.pooling import pool_observations
from geopurify_ros.core.purification.scene import VoxelScene
from geopurify_ros.data.student_file import geometry_student
from geopurify_ros.encoders import pick_device
from geopurify_ros.errors import InputError

_MOST_VOXELS_ACROSS = 1 << 21  # so many `relative_key` tells apart
_COLUMNS_AT_ONCE = 64  # memory does not grow with the width of the values


@torch.inference_mode()
def purify_points(
    points_m: ArrayLike,  # (N, 3)
    values: ArrayLike,  # (N, C)
    colors: ArrayLike,  # (N, 3)
    normals: ArrayLike,  # (N, 3)
    *,
    voxel_size_m: float | None = None,
    up: tuple[float, float, float] = (0.0, 0.0, 1.0),
    config: Config | None = None,
) -> NDArray[np.float32]:  # (N, C)
    """Values per point, pooled along surfaces that look alike: less noise, sharper borders.

    Points are gathered in voxels; a voxel weighs as many points as it holds, and each point gets
    what its voxel ends with. What the values mean does not matter: purification is linear in them,
    so features may be purified before they are compared with texts, or scores after.

    Args:
        points_m: positions, metres. Points may coincide.
        values: features or scores of each point.
        colors: RGB, 0..255.
        normals: of any length; zero or NaN where there is none.
        voxel_size_m: default `config.map.voxel_size_m`; the shipped student knows 0.05.
        up: away from the floor, in the frame of the points.
        config: `purify` (embedding, neighbours, rounds, ...) and `encoder.device` of it are used.

    Returns:
        The purified values, float32. Points whose position or values are NaN or infinite keep
        their values and reach no other point.

    Raises:
        InputError: shapes that do not belong together, or points too far apart for the voxels.
        CheckpointError: `config.purify.student` names a student that wants features.
    """
    config = config or Config()
    size_m = config.map.voxel_size_m if voxel_size_m is None else voxel_size_m
    if not 0 < size_m < float("inf"):
        raise InputError(f"voxel_size_m is {size_m}, expected metres, more than 0")
    points = _rows("points_m", points_m, None, 3, np.float64)
    result = _rows("values", values, len(points), None, np.float32).copy()
    attributes = np.concatenate(
        [_rows("colors", colors, len(points), 3, np.float32),
         _rows("normals", normals, len(points), 3, np.float32)], axis=1,
    )  # fmt: skip
    usable = np.isfinite(points).all(axis=1) & np.isfinite(result).all(axis=1)
    if config.purify.embedding == "none" or not usable.any() or not result.shape[1]:
        return result
    device = pick_device(config.encoder.device)
    coords = torch.from_numpy(_lattice(points[usable], size_m)).to(device)
    rows = torch.unique(relative_key(coords), return_inverse=True)[1]  # voxel of each point
    attributes = np.nan_to_num(attributes[usable], nan=0.0, posinf=0.0, neginf=0.0)
    scene = _scene(rows, coords, torch.from_numpy(attributes).to(device), up, size_m)
    affinity = _affinity(scene, config.purify)
    for start in range(0, result.shape[1], _COLUMNS_AT_ONCE):
        columns = slice(start, start + _COLUMNS_AT_ONCE)
        part = torch.from_numpy(result[usable, columns]).to(device)
        result[usable, columns] = _pooled(part, rows, affinity, config.purify.iterations)
    return result


def _pooled(
    values: Tensor,  # (N, C)
    rows: Tensor,  # (N,) int64, voxel of each point
    affinity: Affinity,
    rounds: int,
) -> NDArray[np.float32]:  # (N, C)
    """What each point's voxel ends with."""
    mean = scatter_mean(values, rows, len(affinity))
    pixels = torch.bincount(rows, minlength=len(affinity)).to(torch.float32)
    pooled = pool_observations(mean, pixels, affinity, rounds)
    return np.asarray(pooled[rows].cpu())


def _rows(
    name: str, given: ArrayLike, count: int | None, width: int | None, kind: type
) -> NDArray[np.floating]:
    """`given` as an array of numbers in rows.

    Raises:
        InputError: it is none of this length and width.
    """
    try:
        array: NDArray[Any] = np.asarray(given, dtype=kind)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} are no numbers in rows: {error}") from error
    if array.size == 0 and array.ndim == 1:
        array = array.reshape(0, width or 0)
    fits = array.ndim == 2 and count in (None, len(array)) and width in (None, array.shape[-1])
    if not fits:
        wanted = f"({'N' if count is None else count}, {'C' if width is None else width})"
        raise InputError(f"{name} have shape {array.shape}, expected {wanted}")
    return array


def _lattice(points_m: NDArray[np.floating], size_m: float) -> NDArray[np.int64]:  # (N, 3)
    """Voxels of points, counted from the lowest: positions of any magnitude will do."""
    cells = np.floor(points_m / size_m)
    cells -= cells.min(axis=0)
    if cells.max() >= _MOST_VOXELS_ACROSS:
        raise InputError(
            f"the points are {cells.max() * size_m:.3g} m apart, at most "
            f"{_MOST_VOXELS_ACROSS * size_m:.3g} m will do with voxels of {size_m:g} m"
        )
    lattice: NDArray[np.int64] = cells.astype(np.int64)
    return lattice


def _scene(
    rows: Tensor,  # (N,) int64
    coords: Tensor,  # (N, 3) int64
    attributes: Tensor,  # (N, 6) colour and normal
    up: tuple[float, float, float],
    size_m: float,
) -> VoxelScene:
    """The voxels, without features."""
    count = int(rows.max()) + 1
    mean = scatter_mean(attributes, rows, count)
    voxel_coords = coords.new_zeros((count, 3))
    voxel_coords[rows] = coords
    index = BlockIndex(coords.device)
    index.insert(voxel_coords)
    upward = normalize(torch.tensor(up, dtype=torch.float64), dim=0)
    none = mean.new_zeros((count, 0))
    return VoxelScene(
        index, voxel_coords, (none,), mean[:, :3], normalize(mean[:, 3:], dim=1), upward, size_m
    )


def _affinity(scene: VoxelScene, purify: PurifyConfig) -> Affinity:
    if purify.embedding == "student":
        net = geometry_student(purify, scene.voxel_size_m, scene.coords.device)
        embeddings = net.embed(scene)
    else:
        embeddings = geometric_embedding(scene.normal, scene.color)
    graph = nearest_neighbors(scene.index, scene.coords, purify.neighbors)
    return affinity_weights(embeddings, graph, purify.affinity_scale)
