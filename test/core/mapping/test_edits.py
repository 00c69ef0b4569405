"""A frame is in the map as a whole or not at all, wherever it fails: every operation in turn."""

import pytest
import torch
from box_room import ASKED, frame_at, pipeline_of
from torch.utils._python_dispatch import TorchDispatchMode

from geopurify_ros.core.mapping import fusion, scatter, voxel_map
from geopurify_ros.core.mapping.block_index import BlockIndex
from geopurify_ros.core.mapping.consensus import ViewBuffer
from geopurify_ros.core.mapping.edits import Edit, grown, write_all
from geopurify_ros.core.mapping.feature_chunks import FeatureChunks
from geopurify_ros.core.mapping.voxel_map import VoxelMap


class FailAt(TorchDispatchMode):
    """The operation of that number runs out of memory, once; `fired` is its name."""

    def __init__(self, number):
        super().__init__()
        self.left, self.fired = number, ""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not self.fired and self.left == 0:
            self.fired = str(func)
            raise torch.OutOfMemoryError(f"no memory for {func}")
        self.left -= 1
        return func(*args, **(kwargs or {}))


def content(pipeline):
    """Everything that a map is, as copies."""
    held = {**pipeline.map.state(), "up": pipeline.map.up_sum.clone()}
    index = pipeline.map.index
    held["rows"] = index.lookup(held["coords"].long())
    held["table"] = index.table.clone()
    held["keys"], held["ids"] = index._keys.clone(), index._ids.clone()
    held["unknown"] = index.lookup(torch.cartesian_prod(*[torch.arange(-60, 60, 7)] * 3))
    held["views"] = torch.tensor(pipeline.lifted.consensus is not None)
    if pipeline.lifted.consensus is not None:
        buffer, known = pipeline.lifted.consensus.buffer, len(pipeline.map)
        for name in ("_views", "_stamp", "_held", "_forgot"):
            held[name] = getattr(buffer, name)[:known].clone()
        held["number"] = torch.tensor(buffer._num_inserted)
    for number, chunk in enumerate(pipeline.lifted.snapshot().features):
        held[f"seen {number}"] = chunk.clone()
    return held


def assert_same(before, after):
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name


def fails_everywhere(make, job):
    """Run `job(pipeline)` with every operation failing once; the map stays, then the job works."""
    pipeline, number, where = make(), 0, []
    expected = make()
    job(expected)
    expected = content(expected)
    before = content(pipeline)
    while True:
        with FailAt(number) as failing:
            try:
                job(pipeline)
            except torch.OutOfMemoryError:
                assert failing.fired
        if not failing.fired:
            break
        where.append(failing.fired)
        assert_same(before, content(pipeline))
        number += 1
    assert_same(expected, content(pipeline))  # what failed before left nothing behind
    pipeline.purify()
    assert len(pipeline.query(ASKED).pooled.label) == len(pipeline.map)
    return where


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["mean", "consensus"])
def test_a_frame_that_fails_anywhere_leaves_the_map_as_it_was(monkeypatch, mode):
    """New voxels, known ones, new blocks, chunks and rows of every buffer; shared chunks."""
    monkeypatch.setattr(voxel_map, "CHUNK_ROWS", 64)
    monkeypatch.setattr(scatter, "sort_keys", torch.sort)  # numpy's is not seen by the mode
    monkeypatch.setattr(fusion, "sort_keys", torch.sort)
    where = fails_everywhere(lambda: pipeline_of(mode), lambda p: p.integrate(frame_at(1.5, 7)))
    assert len(where) > 100
    assert {"aten.index_copy_.default", "aten.cat.default", "aten.clone.default"} <= set(where)


@pytest.mark.slow
def test_the_first_frame_of_a_consensus_on_a_loaded_map_leaves_no_views():
    def loaded():
        pipeline = pipeline_of("consensus")
        pipeline.replace_map(pipeline.map)
        return pipeline

    fails_everywhere(loaded, lambda p: p.integrate(frame_at(0.3, 5)))


def test_a_map_is_settled_as_a_whole_or_not_at_all():
    fails_everywhere(lambda: pipeline_of("consensus"), lambda pipeline: pipeline.lifted.settle())


@pytest.mark.parametrize("mode", ["mean", "consensus"])
def test_voxels_are_removed_all_or_none(mode):
    rows = torch.tensor([3, 1, 40, 7])
    fails_everywhere(lambda: pipeline_of(mode), lambda pipeline: pipeline.lifted.remove(rows))


def test_a_snapshot_outlives_settling():
    pipeline = pipeline_of("consensus")
    shot = pipeline.map.snapshot()
    before = [chunk.clone() for chunk in shot.features]
    pipeline.lifted.settle()
    assert all(torch.equal(a, b) for a, b in zip(before, shot.features, strict=True))
    assert not torch.equal(pipeline.map.snapshot().features[0], before[0])


@pytest.mark.slow
def test_a_purification_that_fails_leaves_the_one_before():
    pipeline = pipeline_of("mean")
    pipeline.purify()
    pipeline.integrate(frame_at(1.5, 7))
    before = pipeline.result, pipeline.map.basis, pipeline.num_purifications
    number = 0
    while True:
        with FailAt(number) as failing:
            try:
                pipeline.purify()
            except torch.OutOfMemoryError:
                held = pipeline.result, pipeline.map.basis, pipeline.num_purifications
                assert held[0] is before[0]
                assert held[1:] == before[1:]
        if not failing.fired:
            return
        number += 7  # purification has many operations, and only assigns at its end


@pytest.mark.parametrize(("owner", "name"), [
    (VoxelMap, "_reserve"), (FeatureChunks, "edits"), (FeatureChunks, "_writable"),
    (BlockIndex, "planned"), (BlockIndex, "_with_blocks"), (ViewBuffer, "_reserve"),
    (ViewBuffer, "planned"), (ViewBuffer, "seed"),
])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_a_step_that_fails_before_or_after_its_work(monkeypatch, owner, name, error):
    pipeline = pipeline_of("consensus")
    if name == "seed":
        pipeline.replace_map(pipeline.map)
    before, step = content(pipeline), getattr(owner, name)

    def first(*_arguments):
        raise error("no memory")

    def last(*arguments):
        step(*arguments)
        raise error("no memory")

    for failing in (first, last):
        monkeypatch.setattr(owner, name, failing)
        with pytest.raises(error):
            pipeline.integrate(frame_at(1.5, 7))
        assert_same(before, content(pipeline))
    monkeypatch.setattr(owner, name, step)
    assert pipeline.integrate(frame_at(1.5, 7)).num_new_voxels > 0
    assert bool((pipeline.map.weights() > 0).all())


def test_edits_are_all_written_or_none():
    one, two = torch.zeros(4, 2), torch.zeros(3, dtype=torch.int32)
    rows = torch.tensor([2, 0])
    good = Edit.of(one, rows, torch.ones(2, 2))
    bad = Edit(two, rows, two[rows], torch.ones(2))  # of another type: refused by torch
    with pytest.raises(RuntimeError):
        write_all([good, bad])
    assert not one.any()
    assert not two.any()
    write_all([good, Edit.of(two, rows, torch.ones(2))])
    assert one.tolist() == [[1, 1], [0, 0], [1, 1], [0, 0]]
    assert two.tolist() == [1, 0, 1]


def test_what_has_room_is_not_copied():
    held = torch.ones(4, 2)
    assert grown(held, 4) is held
    assert len(grown(held, 10)) == 12
    assert int(grown(held, 10).sum()) == 8
