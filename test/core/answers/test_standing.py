"""A question that was asked before is answered as one that is asked for the first time."""

import gc
import weakref

import pytest
import torch
from corridor import NAMES, change, corridor, integrate, pipeline_of

from geopurify_ros.core.answers import confident
from geopurify_ros.core.answers.query import TextQuery, make_query
from geopurify_ros.core.answers.standing import StandingQuestions

ASKED = TextQuery(NAMES[:3], None, 0.2)


def fresh_answer(pipeline, asked=ASKED):
    """Nothing is known of the question."""
    known, pipeline._questions = pipeline._questions, StandingQuestions(
        pipeline.encoder, pipeline.device)
    try:
        return pipeline.query(asked)
    finally:
        pipeline._questions = known


def assert_same_answer(found, expected):
    """Scores to the rounding of products of another number of rows."""
    for ours, theirs in ((found.raw, expected.raw), (found.pooled, expected.pooled)):
        assert torch.equal(ours.label, theirs.label)
        torch.testing.assert_close(ours.score, theirs.score, rtol=0, atol=1e-6)
        assert torch.equal(ours.reasons.otherwise, theirs.reasons.otherwise)
        assert [text for text, _ in ours.reasons.nearest] == [
            text for text, _ in theirs.reasons.nearest]


@pytest.mark.slow
def test_after_random_changes_only_what_changed_is_looked_at(monkeypatch):
    generator = torch.Generator().manual_seed(11)
    pipeline = pipeline_of("geometric")
    integrate(pipeline, corridor(), generator)
    looked_at = []
    real = confident.Prospects.update

    def update(self, chunks, count, blocks=None):
        looked_at.append(-(-count // 1024) if blocks is None else len(blocks))
        real(self, chunks, count, blocks)

    for number in range(24):
        change(pipeline, generator)
        if number % 4 == 3:
            pipeline.purify(is_full=number == 15)
        with monkeypatch.context() as patch:
            patch.setattr(confident.Prospects, "update", update)
            found = pipeline.query(ASKED)
        assert_same_answer(found, fresh_answer(pipeline))
    assert sum(looked_at) < 0.75 * len(looked_at) * -(-len(pipeline.map) // 1024)
    looked_at.clear()
    with monkeypatch.context() as patch:
        patch.setattr(confident.Prospects, "update", update)
        assert_same_answer(pipeline.query(ASKED), found)
    assert looked_at == [0, 0]  # nothing changed


def test_another_map_is_looked_at_as_a_whole():
    generator = torch.Generator().manual_seed(2)
    pipeline, other = pipeline_of("geometric"), pipeline_of("geometric")
    for one in (pipeline, other):
        integrate(one, corridor(), generator)  # other features, the same stamps
        one.purify()
    pipeline.query(ASKED)
    pipeline.replace_map(other.map)
    pipeline.result = other.result
    assert_same_answer(pipeline.query(ASKED), other.query(ASKED))


def test_what_was_not_finished_counts_for_nothing(monkeypatch):
    generator = torch.Generator().manual_seed(2)
    pipeline = pipeline_of("geometric")
    integrate(pipeline, corridor(), generator)
    pipeline.query(ASKED)
    integrate(pipeline, corridor(), generator)

    def broken(*_arguments):
        raise MemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(confident.Prospects, "_note", broken)
        with pytest.raises(MemoryError):
            pipeline.query(ASKED)
    expected = fresh_answer(pipeline)
    assert torch.equal(pipeline.query(ASKED).raw.label, expected.raw.label)


def test_old_maps_and_old_questions_are_not_kept():
    generator = torch.Generator().manual_seed(2)
    pipeline = pipeline_of("geometric")
    integrate(pipeline, corridor()[:2000], generator)
    pipeline.purify()
    pipeline.query(ASKED)
    gone = weakref.ref(pipeline.map), weakref.ref(pipeline.result)
    pipeline.reset()
    gc.collect()
    assert [one() for one in gone] == [None, None]
    for name in NAMES:
        pipeline.query(make_query((name,), None, 0.2))
    assert len(pipeline._questions._known) <= 2
