"""What an image network gave scenes, as a target: reduced alike over all of them."""

from __future__ import annotations

import dataclasses

import torch
from torch.nn.functional import normalize
from train_scenes import box_scene, with_voxels

from geopurify_ros.train.students.teachers.image_ssl import ImageSslEncoder
from geopurify_ros.train.students.teachers.image_targets import image_loss, image_targets


def seen_scenes(dim=80):
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn((dim, dim), generator=generator) * torch.logspace(0, -2, dim)[:, None]
    scenes = []
    for seed in (0, 1):
        scene = box_scene(seed, size=8)
        features = torch.randn((len(scene.voxels), dim), generator=generator) @ mix
        scenes.append(dataclasses.replace(
            with_voxels(scene, features=features.to(torch.float16)), encoder=ImageSslEncoder.id))
    return scenes


def test_targets_are_the_main_directions_of_all_scenes_together():
    scenes = seen_scenes()
    whole = torch.cat([normalize(one.voxels.features.double(), dim=1) for one in scenes])
    centered = whole - whole.mean(dim=0)
    main = torch.linalg.svd(centered, full_matrices=False).Vh[:64].T
    expected = normalize(centered @ main, dim=1)
    targets = torch.cat(image_targets(scenes)).double()
    assert targets.shape == (len(whole), 64)
    # directions have no sign: cosines between voxels do not need one
    assert torch.allclose(targets @ targets.T, expected @ expected.T, atol=1e-3)


def test_features_of_any_other_encoder_are_not_looked_at():
    scenes = [box_scene(0, size=8)]
    assert scenes[0].voxels.features.shape[1] > 0
    assert image_targets(scenes)[0].shape == (len(scenes[0].voxels), 0)


def test_the_loss_looks_at_directions_alone():
    targets = normalize(torch.randn((6, 5), generator=torch.Generator().manual_seed(0)), dim=1)
    assert float(image_loss(3.0 * targets, targets)) < 1e-6
    assert abs(float(image_loss(-targets, targets)) - 2.0) < 1e-6
