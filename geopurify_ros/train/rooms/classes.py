"""The classes of generated rooms: one name each, its synonyms, and the models that belong to it.

The table itself is classes.txt, written by hand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PLACES = ("wall", "floor", "table", "top", "mount", "ceiling", "rug", "shell")
_TABLE = Path(__file__).parent / "classes.txt"
_LEFT_OUT = "!"


@dataclass(frozen=True)
class RoomClass:
    """One row of the table.

    Attributes:
        name: canonical name, as in classes.json.
        place: where it stands, one of PLACES.
        synonyms: other words for it; each belongs to one class only.
        keywords: catalogue names (lower case) or "#library:id" of its models.
    """

    name: str
    place: str
    synonyms: tuple[str, ...]
    keywords: tuple[str, ...]


@cache
def room_classes() -> dict[str, RoomClass]:
    """Name -> class, in the order of the table."""
    return {row.name: row for row in _rows() if row.name != _LEFT_OUT}


@cache
def synonym_table() -> dict[str, str]:
    """Every word, canonical names included -> canonical name."""
    return {
        word: row.name for row in room_classes().values() for word in (row.name, *row.synonyms)
    }


def class_of(key: str, catalogue_name: str) -> str | None:
    """The class of a model; None if no class, or "!", claims it.

    Args:
        key: library:id, as in reserved_models.txt.
        catalogue_name: its English name in the catalogue.
    """
    by_key = _keywords().get("#" + key)
    if by_key:
        return by_key
    words = re.sub(r"[^a-z0-9:' ]+", " ", catalogue_name.lower()).split()
    phrases = [
        " ".join(words[start:end])
        for start in range(len(words)) for end in range(start + 1, len(words) + 1)
    ]
    for phrase in sorted(phrases, key=len, reverse=True):
        found = _keywords().get(phrase)
        if found:
            return None if found == _LEFT_OUT else found
    return None


@cache
def _rows() -> tuple[RoomClass, ...]:
    rows = []
    for line in _TABLE.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, place, synonyms, keywords = (part.strip() for part in line.split(";"))
            rows.append(RoomClass(name, place, _words(synonyms), _words(keywords)))
    return tuple(rows)


@cache
def _keywords() -> dict[str, str]:
    return {_plain(word): row.name for row in _rows() for word in row.keywords}


def _plain(word: str) -> str:
    return word if word.startswith("#") else " ".join(re.sub(r"[^a-z0-9:' ]+", " ", word).split())


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip() != "-")
