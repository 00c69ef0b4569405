"""Encoder and student are read on a thread of their own: the node answers meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import Header

from geopurify_ros.config import Config
from geopurify_ros.core.mapping.encoder import ImageTextEncoder, dtype_name
from geopurify_ros.core.purification.student import StudentNet
from geopurify_ros.data.student_file import student_for
from geopurify_ros.encoders import load_encoder, pick_device

_SAY_EVERY_S = 5.0


@dataclass(frozen=True)
class Loaded:
    """What the pipeline is made of."""

    device: torch.device
    encoder: ImageTextEncoder
    student: StudentNet | None


def load(config: Config, encoder: ImageTextEncoder | None, say: Callable[[str], None]) -> Loaded:
    """Read the weights that `config` names; `encoder` replaces encoder.name.

    Raises:
        GeoPurifyError: there is no such device, encoder or student, or it cannot be read.
    """
    device = pick_device(config.encoder.device)
    start = time.monotonic()
    say(f"loading encoder {config.encoder.name} on {device}")
    encoder = encoder or load_encoder(config.encoder.name, device, config.encoder.dtype)
    student = student_for(config.purify, encoder, config.map.voxel_size_m, device)
    kind = dtype_name(encoder)
    say(f"encoder {encoder.id} is ready after {time.monotonic() - start:.1f} s"
        + (f", it computes in {kind}" if kind != "unknown" else ""))
    return Loaded(device, encoder, student)


class Loading:
    """A call of `load` that runs; it says so in the log and in /diagnostics."""

    def __init__(self, node: Node, config: Config, encoder: ImageTextEncoder | None) -> None:
        """Begin."""
        self._node, self._name, self._config = node, config.encoder.name, config
        self._start_s = self._said_s = time.monotonic()
        self._found: Loaded | Exception | None = None
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._thread = threading.Thread(
            target=self._load, args=(config, encoder), name="loading", daemon=True
        )
        self._thread.start()

    def _load(self, config: Config, encoder: ImageTextEncoder | None) -> None:
        try:
            self._found = load(config, encoder, self._node.get_logger().info)
        except Exception as error:  # raised again where the result is taken
            self._found = error

    @property
    def is_done(self) -> bool:
        """Whether `result` will not wait."""
        return not self._thread.is_alive()

    def say(self) -> None:
        """Tell how long it has been; called often, speaks once a second, in the log less."""
        now_s = time.monotonic()
        age_s = now_s - self._start_s
        if int(age_s) > int(self._said_s - self._start_s):
            sentence = f"still loading {self._name}, for {age_s:.0f} s now"
            if int(age_s / _SAY_EVERY_S) > int((self._said_s - self._start_s) / _SAY_EVERY_S):
                self._node.get_logger().info(sentence)
            self._publish(sentence)
            self._said_s = now_s

    def _publish(self, sentence: str) -> None:
        name = self._node.get_fully_qualified_name()
        stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(DiagnosticArray(header=Header(stamp=stamp), status=[
            DiagnosticStatus(level=DiagnosticStatus.WARN, name=f"{name}: encoder",
                             hardware_id=name, message=sentence)
        ]))

    def fits(self, config: Config) -> bool:
        """Whether `config`, which may have changed meanwhile, asks for the same."""
        return all(
            getattr(config, part) == getattr(self._config, part)
            for part in ("encoder", "purify", "map")
        )

    def result(self) -> Loaded:
        """What was loaded; waits for it.

        Raises:
            GeoPurifyError: see `load`.
        """
        self._thread.join()
        self._node.destroy_publisher(self._publisher)
        if isinstance(self._found, Exception):
            raise self._found
        return self._found
