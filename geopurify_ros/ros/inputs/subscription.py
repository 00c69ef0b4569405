"""Subscriptions that follow the reliability of their publishers and know what they heard."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from geopurify_ros.data.messages.arrays import stamp_ns
from geopurify_ros.errors import ConfigError

_STAMPS = 30  # remembered per topic


@dataclass(frozen=True)
class Publisher:
    """One publisher of a topic, as the graph knows it."""

    node: str
    type: str
    is_reliable: bool


@dataclass(frozen=True)
class TopicView:
    """What is known of an input.

    Attributes:
        name: what it carries, "depth images".
        argument: its launch argument, "depth".
        parameter: begin of its parameters, "qos.depth".
        silent_s: seconds since the last message, or since publisher or subscription came.
        is_reliable: what we ask for.
    """

    name: str
    argument: str
    parameter: str
    topic: str
    type: str
    is_reliable: bool
    publishers: tuple[Publisher, ...]
    received: int
    last_stamp_ns: int | None
    silent_s: float
    is_even: bool = False  # the last stamps have equal distances: nothing is missing between


class InputSubscription:
    """Reliable exactly when its publishers are (parameter *_reliability: auto).

    A reliable subscription hears no best-effort publisher, and a best-effort one loses most raw
    images over the default transport.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        argument: str,
        kind: type,
        topic: str,
        qos: tuple[str, str, int],  # parameter, reliability, queue
        callback: Callable,
    ) -> None:
        """Subscribe; with "auto" best effort first, because that matches every publisher."""
        self._node, self._name, self._argument, self._kind = node, name, argument, kind
        self._asked_topic, self._callback = topic, callback
        self._parameter, self._reliability, self._queue = qos
        self._is_reliable = self._reliability == "reliable"
        self._received = 0
        self._stamps_ns: deque[int] = deque(maxlen=_STAMPS)
        self.is_alone = True  # no second publisher is known
        self._has_publisher = False
        self._heard_s = time.monotonic()
        self._subscription = self._subscribe()

    @property
    def topic(self) -> str:
        """Full name of the topic."""
        return self._subscription.topic_name

    @property
    def usual_gap_s(self) -> float:
        """Median distance of the last stamps; 0 where there are not two."""
        gaps = sorted(b - a for a, b in pairwise(self._stamps_ns))
        return gaps[len(gaps) // 2] * 1e-9 if gaps else 0.0

    def adapt(self) -> None:
        """Follow the publishers; called now and then."""
        publishers = [p for p in self._publishers() if p.type == _type_name(self._kind)]
        self.is_alone = len(publishers) < 2
        if publishers and not self._has_publisher:
            self._heard_s = time.monotonic()  # who has just come may be silent for a moment
        self._has_publisher = bool(publishers)
        if self._reliability != "auto":
            return
        reliable = all(p.is_reliable for p in publishers)
        if publishers and reliable != self._is_reliable:
            self.destroy()
            self._is_reliable = reliable
            self._subscription = self._subscribe()

    def view(self) -> TopicView:
        """What is known now."""
        return TopicView(
            self._name, self._argument, self._parameter, self.topic, _type_name(self._kind),
            self._is_reliable, self._publishers(), self._received,
            self._stamps_ns[-1] if self._stamps_ns else None,
            time.monotonic() - self._heard_s, is_even(self._stamps_ns),
        )

    def destroy(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _publishers(self) -> tuple[Publisher, ...]:
        return publishers_of(self._node, self.topic)

    def _subscribe(self):
        kind = ReliabilityPolicy.RELIABLE if self._is_reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=self._queue, reliability=kind)
        try:
            return self._node.create_subscription(
                self._kind, self._asked_topic, self._on_message, qos
            )
        except RuntimeError as error:  # such as one topic for two types
            raise ConfigError(
                f"{self._node.resolve_topic_name(self._asked_topic)}: cannot be subscribed to as "
                f"{_type_name(self._kind)}: {str(error).splitlines()[0]}"
            ) from error

    def _on_message(self, msg) -> None:
        self._received += 1
        self._heard_s = time.monotonic()
        self._stamps_ns.append(stamp_ns(msg.header.stamp))
        self._callback(msg)


def is_even(stamps_ns: Iterable[int]) -> bool:
    """Whether stamps have about equal distances: where messages are lost, some are multiples."""
    gaps = sorted(b - a for a, b in pairwise(stamps_ns))
    if len(gaps) < _STAMPS // 3:
        return False
    return gaps[len(gaps) // 10] > 0.75 * gaps[-1 - len(gaps) // 10]


def publishers_of(node: Node, topic: str) -> tuple[Publisher, ...]:
    """All publishers of a topic, of any type."""
    return tuple(
        Publisher(
            f"{info.node_namespace.rstrip('/')}/{info.node_name}",
            info.topic_type,
            info.qos_profile.reliability == ReliabilityPolicy.RELIABLE,
        )
        for info in node.get_publishers_info_by_topic(topic)
    )


def full_names(node: Node) -> list[str]:
    """All nodes that this one sees, "/namespace/name"; two of one name stand there twice."""
    found = node.get_node_names_and_namespaces()
    return [f"{space.rstrip('/')}/{name}" for name, space in found]


def how_many(node: Node, name: str) -> int:
    """Nodes of this full name, as `node` sees the graph."""
    return full_names(node).count(name)


def _type_name(kind: type) -> str:
    package, folder, _ = kind.__module__.split(".", 2)
    return f"{package}/{folder}/{kind.__name__}"
