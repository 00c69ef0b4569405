"""Scores are cosines of the whole features, raw and purified; the direct way stands beside."""

import pytest
import torch
from torch.nn.functional import normalize

from geopurify_ros.config import Config, with_values
from geopurify_ros.core import pipeline as pipeline_module
from geopurify_ros.core.answers.logits import purified_logits, raw_logits
from geopurify_ros.core.answers.query import TextQuery, label_voxels
from geopurify_ros.core.answers.texts import encode_texts
from geopurify_ros.core.mapping import voxel_map
from geopurify_ros.core.mapping.fusion import FeatureBags, FrameVoxels
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification import pooled_features, pooling

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
    assert (found.score - expected.score).abs().max() < 2e-3  # half precision, at scale 12
    assert (found.label == expected.label).float().mean() > 0.999


def test_another_map_and_new_voxels_are_scored_by_their_own_features():
    pipeline = wall_map()
    pipeline.purify()
    known = len(pipeline.map)
    pipeline.map.integrate(wall_frame(pipeline.encoder, noise=0.1, shift=20), 1)
    answer = pipeline.query(ASKED[0])
    expected = exact(pipeline, pipeline.map.features(), ASKED[0])
    torch.testing.assert_close(answer.raw.score, expected.score, rtol=0, atol=1e-5)
    assert known < len(pipeline.map)
    assert torch.equal(answer.pooled.score[known:], answer.raw.score[known:])
    pipeline.replace_map(wall_map(noise=0.1).map)
    expected = exact(pipeline, pipeline.map.features(), ASKED[0])
    torch.testing.assert_close(pipeline.query(ASKED[0]).raw.score, expected.score,
                               rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["mean", "consensus"])
def test_logits_come_in_order_and_cover_every_voxel_once(mode, monkeypatch):
    monkeypatch.setattr(voxel_map, "CHUNK_ROWS", 1000)
    pipeline = wall_map(mode)
    pipeline.purify()
    pipeline.map.integrate(wall_frame(pipeline.encoder, noise=0.1, shift=20), 1)
    texts = encode_texts(pipeline.encoder, NAMES[:3], pipeline.device)
    raw = list(raw_logits(pipeline.lifted, texts))
    whole = torch.cat([part for _, part in raw])
    for chunks in (raw, list(purified_logits(pipeline.result, pipeline.lifted, texts))):
        edges = [rows.start for rows, _ in chunks] + [chunks[-1][0].stop]
        assert edges == sorted(edges)
        assert edges[0] == 0
        assert edges[-1] == len(pipeline.map)
        assert [len(part) for _, part in chunks] == [r.stop - r.start for r, _ in chunks]
    later = list(raw_logits(pipeline.lifted, texts, 1234))
    assert later[0][0].start == 1234
    torch.testing.assert_close(torch.cat([part for _, part in later]), whole[1234:])


def test_a_query_pools_nothing(monkeypatch):
    pipeline = wall_map()
    pipeline.purify()

    def never(*_arguments):
        raise AssertionError("a query waits for no pooling")

    for module in (pooling, pooled_features, pipeline_module):
        name = "pool_observations" if module is pipeline_module else "pool"
        monkeypatch.setattr(module, name, never)
    assert len(pipeline.query(ASKED[0]).pooled.label) == len(pipeline.map)
