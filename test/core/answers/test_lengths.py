"""Scores are cosines of the whole features, raw and purified, within METHODS' 1.5e-2 (1.15a)."""

import pytest
import torch
from torch.nn.functional import normalize

from geopurify_ros.config import Config, with_values
from geopurify_ros.core.answers.query import TextQuery, label_voxels
from geopurify_ros.core.mapping.fusion import FeatureBags, FrameVoxels
from geopurify_ros.core.pipeline import Pipeline

WIDTH, CLASSES = 256, 60
NAMES = tuple(f"class {number}" for number in range(CLASSES))


class Words:
    """Unit vectors of 60 names that share a direction, as those of language models do."""

    id, feature_dim, logit_scale = "words", WIDTH, 12.0

    def __init__(self):
        generator = torch.Generator().manual_seed(1)
        own = torch.randn((CLASSES, WIDTH), generator=generator)
        self.vectors = normalize(own + 0.5 * torch.randn(WIDTH, generator=generator) * 4, dim=1)

    def encode_text(self, texts):
        return self.vectors[[NAMES.index(text) for text in texts]]


def wall_map(mode="mean", noise=1.5, size=56):
    """A wall of 8 x 8 patches in 60 classes; noisy features, as of single views."""
    pipeline = Pipeline(Words(), with_values(Config(), {
        "purify.embedding": "geometric", "purify.iterations": 10, "fusion.mode": mode}))
    pipeline.map.integrate(wall_frame(pipeline.encoder, noise, size), 0)
    return pipeline


def wall_frame(encoder, noise=1.5, size=56, shift=0):
    generator = torch.Generator().manual_seed(2)
    side = torch.arange(size)
    coords = torch.cartesian_prod(side, side, torch.zeros(1, dtype=torch.int64))
    patch = (coords[:, 0] // 7) * 8 + coords[:, 1] // 7
    features = encoder.vectors[patch % CLASSES]
    features = features + noise * torch.randn(features.shape, generator=generator) / WIDTH**0.5
    color = torch.stack((patch * 37 % 256, patch * 91 % 256, patch * 53 % 256), dim=1).float()
    coords[:, 0] += shift
    return FrameVoxels(coords, FeatureBags.of(features), color,
                       torch.tensor([0.0, 0, 1]).expand(len(coords), 3), torch.ones(len(coords)))


def exact(pipeline, features, asked):
    text = pipeline.encoder.encode_text(asked.texts)
    return label_voxels(pipeline.encoder.logit_scale * normalize(features, dim=1) @ text.T, asked)


ASKED = [TextQuery(NAMES[:2], NAMES[2:7], 0.4), TextQuery(NAMES[5:6], NAMES[9:14], 0.4),
         TextQuery(NAMES)]


@pytest.mark.parametrize("asked", ASKED)
def test_raw_scores_are_those_of_exact_cosines(asked):
    pipeline = wall_map()
    expected, found = exact(pipeline, pipeline.map.features(), asked), pipeline.query(asked).raw
    assert torch.equal(found.label, expected.label)
    torch.testing.assert_close(found.score, expected.score, rtol=0, atol=1e-5)


@pytest.mark.parametrize("asked", ASKED)
def test_purified_scores_are_those_of_pooled_features(asked):
    pipeline = wall_map()
    pipeline.purify()
    pooled = pipeline.purified(pipeline.map.features())
    expected, found = exact(pipeline, pooled, asked), pipeline.query(asked).pooled
    assert (found.score - expected.score).abs().max() < 1.5e-2
    assert (found.label == expected.label).float().mean() > 0.999


def test_lengths_are_kept_until_map_or_affinity_change(monkeypatch):
    """A second query pools its texts alone; a changed map is never scored with old lengths."""
    pipeline, widths = wall_map(), []
    pipeline.purify()
    project = pipeline.map.project
    monkeypatch.setattr(pipeline.map, "project",
                        lambda matrix: widths.append(matrix.shape[1]) or project(matrix))
    first = pipeline.query(ASKED[0])
    assert sum(widths) == 7 + 128
    widths.clear()
    again = pipeline.query(ASKED[0])
    assert widths == [7]
    assert torch.equal(again.pooled.score, first.pooled.score)

    pipeline.map.integrate(wall_frame(pipeline.encoder, noise=0.1, shift=20), 1)
    for purify in (False, True):
        if purify:
            pipeline.purify()
        answer = pipeline.query(ASKED[0])
        pooled = pipeline.purified(pipeline.map.features())
        expected = exact(pipeline, pooled, ASKED[0])
        assert (answer.pooled.score - expected.score).abs().max() < 1.5e-2
        expected = exact(pipeline, pipeline.map.features(), ASKED[0])
        torch.testing.assert_close(answer.raw.score, expected.score, rtol=0, atol=1e-5)


def test_other_iterations_and_another_map_have_other_lengths():
    pipeline = wall_map()
    pipeline.purify()
    before = pipeline.query(ASKED[0]).pooled.score
    pipeline.config = with_values(pipeline.config, {"purify.iterations": 4})
    expected = exact(pipeline, pipeline.purified(pipeline.map.features()), ASKED[0])
    after = pipeline.query(ASKED[0]).pooled.score
    assert (after - expected.score).abs().max() < 1.5e-2
    assert not torch.allclose(before, after, atol=1e-3)
    pipeline.replace_map(wall_map(noise=0.1).map)
    expected = exact(pipeline, pipeline.map.features(), ASKED[0])
    torch.testing.assert_close(pipeline.query(ASKED[0]).raw.score, expected.score,
                               rtol=0, atol=1e-5)
