"""SIGINT and SIGTERM, taken by Python alone.

The handlers of rclpy end the context from a thread of their own, while the main thread already
destroys what lives in it.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import rclpy
from rclpy.signals import SignalHandlerOptions

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Within the block either signal raises KeyboardInterrupt, or is noted while `is_noting`.

    Whoever sets `is_noting` looks at `is_asked` now and then, and ends where nothing is half done.
    In another thread than the main one the block changes nothing: Python has signals only there.
    """

    def __init__(self) -> None:
        """Nothing is asked yet."""
        self.is_asked = False
        self.is_noting = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in _SIGNALS}
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, _number: int, _frame: object) -> None:
        self.is_asked = True
        if not self.is_noting:
            raise KeyboardInterrupt


def init_ros(arguments: list[str]) -> None:
    """`rclpy.init` that leaves the signals to Python."""
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)


@contextlib.contextmanager
def ros_session() -> Iterator[None]:
    """ROS from here to the end of the block, which either signal ends with KeyboardInterrupt."""
    with Interrupts():
        init_ros([])
        try:
            yield
        finally:
            rclpy.try_shutdown()
