"""Opens recordings: what counts as one, and what can be done about those that cannot be read."""

from __future__ import annotations

import logging
from pathlib import Path

from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from geopurify_ros.errors import InputError

_STORAGE = (".mcap", ".db3")
_PACKED = tuple(f"{ending}.zstd" for ending in _STORAGE)
_ROS1 = ".bag"
_log = logging.getLogger(__name__)


def is_bag(path: Path) -> bool:
    """Whether this looks like a recording: a folder with one, or a single file."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or bool(_storage_files(path, *_PACKED, _ROS1))
    return path.name.endswith((*_STORAGE, *_PACKED, _ROS1))


def open_bag(path: Path) -> AnyReader:
    """An open reader; of a folder without usable metadata.yaml the storage files are read.

    Raises:
        InputError: it cannot be read; the sentence says what can be done.
    """
    if not path.exists():
        raise InputError(f"there is no recording {path}")
    files = _storage_files(path) if path.is_dir() else [path]
    _refuse_foreign(path)
    try:
        return _opened([path])
    except Exception as error:  # damaged files: the library raises what it likes
        if not path.is_dir() or not files:
            raise InputError(_advice(path, error)) from error
        if (path / "metadata.yaml").is_file():
            _log.warning("%s: metadata.yaml does not fit (%s), its storage files are read", path,
                         error)
    for file in files:  # told by name: which of them is damaged
        try:
            _opened([file]).close()
        except Exception as error:
            raise InputError(_advice(file, error)) from error
    return _opened(files)


def _opened(paths: list[Path]) -> AnyReader:
    reader = AnyReader(paths, default_typestore=get_typestore(Stores.ROS2_KILTED))
    reader.open()
    return reader


def _storage_files(folder: Path, *more: str) -> list[Path]:
    """In the order of their numbers: recordings are split into name_0, name_1, ... name_10."""
    found = [p for p in folder.iterdir() if p.is_file() and p.name.endswith((*_STORAGE, *more))]
    return sorted(found, key=lambda p: (len(p.name), p.name))


def _refuse_foreign(path: Path) -> None:
    """What the library does not read, or only as one file of a recording."""
    files = [path] if path.is_file() else _storage_files(path, *_PACKED, _ROS1)
    has_metadata = (path / "metadata.yaml").is_file()
    for file in files:
        if file.name.endswith(_ROS1):
            raise InputError(
                f"{file} is a bag of ROS 1: convert it with "
                f"`rosbags-convert --src {file} --dst {file.with_suffix('')}`"
            )
        if file.name.endswith(_PACKED) and not has_metadata:
            raise InputError(f"{file} is compressed as a whole: unpack it with `zstd -d {file}`")


def _advice(path: Path, error: Exception) -> str:
    sentence = f"{path} cannot be read as a rosbag2: {error}".rstrip(".")
    if path.suffix == ".mcap" and path.stat().st_size > 0:
        return (
            f"{sentence}; if the recorder was cut off, repair it with "
            f"`mcap recover {path} -o {path.with_name(f'{path.stem}_recovered.mcap')}`"
        )
    if path.suffix == ".db3" and path.stat().st_size > 0:
        return (
            f"{sentence}; if the recorder was cut off, repair it with "
            f"`sqlite3 {path} .recover | sqlite3 {path.with_name(f'{path.stem}_recovered.db3')}`"
        )
    if path.is_dir():
        return f"{sentence}; try `ros2 bag reindex {path}`"
    return sentence
