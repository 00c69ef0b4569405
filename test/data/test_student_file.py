"""Students on disk and in the pipeline (METHODS T1.12), and what happens when they do not fit."""

import dataclasses
import json
import logging
from pathlib import Path

import pytest
import torch
from box_room import ASKED, FRAMES, Oracle
from train_scenes import box_map

import geopurify_ros
from geopurify_ros.config import Config, PurifyConfig, with_values
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.scene import scene_of_map
from geopurify_ros.core.purification.student import (
    StudentNet,
    StudentShape,
    num_parameters,
)
from geopurify_ros.data.student_file import (
    ANY_ENCODER,
    StudentHeader,
    check_student,
    load_student,
    save_student,
    student_for,
)
from geopurify_ros.data.tensor_file import write_tensors
from geopurify_ros.encoders import load_encoder
from geopurify_ros.errors import CheckpointError, ConfigError

ASSETS = Path(geopurify_ros.__file__).parent / "assets"
CPU = torch.device("cpu")
SHAPE = StudentShape(hidden=8, blocks=1, embedding_dim=8)
UP = torch.tensor([0.0, 0, 1])


class Encoder:
    id, feature_dim, logit_scale = "test-encoder", 12, 30.0


def written(path, encoder="test-encoder", feature_dim=12, seed=0):
    shape = dataclasses.replace(SHAPE, input="geometry" if encoder == ANY_ENCODER else "features")
    torch.manual_seed(seed)
    net = StudentNet(shape, shape.in_channels(feature_dim))
    net.set_statistics(torch.randn(len(net.mean)), torch.rand(len(net.mean)) + 0.5)
    header = StudentHeader(encoder, feature_dim, 0.05, dataclasses.asdict(shape),
                           {"steps": 1}, {"scenes": ["a"]}, {"loss": 0.5})
    save_student(path, net, header)
    return net, header


def asked_for(path=""):
    return PurifyConfig(embedding="student", student=str(path))


@pytest.mark.parametrize(("encoder", "feature_dim"), [("test-encoder", 12), (ANY_ENCODER, 0)])
def test_t1_12_a_student_embeds_the_same_after_saving_and_loading(tmp_path, encoder, feature_dim):
    net, header = written(tmp_path / "s.safetensors", encoder, feature_dim)
    scene = scene_of_map(box_map()[0], UP)
    expected = net.embed(scene)
    again, read = load_student(tmp_path / "s.safetensors")
    assert read == header
    assert torch.allclose(again.embed(scene), expected, atol=1e-6)
    served = student_for(asked_for(tmp_path / "s.safetensors"), Encoder(), 0.05)
    assert torch.allclose(served.embed(scene), expected, atol=1e-6)
    assert not served.training


@pytest.mark.parametrize(("encoder", "feature_dim", "sentence"), [
    ("another", 12, "trained on 12 channels of encoder another, this map has 12 of test-encoder"),
    ("test-encoder", 20, "trained on 20 channels of encoder test-encoder, this map has 12"),
])
def test_t1_12_a_student_of_another_encoder_is_refused(tmp_path, encoder, feature_dim, sentence):
    written(tmp_path / "s.safetensors", encoder, feature_dim)
    with pytest.raises(CheckpointError, match=sentence):
        student_for(asked_for(tmp_path / "s.safetensors"), Encoder(), 0.05, assets=tmp_path)


def test_a_student_that_does_not_fit_gives_way_to_geometry_and_this_is_said(tmp_path, caplog):
    written(tmp_path / "s.safetensors", "another")
    geometry, _ = written(tmp_path / "student_geometry.safetensors", ANY_ENCODER, 0)
    with caplog.at_level(logging.WARNING):
        net = student_for(asked_for(tmp_path / "s.safetensors"), Encoder(), 0.05, assets=tmp_path)
    assert "the student of geometry alone is used" in caplog.text
    scene = scene_of_map(box_map()[0], UP)
    assert torch.equal(net.embed(scene), geometry.embed(scene))


def test_the_shipped_student_of_the_encoder_is_preferred(tmp_path):
    own, _ = written(tmp_path / "student_builtin.safetensors")
    written(tmp_path / "student_geometry.safetensors", ANY_ENCODER, 0)
    scene = scene_of_map(box_map()[0], UP)
    net = student_for(asked_for(), Encoder(), 0.05, assets=tmp_path)
    assert torch.equal(net.embed(scene), own.embed(scene))


def test_the_shipped_students_fit_what_they_are_shipped_for(caplog):
    for name, fits in (("student_builtin", load_encoder("builtin", CPU)),
                       ("student_geometry", Encoder())):
        net, header = load_student(ASSETS / f"{name}.safetensors")
        check_student(ASSETS / f"{name}.safetensors", header, fits)
        assert num_parameters(net) < 5_000_000
        assert len(header.data["scenes"]) == 20
        embedding = student_for(PurifyConfig(), fits, 0.05)
        assert embedding.shape.input == net.shape.input
    assert "the student of geometry alone is used" in caplog.text


def test_without_a_shipped_student_a_sentence_says_so(tmp_path):
    with pytest.raises(ConfigError, match="no student is shipped for this encoder"):
        student_for(asked_for(), Encoder(), 0.05, assets=tmp_path)
    handmade = PurifyConfig(embedding="geometric")
    assert student_for(handmade, Encoder(), 0.05, assets=tmp_path) is None


def test_another_voxel_size_is_said_aloud(tmp_path, caplog):
    written(tmp_path / "s.safetensors")
    student_for(asked_for(tmp_path / "s.safetensors"), Encoder(), 0.02)
    assert "trained on voxels of 0.05 m, this map has 0.02 m" in caplog.text


@pytest.mark.parametrize("spoil", ["cut", "nothing", "map", "version", "shape"])
def test_files_that_are_no_students_are_refused(tmp_path, spoil):
    path = tmp_path / "s.safetensors"
    net, header = written(path)
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif spoil == "nothing":
        path.write_bytes(b"")
    elif spoil == "map":
        path.unlink()
        write_tensors(path, net.state_dict(), "geopurify_map", {})
    else:
        values = dataclasses.asdict(header)
        change = {"version": {"format_version": 9}, "shape": {"feature_dim": 3}}[spoil]
        write_tensors(path, net.state_dict(), "geopurify_student",
                      json.loads(json.dumps({**values, **change})))
    with pytest.raises(CheckpointError) as error:
        load_student(path)
    assert "\n" not in str(error.value)


def test_the_pipeline_purifies_with_a_student():
    config = with_values(Config(), {"purify.embedding": "student", "depth.min_m": 0.05})
    shape = dataclasses.replace(SHAPE, input="geometry")
    torch.manual_seed(0)
    pipeline = Pipeline(Oracle(), config, student=StudentNet(shape, shape.in_channels(0)))
    for frame in FRAMES[:3]:
        pipeline.integrate(frame)
    assert pipeline.purify().entropy > 0.5
    answer = pipeline.query(ASKED)
    assert answer.effect.changed > 0
    expected = pipeline.student.learnt(scene_of_map(pipeline.map, pipeline.map.up_sum))
    assert torch.equal(pipeline.result.learnt, expected.half())


def test_a_pipeline_without_the_student_it_needs_says_so():
    pipeline = Pipeline(Oracle(), with_values(Config(), {"purify.embedding": "student",
                                                         "depth.min_m": 0.05}))
    pipeline.integrate(FRAMES[0])
    with pytest.raises(ConfigError, match="no student was loaded"):
        pipeline.purify()
