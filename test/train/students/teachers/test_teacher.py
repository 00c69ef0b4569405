"""Teachers: the geometric one, the cache, and the adapter of Sonata on a stub."""

import numpy as np
import pytest
import torch
from train_scenes import box_map, box_scene, with_voxels

from geopurify_ros.core.purification.sparse_conv import index_of
from geopurify_ros.data.tensor_file import write_tensors
from geopurify_ros.errors import CheckpointError, InputError
from geopurify_ros.train.students.teachers.geometric import (
    GeometricTeacher,
    ball,
    ball_mean,
    connected_components,
    shape_features,
)
from geopurify_ros.train.students.teachers.lifted import LiftedTeacher, smoothed_features
from geopurify_ros.train.students.teachers.sonata import (
    SonataTeacher,
    load_sonata,
    point_dictionary,
)
from geopurify_ros.train.students.teachers.teacher import cached_features


def test_segments_are_the_surfaces_of_the_box():
    scene, (_, part) = box_scene(), box_map()
    segment = GeometricTeacher().segments(scene.voxels)
    for number in range(4):
        values, counts = torch.unique(segment[part == number], return_counts=True)
        assert counts.max() > 0.85 * counts.sum(), number
        main = values[counts.argmax()]
        assert float((part[segment == main] == number).double().mean()) > 0.8


def test_features_are_alike_inside_a_surface_and_differ_across_edges():
    scene, (_, part) = box_scene(), box_map()
    features = GeometricTeacher().features(scene.voxels)
    assert torch.allclose(features.norm(dim=1), torch.ones(len(part)), atol=1e-5)
    cosine = features @ features.T
    same = part[:, None] == part
    assert cosine[same].mean() > cosine[~same].mean() + 0.4
    again = GeometricTeacher().features(scene.voxels)
    assert torch.equal(features, again)
    assert not features.requires_grad


def of_two_kinds(part):  # (V, 8) two directions, by the parity of the part, and noise
    features = 0.3 * torch.randn((len(part), 8), generator=torch.Generator().manual_seed(0))
    features[torch.arange(len(part)), torch.as_tensor(part) % 2] += 1.0
    return features


def test_the_lifted_teacher_joins_surfaces_whose_features_agree():
    _, (_, part) = box_scene(), box_map()
    scene = with_voxels(box_scene(), features=of_two_kinds(part)).voxels
    smooth = smoothed_features(scene)
    kind = torch.as_tensor(part) % 2
    alike = (kind[:, None] == kind) & (torch.as_tensor(part)[:, None] != torch.as_tensor(part))
    cosine = smooth @ smooth.T
    assert cosine[alike].mean() > 0.5
    assert cosine[kind[:, None] != kind].mean() < -0.5
    lifted, geometric = LiftedTeacher().features(scene), GeometricTeacher().features(scene)
    torch.testing.assert_close(
        lifted @ lifted.T, 0.5 * (geometric @ geometric.T + cosine), atol=1e-4, rtol=0)
    assert torch.equal(LiftedTeacher().features(scene), lifted)
    assert not lifted.requires_grad


def test_shapes_of_a_plane_and_of_a_line():
    plane = torch.cartesian_prod(torch.arange(17), torch.arange(17), torch.zeros(1).long())
    line = torch.stack((torch.arange(17), torch.full((17,), 40), torch.zeros(17).long()), dim=1)
    coords = torch.cat((plane, line))
    scene = with_voxels(box_scene(), index=index_of(coords), coords=coords).voxels
    shape = shape_features(scene).view(-1, 4, 6)
    center, on_line = shape[8 * 17 + 8], shape[len(plane) + 8]
    assert torch.allclose(center[:, 1], torch.ones(4), atol=1e-3)  # planar at each radius
    assert torch.allclose(center[:, 4], torch.zeros(4), atol=1e-3)  # and level
    assert torch.allclose(on_line[:, 0], torch.ones(4), atol=1e-3)


def test_ball_mean_equals_a_loop():
    scene = box_scene().voxels
    values = torch.randn(len(scene), 2)
    found = ball_mean(scene, values, 0.10)
    assert len(ball(0.10, 0.05)) == 33
    for row in range(0, len(scene), 97):
        near = ((scene.coords - scene.coords[row]) ** 2).sum(dim=1) <= 4
        assert torch.allclose(found[row], values[near].mean(dim=0), atol=1e-5)


def test_connected_components_of_chains_and_islands():
    order = torch.randperm(50)
    chain = torch.stack((order[:-1], order[1:]))
    assert connected_components(chain, 52).tolist() == [0] * 50 + [50, 51]
    assert connected_components(torch.zeros((2, 0), dtype=torch.int64), 3).tolist() == [0, 1, 2]


class CountingTeacher:
    id = "counting"

    def __init__(self, value=1.0):
        self.calls, self.value = 0, value

    def features(self, scene):
        self.calls += 1
        return torch.full((len(scene), 4), self.value) / 2


def test_features_are_made_once_per_scene(tmp_path):
    teacher, scene = CountingTeacher(), box_scene()
    first = cached_features(teacher, scene, tmp_path)
    assert torch.equal(cached_features(teacher, scene, tmp_path), first)
    assert teacher.calls == 1
    other = with_voxels(scene, color=scene.voxels.color + 1)  # of the same name
    cached_features(teacher, other, tmp_path)
    assert teacher.calls == 2
    cached_features(teacher, with_voxels(scene, features=scene.voxels.features + 1), tmp_path)
    assert teacher.calls == 3  # another encoder's


def test_damaged_features_of_a_teacher_are_made_anew(tmp_path):
    teacher, scene = CountingTeacher(), box_scene()
    first = cached_features(teacher, scene, tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    for tensors in ({}, {"features": torch.zeros(3, 2)}, {"features": first * torch.nan}):
        write_tensors(path, tensors, "geopurify_teacher_features", {})
        assert torch.equal(cached_features(teacher, scene, tmp_path), first)
    path.write_bytes(path.read_bytes()[:40])
    assert torch.equal(cached_features(teacher, scene, tmp_path), first)


def test_a_teacher_that_fails_names_the_scene(tmp_path):
    with pytest.raises(InputError, match="scene box_3: teacher counting gives features not fin"):
        cached_features(CountingTeacher(float("nan")), box_scene(3), tmp_path)


class StubPoint(dict):
    """Dictionary with attributes, as the package's Point (addict.Dict)."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


def stub_transform(point):
    """CenterShift, GridSample 0.02 (random point per cell), NormalizeColor, ToTensor, Collect."""
    assert set(point) == {"coord", "color", "normal"}
    coord = point["coord"] - point["coord"].mean(axis=0)
    grid = np.floor(point["coord"] / 0.02).astype(int)
    _, inverse = np.unique(grid, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    picked = np.zeros(inverse.max() + 1, dtype=int)
    order = np.random.permutation(len(inverse))
    picked[inverse[order]] = order
    color = point["color"] / 255.0
    feat = np.concatenate((coord, color, point["normal"]), axis=1)[picked]
    return StubPoint(coord=torch.from_numpy(coord[picked]), inverse=torch.from_numpy(inverse),
                     color=torch.from_numpy(color[picked]),
                     feat=torch.from_numpy(feat).float())


class StubModel(torch.nn.Module):
    """Four poolings; channels grow by one at each; random in training mode, as DropPath is."""

    def forward(self, point):
        self.seen_color = point.color
        for level in range(1, 5):
            cell = torch.floor(point.coord / (0.02 * 2**level)).long()
            _, inverse = torch.unique(cell, dim=0, return_inverse=True)
            count = torch.bincount(inverse)[:, None]
            feat = torch.zeros((len(count), point.feat.shape[1]))
            feat = feat.index_add_(0, inverse, point.feat) / count
            coord = torch.zeros((len(count), 3), dtype=point.coord.dtype)
            coord = coord.index_add_(0, inverse, point.coord) / count
            if self.training:
                feat = feat * torch.rand(1)
            point = StubPoint(coord=coord, feat=torch.cat((feat, count.float()), dim=1),
                              pooling_parent=point, pooling_inverse=inverse)
        return point


def test_sonata_gets_metres_and_colours_up_to_255_with_z_up():
    scene = box_scene().voxels
    turned = with_voxels(box_scene(), coords=scene.coords[:, [2, 0, 1]],
                         normal=scene.normal[:, [2, 0, 1]],
                         up=torch.tensor([1.0, 0, 0], dtype=torch.float64)).voxels
    point, other = point_dictionary(scene), point_dictionary(turned)
    assert point["color"].max() > 200
    assert point["coord"].dtype == np.float32
    np.testing.assert_allclose(
        other["coord"][:, 2] - other["coord"][:, 2].min(),
        point["coord"][:, 2] - point["coord"][:, 2].min(), atol=1e-5)
    np.testing.assert_allclose(other["normal"][:, 2], point["normal"][:, 2], atol=1e-6)


def test_sonata_features_are_joined_over_three_levels_and_back_at_the_voxels():
    scene, model = box_scene().voxels, StubModel()
    teacher = SonataTeacher(model, stub_transform)
    features = teacher.features(scene)
    # (9 + 4) of the last level, 12 and 11 of its parents; the last two are only spread
    assert features.shape == (len(scene), 13 + 12 + 11)
    assert torch.allclose(features.norm(dim=1), torch.ones(len(scene)), atol=1e-5)
    assert model.seen_color.max() <= 1.0
    assert model.seen_color.max() > 0.5  # not black (B5)


def test_sonata_gives_the_same_twice_even_under_train():
    """B3: random depth and orders must not reach the features."""
    scene, model = box_scene().voxels, StubModel()
    teacher = SonataTeacher(model, stub_transform)
    before = np.random.get_state()[1].copy()
    first = teacher.features(scene)
    model.train()
    assert torch.equal(teacher.features(scene), first)
    assert (np.random.get_state()[1] == before).all()  # nobody else's randomness is touched


def test_without_the_package_a_sentence_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="needs the package of github"):
        load_sonata(tmp_path / "sonata.pth")
