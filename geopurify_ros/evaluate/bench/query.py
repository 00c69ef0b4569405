"""Case `query`: five prompts against all alternatives, 161 texts, and twenty.

Labels of purified features that were pooled once, beside the plain way, which pools every text.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
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
from geopurify_ros.evaluate.bench import scene
from geopurify_ros.evaluate.bench.timing import Setup, case, growth_exponent, in_turn

_DIM, _RANK = 256, 144  # as of builtin
_PLAIN_VOXELS, _QUICK_PLAIN_VOXELS = 12_000, 1500
_SIZES, _QUICK_SIZES = (61_440, 243_000, 730_000), (20_000,)
_PROMPTS, _MORE_PROMPTS, _TEXTS = 5, 20, 161
_LOGIT_SCALE = 20.0
_VOXEL_M = 0.05
_ROWS = 4096
_SLOPE, _OFFSET, _THRESHOLD, _LEAST_VOXELS = 0.6, -0.5, 0.2, 8  # nearly those of builtin


def bench_query(setup: Setup) -> dict[str, Any]:
    """Time with the plain way on a small map, and alone on maps of other sizes."""
    question, basis = _question(_PROMPTS, setup), _basis(setup)
    num_plain = setup.either(_PLAIN_VOXELS, _QUICK_PLAIN_VOXELS)
    lifted = _map(num_plain, basis, setup)
    made = _purified(lifted, basis)
    lengths = pool_in_columns(lifted, made.affinity).norm(dim=1)
    # of the plain way: known beforehand, as it kept them from query to query
    runs = in_turn({
        "fast": lambda: labels_of(lifted, made, question),
        "plain": lambda: plain_labels(lifted, made.affinity, question, lengths),
    }, 3, setup.clock)  # fmt: skip
    same = (labels_of(lifted, made, question).label
            == plain_labels(lifted, made.affinity, question, lengths).label)
    sizes = setup.either(_SIZES, _QUICK_SIZES)
    by_voxels = {size: _case_of(size, question, basis, setup) for size in sizes}
    return case(
        runs["fast"], runs["plain"], f"pooling {_TEXTS} texts, {num_plain:,} voxels",
        bool(same.float().mean() >= 0.995),
        growth_exponent=growth_exponent({n: [of["cpu_ms"]] for n, of in by_voxels.items()}),
        kept_bytes_per_voxel=made.num_bytes / len(made),
        affinity_bytes_per_voxel=_bytes_of(made.affinity) / len(made),
        by_voxels=by_voxels,
    )  # fmt: skip


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


def labels_of(lifted: LiftedMap, made: Purified, question: Question) -> VoxelLabels:
    """Of features that are pooled already."""
    return labelled(purified_logits(made, lifted, question.texts), question, lifted)


def _case_of(
    num_voxels: int, question: Question, basis: FeatureBasis, setup: Setup
) -> dict[str, float]:
    """Milliseconds of purified and of raw labels, and of more prompts; what is kept is made up."""
    lifted = _map(num_voxels, basis, setup)
    generator = torch.Generator().manual_seed(4)
    values = torch.cat([
        normalize(torch.randn((len(part), _RANK), generator=generator), dim=1).to(torch.float16)
        for part in torch.split(torch.empty(num_voxels, 0), _ROWS)
    ]).to(setup.device)
    nothing = values.new_zeros((num_voxels, 0), dtype=torch.float32)
    made = Purified(
        basis, values, values.new_ones(num_voxels, dtype=torch.float32),
        Affinity(nothing.to(torch.int32), nothing), nothing.sum(dim=1), None,
        Frozen(torch.zeros(3), None),
    )  # fmt: skip
    more = _question(_MORE_PROMPTS, setup)

    def raw() -> VoxelLabels:
        return labelled(raw_logits(lifted, question.texts), question, lifted)

    return {
        "cpu_ms": _median_ms(lambda: labels_of(lifted, made, question), setup.repeats, setup),
        "cpu_ms_20_prompts": _median_ms(lambda: labels_of(lifted, made, more), 3, setup),
        "raw_cpu_ms": _median_ms(raw, max(1, setup.repeats // 3), setup),
    }


def _median_ms(job: Callable[[], Any], repeats: int, setup: Setup) -> float:
    runs = in_turn({"": job}, repeats, setup.clock)[""]
    return round(statistics.median(runs), 1)


def _question(num_prompts: int, setup: Setup) -> Question:
    """Some prompts and all else that builtin can name; one name is no rival of the first."""
    prompts = tuple(f"prompt {k}" for k in range(num_prompts))
    names = tuple(f"alternative {k}" for k in range(_TEXTS - num_prompts))
    spared = torch.zeros((num_prompts, len(names)), dtype=torch.bool, device=setup.device)
    spared[0, 0] = True
    rivals = Rivals(
        names, spared, spared, spared,
        tuple(Reading(prompt, "", frozenset(), frozenset()) for prompt in prompts),
        tuple(range(num_prompts)), (_LEAST_VOXELS,) * num_prompts,
        AnswerProfile(slope=_SLOPE, offset=_OFFSET),
    )  # fmt: skip
    return Question(TextQuery(prompts, None, _THRESHOLD), _texts(setup), rivals)


def _texts(setup: Setup) -> EncodedTexts:
    generator = torch.Generator().manual_seed(5)
    vectors = normalize(torch.randn((_TEXTS, _DIM), generator=generator), dim=1)
    unreadable = torch.zeros(_TEXTS, dtype=torch.bool, device=setup.device)
    return EncodedTexts(vectors.to(setup.device), unreadable, _LOGIT_SCALE, False)


def _basis(setup: Setup) -> FeatureBasis:
    generator = torch.Generator().manual_seed(6)
    vectors = torch.linalg.qr(torch.randn((_DIM, _RANK), generator=generator)).Q
    return FeatureBasis(vectors.contiguous().to(setup.device), ENCODER)


def _map(num_voxels: int, basis: FeatureBasis, setup: Setup) -> LiftedMap:
    """A map whose features lie in the basis."""
    lifted = LiftedMap(scene.filled_map(num_voxels, _DIM, _VOXEL_M, setup.device))
    generator = torch.Generator().manual_seed(7)
    lifted.voxels.replace_features(
        normalize(torch.randn((len(chunk), _RANK), generator=generator), dim=1).to(setup.device)
        @ basis.vectors.T for _, chunk in lifted.voxels.feature_chunks()
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
