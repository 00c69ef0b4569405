"""Maps on disk: one safetensors file, its header says what the features mean. Never pickle.

Written chunk by chunk straight from the map's memory, read through a memory map. The running map
never depends on the file once it is loaded: whoever truncates a mapped file kills its readers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from geopurify_ros.core.mapping.map_records import MapSnapshot
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.core.purification.basis import checked
from geopurify_ros.data.output_files import check_replaceable
from geopurify_ros.errors import InputError

FORMAT_VERSION, WITH_BASIS = 2, 3  # the second where a map brings what it is pooled in
MAP_KIND = "geopurify_map"  # key in the header
_IMAGE_PIXELS = 640 * 480
_DAMAGES = (SafetensorError, ValueError, TypeError, LookupError, AttributeError, OSError,
            RuntimeError)  # what reading anything but a map may raise
# widest numbers first: aligned
_TENSORS = ("last_seen_ns", "coords", "attributes", "basis", "features")
_DTYPES = {torch.int64: "I64", torch.int32: "I32", torch.float32: "F32", torch.float16: "F16"}
UNKNOWN_DTYPE = "unknown"


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
    # Sum of the up directions of the cameras; of length one in older files, whose number of
    # cameras is not known.
    up: tuple[float, float, float]
    sha256: str  # of the other fields and all tensors
    # Number type of the encoder's image tower; "bfloat16+float32" where a map was loaded and gone
    # on with in another. Older files do not say it.
    encoder_dtype: str = UNKNOWN_DTYPE


def save_map(
    path: Path,
    content: VoxelMap | MapSnapshot,
    encoder_id: str,
    frame: str,
    up: tuple[float, float, float] = (0.0, 0.0, 1.0),
    encoder_dtype: str = UNKNOWN_DTYPE,
) -> MapHeader:
    """Write the map: whole or not at all, the old file stays until the new one is safe.

    `up` is that of a map which knows of no cameras, `encoder_dtype` that of `dtype_name`.

    Raises:
        InputError: the file cannot be written, or would replace one that is no map.
    """
    check_replaceable(path, MAP_KIND)
    snapshot = content.snapshot() if isinstance(content, VoxelMap) else content
    header = _header(snapshot, encoder_id, frame, up, encoder_dtype)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _remove_leftovers(path)
        with temporary.open("wb") as file:
            file.write(_preamble(snapshot, header))
            for block in _blocks(snapshot):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise InputError(f"the map could not be written to {path}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return header


def _header(
    snapshot: MapSnapshot, encoder_id: str, frame: str, up: tuple[float, float, float],
    encoder_dtype: str,
) -> MapHeader:  # fmt: skip
    stamps = snapshot.last_seen_ns
    if bool(snapshot.up_sum.any()):
        x, y, z = snapshot.up_sum.tolist()
        up = (x, y, z)
    header = MapHeader(
        FORMAT_VERSION if snapshot.basis is None else WITH_BASIS,
        encoder_id,
        snapshot.feature_dim,
        snapshot.voxel_size_m,
        frame,
        len(snapshot),
        int(stamps.max()) if len(stamps) else 0,
        up,
        "",
        _joined(snapshot.loaded_dtype, encoder_dtype),
    )
    return replace(header, sha256=_checksum(header, _blocks(snapshot)))


def _joined(loaded: str, now: str) -> str:
    """Both number types, where a map was loaded and gone on with."""
    return "+".join(sorted({*loaded.split("+"), *now.split("+")} - {""}))


def _fields(header: MapHeader) -> dict[str, Any]:
    """As the file holds them: files of before the number type, and their checksums, lack it."""
    fields = asdict(header)
    if header.encoder_dtype == UNKNOWN_DTYPE:
        del fields["encoder_dtype"]
    return fields


def _checksum(header: MapHeader, blocks: Iterator[memoryview]) -> str:
    known = {name: value for name, value in _fields(header).items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _blocks(snapshot: MapSnapshot) -> Iterator[memoryview]:
    """The bytes of all tensors in the order of the file, a few megabytes at a time."""
    for tensors in _content(snapshot).values():
        for tensor in tensors:
            yield _bytes_of(tensor)


def _content(snapshot: MapSnapshot) -> dict[str, tuple[Tensor, ...]]:
    """What the file holds, in its order; the features come in parts."""
    found = {name: getattr(snapshot, name) for name in _TENSORS}
    return {name: held if isinstance(held, tuple) else (held,)
            for name, held in found.items() if held is not None}


def _bytes_of(tensor: Tensor) -> memoryview:
    array: NDArray[Any] = tensor.detach().cpu().contiguous().view(-1).numpy()
    return array.data.cast("B") if len(array) else memoryview(b"")


def _preamble(snapshot: MapSnapshot, header: MapHeader) -> bytes:
    """Length and JSON that a safetensors file begins with."""
    document: dict[str, Any] = {"__metadata__": {MAP_KIND: json.dumps(_fields(header))}}
    offset = 0
    for name, tensors in _content(snapshot).items():
        if name == "features":
            shape, dtype = [len(snapshot), snapshot.feature_dim], torch.float16
        else:
            shape, dtype = list(tensors[0].shape), tensors[0].dtype
        size = dtype.itemsize * torch.Size(shape).numel()
        document[name] = {"dtype": _DTYPES[dtype], "shape": shape,
                          "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _remove_leftovers(path: Path) -> None:
    """Parts of writers that were killed."""
    for part in path.parent.glob(f".{path.name}.*.part"):
        writer = part.name.split(".")[-2]
        if writer.isdigit() and not Path(f"/proc/{writer}").exists():
            with contextlib.suppress(OSError):
                part.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new name safe, too; not every file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def load_map(
    path: Path,
    encoder_id: str | None = None,
    voxel_size_m: float | None = None,
    device: torch.device | str = "cpu",
    frame: str | None = None,
) -> tuple[VoxelMap, MapHeader]:
    """Read a map; what is given of encoder, voxel size and frame must be the file's (None: any).

    Raises:
        InputError: no such file, not a map, another version, made with another encoder, voxel
            size or frame, truncated or changed.
    """
    header = check_map(path, encoder_id, voxel_size_m, frame)
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        voxel_map = VoxelMap.from_state(state, header.voxel_size_m, device)
        _check_content(path, header, state)
        voxel_map.up_sum = _up_sum(header, state["attributes"])
        voxel_map.loaded_dtype = header.encoder_dtype if len(voxel_map) else ""
        if "basis" in state:
            voxel_map.basis = checked(state["basis"].to(device), header.feature_dim)
    except InputError:
        raise
    except _DAMAGES as error:
        raise InputError(f"{path} is damaged or no geopurify map: {error}") from error
    return voxel_map, header


def check_map(
    path: Path, encoder_id: str | None = None, voxel_size_m: float | None = None,
    frame: str | None = None,
) -> MapHeader:
    """The header of a map that may be used as `load_map` would; its content is not read.

    Raises:
        InputError: see `load_map`; not for content that is truncated or changed.
    """
    if not path.is_file():
        raise InputError(f"there is no map file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(MAP_KIND)
        if text is None:
            raise InputError(f"{path} is no geopurify map")
        header = _read_header(path, text)
    except InputError:
        raise
    except _DAMAGES as error:
        raise InputError(f"{path} is damaged or no geopurify map: {error}") from error
    _check_use(path, header, encoder_id, voxel_size_m, frame)
    return header


def _up_sum(header: MapHeader, attributes: Tensor) -> Tensor:  # (3,)
    """In older files as many cameras as the pixels fill images; one alone would be turned soon."""
    up_sum = torch.tensor(header.up, dtype=torch.float64)
    if abs(float(up_sum.norm()) - 1.0) < 1e-6:
        up_sum *= max(1.0, float(attributes[:, 6].sum(dtype=torch.float64)) / _IMAGE_PIXELS)
    return up_sum


def _check_use(
    path: Path, header: MapHeader, encoder_id: str | None, voxel_size_m: float | None,
    frame: str | None,
) -> None:  # fmt: skip
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
    if frame is not None and header.frame != frame:
        raise InputError(
            f"{path} was made in frame '{header.frame}', not '{frame}': set map.frame to that "
            "frame or map again"
        )


def _check_content(path: Path, header: MapHeader, state: dict[str, Tensor]) -> None:
    """What the header says of the tensors, and that neither was changed."""
    features = state["features"]
    if tuple(features.shape) != (header.num_voxels, header.feature_dim):
        raise InputError(f"{path} is damaged: it does not hold what its header says")
    blocks = (_bytes_of(state[name]) for name in _TENSORS if name in state)
    if _checksum(header, blocks) != header.sha256:
        raise InputError(f"{path} is damaged: its content does not match its checksum")
    if not all(bool(torch.isfinite(state[name]).all()) for name in ("attributes", "features")):
        raise InputError(f"{path} is damaged: it holds values that are not finite")


def _read_header(path: Path, text: str) -> MapHeader:
    values = json.loads(text)
    version = values.pop("format_version")
    if version not in (FORMAT_VERSION, WITH_BASIS):  # first: the other fields are this version's
        raise InputError(f"{path} has map format {version}, this program reads {WITH_BASIS}")
    x, y, z = values.pop("up")
    return MapHeader(version, up=(x, y, z), **values)
