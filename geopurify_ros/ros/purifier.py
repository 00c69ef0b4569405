"""Purifications on a thread of their own: frames are fused and queries answered meanwhile.

It works on a snapshot and touches nothing else. The worker begins a purification and takes its
result over, both between two frames; one that nobody waits for any more ends at its next step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from geopurify_ros.core.pauses import UnwantedError
from geopurify_ros.core.purification.job import PurifyJob
from geopurify_ros.core.purification.purified import Patch, Purified
from geopurify_ros.ros.background import Pace, step_back
from geopurify_ros.ros.guarded import Done
from geopurify_ros.ros.process_memory import give_back

_LONGEST_STEP_S = 5.0  # that the end of the node waits for; what takes longer ends by itself


@dataclass
class Run:
    """One purification: `made` or `error` once it is over.

    `max_share` is the share of the processors that it may take, 0..1.
    """

    job: PurifyJob
    done: list[Done]
    max_share: float = 1.0
    made: Purified | Patch | None = None
    error: Exception | None = None
    is_over: bool = False
    is_unwanted: threading.Event = field(default_factory=threading.Event)

    def result(self) -> Purified | Patch | None:
        """What the job made.

        Raises:
            Exception: what the job raised.
        """
        if self.error is not None:
            raise self.error
        return self.made


class Purifier:
    """One purification at a time; all methods but the thread's own are the worker's."""

    def __init__(self, is_over: Callable[[], None]) -> None:
        """`is_over` is called on the purification's thread when one has ended."""
        self._tell = is_over
        self._num_threads = torch.get_num_threads()
        self._lock = threading.Lock()
        self._run: Run | None = None  # the one that is waited for
        self._thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a result is still to be taken over."""
        return self._run is not None

    def begin(self, job: PurifyJob, done: list[Done], max_share: float = 1.0) -> None:
        """Run a job; `done` wait for its result."""
        run = Run(job, done, max_share)
        thread = threading.Thread(
            target=self._work, args=(run, self._thread), name="purification", daemon=True
        )
        with self._lock:
            self._run = run
        try:
            thread.start()
        except RuntimeError:  # the system gives no thread
            self.discard()
            raise
        self._thread = thread

    def take(self) -> Run | None:
        """The run that is over, once; None where none is."""
        with self._lock:
            run = self._run
            if run is None or not run.is_over:
                return None
            self._run = None
            return run

    def discard(self) -> list[Done]:
        """Its map is gone: the result is never taken over. Returns who waited for it."""
        with self._lock:
            run, self._run = self._run, None
        if run is None:
            return []
        run.is_unwanted.set()
        return run.done

    def join(self) -> None:
        """Wait for the step at hand to end, after `discard`."""
        if self._thread is not None:
            self._thread.join(_LONGEST_STEP_S)

    def _work(self, run: Run, before: threading.Thread | None) -> None:
        try:
            if before is not None:
                before.join()  # one that was discarded: two at once would take twice the memory
            num_threads = step_back(self._num_threads)
            run.made = run.job.run(Pace(run.is_unwanted, run.max_share, num_threads))
        except UnwantedError:
            pass  # nobody will take it over
        except Exception as error:
            run.error = error
        give_back()
        with self._lock:
            run.is_over = True
        self._tell()
