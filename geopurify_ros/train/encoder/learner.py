"""What the image tower learns from a batch: its losses, and the names of the classes.

The loss draws the feature of a pixel to the words for its class and away from a sample of the
others. Two terms keep what the trunk knew: its class probabilities stay near those of a frozen
copy, and the ConSE words (see image_tower) take part in every feature.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from geopurify_ros.encoders.image_tower import ImageTower, Trunk
from geopurify_ros.train.encoder.cell_sampling import balanced, cells_at, enlarged_at, left_out
from geopurify_ros.train.encoder.feature_bank import Batch
from geopurify_ros.train.rooms.catalogue import KEPT_OUT_CLASSES
from geopurify_ros.train.rooms.classes import room_classes

TextEncoder = Callable[[list[str]], Tensor]
_FRAMES = ("{}", "{}", "a {}", "the {}", "a photo of a {}", "{} in a room")
_LARGEST_SCALE = 40.0
_KEEP_ONE_OF = 4  # images that the loss which keeps the ImageNet classes looks at


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


class Learner(nn.Module):
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
        batch: Batch,
        frozen: Trunk,
        names: Tensor,
        weight: Tensor,
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """Means over a batch: "pixels", "keep", and "right", the share of right pixels."""
        trunk, few = self.tower.trunk, max(1, len(batch.near) // _KEEP_ONE_OF)
        maps = [batch.edges, batch.near, batch.middle, trunk.late(batch.middle)]
        coarse, fine = self.tower.decoder.seen(maps, batch.channels)
        size = (fine.shape[2], fine.shape[3])
        rows = self.row_of[batch.label].flatten()
        picks = balanced(rows, weight, rng)
        with torch.no_grad():
            target = frozen.classify(batch.deep[:few])
            known = self.tower.known(trunk.classify(maps[-1]))
            words = enlarged_at(known, size, picks)
        logits = trunk.classify(maps[-1][:few])
        features = self._features(enlarged_at(coarse, size, picks), cells_at(fine, picks))
        pixels = self.tower.combine(features, words)
        wanted = rows[picks]
        scores = self.log_scale.exp().clamp(max=_LARGEST_SCALE) * pixels @ names.T
        scores = scores.masked_fill(left_out(wanted, len(names), rng), -1e4)
        return {
            "pixels": cross_entropy(scores, wanted),
            "keep": kl_div(log_softmax(logits, 1), softmax(target, 1),
                           reduction="none").sum(dim=1).mean(),
            "right": (scores.argmax(dim=1) == wanted).float().mean(),
        }  # fmt: skip

    def _features(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(K, D) of some cells, as `Decoder.forward` has them.

        Shares of cells that enlarging mixes sum to 1, so that `features` may follow it as well.
        """
        decoder = self.tower.decoder
        made: Tensor = decoder.features(coarse[..., None, None])
        made = made + decoder.detail(fine[..., None, None])
        return made[..., 0, 0]
