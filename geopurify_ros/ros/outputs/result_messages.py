"""Answers as messages: see msg/QueryResult.msg."""

from __future__ import annotations

from geometry_msgs.msg import Point
from std_msgs.msg import Header

from geopurify_ros.core.answers.answer import Answer
from geopurify_ros.core.answers.query import VoxelLabels
from geopurify_ros.core.answers.summary import PromptAnswer
from geopurify_ros.core.mapping.encoder import unreadable
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.msg import PromptResult, QueryResult
from geopurify_ros.ros.outputs.kept_points import num_shown

_NOWHERE = (0.0, 0.0, 0.0)


def query_result(
    header: Header, pipeline: Pipeline, answer: Answer, found: list[PromptAnswer]
) -> QueryResult:
    """The message of an answer, whose prompts `found` sums up."""
    reasons = answer.purified.reasons
    made = QueryResult(header=header)
    made.calibrated = reasons is not None and all(reasons.is_calibrated)
    made.num_voxels = len(pipeline.map)
    made.num_points = num_shown(made.num_voxels, pipeline.config.output.max_points)
    made.num_purifications = pipeline.num_purifications
    made.changed_fraction = answer.changed_fraction
    for one in found:
        result = _prompt_result(one, answer.raw)
        result.unreadable = unreadable(pipeline.encoder, one.prompt)
        made.results.append(result)
    return made


def _prompt_result(one: PromptAnswer, raw: VoxelLabels | None) -> PromptResult:
    low, high = one.box_m or (_NOWHERE, _NOWHERE)
    return PromptResult(
        prompt=one.prompt, label=one.label, found=one.found, score=one.score,
        num_voxels=one.num_voxels,
        num_voxels_raw=0 if raw is None else int((raw.label == one.label).sum()),
        num_pieces=one.num_pieces,
        best_position=_point(one.best_position_m or _NOWHERE),
        box_min=_point(low), box_max=_point(high),
        otherwise=one.otherwise, nearest=one.nearest, nearest_score=one.nearest_score,
        read_as=one.read_as,
    )  # fmt: skip


def _point(xyz: tuple[float, float, float]) -> Point:
    x, y, z = xyz
    return Point(x=x, y=y, z=z)
