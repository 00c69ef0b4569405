"""The paper in one page: integrate frames, purify the map, query it by text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geopurify_ros.config import Config
from geopurify_ros.core.answers.answer import Answer
from geopurify_ros.core.answers.lengths import (
    Lengths,
    lengths_inside,
    main_directions,
    raw_lengths,
)
from geopurify_ros.core.answers.query import TextQuery, label_voxels
from geopurify_ros.core.mapping import fusion
from geopurify_ros.core.mapping.consensus import Consensus, ConsensusRule, ViewBuffer
from geopurify_ros.core.mapping.edits import write_all
from geopurify_ros.core.mapping.encoder import ImageTextEncoder, encode_frame, unreadable
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.mapping.map_records import MapSnapshot
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.core.purification.embedding import geometric_embedding
from geopurify_ros.core.purification.gate import effect_of, objection
from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.pooling import Affinity, affinity_weights, pool, row_entropy
from geopurify_ros.core.purification.student import StudentNet, scene_of_map
from geopurify_ros.core.stopwatch import Stopwatch
from geopurify_ros.errors import ConfigError


@dataclass(frozen=True)
class IntegrateReport:
    """What one frame added."""

    num_points: int
    num_voxels_seen: int
    num_new_voxels: int


@dataclass(frozen=True)
class PurifyReport:
    """What purification is like: `entropy` 1 is a blur, 0 a copy; see pooling.row_entropy."""

    num_purifications: int
    num_voxels: int
    entropy: float


class Pipeline:
    """Frames in, labels out. Not thread-safe: one thread owns it."""

    def __init__(
        self, encoder: ImageTextEncoder, config: Config, device: torch.device | str = "cpu",
        student: StudentNet | None = None,
    ) -> None:
        """An empty map for the features of `encoder`; `student` for purify.embedding student."""
        self.encoder = encoder
        self.student = student
        self.config = config
        self.device = torch.device(device)
        self.map = VoxelMap(encoder.feature_dim, config.map.voxel_size_m, self.device)
        self.stopwatch = Stopwatch(self.device)
        self.num_purifications = 0
        self._affinity: Affinity | None = None
        self._entropy = 0.0
        self._consensus: Consensus | None = None
        self._lengths: Lengths | None = None

    @property
    def up_sum(self) -> Tensor:  # (3,) float64
        """Sum of the cameras' up directions; the map's."""
        return self.map.up_sum

    @up_sum.setter
    def up_sum(self, up_sum: Tensor) -> None:
        self.map.up_sum = up_sum.to("cpu", torch.float64)

    @property
    def up(self) -> tuple[float, float, float]:
        """Mean up direction of the cameras, of length one; zeros before the first frame."""
        x, y, z = (self.up_sum / self.up_sum.norm().clamp_min(1e-9)).tolist()
        return x, y, z

    @torch.inference_mode()
    def integrate(self, frame: RgbdFrame) -> IntegrateReport:
        """Lift the features of one frame into the map (METHODS 1.8, weighted mean).

        All of it or nothing: map, views and `up_sum` are as they were when this raises.
        """
        with self.stopwatch.measure("geometry"):
            points = fusion.frame_points(
                frame, self.config.depth, self.map.voxel_size_m, self.device
            )
        with self.stopwatch.measure("encode"):
            grid = encode_frame(
                self.encoder, frame, self.device, self.config.encoder.use_depth
            )
        with self.stopwatch.measure("fuse"):
            voxels = fusion.fuse_frame(points, grid[0], frame.depth_m.shape)
            up_sum = self.up_sum - torch.from_numpy(frame.T_world_camera[:3, 1])
            update = self.map.planned(voxels, frame.stamp_ns)
            views = self._views() if self.config.fusion.mode == "consensus" else None
            write_all(update.edits + ([] if views is None else views.planned(voxels, update)))
            self.map.accept(update)
            if views is not None:
                views.buffer.accept()
            self._consensus, self.map.up_sum = views or self._consensus, up_sum
        num_new = update.insertion.num_new
        return IntegrateReport(len(points.pixel_index), len(voxels.coords), num_new)

    @torch.inference_mode()
    def purify(self) -> PurifyReport:
        """Build the affinity of the present map; queries pool with it (METHODS 1.9)."""
        if self.config.purify.embedding != "none" and len(self.map):
            with self.stopwatch.measure("embed"):
                embeddings = self.embeddings()
            self.purify_with(embeddings)
        self.num_purifications += 1
        return PurifyReport(self.num_purifications, len(self.map), self._entropy)

    @torch.inference_mode()
    def purify_with(self, embeddings: Tensor) -> None:  # (V, E) unit norm
        """Build the affinity from given embeddings of the present map."""
        settings = self.config.purify
        with self.stopwatch.measure("purify"):
            graph = nearest_neighbors(self.map.index, self.map.coords(), settings.neighbors)
            affinity = affinity_weights(embeddings, graph, settings.affinity_scale)
            self._affinity, self._entropy = affinity, row_entropy(affinity)
            self._lengths = None

    def embeddings(self) -> Tensor:  # (V, E) unit norm
        """What neighbours are compared by, as purify.embedding says.

        Raises:
            ConfigError: a student is asked for and there is none.
        """
        if self.config.purify.embedding != "student":
            return geometric_embedding(self.map.normals(), self.map.colors())
        if self.student is None:
            raise ConfigError("purify.embedding is student, but no student was loaded")
        return self.student.embed(scene_of_map(self.map, self.up_sum, self._chunks()))

    def _views(self) -> Consensus:
        """The views of the present map; new ones count once a frame is in them."""
        if self._consensus is not None:
            return self._consensus
        settings = self.config.fusion
        names = tuple(n.strip() for n in settings.vocabulary.split(",") if n.strip())
        text = self.encoder.encode_text(names) if names else torch.zeros((0, 0))
        scale = settings.sharpness * self.encoder.logit_scale
        rule = ConsensusRule(settings.top, scale, text.to(self.device, torch.float32))
        buffer = ViewBuffer(self.map.feature_dim, settings.views, self.device)
        buffer.seed(self.map.feature_chunks())  # of a map that was loaded
        return Consensus(buffer, rule)

    def _chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows and their features (R, D): the map's mean, or the consensus of the views."""
        chunks = self.map.feature_chunks()
        return chunks if self._consensus is None else self._consensus.agreed(chunks)

    @torch.inference_mode()
    def snapshot(self) -> MapSnapshot:
        """The map as queries see it; a consensus takes a copy of its features."""
        shot = self.map.snapshot()
        if self._consensus is None:
            return shot
        agreed = tuple(chunk.to(torch.float16) for _, chunk in self._chunks())
        return replace(shot, features=agreed)

    @torch.inference_mode()
    def settle(self) -> None:
        """Write the consensus into the map, which is finished, and forget the views."""
        if self._consensus is not None:
            self.map.replace_features(agreed for _, agreed in self._chunks())
        self._consensus = None

    @torch.inference_mode()
    def query(self, asked: TextQuery) -> Answer:
        """Label every voxel; voxels newer than the last purification keep their raw label."""
        with self.stopwatch.measure("text"):
            text = self.encoder.encode_text(asked.texts).to(self.device, torch.float32)
            unknown = [bool(unreadable(self.encoder, one)) for one in asked.texts]
            unread = torch.tensor(unknown, dtype=torch.bool, device=self.device)
        with self.stopwatch.measure("query"):
            scores, lengths = self._project(text.T), self._known_lengths()
            logits = self._logits(scores, lengths.raw, unread)
            raw = label_voxels(logits, asked)
            if self._affinity is None:
                return Answer(raw, raw)
            purified = self._logits(self.purified(scores), lengths.purified, unread)
            best = logits.argmax(dim=1), purified.argmax(dim=1)
            effect = effect_of(*best, self._affinity, self._entropy)
            reason = objection(effect, self.config.purify)
            return Answer(raw, label_voxels(purified, asked), effect, reason)

    def purified(self, values: Tensor) -> Tensor:  # (V, C) -> (V, C)
        """`values` per voxel pooled with the affinity of the last purification.

        A voxel weighs as many pixels as it was seen by: the result is a mean over observations
        (normalised convolution), not over voxels.
        """
        if self._affinity is None:
            return values
        known = len(self._affinity)
        pixels = self.map.weights()[:known, None].clamp_min(1.0)
        weighted = torch.cat((values[:known] * pixels, pixels), dim=1)
        pooled = pool(weighted, self._affinity, self.config.purify.iterations)
        mean = pooled[:, :-1] / pooled[:, -1:]
        return torch.cat((mean, values[known:])) if len(values) > known else mean

    def reset(self) -> None:
        """Empty the map."""
        empty = VoxelMap(self.encoder.feature_dim, self.map.voxel_size_m, self.device)
        self.replace_map(empty)

    def replace_map(self, voxel_map: VoxelMap, up_sum: Tensor | None = None) -> None:
        """Go on with another map; not purified yet. `up_sum` (3,): of one that has none."""
        self.map = voxel_map
        if up_sum is not None and not bool(voxel_map.up_sum.any()):
            self.up_sum = up_sum
        self.num_purifications = 0
        self._affinity, self._entropy = None, 0.0
        self._consensus = self._lengths = None

    def _project(self, matrix: Tensor) -> Tensor:  # (D, C) -> (V, C)
        if self._consensus is None:
            return self.map.project(matrix)
        return torch.cat([chunk @ matrix for _, chunk in self._chunks()])

    def _logits(self, scores: Tensor, lengths: Tensor, unknown: Tensor) -> Tensor:  # (V, L)
        logits = self.encoder.logit_scale * scores / lengths[:, None].clamp_min(1e-6)
        return logits.masked_fill_(unknown, -torch.inf)

    def _known_lengths(self) -> Lengths:
        """Lengths of the features as they are now, computed once for all queries."""
        state = (len(self.map), self.map.version, self.config.purify.iterations)
        if self._lengths is None or self._lengths.state != state:
            raw = raw_lengths(self._chunks(), torch.empty(len(self.map), device=self.device))
            purified, known = raw.clone(), 0 if self._affinity is None else len(self._affinity)
            if known:
                inside = lengths_inside(
                    self._norm_basis(), lambda part: self.purified(self._project(part))
                )
                purified[:known] = inside[:known]
            self._lengths = Lengths(state, raw, purified)
        return self._lengths

    def _norm_basis(self) -> Tensor:  # (D, r) orthonormal
        like = torch.empty((0, self.map.feature_dim), device=self.device)
        return main_directions(self._chunks(), len(self.map), like)
