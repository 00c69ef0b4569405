"""Long computations beside mapping, which goes first where processors are short."""

from __future__ import annotations

import contextlib
import os
import threading
import time

import torch

from geopurify_ros.core.pauses import UnwantedError

_NICE = 5  # each thread has a priority of its own
_LONGEST_WAIT_S = 0.5


def step_back(num_threads: int) -> int:
    """From now on this thread computes with half of `num_threads`, and after others.

    Returns how many that are.
    """
    count = max(1, num_threads // 2)
    _use_threads(count, num_threads)
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    return count


def _use_threads(count: int, others: int) -> None:
    """Compute with `count` threads on this thread.

    torch hands what was set last to threads that begin later: a short one sets that back.
    """
    torch.get_num_threads()  # the first call on a thread takes what was set last, not what is set
    torch.set_num_threads(count)
    setter = threading.Thread(target=torch.set_num_threads, args=(others,))
    setter.start()
    setter.join()


def num_processors() -> int:
    """That this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


class Pace:
    """A pause that keeps a thread within a share of the processors, and ends what is unwanted."""

    def __init__(
        self, is_unwanted: threading.Event, share: float, num_threads: int
    ) -> None:
        """For the thread that calls it, which computes with `num_threads`; `share` is 0..1."""
        self._is_unwanted = is_unwanted
        # seconds of the clock that a second of this thread's own work may take at the least
        self._stretch = num_threads / max(1e-3, share * num_processors())
        self._clock, self._worked = time.monotonic(), time.thread_time()

    def __call__(self) -> None:
        """Wait where more was done than the share allows.

        Raises:
            UnwantedError: nobody waits for the result any more.
        """
        ahead = (time.thread_time() - self._worked) * self._stretch
        ahead -= time.monotonic() - self._clock
        if ahead > 0 and self._stretch > 1:
            self._is_unwanted.wait(min(ahead, _LONGEST_WAIT_S))
        if self._is_unwanted.is_set():
            raise UnwantedError
