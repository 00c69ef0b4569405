"""Who hears of the worker's results."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.core.answers.answer import Answer
from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.pipeline import Pipeline


class Listener(Protocol):
    """Hears of results, on the worker's thread."""

    wants_labels: bool  # whether anybody looks at labels
    camera_m: NDArray[np.float64] | None  # (3,) where the newest frame was taken
    wants_raw: bool  # whether anybody looks at labels of before purification
    lacks_labels: bool  # whether somebody has come for labels that are to be made for that

    def map_changed(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """The map is worth publishing again."""

    def answered(
        self, pipeline: Pipeline, asked: TextQuery, answer: Answer, stamp_ns: int
    ) -> None:
        """The active query has a new answer."""

    def cleared(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """There is no active query any more."""

    def catch_up(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """Somebody may have come for what was left out while nobody listened."""
