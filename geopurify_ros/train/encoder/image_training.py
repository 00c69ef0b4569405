"""Train the built-in image tower on pixels of rooms, without forgetting ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geopurify_ros.encoders.image_tower import ImageTower, Trunk
from geopurify_ros.errors import ConfigError
from geopurify_ros.train.encoder.feature_bank import Bank, Mixture, make_bank
from geopurify_ros.train.encoder.learner import Learner, NameBank, TextEncoder
from geopurify_ros.train.encoder.room_images import load_views
from geopurify_ros.train.encoder.trunk import imagenet_names, pretrained_trunk
from geopurify_ros.train.rooms.catalogue import KEPT_OUT_CLASSES
from geopurify_ros.train.rooms.classes import room_classes
from geopurify_ros.train.trainer import (
    Schedule,
    fit,
    recent,
    trained_settings,
    trained_weights,
)  # fmt: skip

_WARM_STEPS = 100
_WEIGHT_DECAY = 0.02
_ROWS_FOR_USUAL = 200
_FEW_VIEWS = 1000
_LEAST_SHARE = 2e-4  # of a class, below it the weight grows no more
_RATE_TO_GO_ON = 0.5
_TAUGHT = 0.8  # likeness to the name of a class from which a word of ImageNet is left out
# By Learner and _prepare, whatever another training had.
_MADE_HERE = ("row_of", "tower.class_vectors", "tower.usual", "tower.knowledge_weight")
_LAYOUT = torch.channels_last  # 1.5 times as fast on a processor


@dataclass(frozen=True)
class ImageSettings:
    """How to train.

    Attributes:
        steps: in all.
        batch: images a step.
        variants: sections of every view, see train.bank.
        learning_rate: of the decoder, the highest.
        trunk_rate: of the last two stages of the trunk, as a share of that.
        keep: weight of the loss that keeps the ImageNet classes.
        traced_share: of the images that come from the path-traced rooms, if there are any.
        without_depth: share of the images that the tower must tell by colour alone.
        knowledge_weight: of the ConSE words in a feature.
        seed: of all randomness.
    """

    steps: int = 8000
    batch: int = 12
    variants: int = 2
    learning_rate: float = 2e-3
    trunk_rate: float = 0.1
    keep: float = 4.0
    traced_share: float = 0.25
    without_depth: float = 0.2
    knowledge_weight: float = 0.75
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the shares."""
        for name in ("traced_share", "trunk_rate", "without_depth"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a share, expected 0 to 1")


def train_image(
    out: Path, rooms: Sequence[Path], traced: Path | None, encode: TextEncoder,
    settings: ImageSettings, start: Path | None = None,
) -> dict[str, Any]:
    """Train; weights and curve come to `out`, see trainer.fit.

    Args:
        out: folder of the training; what it holds is continued.
        rooms: folders made by `geopurify train rooms`.
        traced: another one, path-traced, or None.
        encode: texts to (L, D) unit vectors: the text tower.
        settings: how.
        start: folder of another training, kept until this one has ended: it begins with the
            weights saved there, at half the learning rate; parts that it has not begin anew.

    Returns:
        Figures of the last stretch.

    Raises:
        ConfigError: two folders of one name, under which the features of both would be kept;
            `start` holds another network.
        InputError: `start` or a folder holds nothing that can be read.
    """
    rate = settings.learning_rate * (1 if start is None else _RATE_TO_GO_ON)
    schedule = Schedule(settings.steps, _WARM_STEPS, rate, _WEIGHT_DECAY, settings.seed, 1.0)
    torch.manual_seed(settings.seed)
    names = NameBank(encode)
    frozen = pretrained_trunk().eval().requires_grad_(False)
    model = Learner(ImageTower(names.feature_dim), names.used)
    model.tower.trunk.load_state_dict(frozen.state_dict())
    about = {k: v for k, v in asdict(settings).items() if k != "steps"}
    if start is not None:
        _take_over(start, model)
        about["start"] = trained_settings(start)
    mixture = _mixture(out, rooms, traced, frozen, settings)
    model.to(memory_format=_LAYOUT)  # type: ignore[call-overload]
    weight = _class_weight(mixture.banks)
    classes = list(room_classes())
    taught = [classes[n - 1] for n, shown in zip(names.used, weight > 0, strict=True) if shown]
    _prepare(model.tower, frozen, encode, mixture.banks[0], settings, taught)
    task = _Task(model, frozen, names, mixture, weight, settings)
    return recent(fit(task, schedule, out, about))


def _take_over(start: Path, model: Learner) -> None:
    """What another training has learnt."""
    weights = {k: v for k, v in trained_weights(start).items() if k not in _MADE_HERE}
    own = model.state_dict()
    for name, value in weights.items():
        if name not in own or own[name].shape != value.shape:
            raise ConfigError(f"{start} holds another network, with another {name}: train anew")
    model.load_state_dict(weights, strict=False)


def _mixture(
    out: Path, rooms: Sequence[Path], traced: Path | None, frozen: Trunk, settings: ImageSettings
) -> Mixture:
    """All folders, by their numbers of images; the path-traced one has the share of its own."""
    folders = [*rooms] if traced is None else [*rooms, traced]
    if len({path.name for path in folders}) < len({path.resolve() for path in folders}):
        raise ConfigError("two folders of rooms have the same name: rename one of them")
    banks = [_bank(out, folder, frozen, settings) for folder in folders]
    counts = np.array([len(bank.label) for bank in banks[: len(rooms)]], dtype=np.float64)
    shares = counts / counts.sum()
    if traced is not None:
        shares = np.append(shares * (1 - settings.traced_share), settings.traced_share)
    return Mixture(banks, shares, settings.batch, settings.without_depth)


def _bank(out: Path, rooms: Path, frozen: Trunk, settings: ImageSettings) -> Bank:
    """The frozen features of a folder; a path-traced one is small and gets more variants."""
    source = f"{rooms.resolve()}: {len(list(rooms.glob('room_*')))} rooms"
    few = len(list(rooms.glob("room_*/color/*.jpg"))) < _FEW_VIEWS
    variants = settings.variants * (2 if few else 1)
    return make_bank(
        out / f"bank_{rooms.name}", lambda: load_views(rooms), frozen, variants, settings.seed,
        source,
    )  # fmt: skip


class _Task:
    """`trainer.Task` of the image tower."""

    def __init__(
        self, model: Learner, frozen: Trunk, names: NameBank, mixture: Mixture, weight: Tensor,
        settings: ImageSettings,
    ) -> None:
        self.net = model
        self._frozen, self._names, self._mixture, self._settings = frozen, names, mixture, settings
        self._weight = weight

    def groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """Decoder and scale; the last two stages of the trunk."""
        trunk = self.net.tower.trunk
        for part in (trunk.stem, *trunk.stages[:5]):
            part.requires_grad_(False)  # edges, textures and parts are the same everywhere
        slow = [p for p in trunk.parameters() if p.requires_grad]
        fast = [*self.net.tower.decoder.parameters(), self.net.log_scale]
        return [(1.0, fast), (self._settings.trunk_rate, slow)]

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Randomness comes from (seed, step), as numpy draws it."""
        rng = np.random.default_rng([self._settings.seed, step])
        batch = self._mixture.draw(rng, _LAYOUT)
        losses = self.net.losses(batch, self._frozen, self._names.sample(rng), self._weight, rng)
        total = losses["pixels"] + self._settings.keep * losses["keep"]
        return total, {name: value.item() for name, value in losses.items()}

    def after_step(self, step: int) -> None:
        """Nothing."""

    def where(self, step: int) -> str:
        """Batches are of many rooms."""
        return "try a lower learning rate"


def _class_weight(banks: list[Bank]) -> Tensor:
    """(C,) rare classes count more: one over the root of the share; 0 where none is shown."""
    used = [k + 1 for k, name in enumerate(room_classes()) if name not in KEPT_OUT_CLASSES]
    counts = sum((np.bincount(bank.label.ravel(), minlength=256) for bank in banks), np.zeros(256))
    share = counts[used] / max(counts[1:].sum(), 1)
    weight = np.where(share > 0, 1 / np.sqrt(share + _LEAST_SHARE), 0)
    return torch.from_numpy((weight / max(weight.max(), 1e-9)).astype(np.float32))


def _prepare(
    tower: ImageTower, frozen: Trunk, encode: TextEncoder, bank: Bank, settings: ImageSettings,
    taught: list[str],
) -> None:
    """The ImageNet classes in words, and what they usually say about rooms.

    Words for the classes that are `taught` are left out: the decoder knows those better, and what
    no room shows is heard more clearly.
    """
    tower.knowledge_weight.fill_(settings.knowledge_weight)
    words = encode(imagenet_names())
    is_new = (words @ encode(taught).T).amax(dim=1) < _TAUGHT
    tower.class_vectors.copy_(words * is_new[:, None])
    rows = np.linspace(0, len(bank.label) - 1, _ROWS_FOR_USUAL).astype(np.int64)
    with torch.no_grad():
        words = tower.words(frozen.classify(bank.pick(rows).deep))
    tower.usual.copy_(words.mean(dim=(0, 2, 3)))
