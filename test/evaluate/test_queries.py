"""`geopurify eval --queries` on a made-up map whose answers are known."""

import json
import math

import pytest
import torch
from box_room import ASKED, SIDES, pipeline_of

from geopurify_ros.core.mapping.encoder import AnswerProfile
from geopurify_ros.evaluate.queries import (
    absent_names,
    evaluate_queries,
    format_queries,
    overlap,
    present_names,
)
from geopurify_ros.evaluate.reliability import expected_calibration_error
from geopurify_ros.evaluate.runner import Mapped


def bits(text):
    return torch.tensor([c == "1" for c in text])


def test_precision_counts_labelled_voxels_alone():
    one = overlap(bits("11110"), bits("11000"), bits("11100"))
    assert (one.iou, one.precision, one.recall) == (2 / 3, 2 / 3, 1.0)
    nothing = overlap(bits("00011"), bits("11000"), bits("11100"))
    assert (nothing.iou, nothing.recall) == (0.0, 0.0)
    assert math.isnan(nothing.precision)


def test_calibration_error_is_that_of_a_plain_sum():
    generator = torch.Generator().manual_seed(0)
    score = torch.rand(2000, generator=generator)
    hit = torch.rand(2000, generator=generator) < score**2
    error, diagram = expected_calibration_error([score[:500], score[500:]], [hit[:500], hit[500:]])
    rows = [(s, h) for s, h in zip(score.tolist(), hit.tolist(), strict=True) if s > 0.1]
    expected = 0.0
    for k in range(10):
        inside = [(s, h) for s, h in rows if int(s * 10) == k]
        if inside:
            means = [sum(column) / len(inside) for column in zip(*inside, strict=True)]
            expected += abs(means[0] - means[1]) * len(inside) / len(rows)
    assert error == pytest.approx(expected, abs=1e-6)
    assert sum(count for _, _, count in diagram) == len(rows)
    assert expected_calibration_error([torch.tensor([0.05])], [torch.tensor([True])])[1] == []


@pytest.fixture(scope="module")
def mapped():
    """Truth is what the raw map says, so that its yardstick is 1."""
    pipeline = pipeline_of("mean", num_frames=2)
    encoder = pipeline.encoder
    usual, elsewhere = encoder.encode_text, torch.linalg.svd(encoder.vectors).Vh[6:7]
    encoder.encode_text = lambda texts: torch.cat(
        [usual((text,)) if text in SIDES else elsewhere for text in texts])
    pipeline.purify()
    return Mapped(pipeline, pipeline.query(ASKED).raw.label, SIDES, None)


def test_names_of_the_room_and_names_that_are_not_in_it(mapped):
    count = torch.bincount(mapped.truth, minlength=len(SIDES) + 1)[1:]
    expected = {name for name, n in zip(SIDES, count.tolist(), strict=True) if n >= 50}
    assert set(present_names(mapped)) == expected - {"wall", "floor", "ceiling"}
    assert "toilet" in absent_names(mapped)
    mapped_with_tv = Mapped(mapped.pipeline, mapped.truth, ("tv", "dog bed"), None)
    assert "television" in absent_names(mapped_with_tv)  # nobody knows that it is a tv
    mapped.pipeline.encoder.answer_profile = AnswerProfile({"television": "tv"})
    try:
        mapped.pipeline.encoder.vocabulary = SIDES
        assert "television" not in absent_names(mapped_with_tv)
        assert not {"dog", "bed"} & set(absent_names(mapped_with_tv))
    finally:
        del mapped.pipeline.encoder.answer_profile, mapped.pipeline.encoder.vocabulary


def test_figures_have_the_shape_that_scripts_read(mapped):
    result = evaluate_queries(mapped)
    again = evaluate_queries(mapped)
    assert json.dumps(result, default=str) == json.dumps(again, default=str)  # seeded
    for kind in ("raw", "purified"):
        for name in ("single", "triple"):
            figures = result[kind][name]
            assert {"iou", "precision", "recall", "yardstick_iou", "yardstick_precision",
                    "absent_names", "absent_found", "absent_mean_voxels", "ece",
                    "per_name"} <= set(figures)
            assert 0 <= figures["iou"] <= 1
    assert result["purified"]["triple"]["absent_names"] == 12
    assert result["raw"]["single"]["yardstick_iou"] == pytest.approx(1.0)  # truth is its label
    assert "purified triple" in format_queries(result)
