"""Students on disk, and which one serves an encoder. A mismatch is refused (METHODS 5.1)."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from geopurify_ros.config import PurifyConfig
from geopurify_ros.core.mapping.encoder import ImageTextEncoder
from geopurify_ros.core.purification.student import StudentNet, StudentShape
from geopurify_ros.data.tensor_file import SafetensorError, read_tensors, write_tensors
from geopurify_ros.errors import CheckpointError, ConfigError, InputError

FORMAT_VERSION = 1
ANY_ENCODER = "any"  # of a student that looks at geometry alone
_KIND = "geopurify_student"
_ASSETS = Path(__file__).parent.parent / "assets"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudentHeader:
    """What a reader must know of the weights.

    Attributes:
        encoder: id of the encoder whose features it takes, or "any".
        feature_dim: D of those features; 0 with "any".
        voxel_size_m: of the maps it was trained on.
        architecture: fields of StudentShape.
        training: settings of the run.
        data: names of the scenes, teacher.
        metrics: of the last steps.
    """

    encoder: str
    feature_dim: int
    voxel_size_m: float
    architecture: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


def save_student(path: Path, net: StudentNet, header: StudentHeader) -> None:
    """Write weights and header.

    Raises:
        InputError: the file cannot be written.
    """
    state = {name: t.detach().cpu().contiguous() for name, t in net.state_dict().items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, state, _KIND, asdict(header))
    except (OSError, SafetensorError) as error:
        raise InputError(f"the student could not be written to {path}: {error}") from error


def load_student(
    path: Path, device: torch.device | str = "cpu"
) -> tuple[StudentNet, StudentHeader]:
    """Read a student, in eval mode.

    Raises:
        CheckpointError: no such file, no student, or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no student {path}")
    try:
        content = read_tensors(path, _KIND)
        if content is None:
            raise CheckpointError(f"{path} is no student of geopurify")
        state, values = content
        if values.get("format_version") != FORMAT_VERSION:
            version = values.get("format_version")
            raise CheckpointError(
                f"{path} has student format {version}, this program reads {FORMAT_VERSION}"
            )
        header = StudentHeader(**values)
        shape = StudentShape(**header.architecture)
        net = StudentNet(shape, shape.in_channels(header.feature_dim))
        net.load_state_dict(state)
    except (SafetensorError, ValueError, TypeError, LookupError, RuntimeError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged or no student: {' '.join(str(error).split())[:200]}"
        ) from error
    return net.to(device).eval().requires_grad_(False), header


def check_student(path: Path, header: StudentHeader, encoder: ImageTextEncoder) -> None:
    """Refuse a student of another encoder.

    Raises:
        CheckpointError: its features come from another encoder or have another width.
    """
    if header.encoder == ANY_ENCODER:
        return
    if (header.encoder, header.feature_dim) != (encoder.id, encoder.feature_dim):
        raise CheckpointError(
            f"{path} was trained on {header.feature_dim} channels of encoder {header.encoder}, "
            f"this map has {encoder.feature_dim} of {encoder.id}"
        )


def student_for(
    purify: PurifyConfig, encoder: ImageTextEncoder, voxel_size_m: float,
    device: torch.device | str = "cpu", assets: Path = _ASSETS,
) -> StudentNet | None:
    """The student that `purify` asks for; None if it asks for none.

    A student that does not fit the encoder gives way to the one of geometry alone, with a warning.

    Raises:
        CheckpointError: the named student cannot be read, or there is none that fits.
    """
    if purify.embedding != "student":
        return None
    path = Path(purify.student) if purify.student else assets / "student_builtin.safetensors"
    fallback = assets / "student_geometry.safetensors"
    if purify.student or path.is_file():
        net, header = load_student(path, device)
        try:
            check_student(path, header, encoder)
            return _checked_size(net, header, path, voxel_size_m)
        except CheckpointError as error:
            if not fallback.is_file():
                raise
            # as text: a log record that keeps the error keeps the frames of its traceback
            _log.warning("%s: the student of geometry alone is used", str(error))
    if not fallback.is_file():
        raise ConfigError(
            "purify.embedding is student, but no student is shipped for this encoder: "
            "name one with purify.student, or set purify.embedding to geometric"
        )
    net, header = load_student(fallback, device)
    check_student(fallback, header, encoder)
    return _checked_size(net, header, fallback, voxel_size_m)


def geometry_student(
    purify: PurifyConfig, voxel_size_m: float, device: torch.device | str = "cpu",
    assets: Path = _ASSETS,
) -> StudentNet:
    """The student of geometry alone, which fits points with features of any model.

    Raises:
        CheckpointError: purify.student names one that wants the features of an encoder.
    """
    path = Path(purify.student) if purify.student else assets / "student_geometry.safetensors"
    net, header = load_student(path, device)
    if header.encoder != ANY_ENCODER:
        raise CheckpointError(
            f"{path} wants features of encoder {header.encoder}: name a student of geometry "
            "alone, or leave purify.student empty"
        )
    return _checked_size(net, header, path, voxel_size_m)


def _checked_size(
    net: StudentNet, header: StudentHeader, path: Path, voxel_size_m: float
) -> StudentNet:
    if header.voxel_size_m != voxel_size_m:
        _log.warning(
            "%s was trained on voxels of %s m, this map has %s m: results may be worse",
            path, header.voxel_size_m, voxel_size_m,
        )
    return net
