"""Only what changed is purified anew, and it comes out as if all of it were (METHODS 6.2)."""

import dataclasses

import pytest
import torch
from box_room import Oracle
from corridor import NAMES, change, corridor, integrate, pipeline_of
from torch.nn.functional import normalize

from geopurify_ros.core.answers.query import make_query
from geopurify_ros.core.pauses import UnwantedError, ends_when
from geopurify_ros.core.purification import job as job_module
from geopurify_ros.core.purification import region_pass as region_pass_module
from geopurify_ros.core.purification.purified import Patch, Purified
from geopurify_ros.core.purification.sparse_conv import index_of
from geopurify_ros.core.purification.surroundings import FAR, steps_from


def assert_as_a_full_pass(pipeline, exact=5e-4, cosine=0.05):
    """Embeddings, neighbours and weights as they are, labels and cosines nearly."""
    full, held = pipeline.purify_job(is_full=True).run(), pipeline.result
    assert isinstance(full, Purified)
    assert len(held) == len(full) == len(pipeline.map)
    torch.testing.assert_close(held.learnt, full.learnt, rtol=0, atol=exact)
    assert torch.equal(held.affinity.index, full.affinity.index)
    torch.testing.assert_close(held.affinity.weight, full.affinity.weight, rtol=0, atol=4 * exact)
    texts = pipeline.knows.vocabulary @ full.basis.vectors
    scores, expected = (made.values.float() @ texts.T for made in (held, full))
    assert (scores.argmax(dim=1) == expected.argmax(dim=1)).float().mean() >= 0.999
    off = (scores - expected).abs().amax(dim=1)
    assert off.max() < cosine
    assert (off > 0.01).float().mean() < 0.02
    assert held.entropy == pytest.approx(full.entropy, abs=1e-4)
    for name in ("changed", "boundary_before", "boundary_after"):
        assert getattr(held.effect, name) == pytest.approx(getattr(full.effect, name), abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("embedding", "kind"), [
    ("student", "features"), ("student", "geometry"), ("geometric", "features")])
def test_t6_2_after_random_changes_it_is_as_a_full_pass(embedding, kind):
    """Fifty insertions, updates and removals, purified after every five or so."""
    generator = torch.Generator().manual_seed(7)
    pipeline = pipeline_of(embedding, kind)
    integrate(pipeline, corridor(), generator)
    pipeline.purify()
    passes = []
    for number in range(50):
        change(pipeline, generator)
        if number % 5 in (2, 4):
            made = pipeline.purify_job().run()
            passes.append(type(made))
            pipeline.accept(made)
    assert Patch in passes
    assert_as_a_full_pass(pipeline)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("embedding", ["student", "geometric"])
def test_t6_2_on_a_card_a_part_is_as_a_full_pass(embedding):
    generator = torch.Generator().manual_seed(7)
    pipeline = pipeline_of(embedding, device="cuda")
    integrate(pipeline, corridor(), generator)
    pipeline.purify()
    integrate(pipeline, corridor()[corridor()[:, 0] < 30], generator)
    made = pipeline.purify_job().run()
    assert isinstance(made, Patch)
    pipeline.accept(made)
    pipeline.remove(torch.arange(40, 90, device="cuda"))
    pipeline.purify()
    assert_as_a_full_pass(pipeline)


def test_one_view_of_a_part_is_purified_as_a_part():
    generator = torch.Generator().manual_seed(3)
    pipeline = pipeline_of("student")
    integrate(pipeline, corridor(), generator)
    first = pipeline.purify()
    assert first.num_updated == first.num_voxels == len(pipeline.map)
    far = torch.nonzero(pipeline.map.coords()[:, 0] > 150).squeeze(1)
    before = pipeline.result.learnt[far].clone(), pipeline.result.values[far].clone()
    place = corridor()[corridor()[:, 0] < 30]
    integrate(pipeline, place, generator)
    report = pipeline.purify()
    assert 0 < report.num_updated < 0.4 * report.num_voxels
    # bit for bit what they were
    assert torch.equal(pipeline.result.learnt[far], before[0])
    assert torch.equal(pipeline.result.values[far], before[1])
    assert_as_a_full_pass(pipeline)


def test_where_nothing_changed_nothing_is_done():
    generator = torch.Generator().manual_seed(3)
    pipeline = pipeline_of("geometric")
    integrate(pipeline, corridor(), generator)
    pipeline.purify()
    assert pipeline.purify_job().run() is None
    report = pipeline.purify()
    assert (report.num_updated, report.num_voxels) == (0, len(pipeline.map))


def test_voxels_that_are_gone_change_what_was_beside_them():
    generator = torch.Generator().manual_seed(5)
    pipeline = pipeline_of("student")
    integrate(pipeline, corridor(), generator)
    pipeline.purify()
    gone = corridor()[(corridor()[:, 0] >= 100) & (corridor()[:, 0] < 130)]
    pipeline.remove(pipeline.map.index.lookup(gone))
    assert len(pipeline.result) == len(pipeline.map) == len(corridor()) - len(gone)
    asked = make_query(NAMES[:2], (), 0.0)  # before it is purified
    assert len(pipeline.query(asked).pooled.label) == len(pipeline.map)
    assert pipeline.purify().num_updated > 0
    assert_as_a_full_pass(pipeline)


def test_what_was_not_purified_yet_may_take_the_row_of_what_is_gone():
    generator = torch.Generator().manual_seed(5)
    pipeline = pipeline_of("student")
    voxels = corridor()
    integrate(pipeline, voxels[voxels[:, 0] < 200], generator)
    pipeline.purify()
    integrate(pipeline, voxels[voxels[:, 0] >= 200], generator)
    pipeline.remove(torch.arange(0, 600))
    moved = pipeline.map.coords()[:600, 0] >= 200
    assert moved.all()
    raw = normalize(pipeline.map.features_of(torch.arange(600)), dim=1)
    kept = pipeline.result.values[:600].float()
    torch.testing.assert_close(kept, normalize(raw @ pipeline.result.basis.vectors, dim=1),
                               rtol=0, atol=1e-3)
    assert pipeline.purify().num_updated > 0
    assert_as_a_full_pass(pipeline)


def test_a_floor_that_moved_asks_for_a_full_pass():
    generator = torch.Generator().manual_seed(5)
    pipeline = pipeline_of("student", "geometry")
    integrate(pipeline, corridor(), generator)
    pipeline.purify()
    place = corridor()[corridor()[:, 0] < 20]
    integrate(pipeline, place, generator)
    assert isinstance(pipeline.purify_job().run(), Patch)
    pipeline.map.up_sum = torch.tensor([0, 0.1, 1.0], dtype=torch.float64)
    assert isinstance(pipeline.purify_job().run(), Purified)


def test_given_embeddings_are_followed_by_a_full_pass():
    generator = torch.Generator().manual_seed(5)
    pipeline = pipeline_of("geometric")
    integrate(pipeline, corridor(), generator)
    pipeline.purify_with(normalize(torch.randn((len(pipeline.map), 4)), dim=1))
    assert isinstance(pipeline.purify_job().run(), Purified)


def test_a_large_part_is_done_as_a_whole(monkeypatch):
    generator = torch.Generator().manual_seed(5)
    pipeline = pipeline_of("geometric")
    integrate(pipeline, corridor(), generator)
    pipeline.purify()
    integrate(pipeline, corridor()[::2], generator)
    assert isinstance(pipeline.purify_job().run(), Purified)
    for module in (job_module, region_pass_module):
        monkeypatch.setattr(module, "MOST_SHARE", 1.0)
    assert isinstance(pipeline.purify_job().run(), Patch)


def test_a_part_ends_once_its_result_is_unwanted():
    generator = torch.Generator().manual_seed(5)
    pipeline = pipeline_of("student")
    integrate(pipeline, corridor(), generator)
    pipeline.purify()
    integrate(pipeline, corridor()[corridor()[:, 0] < 20], generator)
    for after in range(3):
        asked_for = []

        def is_unwanted(asked_for=asked_for, after=after):
            asked_for.append(True)
            return len(asked_for) > after

        with pytest.raises(UnwantedError):
            pipeline.purify_job().run(ends_when(is_unwanted))
        assert len(asked_for) == after + 1


@pytest.mark.parametrize("shift", [0, 10_000])
def test_steps_are_those_of_a_search_from_cell_to_cell(shift):
    """Against a plain search; parts that lie far apart are one map."""
    voxels = corridor()
    coords = torch.cat((voxels, voxels + torch.tensor([shift, 0, 40])))
    index = index_of(coords)
    seeds = coords[torch.tensor([5, 3000, len(voxels) + 700])]
    steps = steps_from(seeds, index, coords, 4, 9)
    cells = (coords >> 1).double()
    expected = torch.full((len(coords),), float(FAR), dtype=torch.float64)
    for seed in (seeds >> 1).double():
        away = (cells - seed).abs()
        beyond = (away - 4).clamp_min(0).sum(dim=1)  # after four to all sides one at a time
        near = away.amax(dim=1)
        expected = torch.minimum(expected, torch.where(near <= 4, near, 4 + beyond))
    expected = torch.where(expected <= 9, expected, FAR)
    assert torch.equal(steps.double(), expected)


def test_judgements_follow_the_vocabulary_that_comes_late():
    generator = torch.Generator().manual_seed(5)
    pipeline = pipeline_of("geometric", encoder=Oracle())
    integrate(pipeline, corridor(), generator)
    pipeline.purify()
    integrate(pipeline, corridor()[:300], generator)
    job = pipeline.purify_job()
    assert isinstance(job.run(), Patch)
    task = dataclasses.replace(job.task, vocabulary=torch.eye(32)[:4])
    made = dataclasses.replace(job, task=task).run()
    assert isinstance(made, Purified)
    assert made.judged is not None
