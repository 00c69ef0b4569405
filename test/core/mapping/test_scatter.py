"""Sums per group against loops; with torch_scatter, where it is installed, the same."""

import runpy
import sys
from types import SimpleNamespace

import pytest
import torch

from geopurify_ros.core.mapping import scatter

VALUES = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [5.0, 50.0]])
GROUP = torch.tensor([2, 0, 2, 2])


def test_sum_and_mean_by_hand():
    assert scatter.scatter_sum(VALUES, GROUP, 4).tolist() == [[2, 20], [0, 0], [9, 90], [0, 0]]
    assert scatter.scatter_mean(VALUES, GROUP, 4).tolist() == [[2, 20], [0, 0], [3, 30], [0, 0]]


def test_torch_scatter_is_asked_where_it_is_installed(monkeypatch):
    asked = []

    def scatter_sum(values, group, dim, dim_size):
        asked.append((dim, dim_size))
        return values.new_zeros((dim_size, values.shape[1])).index_add_(dim, group, values)

    native = scatter.scatter_sum(VALUES, GROUP, 4)
    monkeypatch.setattr(scatter, "_torch_scatter", SimpleNamespace(scatter_sum=scatter_sum))
    assert torch.equal(scatter.scatter_sum(VALUES, GROUP, 4), native)
    assert asked == [(0, 4)]


def test_a_torch_scatter_built_for_another_torch_does_no_harm(monkeypatch, tmp_path):
    (tmp_path / "torch_scatter.py").write_text("raise OSError('undefined symbol: _ZN2at')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch_scatter", raising=False)
    assert runpy.run_path(scatter.__file__)["_torch_scatter"] is None


def test_bag_sum_is_a_weighted_sum_of_table_rows():
    rows = torch.tensor([0, 3, 3, 1])
    starts = torch.tensor([0, 1])
    weights = torch.tensor([2.0, 1.0, 0.5, 10.0])
    assert scatter.bag_sum(VALUES, rows, starts, weights).tolist() == [
        [2.0, 20.0], [1.5 * 5 + 20, 1.5 * 50 + 200]]


@pytest.mark.parametrize("high", [5, 1 << 20, 1 << 62])
def test_sorted_keys_come_with_their_permutation(high):
    """Small keys go through the packed sort, large ones do not fit it."""
    keys = torch.randint(0, high, (1000,), generator=torch.Generator().manual_seed(0))
    ordered, permutation = scatter.sort_keys(keys)
    assert ordered.tolist() == sorted(keys.tolist())
    assert torch.equal(keys[permutation], ordered)
    assert permutation.sort().values.tolist() == list(range(1000))


@pytest.mark.parametrize("keys", [[], [7], [-3, 5, -9], [0, 0, 0]])
def test_sorting_few_or_negative_keys(keys):
    ordered, permutation = scatter.sort_keys(torch.tensor(keys, dtype=torch.int64))
    assert ordered.tolist() == sorted(keys)
    assert sorted(permutation.tolist()) == list(range(len(keys)))


@pytest.mark.parametrize(("keys", "starts"), [
    ([], []), ([4], [0]), ([1, 1, 2, 5, 5, 5], [0, 2, 3]), ([0, 0], [0])])
def test_run_starts(keys, starts):
    assert scatter.run_starts(torch.tensor(keys, dtype=torch.int64)).tolist() == starts
