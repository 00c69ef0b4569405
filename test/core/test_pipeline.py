"""The whole method on a small room: rotated worlds, both query spaces, empty and tiny maps.

The room is a box seen from inside, its features come from an oracle that now and then names a
wrong side; nothing is read from disk and no network is asked.
"""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from box_room import (
    ASKED,
    COLORS,
    FRAMES,
    HIGH,
    LOW,
    SIDES,
    VOXEL_M,
    Oracle,
    map_frames,
)
from torch.nn.functional import normalize

from geopurify_ros.core.answers.query import label_voxels
from geopurify_ros.core.mapping.geometry import valid_depth
from geopurify_ros.core.purification.pooling import pool
from geopurify_ros.errors import InputError

DEVICES = ["cpu", pytest.param("cuda", marks=[
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
])]
def moved(frame, T_new_old):
    return dataclasses.replace(frame, T_world_camera=T_new_old @ frame.T_world_camera)


def true_side(centers_m):
    """The side of the box that each voxel lies on; 0 where two sides are near (edges)."""
    gap = np.stack((centers_m - LOW, HIGH - centers_m), axis=-1).reshape(-1, 6)
    first, second = np.sort(np.abs(gap), axis=1)[:, :2].T
    return np.where(second - first > 0.1, np.abs(gap).argmin(axis=1) + 1, 0)


def lattice_rotations():
    """Rotations that map the voxel lattice to itself: signed permutations."""
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), axes] = signs
            if np.linalg.det(matrix) > 0:
                yield matrix


def assert_same_labels(found, expected, room):
    """Equal on the sides. Where two sides meet, which voxels of a shell are the last of the K
    depends on the axes, and a voxel of the seam may fall to either."""
    on_a_side = torch.from_numpy(true_side(room.map.centers_m().numpy())) > 0
    assert on_a_side.float().mean() > 0.6
    assert torch.equal(found[on_a_side], expected[on_a_side])
    assert (found == expected).float().mean() > 0.995


@pytest.fixture(scope="module")
def room():
    pipeline = map_frames(FRAMES)
    pipeline.purify()
    return pipeline


def test_purification_repairs_what_single_views_got_wrong(room):
    """METHODS T1.20 in small: the raw labels are wrong here and there, the purified ones not."""
    truth = torch.from_numpy(true_side(room.map.centers_m().numpy()))
    answer = room.query(ASKED)
    known = truth > 0
    raw = (answer.raw.label == truth)[known].float().mean()
    purified = (answer.purified.label == truth)[known].float().mean()
    assert raw < 0.95
    assert purified > 0.995
    assert answer.changed_fraction == pytest.approx(
        float((answer.raw.label != answer.purified.label).float().mean()))


@pytest.mark.parametrize("number", [3, 8, 14, 23])
def test_a_rotated_room_has_the_same_labels(room, number):
    """Nothing may assume where up is (DESIGN section 4)."""
    rotation = list(lattice_rotations())[number]
    T_new_old = np.eye(4)
    T_new_old[:3, :3] = rotation
    rotated = map_frames([moved(frame, T_new_old) for frame in FRAMES])
    rotated.purify()

    turned = (room.map.centers_m().numpy() @ rotation.T) / VOXEL_M
    rows = rotated.map.index.lookup(torch.from_numpy(np.floor(turned)).long())
    assert len(rotated.map) == len(room.map)
    assert (rows >= 0).all()
    here, there = room.query(ASKED), rotated.query(ASKED)
    assert torch.equal(there.raw.label[rows], here.raw.label)
    assert_same_labels(there.purified.label[rows], here.purified.label, room)


def test_a_room_10_km_away_has_the_same_labels(room):
    T_new_old = np.eye(4)
    T_new_old[:3, 3] = (10_000.0, -10_000.0, 10_000.0)
    far = map_frames([moved(frame, T_new_old) for frame in FRAMES])
    far.purify()
    shift = torch.tensor([200_000, -200_000, 200_000])
    rows = far.map.index.lookup(room.map.coords() + shift)
    assert len(far.map) == len(room.map)
    assert (rows >= 0).all()
    assert torch.equal(far.query(ASKED).purified.label[rows], room.query(ASKED).purified.label)


def test_the_order_of_the_frames_does_not_matter(room):
    backwards = map_frames(FRAMES[::-1])
    backwards.purify()
    rows = backwards.map.index.lookup(room.map.coords())
    assert (rows >= 0).all()
    assert_same_labels(
        backwards.query(ASKED).purified.label[rows], room.query(ASKED).purified.label, room)


def test_t1_4_queries_agree_with_pooled_features(room, monkeypatch):
    """The query pools scores and the lengths of parts; here the features themselves are pooled.

    METHODS 1.15a found cosines within 1.5e-2 (test_lengths.py: wide features). At scale 1 a
    score differs by less than its cosines do.
    """
    monkeypatch.setattr(room.encoder, "logit_scale", 1.0)
    pooled = room.purified(room.map.features())
    cosines = normalize(pooled, dim=1) @ room.encoder.encode_text(SIDES).T
    expected = label_voxels(cosines, ASKED)
    found = room.query(ASKED).purified
    assert (found.label == expected.label).float().mean() >= 0.9999
    assert (found.score - expected.score).abs().max() < 1.5e-2


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_gives_the_labels_of_the_cpu(room, device):
    pipeline = map_frames(FRAMES, device=device)
    pipeline.purify()
    labels = pipeline.query(ASKED).purified.label.cpu()
    rows = pipeline.map.index.lookup(room.map.coords().to(device)).cpu()
    assert (rows >= 0).all()
    assert_same_labels(labels[rows], room.query(ASKED).purified.label, room)


def test_without_an_embedding_nothing_is_purified():
    pipeline = map_frames(FRAMES[:3], **{"purify.embedding": "none"})
    pipeline.purify()
    answer = pipeline.query(ASKED)
    assert torch.equal(answer.purified.label, answer.raw.label)
    assert answer.changed_fraction == 0.0


def test_voxels_newer_than_the_purification_keep_their_raw_label():
    pipeline = map_frames(FRAMES[:3])
    pipeline.purify()
    known = len(pipeline.map)
    pipeline.integrate(FRAMES[9])
    assert len(pipeline.map) > known
    answer = pipeline.query(ASKED)
    assert len(answer.purified.label) == len(pipeline.map)
    assert torch.equal(answer.purified.label[known:], answer.raw.label[known:])


@pytest.mark.parametrize("purify", [False, True])
def test_an_empty_map_answers_with_nothing(purify):
    pipeline = map_frames([])
    if purify:
        assert pipeline.purify().num_voxels == 0
    answer = pipeline.query(ASKED)
    assert answer.raw.label.shape == answer.purified.label.shape == (0,)
    assert answer.changed_fraction == 0.0


def test_a_map_emptied_by_reset_answers_with_nothing_and_grows_again():
    pipeline = map_frames(FRAMES[:2])
    pipeline.purify()
    pipeline.reset()
    assert len(pipeline.query(ASKED).purified.label) == 0
    pipeline.integrate(FRAMES[0])
    pipeline.purify()
    assert len(pipeline.query(ASKED).purified.label) == len(map_frames(FRAMES[:1]).map)


def test_a_single_voxel_keeps_its_label():
    depth = np.full((60, 80), np.nan, dtype=np.float32)
    depth[30, 40] = 1.0
    frame = dataclasses.replace(
        FRAMES[0], rgb=np.broadcast_to(COLORS[3], (60, 80, 3)).copy(), depth_m=depth)
    pipeline = map_frames([frame], encoder=Oracle(wrong_share=0.0))
    report = pipeline.purify()
    assert (report.num_voxels, report.entropy) == (1, 0.0)
    answer = pipeline.query(ASKED)
    assert answer.raw.label.tolist() == answer.purified.label.tolist() == [4]
    assert answer.purified.score.tolist() == pytest.approx(answer.raw.score.tolist(), abs=1e-5)


def test_a_refused_frame_changes_nothing():
    pipeline = map_frames(FRAMES[:1])
    before = pipeline.map.state()
    blind = dataclasses.replace(FRAMES[1], depth_m=np.full((60, 80), np.nan, dtype=np.float32))
    with pytest.raises(InputError, match="no depth between"):
        pipeline.integrate(blind)
    for name, tensor in pipeline.map.state().items():
        assert torch.equal(tensor, before[name])


def test_reports_count_points_and_voxels():
    pipeline = map_frames([])
    first = pipeline.integrate(FRAMES[0])
    believed = valid_depth(torch.from_numpy(FRAMES[0].depth_m), pipeline.config.depth)
    assert first.num_points == int(believed.sum())
    assert first.num_new_voxels == first.num_voxels_seen == len(pipeline.map)
    again = pipeline.integrate(FRAMES[0])
    assert (again.num_voxels_seen, again.num_new_voxels) == (first.num_voxels_seen, 0)
    assert [pipeline.purify().num_purifications for _ in range(2)] == [1, 2]


def test_purified_values_are_means_over_pixels(room, monkeypatch):
    """Dense reference: row i of A^T, times the pixels of each voxel, made a mean again."""
    values = torch.rand((len(room.map), 3), generator=torch.Generator().manual_seed(0))
    affinity, pixels = room.result.affinity, room.map.weights().double()
    assert pixels.min() < pixels.max()
    dense = torch.zeros((len(values), len(values)), dtype=torch.float64)
    dense.scatter_add_(1, affinity.index.long(), affinity.weight.double())
    sums = pixels[:, None] * torch.cat((values.double(), torch.ones(len(values), 1)), dim=1)
    for _ in range(room.config.purify.iterations):
        sums = dense @ sums
    torch.testing.assert_close(
        room.purified(values), (sums[:, :3] / sums[:, 3:]).float(), atol=1e-5, rtol=0)
    monkeypatch.setattr(room.map, "weights", lambda: torch.full_like(pixels.float(), 7.0))
    torch.testing.assert_close(
        room.purified(values), pool(values, affinity, room.config.purify.iterations))
