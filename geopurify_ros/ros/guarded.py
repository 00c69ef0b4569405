"""What fails on the worker's thread is told, counted and never ends the thread."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.errors import GeoPurifyError
from geopurify_ros.ros.device_loss import is_lost
from geopurify_ros.ros.report import FrameCounts, Reporter

Done = Callable[[Any], None]  # gets a result or an error


class Guarded:
    """Runs jobs on a pipeline, whatever they raise."""

    def __init__(self, pipeline: Pipeline, counts: FrameCounts, reporter: Reporter) -> None:
        """Nothing has failed yet."""
        self.pipeline = pipeline
        # what fails at present ("frame", "purify", "query", "map") and how; for diagnostics
        self.failing: dict[str, str] = {}
        self.lost_device = ""  # why nothing can be computed any more; then all work is refused
        self.last_refusal = ""  # why the last bad frame was refused
        self._counts, self._reporter = counts, reporter

    def guard(
        self, what: str, job: Callable[[], None], *failed: Done, is_half: bool = False
    ) -> bool:
        """Run a job; true where it succeeded. Half a job does not say that all is well again."""
        if self.lost_device:
            self._refuse(what, failed)
            return False
        try:
            job()
        except Exception as error:
            self._failed(what, error, failed)
            return False
        if not is_half:
            self.failing.pop(what, None)
        return True

    def _failed(self, what: str, error: Exception, failed: tuple[Done, ...]) -> None:
        bad_input = isinstance(error, GeoPurifyError)
        if not bad_input and is_lost(self.pipeline.device):
            self._lose_device(error)
            self._refuse(what, failed)
            return
        if what == "frame":
            self._counts.dropped("bad_input" if bad_input else "internal_error")
            self._frame_failed()
        if bad_input:
            self.last_refusal = str(error) if what == "frame" else self.last_refusal
            self._reporter.warn(what, str(error))
        else:
            self.failing[what] = repr(error)
            trace = "".join(traceback.format_exception(error, limit=-4))
            self._reporter.warn(what, f"internal error, the map is kept: {trace}", repr(error))
        for done in failed:
            done(error)

    def _frame_failed(self) -> None:
        """What that frame would have seen is still to be seen."""

    def _lose_device(self, error: Exception) -> None:
        reason = " ".join(str(error).split())[:200]
        self.lost_device = (
            f"{self.pipeline.device} does not compute any more ({reason}): the map on it is lost, "
            "restart the node"
        )
        self.failing.clear()
        self._reporter.warn("device", self.lost_device)

    def _refuse(self, what: str, failed: tuple[Done, ...]) -> None:
        if what == "frame":
            self._counts.dropped("device_lost")
        for done in failed:
            done(GeoPurifyError(self.lost_device))
