"""The case `query` in short: the same labels as the plain way, and what is kept of a voxel."""

import pytest
import torch

from geopurify_ros.evaluate.bench import query
from geopurify_ros.evaluate.bench.timing import Setup

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(query, "_QUICK_SIZES", (3000,))


def test_pooled_once_or_for_every_query_the_labels_are_the_same():
    case = query.bench_query(Setup(torch.device("cpu"), is_quick=True))
    assert case["equal"] is True
    assert case["kept_bytes_per_voxel"] == 2 * 144 + 4
    assert case["by_voxels"][3000].keys() == {"cpu_ms", "cpu_ms_20_prompts", "raw_cpu_ms"}


def test_labels_of_other_voxels_are_not_equal(monkeypatch):
    logits = query.purified_logits

    def mixed_up(*args):
        return ((rows, part.roll(1, dims=0)) for rows, part in logits(*args))

    monkeypatch.setattr(query, "purified_logits", mixed_up)
    assert query.bench_query(Setup(torch.device("cpu"), is_quick=True))["equal"] is False
