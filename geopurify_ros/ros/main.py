"""Starts the mapping node: `ros2 run geopurify_ros mapping` and `geopurify run`."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from geopurify_ros.config import Config
from geopurify_ros.errors import GeoPurifyError
from geopurify_ros.ros.node import MappingNode
from geopurify_ros.ros.report import FrameCounts


class _NodeLog(logging.Handler):
    """Sends the library's log to the node's."""

    def __init__(self, logger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        self._logger.warning(record.getMessage())


def run_node(
    ros_arguments: list[str],
    defaults: Config | None = None,
    at_end: Callable[[dict[str, int]], None] | None = None,
) -> int:
    """Run the node until it is interrupted; the exit code.

    `at_end` gets the counts of frames (`FrameCounts.snapshot`) unless the node failed.
    """
    try:
        rclpy.init(args=ros_arguments)
    except Exception as error:  # rclpy's own classes for a bad argument or parameter file
        print(f"mapping: ROS refused the arguments: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    nodes: list[MappingNode] = []
    code, interrupted = 0, False
    try:
        code = _serve(defaults, nodes)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        interrupted |= _close(nodes)
    if code == 0 and at_end is not None:
        at_end((nodes[0].counts if nodes else FrameCounts()).snapshot())
    if interrupted:
        _leave()
    return code


def _serve(defaults: Config | None, nodes: list[MappingNode]) -> int:
    """Start a node, put it into `nodes` and serve it until the context ends; the exit code."""
    try:
        # before the node: rclpy prints a trace where an interrupt leaves half an executor
        executor = SingleThreadedExecutor()
        node = MappingNode(defaults)
        nodes.append(node)
        logging.getLogger("geopurify_ros").addHandler(_NodeLog(node.get_logger()))
        if node.config.lifecycle.autostart:
            _start(node)
        executor.add_node(node)
        _spin(executor, node)
    except ExternalShutdownException:
        pass
    except GeoPurifyError as error:
        print(f"mapping: {error}", file=sys.stderr)
        return 2
    except Exception:
        if rclpy.ok():
            raise
        # interrupted while it was starting: what it made last has no context any more
    return 0


def _start(node: MappingNode) -> None:
    for transition in (node.trigger_configure, node.trigger_activate):
        transition()
        if node.problem is not None:
            raise node.problem


def _spin(executor: SingleThreadedExecutor, node: MappingNode) -> None:
    """Serve callbacks until the context ends; one that raises is told and ends nothing."""
    while rclpy.ok():
        try:
            executor.spin_once()
        except ExternalShutdownException:
            raise
        except Exception:
            if not rclpy.ok():
                raise
            trace = traceback.format_exc(limit=-4)
            node.get_logger().error(f"internal error in a callback, the node goes on: {trace}")


def _leave() -> NoReturn:
    """End with exit code 0 although Python was interrupted.

    Where Ctrl-C hits code that another module runs with exec(), CPython remembers an unhandled
    interrupt and kills itself with SIGINT at the end, however well it was handled.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _close(nodes: list[MappingNode]) -> bool:
    """Whether an interrupt cut it short: a second one, or the first, of which ROS knew before."""
    try:
        for node in nodes:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
    except KeyboardInterrupt:
        return True
    except Exception:
        if rclpy.ok():
            raise
        # the context goes while we close, and with it all that is left to destroy
    return False


def main() -> int:
    """Entry point with the command line's own ROS arguments."""
    return run_node(sys.argv)
