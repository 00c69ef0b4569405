"""Finds the reader of a recording. A new format is a file beside this one and a line here."""

from __future__ import annotations

from pathlib import Path

from geopurify_ros.cameras import Topics
from geopurify_ros.config import Config
from geopurify_ros.data.readers.bag import Bag
from geopurify_ros.data.readers.recording import LabeledRecording, Recording
from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.errors import InputError

# The first that reads a path opens it; the last one says of anything why it is none.
_READERS: tuple[type[Recording], ...] = (Bag, Sequence)


def open_recording(
    path: Path | str, config: Config | None = None, topics: Topics | None = None
) -> Recording:
    """The recording at `path`: a folder of images, or a rosbag2.

    Args:
        path: where it lies.
        config: depth unit, choice of poses and the like; default Config().
        topics: which topics of a bag are meant; default those of the node.

    Raises:
        InputError: it is none, or cannot be read.
    """
    path, config, topics = Path(path), config or Config(), topics or Topics()
    reader = next(reader for reader in _READERS if reader.reads(path))
    return reader.open(path, config, topics)


def open_labeled(path: Path | str, config: Config | None = None) -> LabeledRecording:
    """The recording at `path`, which must have ground truth.

    Raises:
        InputError: it has none, or see `open_recording`.
    """
    recording = open_recording(path, config)
    if not isinstance(recording, LabeledRecording) or not recording.has_labels:
        raise InputError(f"{path} has no ground truth (label/ and classes.json)")
    return recording
