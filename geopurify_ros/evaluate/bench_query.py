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
from geopurify_ros.core.answers.labelling import labelled
from geopurify_ros.core.answers.logits import purified_logits, raw_logits
from geopurify_ros.core.answers.query import TextQuery, VoxelLabels, label_voxels
from geopurify_ros.core.answers.texts import EncodedTexts
from geopurify_ros.core.mapping.lifted_map import LiftedMap
from geopurify_ros.core.purification.affinity import Affinity
from geopurify_ros.core.purification.basis import ENCODER, FeatureBasis
from geopurify_ros.core.purification.job import PurifyJob
from geopurify_ros.core.purification.pooling import pool, pool_observations
from geopurify_ros.core.purification.purified import Purified
from geopurify_ros.core.stopwatch import Stopwatch
from geopurify_ros.evaluate import bench_scene
from geopurify_ros.evaluate.bench_timing import alternate, growth_exponent

_DIM, _RANK = 256, 144  # as of builtin
_PLAIN_VOXELS = 12_000
_PROMPTS, _TEXTS = 5, 161
_LOGIT_SCALE = 20.0
_VOXEL_M = 0.05
_ROWS = 4096
_ASKED = TextQuery(
    tuple(f"prompt {k}" for k in range(_PROMPTS)),
    tuple(f"alternative {k}" for k in range(_TEXTS - _PROMPTS)),
)


def bench_query(repeats: int, sizes: Sequence[int]) -> dict[str, Any]:
    """Time with the plain way on a small map, and processor time on maps of other sizes."""
    texts, basis = _texts(), _basis()
    lifted = _map(_PLAIN_VOXELS, basis)
    made = _purified(lifted, basis)
    lengths = pool_in_columns(lifted, made.affinity).norm(dim=1)
    # of the plain way: known beforehand, as it kept them from query to query
    timing = alternate(
        lambda: _labels(lifted, made, texts),
        lambda: plain_labels(lifted, made.affinity, texts, lengths), max(3, repeats // 3),
    )  # fmt: skip
    same = (_labels(lifted, made, texts).label
            == plain_labels(lifted, made.affinity, texts, lengths).label)
    by_voxels = {size: _case_of(size, texts, basis, repeats) for size in sizes}
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
    lifted: LiftedMap, affinity: Affinity, texts: EncodedTexts, lengths: Tensor
) -> VoxelLabels:
    """What one would write first: the scores of every text, pooled for this query."""
    scores = lifted.voxels.features() @ texts.vectors.T
    rounds = Config().purify.iterations
    pooled = pool_observations(scores, lifted.voxels.weights(), affinity, rounds)
    return label_voxels(texts.logit_scale * pooled / lengths[:, None].clamp_min(1e-6), _ASKED)


def _labels(lifted: LiftedMap, made: Purified, texts: EncodedTexts) -> VoxelLabels:
    chunks = purified_logits(made, lifted, texts)
    return labelled(chunks, _ASKED, len(lifted.voxels), lifted.voxels.device)


def _case_of(
    num_voxels: int, texts: EncodedTexts, basis: FeatureBasis, repeats: int
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
        basis, values, torch.ones(num_voxels), Affinity(nothing.to(torch.int32), nothing), 0.0, 0.0
    )

    def raw() -> VoxelLabels:
        return labelled(raw_logits(lifted, texts), _ASKED, num_voxels, lifted.voxels.device)

    return {
        "cpu_ms": _processor_ms(lambda: _labels(lifted, made, texts), repeats),
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
    made = PurifyJob(lifted.snapshot(), settings, None, basis, None, watch).run()
    assert made is not None
    return made


def _bytes_of(affinity: Affinity) -> int:
    return sum(t.numel() * t.element_size() for t in (affinity.index, affinity.weight))
