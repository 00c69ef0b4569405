"""What is known of an encoder's answers, in a file beside its weights: names and calibration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from geopurify_ros.core.mapping.encoder import AnswerProfile
from geopurify_ros.errors import CheckpointError


def answers_path(weights: Path) -> Path:
    """Where they lie: NAME_answers.json beside NAME_encoder.safetensors."""
    return weights.with_name(f"{weights.stem.removesuffix('_encoder')}_answers.json")


def read_answers(path: Path, encoder_id: str) -> tuple[tuple[str, ...], AnswerProfile] | None:
    """Names of the vocabulary and what is known of them; None if there is no file.

    Raises:
        CheckpointError: damaged, or of another encoder.
    """
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names: dict[str, list[str]] = content["names"]
        profile = AnswerProfile(
            {word: name for name, words in names.items() for word in words},
            {name: float(area) for name, area in content["areas_m2"].items()},
            float(content["same_similarity"]),
            float(content["calibration"]["slope"]), float(content["calibration"]["offset"]),
        )  # fmt: skip
        encoder = content["encoder"]
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the answers {path} cannot be read ({error!r}): install the package again"
        ) from error
    if encoder != encoder_id:
        raise CheckpointError(
            f"the answers {path} are of encoder {encoder}, not {encoder_id}: make them anew with "
            "`geopurify train answers`, or take the file away"
        )
    return tuple(names), profile
