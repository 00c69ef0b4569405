"""Everything the node publishes."""

from __future__ import annotations

import numpy as np
import torch
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from geopurify_ros.core.answers.answer import Answer
from geopurify_ros.core.answers.query import TextQuery, VoxelLabels
from geopurify_ros.core.answers.summary import PromptAnswer, summarize
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.msg import QueryResult
from geopurify_ros.ros.outputs import clouds
from geopurify_ros.ros.outputs.answer_log import AnswerLog
from geopurify_ros.ros.outputs.result_messages import query_result
from geopurify_ros.ros.outputs.to_messages import stamp_msg


class Outputs:
    """Clouds and results, latched: who comes late still gets the newest. Called by the worker."""

    def __init__(self, node: Node, map_frame: str) -> None:
        """Create the publishers."""
        self._node, self._frame = node, map_frame
        self._log = AnswerLog(node.get_logger().info)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._labeled = node.create_publisher(PointCloud2, "labeled_cloud", latched)
        self._raw_labeled = node.create_publisher(PointCloud2, "raw_labeled_cloud", latched)
        self._map = node.create_publisher(PointCloud2, "map_cloud", latched)
        self._result = node.create_publisher(QueryResult, "query_result", latched)

    @property
    def wants_raw(self) -> bool:
        """Whether anybody listens to raw_labeled_cloud."""
        return self._raw_labeled.get_subscription_count() > 0

    def map_changed(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """Publish map_cloud."""
        centers, rgb = _geometry(pipeline)
        self._map.publish(clouds.map_cloud(self._header(stamp_ns), centers, rgb))

    def answered(
        self, pipeline: Pipeline, asked: TextQuery, answer: Answer, stamp_ns: int
    ) -> None:
        """Publish both labelled clouds and the result; the raw one where there is one."""
        header = self._header(stamp_ns)
        centers, rgb = _geometry(pipeline)
        for publisher, labels in (
            (self._raw_labeled, answer.raw),
            (self._labeled, answer.purified),
        ):
            if labels is not None:
                publisher.publish(_labeled(header, centers, rgb, labels))
        found = _summary(pipeline, asked, answer)
        result = query_result(header, pipeline, answer, found)
        self._result.publish(result)
        if len(pipeline.map):  # of an empty one it is said that it is empty
            self._log.answered(asked, found, {r.prompt for r in result.results if r.unreadable})

    def cleared(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """Publish clouds without labels, so that nobody keeps the old ones."""
        nothing = torch.zeros(len(pipeline.map), dtype=torch.int64, device=pipeline.device)
        labels = VoxelLabels(nothing, nothing.to(torch.float32))
        self.answered(pipeline, TextQuery(()), Answer(labels, labels), stamp_ns)

    def result(
        self, pipeline: Pipeline, asked: TextQuery, answer: Answer, stamp_ns: int
    ) -> QueryResult:
        """The message of an answer."""
        found = _summary(pipeline, asked, answer)
        return query_result(self._header(stamp_ns), pipeline, answer, found)

    def destroy(self) -> None:
        """End the publishers, and with them the clouds they keep for late subscribers."""
        for publisher in (self._labeled, self._raw_labeled, self._map, self._result):
            self._node.destroy_publisher(publisher)

    def _header(self, stamp_ns: int) -> Header:
        return Header(frame_id=self._frame, stamp=stamp_msg(stamp_ns))


def _summary(pipeline: Pipeline, asked: TextQuery, answer: Answer) -> list[PromptAnswer]:
    voxels = pipeline.map
    return summarize(asked, answer.purified, voxels.coords(), voxels.voxel_size_m)


def _geometry(pipeline: Pipeline) -> tuple[np.ndarray, np.ndarray]:
    centers = pipeline.map.centers_m().cpu().numpy()
    colors = pipeline.map.colors().round().clamp(0, 255).byte().cpu().numpy()
    return centers, colors


def _labeled(header: Header, centers, rgb, labels: VoxelLabels) -> PointCloud2:
    label, score = labels.label.cpu().numpy(), labels.score.cpu().numpy()
    return clouds.labeled_cloud(header, centers, rgb, label, score)
