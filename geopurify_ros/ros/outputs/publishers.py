"""Everything the node publishes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from geopurify_ros.core.answers.answer import Answer
from geopurify_ros.core.answers.query import TextQuery, VoxelLabels
from geopurify_ros.core.answers.summary import PromptAnswer, summarize
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.msg import QueryResult
from geopurify_ros.ros.outputs import clouds
from geopurify_ros.ros.outputs.answer_log import AnswerLog
from geopurify_ros.ros.outputs.cloud_topic import CloudTopic
from geopurify_ros.ros.outputs.clouds import MapPoints
from geopurify_ros.ros.outputs.kept_points import KeptPoints, MapState, num_shown, shown_rows
from geopurify_ros.ros.outputs.result_messages import query_result
from geopurify_ros.ros.outputs.to_messages import stamp_msg


class Outputs:
    """Clouds and results, latched: who comes late still gets the newest. Called by the worker.

    Nothing is packed for a topic that nobody subscribes to. Once somebody does, `catch_up` is to
    be called, which publishes what was left out.

    Attributes:
        camera_m: (3,) newest position of the camera in the map frame; None: not known.
        on_match: called by the executor, on its thread, when somebody subscribes or goes.
    """

    def __init__(self, node: Node, map_frame: str) -> None:
        """Create the publishers."""
        self.camera_m: NDArray[np.float64] | None = None
        self.on_match: Callable[[], None] = lambda: None
        self._node, self._frame = node, map_frame
        self._say = node.get_logger().info
        self._log = AnswerLog(self._say)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._labeled, self._raw_labeled, self._map = (
            CloudTopic(node, name, latched, lambda: self.on_match())
            for name in ("labeled_cloud", "raw_labeled_cloud", "map_cloud")
        )
        self._result = node.create_publisher(QueryResult, "query_result", latched)
        self._points = KeptPoints()
        self._answer: Answer | None = None  # the newest one
        self._answer_of = self._map_of = MapState()  # of the newest clouds, published or owed
        self._max_points: int | None = None
        self._is_cut = False

    @property
    def wants_raw(self) -> bool:
        """Whether anybody listens to raw_labeled_cloud."""
        return self._raw_labeled.is_wanted

    @property
    def wants_labels(self) -> bool:
        """Whether anybody listens to labeled_cloud."""
        return self._labeled.is_wanted

    @property
    def wants_map(self) -> bool:
        """Whether anybody listens to map_cloud."""
        return self._map.is_wanted

    @property
    def lacks_labels(self) -> bool:
        """Whether somebody listens who should have labels that `catch_up` does not have."""
        topics = (self._labeled, self._raw_labeled)
        return self._answer is not None and any(topic.is_lacking for topic in topics)

    def map_changed(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """Publish map_cloud where somebody listens."""
        self._follow(pipeline)
        if not self._map_of.is_now(pipeline.map):
            self._map_of, self._map.is_owed = MapState(pipeline.map), True
        self._send_map(pipeline, stamp_ns)

    def answered(
        self, pipeline: Pipeline, asked: TextQuery, answer: Answer, stamp_ns: int
    ) -> None:
        """Publish the result, and both labelled clouds where somebody listens."""
        self._follow(pipeline)
        if answer is not self._answer or not self._answer_of.is_now(pipeline.map):
            self._answer, self._answer_of = answer, MapState(pipeline.map)
            self._labeled.is_owed = self._raw_labeled.is_owed = True
        self._send_labels(pipeline, stamp_ns)
        found = _summary(pipeline, asked, answer)
        result = query_result(self._header(stamp_ns), pipeline, answer, found)
        self._result.publish(result)
        if len(pipeline.map):  # of an empty one it is said that it is empty
            self._log.answered(asked, found, {r.prompt for r in result.results if r.unreadable})

    def cleared(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """Publish clouds without labels, so that nobody keeps the old ones."""
        nothing = torch.zeros(len(pipeline.map), dtype=torch.int64, device=pipeline.device)
        labels = VoxelLabels(nothing, nothing.to(torch.float32))
        self.answered(pipeline, TextQuery(()), Answer(labels, labels), stamp_ns)

    def catch_up(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """Publish what was left out while nobody listened, or is new by output.max_points.

        Labels only where the map is still the one that they are of; else `lacks_labels` says that
        they are to be made anew.
        """
        self._follow(pipeline)
        self._send_map(pipeline, stamp_ns)
        if self._answer_of.is_now(pipeline.map):
            self._send_labels(pipeline, stamp_ns)

    def result(
        self, pipeline: Pipeline, asked: TextQuery, answer: Answer, stamp_ns: int
    ) -> QueryResult:
        """The message of an answer."""
        found = _summary(pipeline, asked, answer)
        return query_result(self._header(stamp_ns), pipeline, answer, found)

    def destroy(self) -> None:
        """End the publishers, and with them the clouds they keep for late subscribers."""
        for topic in (self._labeled, self._raw_labeled, self._map):
            topic.destroy()
        self._node.destroy_publisher(self._result)

    def _follow(self, pipeline: Pipeline) -> None:
        """With another output.max_points every cloud is another one."""
        max_points = pipeline.config.output.max_points
        if self._max_points not in (None, max_points):
            for topic in (self._labeled, self._raw_labeled, self._map):
                topic.is_owed = True
        self._max_points = max_points

    def _send_map(self, pipeline: Pipeline, stamp_ns: int) -> None:
        if self._map.is_lacking:
            self._map_of = MapState(pipeline.map)
            points, rows = self._shown(pipeline)
            self._map.publish(clouds.map_cloud(self._header(stamp_ns), points[rows]))

    def _send_labels(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """The labels of the newest answer, to those who do not have them."""
        wanted = [
            (topic, labels)
            for topic, labels in (
                (self._raw_labeled, self._answer.raw), (self._labeled, self._answer.purified),
            )
            if labels is not None and topic.is_lacking
        ]  # fmt: skip
        if not wanted:
            return
        points, rows = self._shown(pipeline)
        shown = points[rows]
        for topic, labels in wanted:
            label = labels.label.to(torch.int32).cpu().numpy()[rows]
            score = labels.score.cpu().numpy()[rows]
            header = self._header(stamp_ns)
            topic.publish(clouds.labeled_cloud(header, shown, label, score))

    def _shown(self, pipeline: Pipeline) -> tuple[MapPoints, slice | NDArray[np.int64]]:
        """The points of the map, and the rows that clouds have of them."""
        points, most = self._points.of(pipeline.map), self._max_points
        is_cut = num_shown(len(points), most) < len(points)
        if is_cut and not self._is_cut:
            self._say(
                f"the map has {len(points)} voxels, clouds have the {most} nearest to the camera: "
                "output.max_points"
            )
        self._is_cut = is_cut
        return points, shown_rows(points, most, self.camera_m)

    def _header(self, stamp_ns: int) -> Header:
        return Header(frame_id=self._frame, stamp=stamp_msg(stamp_ns))


def _summary(pipeline: Pipeline, asked: TextQuery, answer: Answer) -> list[PromptAnswer]:
    voxels = pipeline.map
    return summarize(asked, answer.purified, voxels.coords(), voxels.voxel_size_m)
