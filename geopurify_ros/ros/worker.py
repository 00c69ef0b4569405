"""The one thread that owns the map: encodes and fuses the newest frame, purifies, answers."""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from geopurify_ros.core.frame import RgbdFrame
from geopurify_ros.core.keyframe import KeyframeGate
from geopurify_ros.core.pipeline import Answer, Pipeline, PurifyReport
from geopurify_ros.core.query import TextQuery
from geopurify_ros.errors import GeoPurifyError
from geopurify_ros.ros.report import FrameCounts, Reporter

_MAX_QUESTIONS = 32


class Listener(Protocol):
    """Hears of results, on the worker's thread."""

    def map_changed(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """The map is worth publishing again."""

    def answered(
        self, pipeline: Pipeline, asked: TextQuery, answer: Answer, stamp_ns: int
    ) -> None:
        """The active query has a new answer."""

    def cleared(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """There is no active query any more."""


@dataclass
class _Question:
    asked: TextQuery
    done: Callable[[Any], None]


class MappingWorker:
    """Callbacks hand work in and return at once; frames wait in a slot of one, the newest wins."""

    def __init__(
        self,
        pipeline: Pipeline,
        gate: KeyframeGate,
        counts: FrameCounts,
        reporter: Reporter,
        listener: Listener,
    ) -> None:
        """Not started yet."""
        self.pipeline = pipeline
        self.stamp_ns = 0  # of the newest fused frame
        self.last_purify: PurifyReport | None = None
        self.last_answer: Answer | None = None  # of the active query
        self._gate, self._counts = gate, counts
        self._reporter, self._listener = reporter, listener
        self._wake = threading.Condition()
        self._stopping = False
        self._frame: Callable[[], RgbdFrame] | None = None
        self._questions: deque[_Question] = deque()
        self._purify_done: list[Callable[[Any], None]] = []
        self._flags: set[str] = set()
        self._query: TextQuery | None = None
        self._map_is_new = self._purify_is_due = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to work, for the first time or again."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="mapping worker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the job at hand and end."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
            if self._frame is not None:
                self._counts.dropped("stopped")
                self._frame = None
        if self._thread is not None:
            self._thread.join()

    def submit_frame(self, build: Callable[[], RgbdFrame]) -> None:
        """Offer a frame; `build` makes it from messages on the worker's thread."""
        with self._wake:
            if self._frame is not None:
                self._counts.dropped("busy")
            self._frame = build
            self._wake.notify()

    def set_query(self, asked: TextQuery | None) -> None:
        """Make `asked` the active query: answered now and after every purification."""
        with self._wake:
            self._query = asked
            self._flags.add("answer" if asked is not None else "clear")
            self._wake.notify()

    def ask(self, asked: TextQuery, done: Callable[[Any], None]) -> bool:
        """Answer once without touching the active query; false when too many wait already.

        `done` gets (Answer, stamp_ns), or the error.
        """
        with self._wake:
            if len(self._questions) >= _MAX_QUESTIONS:
                return False
            self._questions.append(_Question(asked, done))
            self._wake.notify()
            return True

    def request_purify(self, done: Callable[[Any], None] | None = None) -> None:
        """Purify now; without `done` only if the map changed since the last time."""
        with self._wake:
            self._flags.add("purify")
            if done is not None:
                self._purify_done.append(done)
            self._wake.notify()

    def request_map(self) -> None:
        """Publish the map if it changed."""
        with self._wake:
            self._flags.add("map")
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._stopping or self._frame or self._questions or self._flags):
                    self._wake.wait()
                if self._stopping:
                    return
                flags, self._flags = self._flags, set()
                questions, self._questions = self._questions, deque()
                purify_done, self._purify_done = self._purify_done, []
                build, self._frame = self._frame, None
            for question in questions:
                self._guard("query", lambda q=question: self._answer_once(q), question.done)
            if "purify" in flags and (purify_done or self._purify_is_due):
                self._guard("purify", lambda d=purify_done: self._purify(d), *purify_done)
                flags.add("answer")
            if "clear" in flags:
                self._guard("query", lambda: self._listener.cleared(self.pipeline, self.stamp_ns))
            if "answer" in flags and self._query is not None:
                self._guard("query", self._answer)
            if "map" in flags and self._map_is_new:
                self._map_is_new = False
                self._guard("map", self._publish_map)
            if build is not None:
                self._guard("frame", lambda b=build: self._integrate(b))

    def _guard(self, what: str, job: Callable[[], None], *failed: Callable[[Any], None]) -> None:
        """Run a job; whatever it raises is told, counted and never ends the thread."""
        try:
            job()
        except Exception as error:
            if what == "frame":
                bad_input = isinstance(error, GeoPurifyError)
                self._counts.dropped("bad_input" if bad_input else "internal_error")
            if isinstance(error, GeoPurifyError):
                self._reporter.warn(what, str(error))
            else:
                trace = traceback.format_exc(limit=-4)
                self._reporter.warn(what, f"internal error, the map is kept: {trace}", repr(error))
            for done in failed:
                done(error)

    def _integrate(self, build: Callable[[], RgbdFrame]) -> None:
        frame = build()
        if not self._gate.is_keyframe(frame.T_world_camera, frame.stamp_ns):
            self._counts.dropped("not_keyframe")
            return
        self.pipeline.integrate(frame)
        self._gate.accept(frame.T_world_camera, frame.stamp_ns)
        self.stamp_ns = max(self.stamp_ns, frame.stamp_ns)
        self._map_is_new = self._purify_is_due = True
        self._counts.fused()

    def _purify(self, done: list[Callable[[Any], None]]) -> None:
        self.last_purify = self.pipeline.purify()
        self._purify_is_due = False
        for tell in done:
            tell(self.last_purify)

    def _publish_map(self) -> None:
        self._listener.map_changed(self.pipeline, self.stamp_ns)

    def _answer(self) -> None:
        asked = self._query
        if asked is not None:
            answer = self.last_answer = self.pipeline.query(asked)
            self._listener.answered(self.pipeline, asked, answer, self.stamp_ns)

    def _answer_once(self, question: _Question) -> None:
        question.done((self.pipeline.query(question.asked), self.stamp_ns))
