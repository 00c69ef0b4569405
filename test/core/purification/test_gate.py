"""What purification did, and when it is declined."""

import dataclasses

import pytest
import torch
from box_room import ASKED, FRAMES, Oracle

from geopurify_ros.config import Config, PurifyConfig, with_values
from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.mapping.fusion import FeatureBags, FrameVoxels
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.affinity import Affinity
from geopurify_ros.core.purification.gate import Effect, boundary_share, effect_of, objection

GOOD = Effect(entropy=0.9, changed=0.2, boundary_before=0.3, boundary_after=0.1)


def ring(size=12):
    """Each voxel touches its two neighbours on a ring."""
    rows = torch.arange(size)
    index = torch.stack(((rows + 1) % size, (rows - 1) % size), dim=1)
    return Affinity(index.to(torch.int32), torch.full((size, 2), 0.5))


def test_boundaries_are_pairs_of_touching_voxels_with_two_labels():
    labels = torch.tensor([1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2])
    assert boundary_share(labels, ring()) == pytest.approx(4 / 24)
    assert boundary_share(torch.ones(12), ring()) == 0.0
    assert boundary_share(torch.arange(12), ring()) == 1.0


def test_the_effect_counts_changes_and_boundaries():
    raw = torch.tensor([1, 1, 2, 1, 1, 1, 2, 2, 2, 1, 2, 2])
    smooth = torch.tensor([1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2])
    effect = effect_of(raw, smooth, ring(), 0.7)
    assert effect.entropy == 0.7
    assert effect.changed == pytest.approx(2 / 12)
    assert effect.boundary_after == pytest.approx(4 / 24)
    assert effect.boundary_before == pytest.approx(12 / 24)
    assert effect_of(raw[:0], raw[:0], ring(0), 0.0) == Effect(0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(("change", "sentence"), [
    ({}, ""),
    ({"entropy": 0.99995}, "tells no neighbours apart"),
    ({"changed": 0.9}, "90% of the labels would change"),
    ({"boundary_after": 0.4}, "more ragged"),
])
def test_purification_is_declined_where_it_blurs_overturns_or_roughens(change, sentence):
    reason = objection(dataclasses.replace(GOOD, **change), PurifyConfig())
    assert sentence in reason
    assert bool(reason) == bool(sentence)


def test_a_declined_purification_leaves_the_raw_labels():
    config = with_values(Config(), {
        "depth.min_m": 0.05, "purify.embedding": "geometric", "purify.affinity_scale": 0.0,
    })
    pipeline = Pipeline(Oracle(), config)
    for frame in FRAMES[:3]:
        pipeline.integrate(frame)
    pipeline.purify()
    answer = pipeline.query(ASKED)
    assert "would be a blur" in answer.objection
    assert torch.equal(answer.purified.label, answer.raw.label)
    assert not torch.equal(answer.pooled.label, answer.raw.label)
    assert answer.changed_fraction == 0.0
    assert answer.effect.changed > 0.0


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_an_object_that_only_pooling_finds_is_not_declined(threshold, share):
    """Raw labels that are nearly all "not there" are smooth, and change nearly all."""
    side = torch.arange(40)
    coords = torch.cartesian_prod(side, side, torch.zeros(1, dtype=torch.int64))
    is_chair = coords[:, 0] < 40 * share
    generator = torch.Generator().manual_seed(0)
    feature = torch.where(is_chair[:, None], torch.eye(32)[0], torch.eye(32)[1])
    feature = feature + 0.5 * torch.randn((len(coords), 32), generator=generator)
    feature = torch.nn.functional.normalize(feature, dim=1)
    color = torch.where(is_chair[:, None], torch.tensor([200.0, 40, 40]), torch.tensor(200.0))

    class Encoder:
        id, feature_dim, logit_scale = "two", 32, 3.0 if threshold < 0.8 else 4.0

        def encode_text(self, texts):
            return torch.eye(32)[[("chair", "wall", "floor", "lamp").index(t) for t in texts]]

    pipeline = Pipeline(Encoder(), with_values(Config(), {"purify.embedding": "geometric"}))
    pipeline.map.integrate(FrameVoxels(
        coords, FeatureBags.of(feature), color, torch.tensor([0.0, 0, 1]).expand(len(coords), 3),
        torch.ones(len(coords))), 0)
    pipeline.purify()
    answer = pipeline.query(TextQuery(("chair",), ("wall", "floor", "lamp"), threshold))
    assert torch.equal(answer.pooled.label, is_chair.long())
    assert answer.objection == ""
    assert answer.changed_fraction == pytest.approx(
        float((answer.raw.label != answer.pooled.label).float().mean()))
