"""Pairs and loss of the distillation against plain loops (METHODS T1.6, T1.7)."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.sparse_conv import index_of
from geopurify_ros.errors import InputError
from geopurify_ros.train.students.distill import (
    IMPROVED_RULES,
    PAPER_RULES,
    Pairs,
    draw_pairs,
    info_nce,
    pair_table,
    pairs_of,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def cloud(count=300, extent=9, width=6, ties=False, seed=0):
    every = torch.cartesian_prod(*3 * (torch.arange(extent),))
    coords = every[torch.randperm(len(every), generator=generator(seed))[:count]]
    teacher = torch.randn((count, width), generator=generator(seed))
    if ties:  # few distinct features: nearly everything is a tie
        teacher = teacher[torch.arange(count) % 5]
    teacher = normalize(teacher, dim=1)
    near = nearest_neighbors(index_of(coords), coords, 96)
    return teacher, coords, near


def table_of(teacher, coords, near, rules, draw, chunk=256):
    return pair_table(teacher, coords, near, torch.arange(len(coords)), rules, draw, chunk)


def brute_force(teacher, near, anchor, rules):
    """METHODS 1.5 for one anchor; equal values go by row number."""
    similarity = (teacher[anchor:anchor + 1] @ teacher.T)[0]
    rows = [j for j in range(len(teacher)) if j != anchor]
    positive = max(rows, key=lambda j: (float(similarity[j]), -j))
    rows.remove(positive)
    macro = sorted(rows, key=lambda j: (float(similarity[j]), j))[: rules.macro]
    around = near.index[anchor][near.mask[anchor]].tolist()
    micro = sorted((j for j in around if j != positive),
                   key=lambda j: (float(similarity[j]), j))[: rules.micro]
    return positive, macro, micro


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("chunk", [1, 7, 256])
def test_t1_7_the_sampler_of_the_paper_equals_brute_force(chunk, ties):
    teacher, coords, near = cloud(ties=ties)
    if ties:
        teacher = torch.round(teacher * 64) / 64  # products are exact: ties stay ties
    table = table_of(teacher, coords, near, PAPER_RULES, generator(), chunk)
    anchors = torch.arange(0, 300, 23)
    pairs = pairs_of(table, anchors, PAPER_RULES, generator())
    assert pairs.negative.shape == (len(anchors), 48 + 15)
    for a, anchor in enumerate(anchors.tolist()):
        positive, macro, micro = brute_force(teacher, near, anchor, PAPER_RULES)
        found = pairs.negative[a][pairs.mask[a]].tolist()
        if ties:
            assert pairs.positive[a] == positive
            assert found == macro + micro
        else:  # rounding of the product may depend on the chunk in its last bit
            assert pairs.positive[a] == positive
            assert sorted(found[:48]) == sorted(macro)
            assert found[48:] == micro


def test_t1_7_anchors_are_distinct_and_at_most_a_third_of_the_scene():
    teacher, coords, near = cloud()
    table = table_of(teacher, coords, near, PAPER_RULES, generator())
    pairs = draw_pairs(table, 300, PAPER_RULES, generator())
    assert len(pairs.anchor) == len(pairs.anchor.unique()) == 100
    some, inner = dataclasses.replace(PAPER_RULES, anchors=10), torch.arange(50, 90)
    table = pair_table(teacher, coords, near, inner, PAPER_RULES, generator())
    drawn = draw_pairs(table, 300, some, generator()).anchor
    assert len(drawn) == 10
    assert bool(((drawn >= 50) & (drawn < 90)).all())


def test_t1_7_improved_rules_hold():
    """B8: positives leave the cell; B9: the low tail; B10: the margin; B11: nobody twice."""
    teacher, coords, near = cloud(count=700)
    rules = IMPROVED_RULES
    table = table_of(teacher, coords, near, rules, generator())
    pairs = pairs_of(table, torch.arange(700), rules, generator())
    similarity = teacher @ teacher.T
    rank = similarity.argsort(dim=1).argsort(dim=1)
    best = similarity.fill_diagonal_(-2).amax(dim=1)
    macro, in_macro = pairs.negative[:, :48], pairs.mask[:, :48]
    assert float(rank.gather(1, macro)[in_macro].max()) <= rules.tail * 700
    micro, in_micro = pairs.negative[:, 48:], pairs.mask[:, 48:]
    below = similarity.gather(1, micro) <= best[:, None] - rules.margin + 1e-6
    assert bool(below[in_micro].all())
    assert 0 < float(in_micro.double().mean()) <= 1
    cell = coords // rules.cell_voxels
    own_cell = (cell[pairs.positive] == cell).all(dim=1)
    assert float((~own_cell).double().mean()) > 0.3
    for line, mask, positive, anchor in zip(
            pairs.negative, pairs.mask, pairs.positive, pairs.anchor, strict=True):
        kept = line[mask].tolist()
        assert len(kept) == len(set(kept))
        assert int(positive) not in kept
        assert int(anchor) not in kept


def test_t1_7_random_macro_negatives_are_more_than_the_lowest_few():
    """B9: in paper mode nearly all anchors share the same negatives."""
    teacher, coords, near = cloud(count=700, width=16)
    sign = torch.where(torch.arange(700) % 10 == 0, -3.0, 3.0)  # a few odd ones out
    teacher = normalize(teacher + sign[:, None] * torch.eye(16)[0], dim=1)
    distinct = []
    for rules in (PAPER_RULES, IMPROVED_RULES):
        table = table_of(teacher, coords, near, rules, generator())
        pairs = pairs_of(table, torch.arange(1, 700, 10), rules, generator())
        distinct.append(len(pairs.negative[:, :48].unique()))
    assert distinct[0] <= 70
    assert distinct[1] >= 100


def test_a_scene_of_few_voxels_is_refused():
    teacher, coords, near = cloud(count=40)
    with pytest.raises(InputError, match="has 40 voxels, an anchor needs 50"):
        table_of(teacher, coords, near, PAPER_RULES, generator())


def random_pairs(num_voxels=50, anchors=6, negatives=63):
    draw = generator(1)
    mask = torch.rand((anchors, negatives), generator=draw) < 0.8
    return Pairs(torch.randperm(num_voxels, generator=draw)[:anchors],
                 torch.randint(num_voxels, (anchors,), generator=draw),
                 torch.randint(num_voxels, (anchors, negatives), generator=draw), mask)


def test_t1_6_the_loss_equals_a_loop_in_double_precision():
    pairs = random_pairs()
    embeddings = normalize(torch.randn((50, 16), generator=generator()).double(), dim=1)
    e = embeddings.numpy()
    expected = []
    for a, anchor in enumerate(pairs.anchor.tolist()):
        of_positive = math.exp(float(e[anchor] @ e[pairs.positive[a]]) / 0.07)
        of_negatives = sum(math.exp(float(e[anchor] @ e[n]) / 0.07)
                           for n, m in zip(pairs.negative[a], pairs.mask[a], strict=True) if m)
        expected.append(-math.log(of_positive / (of_positive + of_negatives)))
    np.testing.assert_allclose(info_nce(embeddings, pairs, 0.07).numpy(), expected, atol=1e-6)
    found = info_nce(embeddings.float(), pairs, 0.07)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_t1_6_the_gradient_is_right_on_six_anchors():
    pairs = random_pairs(num_voxels=12, negatives=5)
    values = torch.randn((12, 4), generator=generator()).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: info_nce(normalize(v, dim=1), pairs, 0.07), (values,))


def test_t1_6_equal_logits_cost_log_64():
    pairs = dataclasses.replace(random_pairs(), mask=torch.ones((6, 63), dtype=torch.bool))
    alike = normalize(torch.ones((50, 8), dtype=torch.float64), dim=1)
    loss = info_nce(alike, pairs, 0.07)
    assert torch.allclose(loss, torch.full((6,), math.log(64), dtype=torch.float64), atol=1e-12)
