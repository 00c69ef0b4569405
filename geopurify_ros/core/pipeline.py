"""The paper (arXiv 2510.02186) in one page; docs/method.md has the numbers, (1.8) and so on."""

from __future__ import annotations

import torch
from torch import Tensor

from geopurify_ros.config import Config
from geopurify_ros.core.answers.answer import Answer
from geopurify_ros.core.answers.lengths import LengthCache
from geopurify_ros.core.answers.query import TextQuery, label_voxels
from geopurify_ros.core.answers.texts import encode_texts
from geopurify_ros.core.mapping.encoder import ImageTextEncoder, encode_frame
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.mapping.fusion import frame_points, fuse_frame
from geopurify_ros.core.mapping.lifted_map import LiftedMap
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.core.purification.affinity import Affinity, affinity_weights, row_entropy
from geopurify_ros.core.purification.gate import effect_of, objection
from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.pooling import pool_observations
from geopurify_ros.core.purification.student import StudentNet, embeddings_of
from geopurify_ros.core.reports import IntegrateReport, PurifyReport
from geopurify_ros.core.stopwatch import Stopwatch


class Pipeline:
    """Frames in, labels out. Not thread-safe: one thread owns it."""

    def __init__(
        self, encoder: ImageTextEncoder, config: Config, device: torch.device | str = "cpu",
        student: StudentNet | None = None,
    ) -> None:
        """An empty map for the features of `encoder`; `student` for purify.embedding student."""
        self.encoder, self.config, self.student = encoder, config, student
        self.device = torch.device(device)
        self.stopwatch = Stopwatch(self.device)
        self._affinity: Affinity | None = None
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

    @torch.inference_mode()
    def purify(self) -> PurifyReport:
        """Build the affinity of the present map; it is queries that pool with it (1.9)."""
        if (kind := self.config.purify.embedding) != "none" and len(self.map):
            with self.stopwatch.measure("embed"):
                # one unit vector e_i per voxel, by the student (1.2) or by hand
                embeddings = embeddings_of(self.lifted, kind, self.student)
            self.purify_with(embeddings)
        self.num_purifications += 1
        return PurifyReport(self.num_purifications, len(self.map), self._entropy)

    @torch.inference_mode()
    def purify_with(self, embeddings: Tensor) -> None:  # (V, E) unit norm
        """Build the affinity from given embeddings of the present map (1.9)."""
        settings = self.config.purify
        with self.stopwatch.measure("purify"):
            # the K nearest other voxels, at most 8 voxels away (6.3)
            graph = nearest_neighbors(self.map.index, self.map.coords(), settings.neighbors)
            # A_ij, a soft-max of alpha e_i . e_j over them
            affinity = affinity_weights(embeddings, graph, settings.affinity_scale)
            self._affinity, self._entropy = affinity, row_entropy(affinity)

    @torch.inference_mode()
    def query(self, asked: TextQuery) -> Answer:
        """Label every voxel; voxels newer than the last purification keep their raw label."""
        with self.stopwatch.measure("text"):
            texts = encode_texts(self.encoder, asked.texts, self.device)
        with self.stopwatch.measure("query"):
            # raw: scaled cosines of features and texts (1.1), soft-max over the texts (1.10)
            scores = self.lifted.project(texts.vectors.T)
            lengths = self._lengths.of(self.lifted, self._affinity, self.config.purify.iterations)
            logits = texts.logits(scores, lengths.raw)
            raw = label_voxels(logits, asked)
            if self._affinity is None:  # nothing is purified yet
                return Answer(raw, raw)
            # F <- A F, T rounds (1.9); linear, so L scores are pooled in place of F (1.15a)
            pooled = texts.logits(self.purified(scores), lengths.purified)
            # the gate (5.1): an objection keeps all labels raw, see Answer.purified
            best = (logits.argmax(dim=1), pooled.argmax(dim=1))
            effect = effect_of(*best, self._affinity, self._entropy)
            reason = objection(effect, self.config.purify)
            return Answer(raw, label_voxels(pooled, asked), effect, reason)

    def purified(self, values: Tensor) -> Tensor:  # (V, C) -> (V, C)
        """`values` per voxel, pooled with the affinity of the last purification (1.9)."""
        if self._affinity is None:
            return values
        rounds = self.config.purify.iterations
        return pool_observations(values, self.map.weights(), self._affinity, rounds)

    def reset(self) -> None:
        """Empty the map."""
        self.replace_map(VoxelMap(self.encoder.feature_dim, self.map.voxel_size_m, self.device))

    def replace_map(self, voxels: VoxelMap) -> None:
        """Go on with another map, not purified yet."""
        self.lifted, self._lengths = LiftedMap(voxels), LengthCache()
        self._affinity, self._entropy, self.num_purifications = None, 0.0, 0
