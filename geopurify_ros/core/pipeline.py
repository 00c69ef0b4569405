"""The paper (arXiv 2510.02186) in one page; docs/method.md has the numbers, (1.8) and so on."""

from __future__ import annotations

import torch
from torch import Tensor

from geopurify_ros.config import Config
from geopurify_ros.core.answers.answer import Answer
from geopurify_ros.core.answers.labelling import answered
from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.answers.standing import StandingQuestions
from geopurify_ros.core.mapping.encoder import ImageTextEncoder, encode_frame
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.mapping.fusion import frame_points, fuse_frame
from geopurify_ros.core.mapping.lifted_map import LiftedMap
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.core.purification.encoder_side import EncoderSide
from geopurify_ros.core.purification.job import PurifyJob
from geopurify_ros.core.purification.pooling import pool_observations
from geopurify_ros.core.purification.purified import Patch, Purified, followed, told
from geopurify_ros.core.purification.student import StudentNet
from geopurify_ros.core.purification.task import PurifyTask
from geopurify_ros.core.reports import IntegrateReport, PurifyReport
from geopurify_ros.core.stopwatch import Stopwatch


class Pipeline:
    """Frames in, labels out. Not thread-safe: one thread owns it."""

    num_purifications: int  # of the present map
    result: Purified | None  # of the last one

    def __init__(
        self, encoder: ImageTextEncoder, config: Config, device: torch.device | str = "cpu",
        student: StudentNet | None = None,
    ) -> None:
        """An empty map for the features of `encoder`; `student` for purify.embedding student."""
        self.encoder, self.config, self.student = encoder, config, student
        self.device = device = torch.device(device)
        self.stopwatch, self.knows = Stopwatch(device), EncoderSide(encoder, device)
        self._questions = StandingQuestions(encoder, device)
        self.replace_map(VoxelMap(encoder.feature_dim, config.map.voxel_size_m, self.device))

    @property
    def map(self) -> VoxelMap:
        """The voxels."""
        return self.lifted.voxels

    @torch.inference_mode()
    def integrate(self, frame: RgbdFrame) -> IntegrateReport:
        """Lift the features of one frame into the map (1.8): all, or nothing if it raises."""
        with self.stopwatch.measure("geometry"):
            # every believed pixel becomes a point with its voxel, colour and normal (1.3)
            points = frame_points(frame, self.config.depth, self.map.voxel_size_m, self.device)
        with self.stopwatch.measure("encode"):
            # a dense grid of image-text features (D, h, w)
            grid = encode_frame(self.encoder, frame, self.device, self.config.encoder.use_depth)[0]
        with self.stopwatch.measure("fuse"):
            # one view of each voxel: the mean over its pixels; the map averages views (1.8)
            seen = fuse_frame(points, grid, frame.depth_m.shape)
            num_new = self.lifted.integrate(seen, frame, self.config.fusion, self.encoder)
        return IntegrateReport(len(points.pixel_index), len(seen.coords), num_new)

    def purify(self, is_full: bool = False) -> PurifyReport:
        """Purify what changed, or all of the present map, here and now (1.9, 6.2)."""
        return self.accept(self.purify_job(is_full).run())

    def purify_with(self, embeddings: Tensor) -> PurifyReport:  # (V, E) unit norm
        """All of it with given embeddings of the voxels."""
        return self.accept(self.purify_job(is_full=True).run(embeddings=embeddings))

    @torch.inference_mode()
    def purify_job(self, is_full: bool = False) -> PurifyJob:
        """A purification of the map as it is now; until it is accepted the map may only grow."""
        task = PurifyTask(
            self.lifted.snapshot(), self.config.purify, self.student,
            self.knows.basis_of(self.map), self.knows.vocabulary, self.stopwatch,
        )  # fmt: skip
        return PurifyJob(task, None if is_full else self.result)

    @torch.inference_mode()
    def accept(self, made: Purified | Patch | None) -> PurifyReport:
        """Answer with what a job made of this map from now on; None: nothing was to be done."""
        self.num_purifications += 1
        news = self.knows.settle(self.map, made)
        self.result = followed(self.result, made, self.config.purify)
        return told(self.result, made, self.num_purifications, len(self.map), news)

    @torch.inference_mode()
    def query(self, asked: TextQuery, with_raw: bool = True) -> Answer:
        """Label every voxel; voxels newer than the last purification keep their raw label."""
        with self.stopwatch.measure("text"):
            standing = self._questions.of(asked, self.knows, self.map.voxel_size_m)
        with self.stopwatch.measure("query"):
            # scaled cosines of features and texts (1.1), the best of all alternatives (1.10)
            settings = self.config.purify
            return answered(self.lifted, self.result, standing, settings, with_raw)

    def purified(self, values: Tensor) -> Tensor:  # (V, C) -> (V, C)
        """`values` per voxel, pooled with the affinity of the last purification (1.9)."""
        if self.result is None:
            return values
        rounds = self.config.purify.iterations
        return pool_observations(values, self.map.weights(), self.result.affinity, rounds)

    @torch.inference_mode()
    def remove(self, rows: Tensor) -> None:  # (M,) int64, distinct
        """Take voxels out of the map; what was purified of the others stays."""
        removal = self.lifted.remove(rows)
        if self.result is not None:
            self.result.follow(removal, self.map.features_of(removal.targets))

    def reset(self) -> None:
        """Empty the map."""
        self.replace_map(VoxelMap(self.encoder.feature_dim, self.map.voxel_size_m, self.device))

    def replace_map(self, voxels: VoxelMap) -> None:
        """Go on with another map, not purified yet."""
        self.lifted, self.result, self.num_purifications = LiftedMap(voxels), None, 0
