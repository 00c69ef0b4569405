"""The training loop: going on after a cut, and saying why it stops."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from geopurify_ros.errors import ConfigError, InputError
from geopurify_ros.train.loop import check_steps, run, warm_cosine


class CutError(Exception):
    """The power goes."""


def trained(out, cut_at=None, steps=25, bad_at=None, seed=0):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)

    def step(number):
        if number == cut_at:
            raise CutError
        data = torch.randn(8, 4, generator=torch.Generator().manual_seed(number))
        loss = model(data).square().mean() * (float("nan") if number == bad_at else 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.item()}

    return run(out, model, optimizer, step, steps, {"seed": seed}, every=5), model


def test_a_cut_training_goes_on_to_the_same_curve_and_weights(tmp_path):
    whole, model = trained(tmp_path / "whole")
    with pytest.raises(CutError):
        trained(tmp_path / "cut", cut_at=13)
    assert json.loads((tmp_path / "cut/metrics.json").read_text())["step"] == 10
    rest, again = trained(tmp_path / "cut")
    assert rest == whole
    assert [entry["step"] for entry in whole] == [5, 10, 15, 20, 25]
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_finished_training_is_not_done_again(tmp_path):
    whole, _ = trained(tmp_path)
    assert trained(tmp_path, cut_at=0)[0] == whole


def test_other_settings_do_not_continue_it(tmp_path):
    trained(tmp_path)
    with pytest.raises(InputError, match="other settings: choose another folder"):
        trained(tmp_path, seed=1)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_state_before(tmp_path):
    with pytest.raises(InputError, match=r"step 7: loss is nan; .* keeps the state before"):
        trained(tmp_path, bad_at=7)
    assert json.loads((tmp_path / "metrics.json").read_text())["step"] == 5


def test_a_damaged_state_is_named(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"state.pt cannot be read .* remove it to start anew"):
        trained(tmp_path)


def test_the_rate_rises_and_falls():
    rates = [warm_cosine(k, 100, 10) for k in range(100)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert max(rates) == 1
    assert rates[-1] < 0.01
    with pytest.raises(ConfigError, match="steps is 0"):
        check_steps(0)
