"""The one thread that owns the map: encodes and fuses the newest frame, answers.

Purifications run beside it (`purifications`), on what the map was when they began.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.config import Config
from geopurify_ros.core.answers.answer import Answer
from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.mapping.keyframe import KeyframeGate
from geopurify_ros.core.pipeline import Pipeline, PurifyReport
from geopurify_ros.errors import InputError
from geopurify_ros.ros.frame_queue import Build, FrameQueue, Place
from geopurify_ros.ros.guarded import Done, Guarded
from geopurify_ros.ros.purifications import Purifications
from geopurify_ros.ros.refresh import Refresh
from geopurify_ros.ros.report import FrameCounts, Reporter
from geopurify_ros.ros.worker_listener import Listener

_MAX_JOBS = 32
Corner = tuple[float, float, float]  # x, y, z in the map frame
_INACTIVE = "the node is not active: activate it first"


@dataclass(frozen=True)
class _Job:
    what: str
    run: Callable[[], Any]
    done: Done


class MappingWorker(Guarded):
    """Callbacks hand work in and return at once; a few keyframes wait, the newest win."""

    def __init__(
        self,
        pipeline: Pipeline,
        gate: KeyframeGate,
        counts: FrameCounts,
        reporter: Reporter,
        listener: Listener,
    ) -> None:
        """Not started yet."""
        super().__init__(pipeline, counts, reporter)
        self.stamp_ns = 0  # of the newest fused frame
        self.is_paused = False
        self.last_answer: Answer | None = None  # of the active query
        self._gate, self._listener = gate, listener
        self._frames = FrameQueue(gate.config, counts)
        self._wake = threading.Condition()
        self.purifications = Purifications(
            self, reporter, self._wake, lambda: self._flag("purified")
        )
        self._stopping = True  # nobody works before start()
        self._jobs: deque[_Job] = deque()
        self._flags: set[str] = set()
        self._query: TextQuery | None = None
        self._map_is_new, self._refresh = False, Refresh()
        self._thread: threading.Thread | None = None

    @property
    def query(self) -> TextQuery | None:
        """The active query."""
        return self._query

    @property
    def last_purify(self) -> PurifyReport | None:
        """Of the present map."""
        return self.purifications.report

    def configure(self, config: Config) -> None:
        """Take new values of live parameters; the next job uses them."""
        self.pipeline.config = config
        self._gate.config = config.keyframe
        self._frames.configure(config.keyframe)

    def start(self) -> None:
        """Begin to work, for the first time or again."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="mapping worker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the job at hand and end; whoever still waits is told."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
            self._frames.drop("stopped")
            waiting = [*(job.done for job in self._jobs), *self.purifications.give_up()]
            self._jobs.clear()
        if self._thread is not None:
            self._thread.join()
        waiting += self.purifications.drop()
        self.purifications.purifier.join()
        for done in waiting:
            done(InputError("the node was deactivated"))

    def pause(self, is_paused: bool) -> None:
        """Drop frames from now on, the waiting one too, or take them again."""
        with self._wake:
            self.is_paused = is_paused
            if is_paused:
                self._frames.drop("paused")

    def wants(self, T_world_camera: NDArray[np.float64], stamp_ns: int) -> bool:
        """Whether a frame at this pose (4, 4) and time is a keyframe after those that wait."""
        with self._wake:
            return self._frames.wants(T_world_camera, stamp_ns)

    def submit_frame(self, build: Build, place: Place | None = None) -> None:
        """Offer a frame; `build` makes it from messages on the worker's thread.

        `place`: its pose (4, 4) and stamp, where they are known before it is made.
        """
        with self._wake:
            if self.is_paused:
                self._counts.dropped("paused")
                return
            self._frames.put(build, place)
            self._wake.notify()

    def set_query(self, asked: TextQuery | None) -> None:
        """Make `asked` the active query: answered now and after every purification."""
        with self._wake:
            self._query = asked
        self._flag("answer" if asked is not None else "clear")

    def request_answer(self) -> None:
        """Answer the active query again: more is known than before."""
        self._flag("answer")

    def call(self, what: str, run: Callable[[], Any], done: Done) -> bool:
        """Run a job between two frames; false when too many wait already.

        `done` gets what `run` returns, or the error; at once where nobody works.
        """
        with self._wake:
            if len(self._jobs) >= _MAX_JOBS and not self._stopping:
                return False
            self._put(_Job(what, run, done))
            return True

    def replace_map(self, put: Callable[[Pipeline], None], stamp_ns: int, done: Done) -> None:
        """Let `put` change the map of the pipeline; what waits belongs to the old one.

        Never refused, however many questions wait: a map that should be gone would be filled on.
        `done` gets None, or the error; at once where nobody works.
        """
        with self._wake:
            self._frames.drop("reset")
            self._put(_Job("reset", lambda: self._replace(put, stamp_ns), done))

    def clear_region(self, low_m: Corner, high_m: Corner, done: Done) -> bool:
        """Take all voxels with their centre in a box out of the map; `done` gets how many.

        False when too much waits already.
        """
        return self.call("clear", lambda: self._clear(low_m, high_m), done)

    def _put(self, job: _Job) -> None:
        if self._stopping:
            job.done(InputError(_INACTIVE))
        else:
            self._jobs.append(job)
            self._wake.notify()

    def request_purify(self, done: Done | None = None) -> None:
        """Purify now; without `done` only if the map changed since the last time.

        Where one runs, another follows if the map has changed since it began; else `done` gets
        the result of the first.
        """
        with self._wake:
            if done is not None:
                if self._stopping:
                    done(InputError(_INACTIVE))
                    return
                self.purifications.request(done)
            self._flags.add("purify")
            self._wake.notify()

    def request_map(self) -> None:
        """Publish the map if it changed, and what somebody has come for."""
        self._flag("map")

    def _flag(self, name: str) -> None:
        with self._wake:
            self._flags.add(name)
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._stopping or self._frames or self._jobs or self._flags):
                    if (wait_s := self._until_answer_s()) == 0:
                        self._flags.add("refresh")
                    else:
                        self._wake.wait(wait_s)
                if self._stopping:
                    return
                jobs, self._jobs = self._jobs, deque()
                flags, self._flags = self._flags, set()
                build = self._frames.take()
            for job in jobs:
                self.guard(job.what, lambda j=job: j.done(j.run()), job.done)
            if self._until_answer_s() == 0:
                flags.add("refresh")
            self._serve(flags)
            if build is not None:
                self.guard("frame", lambda b=build: self._integrate(b))

    def _serve(self, flags: set[str]) -> None:
        if "purified" in flags and self.purifications.take_over():
            flags.add("answer")
        if "purify" in flags or self.purifications.is_asked:
            self.purifications.begin()
        if "map" in flags:
            self.guard("map", self._catch_up, is_half=True)
            if self._listener.lacks_labels:
                flags.add("clear" if self._query is None else "answer")
        if "clear" in flags:
            self.guard("query", lambda: self._listener.cleared(self.pipeline, self.stamp_ns))
        if flags & {"answer", "refresh"} and self._query is not None:
            self.guard("query", lambda: self._answer("answer" not in flags))
        if "map" in flags and self._map_is_new and self._refresh.is_map_due(self._max_rate_hz):
            self.guard("map", self._publish_map)

    def _until_answer_s(self) -> float | None:
        """When voxels that came since the last answer are to get a label; None: they are not."""
        if not (self._refresh.is_owed and self._query and self._listener.wants_labels):
            return None
        return self._refresh.until_answer_s(self._max_rate_hz, len(self._frames))

    @property
    def _max_rate_hz(self) -> float:
        return self.pipeline.config.output.max_rate_hz

    def _frame_failed(self) -> None:
        with self._wake:
            self._frames.forget()

    def _integrate(self, build: Build) -> None:
        frame = build()
        if not self._gate.is_keyframe(frame.T_world_camera, frame.stamp_ns):
            self._counts.dropped("not_keyframe")
            return
        self.pipeline.integrate(frame)
        self._gate.accept(frame.T_world_camera, frame.stamp_ns)
        self.stamp_ns = frame.stamp_ns
        self._listener.camera_m = frame.T_world_camera[:3, 3]
        self._map_is_new = self._refresh.is_owed = self.purifications.is_due = True
        self._counts.fused()

    def _replace(self, put: Callable[[Pipeline], None], stamp_ns: int) -> None:
        put(self.pipeline)
        self.purifications.begin_anew()
        self._gate.reset()
        self.stamp_ns = stamp_ns
        self._map_is_new = True
        with self._wake:
            self._frames.forget()
            self._flags |= {"answer", "map"}

    def _clear(self, low_m: Corner, high_m: Corner) -> int:
        rows = self.pipeline.map.rows_inside(low_m, high_m)
        if len(rows):
            self.purifications.follow_removal()
            self.pipeline.remove(rows)
            self._map_is_new = True
            with self._wake:
                self._flags |= {"answer", "map"}
        return len(rows)

    def _publish_map(self) -> None:
        self._listener.map_changed(self.pipeline, self.stamp_ns)
        self._map_is_new = False
        self._refresh.end_map()

    def _answer(self, is_refresh: bool) -> None:
        asked, wants_raw = self._query, self._listener.wants_raw
        if asked is not None:
            self._refresh.begin_answer()
            answer = self.last_answer = self.pipeline.query(asked, with_raw=wants_raw)
            self._listener.answered(self.pipeline, asked, answer, self.stamp_ns)
            self._refresh.end_answer(is_refresh)

    def _catch_up(self) -> None:
        self._listener.catch_up(self.pipeline, self.stamp_ns)
