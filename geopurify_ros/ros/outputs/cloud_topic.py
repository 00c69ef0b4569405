"""A topic of clouds for which nothing is made while nobody subscribes."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.event_handler import PublisherEventCallbacks, UnsupportedEventTypeError
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2


class CloudTopic:
    """A latched publisher that knows whether its newest cloud is still to be made.

    Attributes:
        is_owed: there is something newer than what was published.
    """

    def __init__(
        self, node: Node, name: str, qos: QoSProfile, on_match: Callable[[], None]
    ) -> None:
        """`on_match` is called by the executor when somebody subscribes, or goes.

        Not where the middleware has no such event; who looks at `is_lacking` now and then sees it
        there too.
        """
        self._node = node
        self.is_owed = False
        self._publisher = _publisher(node, name, qos, on_match)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody subscribes."""
        return self._publisher.get_subscription_count() > 0

    @property
    def is_lacking(self) -> bool:
        """Whether somebody subscribes and should have something newer."""
        return self.is_owed and self.is_wanted

    def publish(self, cloud: PointCloud2) -> None:
        """Publish the newest cloud."""
        self._publisher.publish(cloud)
        self.is_owed = False

    def destroy(self) -> None:
        """End the publisher, and with it the cloud it keeps for late subscribers."""
        self._node.destroy_publisher(self._publisher)


def _publisher(
    node: Node, name: str, qos: QoSProfile, on_match: Callable[[], None]
) -> Publisher:
    try:
        events = PublisherEventCallbacks(matched=lambda _: on_match())
        return node.create_publisher(PointCloud2, name, qos, event_callbacks=events)
    except UnsupportedEventTypeError:
        return node.create_publisher(PointCloud2, name, qos)
