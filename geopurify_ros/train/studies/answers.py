"""What is known of an encoder's answers: names, what a thing of each shows, and calibration.

Sizes come from the truth of training rooms. The calibration is a logistic curve over leads (see
`core.answers.leads`), fitted on validation rooms to every present class and to absent names, asked
for alone, each room alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from geopurify_ros.core.answers.leads import LeadMaker
from geopurify_ros.core.answers.logits import purified_logits
from geopurify_ros.core.answers.pieces import connected_pieces
from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.answers.question import Asking
from geopurify_ros.core.mapping.encoder import AnswerProfile, ImageTextEncoder
from geopurify_ros.data.output_files import write_report
from geopurify_ros.errors import InputError
from geopurify_ros.evaluate.queries import absent_names, present_names
from geopurify_ros.evaluate.reliability import expected_calibration_error
from geopurify_ros.evaluate.runner import Mapped
from geopurify_ros.train.rooms.classes import room_classes

# Of the training synonyms 95 % are that near to their own name, and 1 % of them to another one.
SAME_SIMILARITY = 0.82
_LEAST_PIECE = 8  # voxels; less is a scrap behind something
_NEWTON_STEPS = 30


def names_with_synonyms() -> dict[str, list[str]]:
    """Name -> other words for it, of all that builtin was taught."""
    return {name: list(row.synonyms) for name, row in room_classes().items()}


def profile_of(areas_m2: dict[str, float]) -> AnswerProfile:
    """What is known before the calibration."""
    synonyms = {word: name for name, words in names_with_synonyms().items() for word in words}
    return AnswerProfile(synonyms, areas_m2, SAME_SIMILARITY)


def areas_of(rooms: Iterator[tuple[str, Mapped]]) -> dict[str, float]:
    """Name -> median surface in square metres of the connected pieces of it."""
    found: dict[str, list[float]] = {}
    for _, mapped in rooms:
        voxels = mapped.pipeline.map
        for k, name in enumerate(mapped.class_names, start=1):
            piece = connected_pieces(voxels.coords()[mapped.truth == k])
            sizes = torch.bincount(piece) if len(piece) else piece
            whole = sizes[sizes >= _LEAST_PIECE].tolist()
            found.setdefault(name, []).extend(size * voxels.voxel_size_m**2 for size in whole)
    return {name: round(median(sizes), 4) for name, sizes in sorted(found.items()) if sizes}


def with_profile(encoder: ImageTextEncoder, profile: AnswerProfile) -> ImageTextEncoder:
    """The same encoder, which knows the vocabulary."""
    encoder.vocabulary, encoder.answer_profile = tuple(room_classes()), profile  # type: ignore[attr-defined]
    return encoder


@torch.inference_mode()
def leads_of(mapped: Mapped) -> tuple[Tensor, Tensor]:  # (N,) float32, (N,) bool
    """Leads of names asked for alone over all labelled voxels, and whether they are right."""
    pipeline, labeled = mapped.pipeline, mapped.truth > 0
    asking, leads, hits = Asking(pipeline.encoder, pipeline.device), [], []
    present = present_names(mapped)
    for name in (*present, *absent_names(mapped)):
        question = asking.question(TextQuery((name,), None), pipeline.knows,
                                   pipeline.map.voxel_size_m)  # fmt: skip
        if question.rivals is None or pipeline.result is None:
            raise InputError("the encoder has no vocabulary, or the map is not purified")
        maker = LeadMaker(question.rivals.spared, question.rivals.counting)
        chunks = purified_logits(pipeline.result, pipeline.lifted, question.texts)
        lead = torch.cat([maker.of(logits)[0][:, 0] for _, logits in chunks])
        leads.append(lead[labeled])
        hits.append(mapped.truth[labeled] == present.get(name, -1))
    return torch.cat(leads), torch.cat(hits)


def fitted(rooms: list[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Slope and offset of the logistic curve that fits best, rooms weighing alike.

    Leads under -8 are left out: nobody sees their scores, and they are nearly all.
    """
    parts = [(lead[lead > -8].double(), hit[lead > -8].double()) for lead, hit in rooms]
    x = torch.cat([torch.stack((lead, torch.ones_like(lead)), dim=1) for lead, _ in parts])
    y = torch.cat([hit for _, hit in parts])
    weight = torch.cat([torch.full_like(hit, 1 / max(1, len(hit))) for _, hit in parts])
    curve = x.new_zeros(2)
    for _ in range(_NEWTON_STEPS):
        chance = torch.sigmoid(x @ curve)
        gradient = x.T @ (weight * (chance - y))
        bend = (x * (weight * chance * (1 - chance))[:, None]).T @ x
        curve = curve - torch.linalg.solve(bend + 1e-9 * torch.eye(2).to(bend), gradient)
    slope, offset = curve.tolist()
    return slope, offset


def calibration(rooms: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """The curve, how far it is off, and the reliability diagram."""
    slope, offset = fitted(list(rooms.values()))
    chance = {name: torch.sigmoid(slope * lead + offset) for name, (lead, _) in rooms.items()}
    error, diagram = expected_calibration_error(
        list(chance.values()), [hit for _, hit in rooms.values()]
    )
    of_rooms = {name: expected_calibration_error([chance[name]], [rooms[name][1]])[0]
                for name in rooms}  # fmt: skip
    return {
        "slope": round(slope, 4), "offset": round(offset, 4), "ece": round(error, 4),
        "worst_room_ece": round(max(of_rooms.values()), 4), "rooms": list(rooms),
        "diagram": [[round(mean, 3), round(share, 3), count] for mean, share, count in diagram],
    }  # fmt: skip


def write(path: Path, encoder_id: str, areas_m2: dict[str, float], curve: dict[str, Any]) -> None:
    """The file that `encoders.answers_file` reads."""
    write_report(path, {
        "encoder": encoder_id, "same_similarity": SAME_SIMILARITY, "calibration": curve,
        "areas_m2": areas_m2, "names": names_with_synonyms(),
    })  # fmt: skip
