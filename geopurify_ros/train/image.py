"""Train the built-in image tower on pixels of rooms, without forgetting ImageNet.

The loss draws the feature of a pixel to the words for its class and away from a sample of the
others. Two terms keep what the trunk knew: its class probabilities stay near those of a frozen
copy, and the ConSE words (see image_tower) take part in every feature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from geopurify_ros.encoders.image_tower import ImageTower, Trunk
from geopurify_ros.errors import ConfigError
from geopurify_ros.train.bank import Bank, make_bank
from geopurify_ros.train.catalogue import KEPT_OUT_CLASSES
from geopurify_ros.train.classes import room_classes
from geopurify_ros.train.loop import check_steps, run, warm_cosine
from geopurify_ros.train.room_images import load_views
from geopurify_ros.train.trunk import imagenet_names, pretrained_trunk

_WARM_STEPS = 100
_FRAMES = ("{}", "{}", "a {}", "the {}", "a photo of a {}", "{} in a room")
_LEFT_OUT_NAMES = 0.3  # share of the wrong names that a step does without
_LARGEST_SCALE = 40.0
_KEEP = 1.0  # weight of the loss that keeps the ImageNet classes
_ROWS_FOR_USUAL = 200
_FEW_VIEWS = 400
_LEAST_SHARE = 2e-4  # of a class, below it the weight grows no more

TextEncoder = Callable[[list[str]], Tensor]


@dataclass(frozen=True)
class ImageSettings:
    """How to train.

    Attributes:
        steps: in all.
        batch: images a step.
        variants: sections of every view, see train.bank.
        learning_rate: of the decoder, the highest.
        trunk_rate: of the deeper half of the trunk, as a share of that.
        traced_share: of the images that come from the path-traced rooms, if there are any.
        knowledge_weight: of the ConSE words in a feature.
        seed: of all randomness.
    """

    steps: int = 3000
    batch: int = 24
    variants: int = 3
    learning_rate: float = 2e-3
    trunk_rate: float = 0.1
    traced_share: float = 0.2
    knowledge_weight: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the shares."""
        if not 0 <= self.traced_share <= 1 or not 0 <= self.trunk_rate <= 1:
            raise ConfigError("traced_share and trunk_rate are shares, expected 0 to 1")


def train_image(
    out: Path, rooms: Path, traced: Path | None, encode: TextEncoder, settings: ImageSettings
) -> dict[str, Any]:
    """Train; the weights come to out/state.pt, the curve to out/metrics.json.

    Args:
        out: folder of the training; what it holds is continued.
        rooms: folder made by `geopurify train rooms`.
        traced: the same, path-traced, or None.
        encode: texts to (L, D) unit vectors: the text tower.
        settings: how.

    Returns:
        Figures of the last stretch.
    """
    check_steps(settings.steps)
    torch.manual_seed(settings.seed)
    names = NameBank(encode)
    frozen = pretrained_trunk().eval().requires_grad_(False)
    folders = [folder for folder in (rooms, traced) if folder is not None]
    banks = [_bank(out, folder, frozen, settings) for folder in folders]
    model = _Learner(ImageTower(names.feature_dim), names.used)
    _prepare(model, frozen, encode, banks[0], settings)
    optimizer = torch.optim.AdamW(_groups(model, settings), weight_decay=0.02)
    rates = [group["lr"] for group in optimizer.param_groups]
    weight = _class_weight(banks)

    def step(number: int) -> dict[str, float]:
        factor = warm_cosine(number, settings.steps, _WARM_STEPS)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        rng = np.random.default_rng([settings.seed, number])
        losses = model.losses(_batch(banks, settings, rng), frozen, names.sample(rng), weight, rng)
        optimizer.zero_grad()
        (losses["pixels"] + _KEEP * losses["keep"]).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return {name: value.item() for name, value in losses.items()}

    return run(out, model, optimizer, step, settings.steps, asdict(settings), every=50)[-1]


def _bank(out: Path, rooms: Path, frozen: Trunk, settings: ImageSettings) -> Bank:
    """The frozen features of a folder; a path-traced one is small and gets more variants."""
    source = f"{rooms.resolve()}: {len(list(rooms.glob('room_*')))} rooms"
    few = len(list(rooms.glob("room_*/color/*.jpg"))) < _FEW_VIEWS
    variants = settings.variants * (4 if few else 1)
    return make_bank(
        out / f"bank_{rooms.name}", lambda: load_views(rooms), frozen, variants, settings.seed,
        source,
    )  # fmt: skip


class NameBank:
    """Text vectors of what the trained classes may be called."""

    def __init__(self, encode: TextEncoder) -> None:
        """Encode names and synonyms in several frames; kept-out classes are not among them."""
        self.used = [
            k + 1 for k, name in enumerate(room_classes()) if name not in KEPT_OUT_CLASSES
        ]
        classes = list(room_classes().values())
        self._vectors = []
        for number in self.used:
            row = classes[number - 1]
            # the name itself is asked for most
            words = [row.name] * len(row.synonyms) + list(row.synonyms)
            self._vectors.append(encode([f.format(w) for w in words for f in _FRAMES]))
        self.feature_dim = self._vectors[0].shape[1]

    def sample(self, rng: np.random.Generator) -> Tensor:
        """(C, D): one vector for every class in `used`."""
        return torch.stack([v[int(rng.integers(len(v)))] for v in self._vectors])


class _Learner(nn.Module):
    """The tower with what only training needs."""

    row_of: Tensor

    def __init__(self, tower: ImageTower, used: list[int]) -> None:
        super().__init__()
        self.tower = tower
        self.log_scale = nn.Parameter(torch.tensor(15.0).log())
        rows = torch.full((256,), -1)
        rows[used] = torch.arange(len(used))
        self.register_buffer("row_of", rows)

    def losses(
        self,
        batch: tuple[Tensor, Tensor, Tensor, Tensor],
        frozen: Trunk,
        names: Tensor,
        weight: Tensor,
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """Means over a batch: "pixels", "keep", and "right", the share of right pixels."""
        near, middle, deep, labels = batch
        with torch.no_grad():
            target = frozen.classify(deep)
        maps = [near, *self.tower.trunk.late(middle)]
        logits = self.tower.trunk.classify(maps[-1])
        output = self.tower.combine(self.tower.decoder(maps), logits.detach())
        rows = self.row_of[labels]
        known = rows >= 0
        pixels = output.permute(0, 2, 3, 1)[known]
        scores = self.log_scale.exp().clamp(max=_LARGEST_SCALE) * pixels @ names.T
        scores = scores.masked_fill(_left_out(rows[known], len(names), rng), -1e4)
        loss = cross_entropy(scores, rows[known], reduction="none")
        share = weight[rows[known]]
        return {
            "pixels": (loss * share).sum() / share.sum(),
            "keep": kl_div(log_softmax(logits, 1), softmax(target, 1),
                           reduction="none").sum(dim=1).mean(),
            "right": (scores.argmax(dim=1) == rows[known]).float().mean(),
        }  # fmt: skip


def _left_out(present: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """(C,) names that are no choice in this step; never one of a class that is present."""
    left_out = torch.from_numpy(rng.random(count) < _LEFT_OUT_NAMES)
    left_out[present] = False
    return left_out


def _groups(model: _Learner, settings: ImageSettings) -> list[dict[str, Any]]:
    trunk = model.tower.trunk
    for part in (trunk.stem, *trunk.stages[:4]):
        part.requires_grad_(False)  # edges, textures and parts are the same everywhere
    slow = [p for p in trunk.parameters() if p.requires_grad]
    fast = [*model.tower.decoder.parameters(), model.log_scale]
    return [
        {"params": fast, "lr": settings.learning_rate},
        {"params": slow, "lr": settings.learning_rate * settings.trunk_rate},
    ]


def _class_weight(banks: list[Bank]) -> Tensor:
    """(C,) rare classes count more: one over the root of the share."""
    used = [k + 1 for k, name in enumerate(room_classes()) if name not in KEPT_OUT_CLASSES]
    counts = sum((np.bincount(bank.label.ravel(), minlength=256) for bank in banks), np.zeros(256))
    share = counts[used] / max(counts[1:].sum(), 1)
    weight = np.where(share > 0, 1 / np.sqrt(share + _LEAST_SHARE), 0)
    return torch.from_numpy((weight / max(weight.max(), 1e-9)).astype(np.float32))


def _batch(
    banks: list[Bank], settings: ImageSettings, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The maps and labels of one step, see Bank.pick."""
    second = round(settings.batch * settings.traced_share) if len(banks) > 1 else 0
    parts = [
        bank.pick(rng.integers(len(bank.label), size=count))
        for bank, count in zip(banks, (settings.batch - second, second), strict=False)
    ]
    near, middle, deep, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    return near, middle, deep, labels


def _prepare(
    model: _Learner, frozen: Trunk, encode: TextEncoder, bank: Bank, settings: ImageSettings
) -> None:
    """Start from the pretrained trunk, and learn what its classes usually say about rooms."""
    tower = model.tower
    tower.trunk.load_state_dict(frozen.state_dict())
    tower.knowledge_weight.fill_(settings.knowledge_weight)
    tower.class_vectors.copy_(encode(imagenet_names()))
    rows = np.linspace(0, len(bank.label) - 1, _ROWS_FOR_USUAL).astype(np.int64)
    with torch.no_grad():
        words = tower.knowledge(frozen.classify(bank.pick(rows)[2]))
    tower.usual.copy_(words.mean(dim=(0, 2, 3)))
