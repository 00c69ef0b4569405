"""What an encoder cannot read is said, not answered; quotes keep commas inside a prompt."""

from __future__ import annotations

import pytest
import torch

from geopurify_ros.config import Config, with_values
from geopurify_ros.core.answers.query import label_voxels, make_query, parse_prompts
from geopurify_ros.core.mapping.encoder import unreadable
from geopurify_ros.core.mapping.fusion import FeatureBags, FrameVoxels
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.encoders.builtin import BuiltinEncoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def builtin():
    return BuiltinEncoder(CPU, dtype=torch.float32)


@pytest.mark.parametrize(("text", "words"), [
    ("chair", ()), ("a red chair!", ()), ("TV-stand", ()), ("café", ()), ("2 chairs", ()),
    ("jalapeño", ()), ("o'clock", ()), ("elephant", ()),
    ("椅子", ("椅", "子")), ("стул", ("стул",)), ("κaρέκλα", ("κaρεκλα",)), ("כיסא", ("כיסא",)),
    ("เก้าอี้", None), ("red стул", ("стул",)), ("🪑", ("🪑",)), ("???", ("???",)),
    ("...", ("...",)), ("x" * 150, ("x" * 150,)),
])
def test_builtin_knows_what_it_cannot_read(builtin, text, words):
    found = builtin.unreadable(text)
    if words is None:
        assert found
    elif text == "椅子":
        assert "".join(found) == text
    else:
        assert found == words
    sentence = unreadable(builtin, text)
    assert bool(sentence) is bool(found)
    if found:
        assert sentence.endswith("; builtin reads English")


class Picky:
    """Knows two words by their own directions; everything else is one and the same vector."""

    id, feature_dim, logit_scale, reads = "picky", 3, 20.0, "it reads two words"
    known = ("red", "green")

    def encode_image(self, rgb):
        raise NotImplementedError

    def encode_text(self, texts):
        rows = [self.known.index(t) if t in self.known else 0 for t in texts]
        return torch.eye(3)[rows]

    def unreadable(self, text):
        return () if text in self.known else (text,)


@pytest.fixture
def pipeline():
    made = Pipeline(Picky(), with_values(Config(), {"purify.embedding": "geometric"}))
    coords = torch.cartesian_prod(torch.arange(8), torch.arange(8), torch.arange(1))
    features = torch.eye(3)[0].expand(64, 3)
    made.map.integrate(FrameVoxels(
        coords, FeatureBags.of(features), torch.full((64, 3), 90.0),
        torch.tensor([0.0, 0, 1]).expand(64, 3), torch.ones(64)), 1)
    return made


@pytest.mark.parametrize("purified", [False, True])
@pytest.mark.parametrize(("prompts", "negatives", "labels"), [
    (("rot",), (), {0}), (("rot",), ("green",), {0}), (("rot", "red"), (), {2}),
    (("red",), ("rot",), {1}), (("rot", "rojo"), ("rouge",), {0}),
])
@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_an_unreadable_text_never_wins(pipeline, purified, prompts, negatives, labels, threshold):
    if purified:
        pipeline.purify()
    answer = pipeline.query(make_query(prompts, negatives, threshold))
    for found in (answer.raw, answer.pooled):
        assert set(found.label.tolist()) == labels
        assert torch.isfinite(found.score).all()


def test_without_unreadable_texts_the_labels_are_those_of_before():
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    query = make_query(("a", "b"), ("c", "d", "e"), 0.2)
    found = label_voxels(logits, query)
    score = torch.softmax(logits, dim=1)[:, :2].amax(dim=1)
    there = (logits.argmax(dim=1) < 2) & (score >= 0.2)
    assert torch.equal(found.label, torch.where(there, logits[:, :2].argmax(dim=1) + 1, 0))
    assert torch.equal(found.score, score)


@pytest.mark.parametrize(("text", "prompts"), [
    ("chair, table", ("chair", "table")),
    ('"a small, round table", chair', ("a small, round table", "chair")),
    ('chair ,  "red, or green" ', ("chair", "red, or green")),
    ("“a small, round table”, chair", ("a small, round table", "chair")),
    ('tv 12", chair', ('tv 12"', "chair")),
    ('tv 12", tv 14"', ('tv 12"', 'tv 14"')),
    ('"chair', ('"chair',)),
    ("chair,\ntable", ("chair", "table")),
    ('""', None),
])
def test_quotes_keep_commas_inside_a_prompt(text, prompts):
    if prompts is None:
        with pytest.raises(Exception, match="the query is empty"):
            parse_prompts(text, 10)
    else:
        assert parse_prompts(text, 10) == prompts
