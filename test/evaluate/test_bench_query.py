"""The case `query` in short: the same labels as the plain way, and what is kept of a voxel."""

import pytest

from geopurify_ros.evaluate import bench_query


@pytest.mark.slow
def test_pooled_once_or_for_every_query_the_labels_are_the_same(monkeypatch):
    monkeypatch.setattr(bench_query, "_PLAIN_VOXELS", 1500)
    case = bench_query.bench_query(1, (3000,))
    assert case["equal"]
    assert case["kept_bytes_per_voxel"] == 2 * 144 + 4
    assert case["by_voxels"][3000].keys() == {"cpu_ms", "raw_cpu_ms"}
