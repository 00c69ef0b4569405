"""A vocabulary for encoders that know any word but bring no list of things: household.txt."""

from __future__ import annotations

import functools
from pathlib import Path

from geopurify_ros.core.mapping.encoder import AnswerProfile

_FILE = Path(__file__).parents[1] / "assets" / "household.txt"


@functools.cache
def household() -> tuple[tuple[str, ...], AnswerProfile]:
    """Names of things and their synonyms; nobody calibrated them."""
    names: list[str] = []
    synonyms: dict[str, str] = {}
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, others = line.partition(" ; ")
        names.append(name)
        if others != "-":
            synonyms |= dict.fromkeys(others.split(", "), name)
    return tuple(names), AnswerProfile(synonyms)
