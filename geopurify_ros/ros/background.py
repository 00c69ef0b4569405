"""Long computations beside mapping, which goes first where processors are short."""

from __future__ import annotations

import contextlib
import os
import threading

import torch

_NICE = 5  # each thread has a priority of its own


def step_back(num_threads: int) -> None:
    """From now on this thread computes with half of `num_threads`, and after others."""
    _use_threads(max(1, num_threads // 2), num_threads)
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _use_threads(count: int, others: int) -> None:
    """Compute with `count` threads on this thread.

    torch hands what was set last to threads that begin later: a short one sets that back.
    """
    torch.get_num_threads()  # the first call on a thread takes what was set last, not what is set
    torch.set_num_threads(count)
    setter = threading.Thread(target=torch.set_num_threads, args=(others,))
    setter.start()
    setter.join()
