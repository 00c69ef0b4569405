"""What every reader of recordings offers; `formats.open_recording` finds the right one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.cameras import Topics
from geopurify_ros.config import Config
from geopurify_ros.core.mapping.frame import RgbdFrame


class Recording(Protocol):
    """Posed RGB-D frames on disk; use it in a with statement.

    Attributes:
        path: where it lies.
        refused: why frames could not be used, and how often; grows while frames are read.
    """

    path: Path
    refused: Counter[str]

    @staticmethod
    def reads(path: Path) -> bool:
        """Whether this reader is the one for `path`."""
        ...

    @classmethod
    def open(cls, path: Path, config: Config, topics: Topics) -> Recording:
        """Open it; `topics` say which ones of a bag are meant.

        Raises:
            InputError: it cannot be read, in one sentence.
        """
        ...

    def __len__(self) -> int:
        """Number of frames, those that will be refused included."""
        ...

    def frames(self, every: int = 1) -> Iterator[RgbdFrame]:
        """Every `every`-th frame in order; those that cannot be used are counted."""
        ...

    def __enter__(self) -> Recording: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@runtime_checkable
class LabeledRecording(Protocol):
    """What a recording offers beside that may have ground truth.

    Attributes:
        class_names: id -> name, ids from 1; empty where there is no truth.
    """

    path: Path
    class_names: dict[int, str]

    @property
    def has_labels(self) -> bool:
        """Whether ground truth comes with it."""
        ...

    @property
    def has_instances(self) -> bool:
        """Whether the truth tells one chair from another."""
        ...

    def __len__(self) -> int:
        """Number of frames."""
        ...

    def frame(self, number: int) -> RgbdFrame:
        """One frame.

        Raises:
            InputError: it cannot be read.
        """
        ...

    def label(self, number: int, kind: str = "label") -> NDArray[np.int64]:  # (H, W)
        """Class ids of a frame, 0 = unlabelled; `kind` "instance": numbers of instances.

        Raises:
            InputError: they cannot be read.
        """
        ...
