"""When the worker has its map purified, and who waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import torch

from geopurify_ros.core.pipeline import PurifyReport
from geopurify_ros.errors import InputError
from geopurify_ros.ros.guarded import Done, Guarded
from geopurify_ros.ros.purifier import Purifier, Run
from geopurify_ros.ros.report import Reporter

_REPLACED = "the map was replaced while it was purified"


class Purifications:
    """One at a time, beside mapping; all methods but `request` are the worker's thread's own."""

    def __init__(
        self, worker: Guarded, reporter: Reporter, lock: threading.Condition,
        is_over: Callable[[], None],
    ) -> None:  # fmt: skip
        """None yet; `is_over` is called on another thread when one has ended."""
        self.report: PurifyReport | None = None  # of the last one
        self.is_due = self.is_asked = False
        self.purifier = Purifier(is_over)
        self._worker, self._reporter, self._lock = worker, reporter, lock
        self._waiting: list[Done] = []  # for the next purification
        self._begun_at = self._purified_at = self._full_at = -float("inf")

    @property
    def age_s(self) -> float:
        """How long ago the map was as it is purified; infinite before the first time."""
        return time.monotonic() - self._purified_at

    @property
    def num_waiting_voxels(self) -> int:
        """Voxels that are new or not what they were when they were purified."""
        pipeline = self._worker.pipeline
        if pipeline.result is None:
            return len(pipeline.map)
        with torch.inference_mode():
            return int((pipeline.map.changed_at() > pipeline.result.version).sum())

    def request(self, done: Done) -> None:
        """Somebody waits for the next one; on any thread that holds the lock."""
        self._waiting.append(done)

    def give_up(self) -> list[Done]:
        """Who waits for the next one, and does so in vain; with the lock held."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def begin(self) -> None:
        """On the map as it is now, once the one that runs is taken over."""
        self.is_asked = self.purifier.is_busy
        if self.is_asked:
            return
        with self._lock:
            done = self.give_up()
        if done or self.is_due:
            self._worker.guard("purify", lambda: self._begin(done), *done, is_half=True)

    def _begin(self, done: list[Done]) -> None:
        settings, now = self._worker.pipeline.config.purify, time.monotonic()
        is_full = 0 < settings.full_period_s <= now - self._full_at
        job = self._worker.pipeline.purify_job(is_full)
        self.purifier.begin(job, done, settings.max_share)
        self.is_due, self._begun_at = False, now

    def take_over(self) -> bool:
        """The result of one, between two frames; true where the map has a new one."""
        run = self.purifier.take()
        if run is None:  # it belonged to the map before
            return False
        is_taken = self._worker.guard("purify", lambda: self._accept(run), *run.done)
        self.is_due |= not is_taken
        return is_taken

    def _accept(self, run: Run) -> None:
        made = run.result()
        report = self.report = self._worker.pipeline.accept(made)
        self._purified_at = self._begun_at
        if report.num_updated == report.num_voxels:
            self._full_at = self._begun_at
        if report.news:
            self._reporter.tell("purify", report.news)
        with self._lock:
            if not self.is_due:  # who asked meanwhile asked for this
                run.done += self.give_up()
        for tell in run.done:
            tell(report)

    def drop(self) -> list[Done]:
        """What runs is of no use any more; returns who waits for it."""
        self.is_due |= self.purifier.is_busy
        return self.purifier.discard()

    def begin_anew(self) -> None:
        """The map is another one."""
        for tell in self.drop():
            tell(InputError(_REPLACED))
        self.report = None
        self._purified_at = self._full_at = -float("inf")
        self.is_due = True

    def follow_removal(self) -> None:
        """Voxels are gone, what runs does not know it: who waits for it waits for the next."""
        waiting = self.drop()
        with self._lock:
            self._waiting += waiting
        self.is_due = True
