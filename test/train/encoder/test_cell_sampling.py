"""The cells that a step of the image tower's training looks at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from geopurify_ros.train.encoder.cell_sampling import (
    balanced,
    cells_at,
    enlarged_at,
    flat,
    left_out,
)


@pytest.mark.parametrize("size", [(32, 48), (8, 12), (7, 13), (4, 6)])
def test_cells_of_an_enlarged_map_are_computed_alone(size):
    """Bilinear, as the tower enlarges the whole; borders included."""
    maps = torch.randn(3, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    whole = flat(interpolate(maps, size=size, mode="bilinear"))
    alone = enlarged_at(maps, size, torch.arange(len(whole)))
    torch.testing.assert_close(alone, whole, atol=1e-5, rtol=0)


def test_gradients_are_summed_in_a_fixed_order():
    """Many cells are picked twice and more, by two threads."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 16, 32, 44, generator=generator)
    picks = torch.randint(2 * 64 * 88, (4096,), generator=generator)
    weight = torch.randn(4096, 16, generator=generator)

    def gradient():
        leaf = maps.clone().requires_grad_()
        made = enlarged_at(leaf, (64, 88), picks) + cells_at(leaf, picks % (2 * 32 * 44))
        (made * weight).sum().backward()
        return leaf.grad

    first = gradient()
    assert all(torch.equal(gradient(), first) for _ in range(20))


def test_rare_cells_are_drawn_as_often_as_their_weight_says():
    rows = torch.tensor([0] * 900 + [1] * 100 + [-1] * 500)
    drawn = rows[balanced(rows, torch.tensor([1.0, 9.0]), np.random.default_rng(0))]
    assert (drawn >= 0).all()
    assert abs((drawn == 1).float().mean() - 0.5) < 0.05


def test_names_of_what_is_present_are_never_left_out():
    present = torch.tensor([3, 3, 90])
    gone = left_out(present, 100, np.random.default_rng(0))
    assert not gone[present].any()
    assert 15 < gone.sum() < 45
