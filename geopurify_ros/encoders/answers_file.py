"""What is known of an encoder's answers, in a file beside its weights: names and calibration."""

from __future__ import annotations

import json
import math
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
        profile = _profile(content)
        encoder = content["encoder"]
    except (
        OSError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:
        raise CheckpointError(
            f"the answers {path} cannot be read ({error!r}): install the package again"
        ) from error
    if encoder != encoder_id:
        raise CheckpointError(
            f"the answers {path} are of encoder {encoder}, not {encoder_id}: make them anew with "
            "`geopurify train answers`, or take the file away"
        )
    return tuple(content["names"]), profile


def _profile(content: dict[str, Any]) -> AnswerProfile:
    """The content, looked at value by value."""
    names, curve = content["names"], content["calibration"]
    if not names or not all(isinstance(words, list) for words in names.values()):
        raise ValueError("names without lists of synonyms")
    return AnswerProfile(
        {word: name for name, words in names.items() for word in words},
        {name: _number(area, 0.0) for name, area in content["areas_m2"].items()},
        _number(content["same_similarity"], 0.0), _number(curve["slope"], 0.0),
        _number(curve["offset"]),
    )  # fmt: skip


def _number(value: Any, above: float = -math.inf) -> float:
    number = float(value)
    if not math.isfinite(number) or number <= above:
        raise ValueError(f"{value} stands where a number above {above} belongs")
    return number
