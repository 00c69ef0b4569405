"""View consensus against the batch rule of METHODS 1.8 (T1.8)."""

import time

import numpy as np
import pytest
import torch
from box_room import ASKED, FRAMES, SIDES, Oracle, map_frames
from torch.nn.functional import normalize

from geopurify_ros.core.mapping.consensus import ConsensusRule, ViewBuffer

D = 8


def batch_reference(views, text, scale, top):
    """One voxel, all its views (n, D): best class of the mean, its best views, soft-max."""
    views = views.double()
    mean = views.mean(dim=0)
    unit = normalize(views, dim=1)
    target = normalize(mean, dim=0)
    if len(text):
        target = text.double()[(text.double() @ mean).argmax()]
    agreement = unit @ target
    best = torch.argsort(agreement, descending=True, stable=True)[:top]
    weight = torch.softmax(scale * agreement[best], dim=0)
    return (weight[:, None] * views[best]).sum(dim=0)


def seen(num_voxels=40, num_views=6, seed=0, share=0.7):
    """A few views of each voxel: (view) -> rows, features; values that half precision holds."""
    generator = torch.Generator().manual_seed(seed)
    frames = []
    for _ in range(num_views):
        rows = torch.nonzero(torch.rand(num_voxels, generator=generator) < share).squeeze(1)
        features = torch.randn((len(rows), D), generator=generator).half().float()
        frames.append((rows, features))
    return frames


def vocabulary(words=5):
    return normalize(torch.randn((words, D), generator=torch.Generator().manual_seed(9)), dim=1)


def inserted(frames, num_views, rule, num_voxels=40):
    buffer = ViewBuffer(D, num_views)
    sums, counts = torch.zeros((num_voxels, D)), torch.zeros((num_voxels, 1))
    for rows, features in frames:
        sums[rows] += features
        counts[rows] += 1
        buffer.insert(rows, features, (sums / counts.clamp_min(1))[rows], rule)
    return buffer, sums / counts.clamp_min(1)


def views_of(frames, voxel):
    return torch.stack([f[rows == voxel][0] for rows, f in frames if bool((rows == voxel).any())])


@pytest.mark.parametrize("words", [5, 0])
def test_t1_8_a_buffer_that_holds_all_views_equals_the_batch_rule(words):
    rule = ConsensusRule(top=3, scale=10.0, text=vocabulary(words))
    frames = seen()
    buffer, mean = inserted(frames, 6, rule)
    found = buffer.fused(0, mean, rule)
    for voxel in range(40):
        expected = batch_reference(views_of(frames, voxel), rule.text, 10.0, 3)
        assert torch.allclose(found[voxel].double(), expected, atol=1e-5)


def test_t1_8_three_views_or_fewer_are_a_soft_max_over_all():
    rule = ConsensusRule(top=3, scale=4.0, text=vocabulary())
    frames = seen(num_views=3, share=1.0)
    buffer, mean = inserted(frames, 4, rule)
    for voxel in range(40):
        views = views_of(frames, voxel)
        target = rule.text[(rule.text @ views.mean(dim=0)).argmax()]
        weight = torch.softmax(4.0 * normalize(views, dim=1) @ target, dim=0)
        expected = (weight[:, None] * views).sum(dim=0)
        assert torch.allclose(buffer.fused(0, mean, rule)[voxel], expected, atol=1e-5)


def test_t1_8_the_order_of_the_views_changes_nothing():
    rule = ConsensusRule(top=3, scale=10.0, text=vocabulary())
    frames = seen()
    buffer, mean = inserted(frames, 6, rule)
    expected = buffer.fused(0, mean, rule)
    backwards, mean = inserted(frames[::-1], 6, rule)
    assert torch.allclose(backwards.fused(0, mean, rule), expected, atol=1e-5)


def test_t1_8_a_small_buffer_mostly_agrees_with_the_batch_rule():
    """METHODS 6.1: match rate at B = 4 in a hard case; 12 views, a third of them wrong."""
    generator = torch.Generator().manual_seed(0)
    text, voxels = vocabulary(), 300
    truth = torch.randint(5, (voxels,), generator=generator)
    frames = []
    for _ in range(12):
        wrong = torch.rand(voxels, generator=generator) < 0.35
        word = torch.where(wrong, torch.randint(5, (voxels,), generator=generator), truth)
        noise = 0.3 * torch.randn((voxels, D), generator=generator)
        frames.append((torch.arange(voxels), (text[word] + noise).half().float()))
    rule = ConsensusRule(top=3, scale=10.0, text=text)
    match = {}
    for size in (4, 12):
        buffer, mean = inserted(frames, size, rule, voxels)
        found = buffer.fused(0, mean, rule)
        expected = torch.stack([
            batch_reference(views_of(frames, v), text, 10.0, 3) for v in range(voxels)])
        same = (found.double() - expected).norm(dim=1) < 1e-3
        match[size] = float(same.double().mean())
    print(match)
    assert match[12] == 1.0
    assert match[4] >= 0.8


def test_where_the_buffer_is_full_the_oldest_of_the_worst_goes():
    rule = ConsensusRule(top=1, scale=10.0, text=torch.eye(D)[:1])
    buffer, row = ViewBuffer(D, 2), torch.tensor([0])
    mean = torch.eye(D)[:1]
    for axis in (1, 2, 0):  # two that agree with nothing, then one that does
        buffer.insert(row, torch.eye(D)[axis:axis + 1], mean, rule)
    held = {int(v.argmax()) for v in buffer._views[0]}
    assert held == {0, 2}
    buffer.insert(row, -torch.eye(D)[:1], mean, rule)  # worse than all that is held
    assert {int(v.argmax()) for v in buffer._views[0]} == {0, 2}


def test_20_000_voxels_are_inserted_at_once():
    rule = ConsensusRule(top=3, scale=10.0, text=torch.zeros((0, 0)))
    buffer = ViewBuffer(32, 4)
    rows, features = torch.arange(20_000), torch.randn(20_000, 32)
    for _ in range(4):
        buffer.insert(rows, features, features, rule)
    start = time.process_time()
    buffer.insert(rows, features, features, rule)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("names", ["", ", ".join(SIDES)])
def test_the_pipeline_answers_from_the_views_and_saves_what_it_answers(names):
    """Whether consensus helps is measured by `geopurify eval --set fusion.mode=consensus`."""
    options = {"fusion.mode": "consensus", "fusion.vocabulary": names, "fusion.views": 6}
    agreed = map_frames(FRAMES[:9], Oracle(wrong_share=0.45), **options)
    before = agreed.query(ASKED).raw
    snapshot = agreed.lifted.snapshot()
    for saved, (_, mean), (_, expected) in zip(
        snapshot.features, agreed.map.feature_chunks(), agreed.lifted.feature_chunks(), strict=True
    ):
        assert torch.equal(saved, expected.half())  # what the node saves is what it answers from
        assert not torch.equal(saved, mean)
    agreed.lifted.settle()  # what is saved answers the same
    after = agreed.query(ASKED).raw
    assert float((before.label == after.label).float().mean()) > 0.999
    np.testing.assert_allclose(before.score, after.score, atol=2e-3)


def test_a_loaded_map_is_not_outvoted_by_one_frame():
    """Its views are gone, its means stand for them."""
    options = {"fusion.mode": "consensus", "fusion.views": 4}
    known = map_frames(FRAMES[:6], Oracle(wrong_share=0.0), **options)
    known.lifted.settle()
    before = known.query(ASKED).raw.label
    known.replace_map(known.map)  # as ~/load_map does
    known.encoder = Oracle(wrong_share=1.0)
    known.integrate(FRAMES[0])
    after = known.query(ASKED).raw.label[: len(before)]
    assert float((before == after).float().mean()) > 0.9


def test_a_reset_forgets_the_views():
    pipeline = map_frames(FRAMES[:2], **{"fusion.mode": "consensus"})
    pipeline.reset()
    pipeline.integrate(FRAMES[3])
    assert len(pipeline.query(ASKED).raw.label) == len(pipeline.map)
