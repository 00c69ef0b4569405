"""Score an encoder on the pixels of labelled sequences, before any map is made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from geopurify_ros.core.mapping.encoder import ImageTextEncoder, encode_frame
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.data.readers.sequence import Sequence as LabelledSequence
from geopurify_ros.errors import InputError
from geopurify_ros.evaluate.metrics import class_scores, confusion_matrix, renumbered
from geopurify_ros.progress import progress

_NUM_CONFUSIONS = 20


def score_pixels(
    encoder: ImageTextEncoder,
    folders: Sequence[Path],
    vocabulary: Sequence[str],
    kept_out: frozenset[str],
    use_depth: bool = True,
) -> dict[str, Any]:
    """Label every pixel by the nearest name and compare.

    Args:
        encoder: to score.
        folders: labelled sequences.
        vocabulary: the full list of candidates, for the classes never trained on; in the scores
            of a sequence its own names are the candidates, as `geopurify eval` has it.
        kept_out: of these the accuracy among the whole vocabulary is given too.
        use_depth: hand the depth images to an encoder that takes them.

    Returns:
        Per sequence and mean mIoU and mAcc, accuracy of each kept-out class, the commonest
        confusions (shares of the pixels of the true class).

    Raises:
        InputError: a folder has no labels.
    """
    table = _Table(encoder, tuple(vocabulary), kept_out, use_depth)
    seen = progress(folders, len(folders), "score", "room")
    rooms = {folder.name: table.add(folder) for folder in seen}
    return {
        "encoder": encoder.id,
        "rooms": rooms,
        "miou": _mean([room["miou"] for room in rooms.values()]),
        "macc": _mean([room["macc"] for room in rooms.values()]),
        **table.summary(),
    }


class _Table:
    """Counts over all sequences, with the whole vocabulary as candidates."""

    def __init__(
        self, encoder: ImageTextEncoder, names: tuple[str, ...], kept_out: frozenset[str],
        use_depth: bool,
    ) -> None:
        self._encoder, self._names, self._kept_out = encoder, names, kept_out
        self._use_depth = use_depth
        self._text = encoder.encode_text(names)
        self._number = {name: k + 1 for k, name in enumerate(names)}
        self._confusion = torch.zeros(len(names) + 1, len(names) + 1, dtype=torch.int64)

    def add(self, folder: Path) -> dict[str, Any]:
        """Score one sequence among its own names."""
        sequence = LabelledSequence(folder)
        if not sequence.has_labels:
            raise InputError(f"{folder} has no labels: there is nothing to compare with")
        names = tuple(sequence.class_names.values())
        unknown = [name for name in names if name not in self._number]
        if unknown:
            raise InputError(f"{folder} has the class '{unknown[0]}', which is no room class")
        own = torch.tensor([self._number[name] for name in names])
        local = torch.zeros(len(self._names) + 1, dtype=torch.int64)
        local[own] = torch.arange(1, len(own) + 1)
        ids = list(sequence.class_names)
        vocabulary = torch.cat((torch.zeros(1, dtype=torch.int64), own))
        confusion = torch.zeros(len(own) + 1, len(own) + 1, dtype=torch.int64)
        for number in range(len(sequence)):
            truth = vocabulary[torch.from_numpy(renumbered(sequence.label(number), ids))]
            likeness = self._likeness(sequence.frame(number), truth.shape)
            among_all = likeness.argmax(dim=0) + 1
            among_own = likeness[own - 1].argmax(dim=0) + 1
            confusion += confusion_matrix(among_own.flatten(), local[truth].flatten(), len(own))
            self._confusion += confusion_matrix(
                among_all.flatten(), truth.flatten(), len(self._names)
            )
        scores = class_scores(confusion, names)
        return {"miou": scores.miou, "macc": scores.macc, "iou": scores.iou}

    def summary(self) -> dict[str, Any]:
        """What is counted over all sequences."""
        scores = class_scores(self._confusion, self._names)
        kept_out = {n: v for n, v in scores.accuracy.items() if n in self._kept_out}
        pixels = self._confusion.sum(dim=1)
        rows = [self._number[name] for name in kept_out]
        hit = self._confusion.diagonal()[rows].sum() / max(int(pixels[rows].sum()), 1)
        return {
            "vocabulary": len(self._names),
            "vocabulary_miou": scores.miou,
            "kept_out": kept_out,
            "kept_out_mean": _mean(list(kept_out.values())),
            "kept_out_pixels": float(hit),
            "confusions": self._commonest(pixels),
        }

    def _likeness(self, frame: RgbdFrame, shape: torch.Size) -> Tensor:  # (C, H, W)
        features = encode_frame(self._encoder, frame, "cpu", self._use_depth)
        maps = torch.einsum("bdhw,cd->bchw", features.float(), self._text.float())
        return interpolate(maps, size=tuple(shape), mode="bilinear", align_corners=False)[0].cpu()

    def _commonest(self, pixels: Tensor) -> list[tuple[str, str, float]]:
        wrong = self._confusion.clone()
        wrong.fill_diagonal_(0)
        counts = Counter({(int(i), int(k)): int(wrong[i, k]) for i, k in wrong.nonzero()})
        return [
            (self._names[i - 1], self._names[k - 1], round(n / int(pixels[i]), 3))
            for (i, k), n in counts.most_common(_NUM_CONFUSIONS)
        ]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
