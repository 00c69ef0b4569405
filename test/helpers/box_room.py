"""A box seen from inside and an oracle that now and then names a wrong side of it.

Nothing is read from disk and no network is asked.
"""

import numpy as np
import torch
from torch.nn.functional import normalize

from geopurify_ros.config import Config, with_values
from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.pipeline import Pipeline

VOXEL_M = 0.05
LOW, HIGH = np.array([-0.83, -0.71, -0.52]), np.array([0.91, 0.64, 0.73])  # of the box, metres
SIDES = ("west", "east", "south", "north", "floor", "ceiling")
COLORS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [200, 200, 60], [120, 80, 40],
                   [230, 230, 230]], dtype=np.uint8)
INTRINSICS = np.array([[40.0, 0, 39.5], [0, 40.0, 29.5], [0, 0, 1]])
ASKED = TextQuery(SIDES)


class Oracle:
    """Tells the side by its colour; one cell in five is told wrong, the same way every time."""

    id, feature_dim, logit_scale = "oracle", 32, 30.0

    def __init__(self, wrong_share=0.2):
        generator = torch.Generator().manual_seed(0)
        self.vectors = torch.linalg.qr(torch.randn((32, 32), generator=generator)).Q[:6]
        self.wrong_share = wrong_share

    def encode_image(self, rgb):
        cells = rgb[0, :, 2::4, 2::4].permute(1, 2, 0).cpu() * 255
        side = torch.cdist(cells, torch.from_numpy(COLORS).float()).argmin(dim=-1)
        generator = torch.Generator().manual_seed(int(rgb.sum()))
        wrong = torch.rand(side.shape, generator=generator) < self.wrong_share
        other = torch.randint(0, 6, side.shape, generator=generator)
        noise = 0.1 * torch.randn((*side.shape, 32), generator=generator)
        features = self.vectors[torch.where(wrong, other, side)] + noise
        return normalize(features, dim=-1).permute(2, 0, 1)[None].to(rgb.device)

    def encode_text(self, texts):
        return torch.stack([self.vectors[SIDES.index(t)] for t in texts])


def look(yaw, pitch, position=(0.02, -0.03, 0.05)):
    """Pose of a camera inside the room: yaw about z (up), pitch up from the horizon."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack((right, np.cross(forward, right), forward), axis=1)
    pose[:3, 3] = position
    return pose


def render(pose, stamp_ns=0):
    """What the camera sees; pixels within 1e-3 voxels of a voxel border are left out, so that
    rounding decides nothing."""
    v, u = np.mgrid[:60, :80]
    rays = np.stack(((u - 39.5) / 40, (v - 29.5) / 40, np.ones(u.shape)), -1) @ pose[:3, :3].T
    walls = np.stack((LOW, HIGH), axis=1)[None, None] - pose[:3, 3, None]
    distance = walls / rays[..., None]  # (60, 80, axis, low or high)
    distance[distance <= 0] = np.inf
    side = distance.reshape(60, 80, 6).argmin(axis=-1)
    depth = distance.reshape(60, 80, 6).min(axis=-1).astype(np.float32)
    exact = (rays * depth[..., None].astype(np.float64) + pose[:3, 3]) / VOXEL_M
    depth[(np.abs(exact - np.round(exact)) < 1e-3).any(axis=-1)] = np.nan
    return RgbdFrame(COLORS[side], depth, INTRINSICS, pose, stamp_ns)


POSES = [look(yaw, pitch) for yaw in np.arange(0.3, 6.5, 1.2) for pitch in (-0.7, 0.0, 0.7)]
FRAMES = [render(pose, 1000 * i) for i, pose in enumerate(POSES)]


def map_frames(frames, encoder=None, device="cpu", **values):
    defaults = {"depth.min_m": 0.05, "purify.embedding": "geometric"}
    config = with_values(Config(), {**defaults, **values})
    pipeline = Pipeline(encoder or Oracle(), config, device)
    for frame in frames:
        pipeline.integrate(frame)
    return pipeline


def frame_at(x_m, np_seed=0):
    """A wall of 24 x 18 pixels in random colours, seen from x_m."""
    rng = np.random.default_rng(np_seed)
    pose = np.eye(4)
    pose[0, 3] = x_m
    intrinsics = INTRINSICS * 0.3
    intrinsics[2, 2] = 1
    rgb = rng.integers(0, 255, (18, 24, 3), dtype=np.uint8)
    depth = np.full((18, 24), 2.0, np.float32)
    return RgbdFrame(rgb, depth, intrinsics, pose, int(1e9 * x_m))


def pipeline_of(mode, num_frames=3):
    """Some frames in a map, among them one that no voxel is free in the buffer for."""
    config = with_values(Config(), {"fusion.mode": mode, "fusion.views": 2,
                                    "purify.embedding": "geometric", "purify.iterations": 2})
    pipeline = Pipeline(Oracle(), config)
    for number in range(num_frames):
        pipeline.integrate(frame_at(0.0, number))
    return pipeline
