"""Results of other threads for coroutines of the executor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.task import Future


def waking(node: Node, future: Future) -> Callable[[Any], None]:
    """`future.set_result`, after which the executor looks: by itself it may sleep for ever."""
    def done(result: Any) -> None:
        future.set_result(result)
        executor = node.executor
        if executor is not None:
            executor.wake()

    return done
