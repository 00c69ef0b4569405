"""Features that are pooled once: the direct way, every column of D, stands beside."""

import dataclasses

import pytest
import torch
from box_room import ASKED, FRAMES, SIDES, Oracle, map_frames
from torch.nn.functional import normalize

from geopurify_ros.core.pauses import UnwantedError, ends_when
from geopurify_ros.core.purification import gate
from geopurify_ros.core.purification.basis import MAP, FeatureBasis, whole
from geopurify_ros.core.purification.pooled_features import pooled_in
from geopurify_ros.core.purification.pooling import pool_observations

HALF_STEP = 2**-11


class NamingOracle(Oracle):
    """Knows what the world may hold."""

    vocabulary = SIDES


@pytest.fixture(scope="module")
def room():
    pipeline = map_frames(FRAMES)
    pipeline.purify()
    return pipeline


def direct(pipeline):
    return pool_observations(
        pipeline.map.features(), pipeline.map.weights(), pipeline.result.affinity,
        pipeline.config.purify.iterations)


@pytest.mark.parametrize("rank", [32, 7, 1])
def test_rows_are_the_directly_pooled_features_in_the_basis(room, rank):
    shot, device = room.map.snapshot(), torch.device("cpu")
    vectors = torch.linalg.qr(torch.randn((32, 32), generator=torch.Generator())).Q[:, :rank]
    basis = FeatureBasis(vectors.contiguous(), MAP) if rank < 32 else whole(32, device)
    values, lengths, _ = pooled_in(basis, shot.features, shot.weights(), room.result.affinity,
                                   room.config.purify.iterations)
    expected = direct(room) @ basis.vectors
    assert values.dtype == torch.float16
    torch.testing.assert_close(lengths, expected.norm(dim=1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        values.float(), normalize(expected, dim=1), rtol=0, atol=2 * HALF_STEP)


def test_a_query_gives_the_cosines_of_the_direct_way(room):
    """Two roundings to half precision, of numbers that are at most 1."""
    text = room.encoder.encode_text(SIDES)
    kept = torch.cat([chunk for _, chunk in room.result.chunks()]) @ room.result.basis.vectors.T
    cosines = normalize(direct(room), dim=1) @ text.T
    torch.testing.assert_close(kept @ text.T, cosines, rtol=0, atol=4 * HALF_STEP)
    label = room.query(ASKED).pooled.label - 1
    assert (label == cosines.argmax(dim=1)).float().mean() >= 0.9999


def test_purified_features_come_back_in_the_space_of_the_encoder(room):
    rows = slice(100, 300)
    torch.testing.assert_close(
        room.result.features(rows), direct(room)[rows], rtol=0, atol=4 * HALF_STEP)


def test_memory_of_the_features_is_two_bytes_a_direction_and_a_length(room):
    assert room.result.num_bytes == len(room.map) * (2 * room.result.basis.rank + 4)


@pytest.mark.parametrize("after", range(3))
def test_a_job_ends_once_its_result_is_unwanted(room, after):
    asked = []

    def is_unwanted():
        asked.append(True)
        return len(asked) > after

    with pytest.raises(UnwantedError):
        room.purify_job(is_full=True).run(ends_when(is_unwanted))
    assert len(asked) == after + 1


def test_a_job_sees_the_map_as_it_was():
    pipeline = map_frames(FRAMES[:4])
    job = pipeline.purify_job()
    expected = job.run()
    for frame in FRAMES[4:]:
        pipeline.integrate(frame)
    found = job.run()
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.affinity.index, expected.affinity.index)
    pipeline.accept(found)
    assert len(pipeline.result) < len(pipeline.map) == len(pipeline.query(ASKED).pooled.label)


@pytest.mark.parametrize("mode", ["mean", "consensus"])
def test_with_a_vocabulary_raw_labels_are_made_when_they_are_wanted(mode):
    values = {"fusion.mode": mode}
    pipeline = map_frames(FRAMES[:6], encoder=NamingOracle(), **values)
    assert pipeline.query(ASKED, with_raw=False).raw is not None  # nothing is purified yet
    pipeline.purify()
    lean, full = (pipeline.query(ASKED, with_raw=wanted) for wanted in (False, True))
    plain = map_frames(FRAMES[:6], **values)
    plain.purify()
    expected = plain.query(ASKED)
    assert lean.raw is None
    assert lean.changed_fraction == 0.0
    assert torch.equal(lean.purified.label, full.purified.label)
    assert torch.equal(full.purified.label, expected.purified.label)
    assert torch.equal(full.raw.label, expected.raw.label)
    assert lean.effect == full.effect == expected.effect  # the vocabulary is what is asked
    assert (lean.objection, full.objection) == ("", "")


def test_the_gate_of_a_vocabulary_decides_once_for_all_queries(monkeypatch):
    values = {"purify.affinity_scale": 0.0}
    pipeline = map_frames(FRAMES[:3], encoder=NamingOracle(), **values)
    pipeline.purify()
    assert "would be a blur" in pipeline.result.objection
    monkeypatch.setattr(gate, "effect_of", None)
    answer = pipeline.query(ASKED, with_raw=False)
    assert answer.objection == pipeline.result.objection
    assert torch.equal(answer.purified.label, answer.raw.label)
    assert not torch.equal(answer.pooled.label, answer.raw.label)


def test_without_a_vocabulary_every_query_has_its_own_gate(room):
    assert room.result.effect is None
    assert room.query(ASKED, with_raw=False).raw is not None
    assert room.query(dataclasses.replace(ASKED, prompts=SIDES[:2])).effect != (
        room.query(ASKED).effect)
