"""Signals before torch is imported, which takes seconds; imports nothing heavy."""

from __future__ import annotations

import os
import signal
from types import FrameType


def leave_on_signal() -> None:
    """Let SIGINT and SIGTERM end the process with exit code 0, until somebody else takes them.

    For programs that run until they are interrupted. An exception in the middle of an import
    would leave a trace, and often kill the process with the signal all the same.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)
