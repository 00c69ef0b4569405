"""Train the built-in text tower: MiniLM's vectors, distilled over nouns, phrases and slips.

A labelled phrase is also drawn to the name of its class and away from the other names, so that
"divan bed" lands beside "sofa" and a mistyped word beside the right one.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from geopurify_ros.data.output_files import check_replaceable
from geopurify_ros.encoders.text_tower import TextShape, TextTower, tokenize
from geopurify_ros.encoders.wordpiece import WordPiece
from geopurify_ros.train.rooms.classes import room_classes
from geopurify_ros.train.text.minilm import MiniLM
from geopurify_ros.train.text.phrases import Phrase, mistyped, nouns, varied
from geopurify_ros.train.text.wordnet import read_wordnet
from geopurify_ros.train.trainer import Schedule, fit, recent

_WARM_STEPS = 50
_WEIGHT_DECAY = 0.01
_SLIP_SHARE = 0.3
_PLAIN_SHARE = 0.3  # phrases that stay as they are in the list
_NAME_SCALE = 25.0  # of cosines, in the loss over class names
_MATCH_SCALE = 20.0  # of cosines, in the loss over the batch
_NUM_FOR_AXES = 20000
_SHARES = {"distance": 5.0, "drift": 2.0, "match": 0.3, "name": 0.5}  # of the losses in the sum


@dataclass(frozen=True)
class TextSettings:
    """How to train.

    Attributes:
        steps: in all.
        batch: phrases a step, half of them of a known class.
        learning_rate: the highest.
        seed: of all randomness.
        feature_dim: of the shared space.
        rank: of the factored table of sub-words.
    """

    steps: int = 1400
    batch: int = 128
    learning_rate: float = 3e-4
    seed: int = 0
    feature_dim: int = 256
    rank: int = 128


def train_text(out: Path, settings: TextSettings) -> dict[str, Any]:
    """Distil; vocabulary, weights and curve come to `out`, see trainer.fit.

    Returns:
        Figures of the last stretch.

    Raises:
        InputError: MiniLM or WordNet is not installed.
        ConfigError: no steps.
    """
    schedule = Schedule(
        settings.steps, _WARM_STEPS, settings.learning_rate, _WEIGHT_DECAY, settings.seed, 1.0
    )
    torch.manual_seed(settings.seed)
    teacher = MiniLM()
    phrases = nouns(read_wordnet())
    model, splitter = student_of(teacher, phrases, settings)
    out.mkdir(parents=True, exist_ok=True)
    check_replaceable(out / "vocabulary.txt", "list of sub-words")
    (out / "vocabulary.txt").write_text("\n".join(splitter.vocabulary) + "\n")
    task = _Task(model, splitter, teacher, _Picker(phrases, settings))
    about = {k: v for k, v in asdict(settings).items() if k != "steps"}
    return recent(fit(task, schedule, out, about))


def student_of(
    teacher: MiniLM, phrases: list[Phrase], settings: TextSettings
) -> tuple[TextTower, WordPiece]:
    """A tower that starts from every other layer of the teacher, and its splitter."""
    old = teacher.vocabulary
    keep = [k for k, word in enumerate(old) if word.isascii() and not word.startswith("[unused")]
    shape = TextShape(len(keep), rank=settings.rank, feature_dim=settings.feature_dim)
    model = TextTower(shape)
    weights = {k: v.float() for k, v in teacher.model.state_dict().items()}
    with torch.no_grad():
        _copy_table(model, weights, keep)
        for k, layer in enumerate(model.layers):
            _copy_layer(layer, weights, f"encoder.layer.{2 * k + 1}.")
        model.project.weight.copy_(_axes(teacher, phrases, settings))
    return model, WordPiece(tuple(old[k] for k in keep))


def _copy_table(model: TextTower, weights: dict[str, Tensor], keep: list[int]) -> None:
    table = weights["embeddings.word_embeddings.weight"][keep]
    left, size, right = torch.linalg.svd(table, full_matrices=False)
    rank = model.pieces.weight.shape[1]
    model.pieces.weight.copy_(left[:, :rank] * size[:rank].sqrt())
    model.widen.weight.copy_(right[:rank].T * size[:rank].sqrt())
    model.widen.bias.copy_(weights["embeddings.token_type_embeddings.weight"][0])
    places = weights["embeddings.position_embeddings.weight"]
    model.positions.weight.copy_(places[: len(model.positions.weight)])
    model.norm.weight.copy_(weights["embeddings.LayerNorm.weight"])
    model.norm.bias.copy_(weights["embeddings.LayerNorm.bias"])


def _copy_layer(layer: Any, weights: dict[str, Tensor], prefix: str) -> None:
    parts = [f"{prefix}attention.self.{n}" for n in ("query", "key", "value")]
    sources = {
        "out": "attention.output.dense", "norm1": "attention.output.LayerNorm",
        "up": "intermediate.dense", "down": "output.dense", "norm2": "output.LayerNorm",
    }  # fmt: skip
    for kind in ("weight", "bias"):
        getattr(layer.qkv, kind).copy_(torch.cat([weights[f"{p}.{kind}"] for p in parts]))
        for name, source in sources.items():
            getattr(getattr(layer, name), kind).copy_(weights[f"{prefix}{source}.{kind}"])


def _axes(teacher: MiniLM, phrases: list[Phrase], settings: TextSettings) -> Tensor:
    """(D, 384): the directions in which the vectors of nouns vary most."""
    rng = np.random.default_rng(settings.seed)
    known = [p.text for p in phrases if p.label]
    others = [p.text for p in phrases if not p.label]
    count = min(len(others), _NUM_FOR_AXES - len(known))
    vectors = teacher.many(known + [others[k] for k in rng.permutation(len(others))[:count]])
    weight = torch.ones(len(vectors), 1)
    weight[: len(known)] = 5.0  # the household comes first
    values, axes = torch.linalg.eigh((vectors * weight).T @ vectors)
    best = values.argsort(descending=True)[: settings.feature_dim]
    result: Tensor = axes[:, best].T.contiguous()
    return result


class _Picker:
    """Random phrases of a step: (clean, typed, label) each."""

    def __init__(self, phrases: list[Phrase], settings: TextSettings) -> None:
        self._settings = settings
        self._others = [p for p in phrases if p.label is None]
        by_class: dict[str, list[Phrase]] = defaultdict(list)
        for phrase in phrases:
            if phrase.label is not None:
                by_class[phrase.label].append(phrase)
        self._known = list(by_class.values())

    def __call__(self, number: int) -> list[tuple[str, str, str | None]]:
        rng = np.random.default_rng([self._settings.seed, number])
        half = self._settings.batch // 2
        picks = [self._of_class(rng) for _ in range(half)]
        picks += [self._others[k] for k in rng.integers(len(self._others), size=half)]
        rows = []
        for pick in picks:
            clean = pick if rng.random() < _PLAIN_SHARE else varied(pick, rng)
            typed = mistyped(clean.text, rng) if rng.random() < _SLIP_SHARE else clean.text
            rows.append((clean.text, typed, pick.label))
        return rows

    def _of_class(self, rng: np.random.Generator) -> Phrase:
        phrases = self._known[int(rng.integers(len(self._known)))]
        if rng.random() < 0.5:  # the name and the synonyms come first in the list
            return phrases[int(rng.integers(min(len(phrases), 4)))]
        return phrases[int(rng.integers(len(phrases)))]


class _Task:
    """`trainer.Task` of the text tower."""

    def __init__(
        self, model: TextTower, splitter: WordPiece, teacher: MiniLM, pick: _Picker
    ) -> None:
        self.net = model
        self._splitter, self._teacher, self._pick = splitter, teacher, pick
        self._axes = model.project.weight.detach().clone()

    def groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """All weights alike."""
        return [(1.0, list(self.net.parameters()))]

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Randomness comes from (seed, step), as numpy draws it."""
        names = list(room_classes())
        rows = self._pick(step)
        labels = torch.tensor([names.index(label) if label else -1 for _, _, label in rows])
        with torch.autocast("cpu", torch.bfloat16):
            wanted = self._teacher([clean for clean, _, _ in rows] + names)
            anchors = self.net(*tokenize(self._splitter, names)).float()
            typed = self.net(*tokenize(self._splitter, [typed for _, typed, _ in rows])).float()
        return _losses(normalize(wanted @ self._axes.T, dim=1), anchors, typed, labels)

    def after_step(self, step: int) -> None:
        """Nothing."""

    def where(self, step: int) -> str:
        """Phrases are of many classes."""
        return "try a lower learning rate"


def _losses(
    target: Tensor, anchors: Tensor, typed: Tensor, labels: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Loss of a batch, and its parts.

    Args:
        target: (L + C, D) vectors that the phrases and then the class names should have.
        anchors: (C, D) vectors of the class names.
        typed: (L, D) vectors of the phrases as typed.
        labels: (L,) class of each phrase, -1 = none.
    """
    goal, name_goal = target[: len(typed)], target[len(typed) :]
    known = labels >= 0
    goal = normalize(goal + known[:, None] * name_goal[labels.clamp(min=0)], dim=1)
    parts = {
        "distance": 1 - (typed * goal).sum(dim=1).mean(),
        "drift": 1 - (anchors * name_goal).sum(dim=1).mean(),
        "match": cross_entropy(_MATCH_SCALE * typed @ goal.T, _same_goal(goal)),
        "name": cross_entropy(_NAME_SCALE * (typed @ anchors.T)[known], labels[known]),
    }
    loss = sum(_SHARES[name] * part for name, part in parts.items())
    right = (typed @ anchors.T)[known].argmax(dim=1) == labels[known]
    parts["right"] = right.float().mean()
    return torch.as_tensor(loss), {name: part.item() for name, part in parts.items()}


def _same_goal(goal: Tensor) -> Tensor:
    """(L, L) shares of rows that want the same vector, so that these are no wrong answers."""
    same = (goal @ goal.T > 0.98).float()
    return same / same.sum(dim=1, keepdim=True)
