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
from geopurify_ros.errors import ConfigError, GeoPurifyError
from geopurify_ros.ros.node import MappingNode
from geopurify_ros.ros.params import ignored_parameters
from geopurify_ros.ros.report import FrameCounts
from geopurify_ros.ros.shutdown_signals import Interrupts, init_ros

_LOOK_S = 0.1  # how often we look for an interrupt while nothing happens


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
    nodes: list[MappingNode] = []
    code = 0
    with Interrupts() as interrupts:
        try:
            code = _serve(ros_arguments, defaults, nodes, interrupts)
        except KeyboardInterrupt:
            pass
        finally:
            interrupts.is_noting = False
            _close(nodes)
    if code == 0 and at_end is not None:
        at_end((nodes[0].counts if nodes else FrameCounts()).snapshot())
    if code == 0 and interrupts.is_asked:
        _leave()
    return code


def _serve(
    ros_arguments: list[str],
    defaults: Config | None,
    nodes: list[MappingNode],
    interrupts: Interrupts,
) -> int:
    """Start a node, put it into `nodes` and serve it until we shall end; the exit code."""
    try:
        _init(ros_arguments)
        # before the node: rclpy prints a trace where an interrupt leaves half an executor
        executor = SingleThreadedExecutor()
        node = MappingNode(defaults)
        nodes.append(node)
        logging.getLogger("geopurify_ros").addHandler(_NodeLog(node.get_logger()))
        for sentence in ignored_parameters(node, ros_arguments):
            node.get_logger().warning(sentence)
        if node.config.lifecycle.autostart:
            node.begin_loading()
        executor.add_node(node)
        interrupts.is_noting = True
        _spin(executor, node, interrupts)
    except GeoPurifyError as error:
        print(f"mapping: {error}", file=sys.stderr)
        return 2
    return 0


def _init(ros_arguments: list[str]) -> None:
    try:
        init_ros(ros_arguments)
    except Exception as error:  # rclpy's own classes for a bad argument or parameter file
        reason = str(error).splitlines()[0]
        raise ConfigError(f"ROS refused the arguments: {reason}") from error


def _spin(executor: SingleThreadedExecutor, node: MappingNode, interrupts: Interrupts) -> None:
    """Serve callbacks until we shall end; one that raises is told and ends nothing.

    A node whose weights are being loaded is started once they are there.
    """
    while rclpy.ok() and not interrupts.is_asked:
        try:
            executor.spin_once(timeout_sec=_LOOK_S)
        except ExternalShutdownException:
            return
        except Exception:
            trace = traceback.format_exc(limit=-4)
            node.get_logger().error(f"internal error in a callback, the node goes on: {trace}")
        if node.loading is not None and not interrupts.is_asked:
            _start_when_loaded(node)


def _start_when_loaded(node: MappingNode) -> None:
    node.loading.say()
    if not node.loading.is_done:
        return
    for transition in (node.trigger_configure, node.trigger_activate):
        transition()
        if node.problem is not None:
            raise node.problem


def _close(nodes: list[MappingNode]) -> None:
    """Destroy everything; a second interrupt cuts that short."""
    try:
        for node in nodes:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
    except KeyboardInterrupt:
        pass


def _leave() -> NoReturn:
    """End with exit code 0 although we were interrupted.

    Where Ctrl-C hits code that another module runs with exec(), CPython remembers an unhandled
    interrupt and kills itself with SIGINT at the end, however well it was handled.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def main() -> int:
    """Entry point with the command line's own ROS arguments."""
    return run_node(sys.argv)
