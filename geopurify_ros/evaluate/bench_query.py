"""Case `query` of `geopurify bench`: five prompts against all alternatives, 161 texts.

Labels of purified features that were pooled once, beside the plain way, which pools every text.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.config import Config, with_values
from geopurify_ros.core.answers.alternatives import Reading
from geopurify_ros.core.answers.labelling import labelled
from geopurify_ros.core.answers.logits import purified_logits, raw_logits
from geopurify_ros.core.answers.query import TextQuery, VoxelLabels
from geopurify_ros.core.answers.question import Question, Rivals
from geopurify_ros.core.answers.texts import EncodedTexts
from geopurify_ros.core.mapping.encoder import AnswerProfile
from geopurify_ros.core.mapping.lifted_map import LiftedMap
from geopurify_ros.core.purification.affinity import Affinity
from geopurify_ros.core.purification.basis import ENCODER, FeatureBasis
from geopurify_ros.core.purification.job import PurifyJob
from geopurify_ros.core.purification.pooling import pool, pool_observations
from geopurify_ros.core.purification.purified import Frozen, Purified
from geopurify_ros.core.purification.task import PurifyTask
from geopurify_ros.core.stopwatch import Stopwatch
from geopurify_ros.evaluate import bench_scene
from geopurify_ros.evaluate.bench_timing import alternate, growth_exponent

_DIM, _RANK = 256, 144  # as of builtin
_PLAIN_VOXELS = 12_000
_PROMPTS, _TEXTS = 5, 161
_LOGIT_SCALE = 20.0
_VOXEL_M = 0.05
_ROWS = 4096
_SLOPE, _OFFSET, _THRESHOLD, _LEAST_VOXELS = 0.6, -0.5, 0.2, 8  # nearly those of builtin


def bench_query(repeats: int, sizes: Sequence[int]) -> dict[str, Any]:
    """Time with the plain way on a small map, and processor time on maps of other sizes."""
    question, basis = _question(), _basis()
    lifted = _map(_PLAIN_VOXELS, basis)
    made = _purified(lifted, basis)
    lengths = pool_in_columns(lifted, made.affinity).norm(dim=1)
    # of the plain way: known beforehand, as it kept them from query to query
    timing = alternate(
        lambda: _labels(lifted, made, question),
        lambda: plain_labels(lifted, made.affinity, question, lengths), max(3, repeats // 3),
    )  # fmt: skip
    same = (_labels(lifted, made, question).label
            == plain_labels(lifted, made.affinity, question, lengths).label)
    by_voxels = {size: _case_of(size, question, basis, repeats) for size in sizes}
    case = timing.case(
        f"pooling {_TEXTS} texts, {_PLAIN_VOXELS:,} voxels",
        bool(same.float().mean() >= 0.995),
        growth_exponent=growth_exponent(
            {_PLAIN_VOXELS: timing.fast_ms} | {n: [of["cpu_ms"]] for n, of in by_voxels.items()}
        ),
    )
    case["kept_bytes_per_voxel"] = made.num_bytes / len(made)
    case["affinity_bytes_per_voxel"] = _bytes_of(made.affinity) / len(made)
    case["by_voxels"] = by_voxels
    return case


def pool_in_columns(lifted: LiftedMap, affinity: Affinity) -> Tensor:  # (V, D) float32
    """All columns of the features, pooled."""
    weight = lifted.voxels.weights()[:, None].clamp_min(1.0)
    rounds = Config().purify.iterations
    return pool(lifted.voxels.features() * weight, affinity, rounds) / pool(
        weight, affinity, rounds
    )


def plain_labels(
    lifted: LiftedMap, affinity: Affinity, question: Question, lengths: Tensor
) -> VoxelLabels:
    """What one would write first: the scores of every text, pooled for this query."""
    texts = question.texts
    scores = lifted.voxels.features() @ texts.vectors.T
    rounds = Config().purify.iterations
    pooled = pool_observations(scores, lifted.voxels.weights(), affinity, rounds)
    logits = texts.logit_scale * pooled / lengths[:, None].clamp_min(1e-6)
    return labelled(iter([(slice(0, len(logits)), logits)]), question, lifted)


def _labels(lifted: LiftedMap, made: Purified, question: Question) -> VoxelLabels:
    return labelled(purified_logits(made, lifted, question.texts), question, lifted)


def _case_of(
    num_voxels: int, question: Question, basis: FeatureBasis, repeats: int
) -> dict[str, float]:
    """Processor time of purified and of raw labels, milliseconds; what is kept is made up."""
    lifted = _map(num_voxels, basis)
    generator = torch.Generator().manual_seed(4)
    values = torch.cat([
        normalize(torch.randn((len(part), _RANK), generator=generator), dim=1).to(torch.float16)
        for part in torch.split(torch.empty(num_voxels, 0), _ROWS)
    ])
    nothing = torch.zeros((num_voxels, 0))
    made = Purified(
        basis, values, torch.ones(num_voxels), Affinity(nothing.to(torch.int32), nothing),
        torch.zeros(num_voxels), None, Frozen(torch.zeros(3), None),
    )  # fmt: skip

    def raw() -> VoxelLabels:
        return labelled(raw_logits(lifted, question.texts), question, lifted)

    return {
        "cpu_ms": _processor_ms(lambda: _labels(lifted, made, question), repeats),
        "raw_cpu_ms": _processor_ms(raw, max(1, repeats // 3)),
    }


def _processor_ms(job: Callable[[], Any], repeats: int) -> float:
    """Median time of all threads, after one warm-up."""
    job()
    runs = []
    for _ in range(repeats):
        start = time.process_time()
        job()
        runs.append(1e3 * (time.process_time() - start))
    return round(statistics.median(runs), 1)


def _question() -> Question:
    """Five prompts and all else that builtin can name; one name is no rival of the first."""
    prompts = tuple(f"prompt {k}" for k in range(_PROMPTS))
    names = tuple(f"alternative {k}" for k in range(_TEXTS - _PROMPTS))
    spared = torch.zeros((_PROMPTS, len(names)), dtype=torch.bool)
    spared[0, 0] = True
    rivals = Rivals(
        names, spared, spared, spared,
        tuple(Reading(prompt, "", frozenset(), frozenset()) for prompt in prompts),
        tuple(range(_PROMPTS)), (_LEAST_VOXELS,) * _PROMPTS,
        AnswerProfile(slope=_SLOPE, offset=_OFFSET),
    )  # fmt: skip
    return Question(TextQuery(prompts, None, _THRESHOLD), _texts(), rivals)


def _texts() -> EncodedTexts:
    generator = torch.Generator().manual_seed(5)
    vectors = normalize(torch.randn((_TEXTS, _DIM), generator=generator), dim=1)
    return EncodedTexts(vectors, torch.zeros(_TEXTS, dtype=torch.bool), _LOGIT_SCALE, False)


def _basis() -> FeatureBasis:
    generator = torch.Generator().manual_seed(6)
    vectors = torch.linalg.qr(torch.randn((_DIM, _RANK), generator=generator)).Q
    return FeatureBasis(vectors.contiguous(), ENCODER)


def _map(num_voxels: int, basis: FeatureBasis) -> LiftedMap:
    """A map whose features lie in the basis."""
    lifted = LiftedMap(bench_scene.filled_map(num_voxels, _DIM, _VOXEL_M))
    generator = torch.Generator().manual_seed(7)
    lifted.voxels.replace_features(
        normalize(torch.randn((len(chunk), _RANK), generator=generator), dim=1) @ basis.vectors.T
        for _, chunk in lifted.voxels.feature_chunks()
    )
    return lifted


def _purified(lifted: LiftedMap, basis: FeatureBasis) -> Purified:
    settings = with_values(Config(), {"purify.embedding": "geometric"}).purify
    watch = Stopwatch(lifted.voxels.device)
    made = PurifyJob(PurifyTask(lifted.snapshot(), settings, None, basis, None, watch)).run()
    assert isinstance(made, Purified)
    return made


def _bytes_of(affinity: Affinity) -> int:
    return sum(t.numel() * t.element_size() for t in (affinity.index, affinity.weight))
