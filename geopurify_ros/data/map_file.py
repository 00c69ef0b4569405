"""Maps on disk: one safetensors file, its header says what the features mean. Never pickle."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from geopurify_ros.core.voxel_map import VoxelMap
from geopurify_ros.data.tensor_file import SafetensorError, read_tensors, write_tensors
from geopurify_ros.errors import InputError

FORMAT_VERSION = 1
_KIND = "geopurify_map"


@dataclass(frozen=True)
class MapHeader:
    """What a reader must know before it trusts the tensors."""

    format_version: int
    encoder: str
    feature_dim: int
    voxel_size_m: float
    frame: str
    num_voxels: int
    stamp_ns: int
    up: tuple[float, float, float]  # mean up direction of the cameras, for pictures


def save_map(
    path: Path,
    voxel_map: VoxelMap,
    encoder_id: str,
    frame: str,
    up: tuple[float, float, float] = (0.0, 0.0, 1.0),
) -> MapHeader:
    """Write the map: whole or not at all, the old file stays until the new one is safe.

    Raises:
        InputError: the file cannot be written.
    """
    last_seen_ns = voxel_map.last_seen_ns()
    header = MapHeader(
        FORMAT_VERSION,
        encoder_id,
        voxel_map.feature_dim,
        voxel_map.voxel_size_m,
        frame,
        len(voxel_map),
        int(last_seen_ns.max()) if len(last_seen_ns) else 0,
        up,
    )
    try:
        write_tensors(path, voxel_map.state(), _KIND, asdict(header))
    except (OSError, SafetensorError) as error:
        raise InputError(f"the map could not be written to {path}: {error}") from error
    return header


def load_map(
    path: Path,
    encoder_id: str | None = None,
    voxel_size_m: float | None = None,
    device: torch.device | str = "cpu",
) -> tuple[VoxelMap, MapHeader]:
    """Read a map; `encoder_id` and `voxel_size_m` are what it will be used with (None: any).

    Raises:
        InputError: no such file, not a map, another version, or made with another encoder or
            voxel size.
    """
    if not path.is_file():
        raise InputError(f"there is no map file {path}")
    try:
        content = read_tensors(path, _KIND)
        if content is None:
            raise InputError(f"{path} is no geopurify map")
        state, values = content
        header = _read_header(path, values)
        voxel_map = VoxelMap.from_state(state, header.voxel_size_m, device)
    except InputError:
        raise
    except (SafetensorError, ValueError, TypeError, LookupError, AttributeError, OSError) as error:
        raise InputError(f"{path} is damaged or no geopurify map: {error}") from error
    if (len(voxel_map), voxel_map.feature_dim) != (header.num_voxels, header.feature_dim):
        raise InputError(f"{path} is damaged: it does not hold what its header says")
    if encoder_id is not None and header.encoder != encoder_id:
        raise InputError(
            f"{path} was made with encoder {header.encoder}, not {encoder_id}: "
            "ask for that encoder or map again"
        )
    if voxel_size_m is not None and header.voxel_size_m != voxel_size_m:
        raise InputError(
            f"{path} was made with voxels of {header.voxel_size_m} m, not {voxel_size_m} m: "
            "ask for that voxel size or map again"
        )
    return voxel_map, header


def _read_header(path: Path, values: dict[str, Any]) -> MapHeader:
    version = values.pop("format_version")
    if version != FORMAT_VERSION:  # first: the other fields are this version's
        raise InputError(f"{path} has map format {version}, this program reads {FORMAT_VERSION}")
    x, y, z = values.pop("up")
    return MapHeader(version, up=(x, y, z), **values)
