"""Text to labels: prompts, negatives and "not there"."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geopurify_ros.core.answers.query import (
    MAX_PROMPT_LENGTH,
    TextQuery,
    label_voxels,
    make_query,
    parse_negatives,
    parse_prompts,
)
from geopurify_ros.errors import InputError


@pytest.mark.parametrize(("text", "prompts"), [
    ("chair", ("chair",)),
    ("chair, coffee table ,floor", ("chair", "coffee table", "floor")),
    (" ,chair,,  ", ("chair",)),
    ("стул, 椅子, chaise à bascule", ("стул", "椅子", "chaise à bascule")),
    ("chair, table, chair", ("chair", "table")),
    ("Chair, chair, CHAIR", ("Chair",)),
    ("coffee \t table\n", ("coffee table",)),
    ("\x00chair\x1b[31m", ("chair [31m",)),
])
def test_prompts_are_the_distinct_names_between_commas(text, prompts):
    assert parse_prompts(text, 64) == prompts


@pytest.mark.parametrize("text", ["", " ", ",, ,", "\n\x00\x07"])
def test_an_empty_query_is_refused(text):
    with pytest.raises(InputError, match="the query is empty"):
        parse_prompts(text, 64)


def test_too_many_prompts_are_refused():
    assert len(parse_prompts("a, b, c, a", 3)) == 3
    with pytest.raises(InputError, match="4 prompts, at most 3"):
        parse_prompts("a, b, c, d", 3)


def test_an_over_long_prompt_is_refused_with_its_beginning():
    assert parse_prompts("x" * MAX_PROMPT_LENGTH, 1)
    with pytest.raises(InputError, match=r"'x{30}\.\.\.' has 201 characters, at most 200"):
        parse_prompts("x" * (MAX_PROMPT_LENGTH + 1), 1)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=40))
def test_any_text_is_refused_or_becomes_clean_prompts(text):
    try:
        prompts = parse_prompts(text, 64)
    except InputError:
        return
    assert prompts
    assert all(p == p.strip() and p.isprintable() and "," not in p for p in prompts)
    assert parse_prompts(", ".join(prompts), 64) == prompts


def test_negatives_that_are_asked_for_are_left_out():
    negatives = ("wall", "floor", "object")
    assert make_query(("chair",), negatives, 0.4).texts == ("chair", "wall", "floor", "object")
    assert make_query(("Floor", "chair"), negatives, 0.4).negatives == ("wall", "object")
    assert make_query(("floor lamp",), negatives, 0.4).negatives == ("wall", "object")
    assert make_query(("flooring",), negatives, 0.4).negatives == negatives


ASKED = TextQuery(("chair", "table"), ("wall",), 0.5)


def labels_of(*probabilities, asked=ASKED):
    labels = label_voxels(torch.tensor(probabilities).log(), asked)
    return labels.label.tolist(), labels.score.tolist()


def test_the_best_prompt_is_the_label_and_its_probability_the_score():
    label, score = labels_of([0.7, 0.2, 0.1], [0.1, 0.8, 0.1])
    assert label == [1, 2]
    assert score == pytest.approx([0.7, 0.8])


def test_not_there_where_a_negative_wins_or_the_score_is_low():
    label, score = labels_of([0.3, 0.1, 0.6], [0.45, 0.3, 0.25], [0.501, 0.25, 0.249])
    assert label == [0, 0, 1]
    assert score == pytest.approx([0.3, 0.45, 0.501])  # of the best prompt


def test_threshold_zero_labels_all_that_no_negative_wins():
    asked = TextQuery(("chair", "table"), ("wall",))
    assert labels_of([0.34, 0.33, 0.33], [0.33, 0.33, 0.34], asked=asked)[0] == [1, 0]


def test_scores_do_not_depend_on_a_common_offset():
    logits = torch.tensor([[900.0, 899.0, 890.0]])
    assert label_voxels(logits, ASKED).score.tolist() == pytest.approx(
        label_voxels(logits - 900, ASKED).score.tolist())
    assert label_voxels(logits, ASKED).label.tolist() == [1]


def test_no_voxels_no_labels():
    labels = label_voxels(torch.zeros((0, 3)), ASKED)
    assert labels.label.shape == labels.score.shape == (0,)


def test_negatives_are_a_list_or_whatever_the_encoder_can_name():
    assert parse_negatives(" Auto ") is None
    assert parse_negatives("") == parse_negatives(" ") == ()
    with pytest.raises(InputError, match="'auto' stands alone"):
        parse_negatives("auto, wall")
    assert parse_negatives("wall, floor") == ("wall", "floor")
    assert make_query(("chair",), None, 0.2, 8) == TextQuery(("chair",), None, 0.2, 8)
    assert make_query(("chair",), None, 0.2).texts == ("chair",)
