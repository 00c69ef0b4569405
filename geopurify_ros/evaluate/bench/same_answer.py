"""Whether two purifications of a map answer alike."""

from __future__ import annotations

from collections.abc import Sequence

from geopurify_ros.core.answers.query import TextQuery, VoxelLabels
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.purified import Purified

_LEAST_EQUAL = 0.999  # of the labels
_SCORE_STEP = 0.01
_MOST_BEYOND = 1e-4  # of the voxels, whose scores are farther apart


def answer_difference(
    pipeline: Pipeline, other: Purified, names: tuple[str, ...]
) -> dict[str, float]:
    """The best of `names` for each voxel, by what a pipeline has and by another purification."""
    found = _labels(pipeline, names)
    held, pipeline.result = pipeline.result, other
    expected = _labels(pipeline, names)
    pipeline.result = held
    return difference(found, expected)


def difference(found: VoxelLabels, expected: VoxelLabels) -> dict[str, float]:
    """Share of equal labels, and how far scores are apart."""
    apart = (found.score - expected.score).abs()
    return {
        "labels_equal": float((found.label == expected.label).double().mean()),
        "max_score_difference": float(apart.max()),
        "score_over_0_01_share": float((apart > _SCORE_STEP).double().mean()),
    }


def is_same_answer(one: dict[str, float]) -> bool:
    """Equal up to what nobody sees."""
    return (
        one["labels_equal"] >= _LEAST_EQUAL and one["score_over_0_01_share"] <= _MOST_BEYOND
    )


def worst(differences: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of several."""
    return {
        name: (min if name == "labels_equal" else max)(one[name] for one in differences)
        for name in differences[0]
    }


def _labels(pipeline: Pipeline, names: tuple[str, ...]) -> VoxelLabels:
    return pipeline.query(TextQuery(names, (), 0.0), with_raw=False).pooled
