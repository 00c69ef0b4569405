"""Each case in short: it is equal to its reference, and is not once the fast way is broken."""

import pytest
import torch

from geopurify_ros.core.mapping import fusion
from geopurify_ros.core.purification import full_pass, region_pass
from geopurify_ros.evaluate.bench import full, fusing, incremental, parts, pictures
from geopurify_ros.evaluate.bench.timing import Setup

pytestmark = pytest.mark.slow
QUICK = Setup(torch.device("cpu"), is_quick=True)
COMMON = {"median_ms", "spread_ms", "quartiles_ms", "ratio", "peer", "peer_ms", "equal",
          "roofline_share", "growth_exponent"}


@pytest.fixture(autouse=True)
def _inference():
    with torch.inference_mode():
        yield


@pytest.fixture
def few_voxels(monkeypatch):
    monkeypatch.setattr(full, "_QUICK_SIZES", (1000, 2000))
    monkeypatch.setattr(full, "_QUICK_PLAIN_VOXELS", 600)


def mixed_up(pooled_in):
    """Pooled features of other voxels."""
    def broken(*args, **options):
        found = pooled_in(*args, **options)
        return found._replace(values=found.values.roll(len(found.values) // 2, dims=0))
    return broken


def test_a_full_pass_by_stages(few_voxels):
    case = full.bench_full(QUICK)
    assert case.keys() >= COMMON | {"seconds", "stages_s", "ratio_to_sparse_product"}
    assert case["equal"] is True
    assert case["growth_exponent"] is not None
    for stages in case["stages_s"].values():
        assert stages.keys() == {"embed", "graph", "affinity", "pooling", "rest"}


def test_a_broken_full_pass_is_not_equal(monkeypatch, few_voxels):
    monkeypatch.setattr(full_pass, "pooled_in", mixed_up(full_pass.pooled_in))
    case = full.bench_full(QUICK)
    assert case["equal"] is False
    assert case["labels_equal"] < 0.99


def test_what_changed_beside_a_full_pass():
    case = incremental.bench_incremental(QUICK)
    size = incremental._QUICK_SIZES[0]
    assert case["equal"] is True
    assert case["labels_equal"] >= 0.999
    for name in ("seconds", "seconds_25", "share_of_full", "share_of_full_25"):
        assert case[name].keys() == {size}
    assert 6000 < case["region_rows"][size] < 0.6 * size  # beyond that all is done anew
    assert case["updated_rows"][size] < case["region_rows"][size]
    assert case.keys() >= COMMON | {"max_score_difference", "score_over_0_01_share"}


def test_a_broken_region_pass_is_not_equal(monkeypatch):
    monkeypatch.setattr(incremental, "_IN_A_PERIOD", 1)
    monkeypatch.setattr(region_pass, "pooled_in", mixed_up(region_pass.pooled_in))
    monkeypatch.setattr(region_pass, "_is_good", lambda *_: True)  # it would find out
    case = incremental.bench_incremental(QUICK)
    assert case["equal"] is False
    assert case["labels_equal"] < 0.999


def test_a_frame_in_a_map():
    case = fusing.bench_fuse(QUICK)
    assert case["equal"] is True
    assert case["seconds"].keys() == set(fusing._QUICK_SIZES)
    assert fusing.bench_feature_mean(QUICK)["equal"] is True


def test_a_broken_fuse_is_not_equal(monkeypatch):
    feature_cell = fusion.feature_cell
    plain = fusing._fuse_plainly

    def plainly(*args):
        with pytest.MonkeyPatch.context() as whole:
            whole.setattr(fusion, "feature_cell", feature_cell)
            plain(*args)

    monkeypatch.setattr(fusing, "_fuse_plainly", plainly)
    monkeypatch.setattr(fusion, "feature_cell", lambda *a: feature_cell(*a).flip(0))
    assert fusing.bench_fuse(QUICK)["equal"] is False


def test_single_steps(monkeypatch):
    assert parts.bench_neighbours(QUICK)["equal"] is True
    assert parts.bench_text_pooling(QUICK)["equal"] is True
    monkeypatch.setattr(parts, "nearest_neighbors", _without_the_nearest)
    assert parts.bench_neighbours(QUICK)["equal"] is False


def _without_the_nearest(index, coords, count, nearest=parts.nearest_neighbors):
    found = nearest(index, coords, count + 1)
    return type(found)(found.index[:, 1:], found.mask[:, 1:])


def test_clouds_of_other_bytes_are_not_equal():
    def pack(*columns):
        return b"".join(column.tobytes() for column in columns)

    assert parts.bench_packing(QUICK, pack, pack)["equal"] is True
    assert parts.bench_packing(QUICK, pack, lambda *c: pack(*c)[1:])["equal"] is False


def test_the_encoder_has_no_plainer_way():
    case = pictures.bench_encode(QUICK)
    assert case["by_size_ms"].keys() == {"320x240", "640x480"}
    assert (case["equal"], case["ratio"]) == (None, None)


def test_a_keyframe_of_the_sample_room():
    case = pictures.bench_keyframe(QUICK)
    assert case["equal"] is True
    assert case["stages_ms"].keys() == {
        "geometry", "encode", "fuse", "embed", "purify", "pool", "text", "query"}
