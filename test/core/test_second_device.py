"""The core on a second device, without a card: nothing of it mixes devices."""

import pytest
import torch
from box_room import ASKED, Oracle, frame_at
from second_device import OTHER, MixedDevicesError, SecondDevice

from geopurify_ros.config import Config, with_values
from geopurify_ros.core.mapping.block_index import BlockIndex
from geopurify_ros.core.mapping.map_records import MapSnapshot
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification import job, region_pass, task
from geopurify_ros.core.purification.purified import Patch
from geopurify_ros.core.purification.student import StudentNet, StudentShape
from geopurify_ros.evaluate.runner import Mapped, VoxelTruth, evaluate
from geopurify_ros.train.students.teachers.geometric import GeometricTeacher
from geopurify_ros.train.studies.table import baselines, of_student, of_teacher, table_of

TINY = StudentShape(hidden=12, blocks=1, embedding_dim=16)


@pytest.fixture
def device():
    with SecondDevice() as mode:
        yield mode


def student():
    net = StudentNet(TINY, TINY.in_channels(Oracle.feature_dim)).eval().requires_grad_(False)
    return net.to(OTHER)


def pipeline_on(device, mode="mean", embedding="geometric", num_frames=4):
    config = with_values(Config(), {"fusion.mode": mode, "fusion.views": 2,
                                    "purify.embedding": embedding, "purify.iterations": 2})
    made = Pipeline(Oracle(), config, device, student() if embedding == "student" else None)
    for number in range(num_frames):
        made.integrate(frame_at(0.4 * number, number))
    return made


def test_mixing_is_seen(device):
    here, there = torch.ones(3), torch.ones(3, device=OTHER)
    rows = torch.tensor([0, 2])
    assert there.device == OTHER
    assert here.to(OTHER).device == (there * 2.0)[rows].device == torch.zeros_like(there).device
    assert there.cpu().device == here.device == torch.device("cpu")
    assert (there + here.sum()).device == OTHER  # a number goes anywhere
    there[1:] = here[1:]  # a copy
    for mixed in (lambda: there + here, lambda: here[rows.to(OTHER)], there.numpy,
                  lambda: there.index_select(0, rows), lambda: torch.equal(here, there),
                  lambda: torch.cat((here, there)), lambda: here @ there,
                  lambda: torch.where(there > 0, there, here)):
        with pytest.raises(MixedDevicesError):
            mixed()
    net = torch.nn.Linear(3, 2).to(OTHER)
    assert net(there).device == OTHER
    with pytest.raises(MixedDevicesError):
        net(here)


@pytest.mark.parametrize("embedding", ["geometric", "student"])
@pytest.mark.parametrize("mode", ["mean", "consensus"])
def test_the_whole_method(device, mode, embedding, monkeypatch):
    pipeline = pipeline_on(OTHER, mode, embedding)
    pipeline.purify()
    answer = pipeline.query(ASKED)
    assert answer.purified.label.device == pipeline.map.weights().device == OTHER
    assert all(chunk.device == OTHER for chunk in pipeline.lifted.snapshot().features)
    for module in (job, region_pass):
        monkeypatch.setattr(module, "MOST_SHARE", 1.0)
    pipeline.integrate(frame_at(0.4, 9))
    made = pipeline.purify_job().run()
    assert isinstance(made, Patch)
    pipeline.accept(made)
    pipeline.remove(torch.arange(5, device=OTHER))
    pipeline.purify()
    again = pipeline.query(ASKED)
    assert again.purified.label.device == OTHER
    assert len(again.pooled.label) == len(pipeline.map)
    pipeline.lifted.settle()
    state = pipeline.map.state()
    assert all(tensor.device == torch.device("cpu") for tensor in state.values())
    again = VoxelMap.from_state(state, 0.05, OTHER)
    pipeline.replace_map(again)
    pipeline.integrate(frame_at(1.0, 9))
    assert again.weights().device == OTHER
    pipeline.reset()


@pytest.mark.parametrize(("owner", "name"), [
    (MapSnapshot, "weights"), (BlockIndex, "find_blocks"),
    (task, "joined_of"),
])
def test_a_part_that_answers_from_the_cpu_is_found_out(device, monkeypatch, owner, name):
    method = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *arguments: method(*arguments).cpu())

    def whole():
        pipeline = pipeline_on(OTHER)
        pipeline.purify()
        pipeline.query(ASKED)

    with pytest.raises(MixedDevicesError):
        whole()


def truth_of(pipeline, labelled=True):
    truth = VoxelTruth([1, 2])
    if labelled:
        frame = frame_at(0.0)
        label = (torch.arange(frame.rgb[..., 0].size).reshape(frame.depth_m.shape) % 2 + 1).numpy()
        truth.add(pipeline.map.index, frame, label, pipeline.config.depth, 0.05)
    else:
        blind = frame_at(0.0)
        blind.depth_m[:] = float("nan")
        truth.add(pipeline.map.index, blind, torch.ones(blind.depth_m.shape).long().numpy(),
                  pipeline.config.depth, 0.05)
    return truth.labels(len(pipeline.map))


@pytest.mark.parametrize("labelled", [True, False])
def test_truth_lies_where_the_map_is(device, labelled):
    pipeline = pipeline_on(OTHER)
    found = truth_of(pipeline, labelled)
    assert found.device == OTHER
    assert bool(found.any()) == labelled


def test_the_table_and_the_evaluation_of_students_that_were_loaded_to_the_cpu(device):
    """As `train table --student` and `train efficiency` do."""
    pipeline = pipeline_on(OTHER, num_frames=2)
    truth = truth_of(pipeline)
    mapped = Mapped(pipeline, truth, ("west", "east"), truth)
    on_cpu = StudentNet(TINY, TINY.in_channels(Oracle.feature_dim)).eval().requires_grad_(False)
    candidates = [*baselines(), of_student("student", on_cpu),
                  of_teacher("geometric", GeometricTeacher().features)]
    rows = table_of(mapped, "room", candidates)["rows"]
    assert rows.keys() == {"raw", *(candidate.name for candidate in candidates)}
    assert evaluate(mapped, "room")["num_voxels"] == len(pipeline.map)
