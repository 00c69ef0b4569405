"""The training list of the text tower: household nouns, their kinds, phrases, typing errors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from geopurify_ros.train.rooms.classes import room_classes, synonym_table
from geopurify_ros.train.text.wordnet import (
    ANIMAL,
    ARTIFACT,
    FOOD,
    OBJECT,
    PERSON,
    PLANT,
    SUBSTANCE,
    WordNet,
)

_PROBES = Path(__file__).parent / "text_probes.txt"
_SEEN = (ARTIFACT, FOOD, PLANT, ANIMAL, PERSON, OBJECT, SUBSTANCE)
_MOST_STEPS_BELOW = 3  # WordNet's finer kinds are rare words
_ADJECTIVES = (
    "red", "green", "blue", "yellow", "white", "black", "brown", "grey", "orange", "pink",
    "purple", "beige", "dark", "bright", "big", "small", "large", "little", "tall", "short",
    "long", "wide", "narrow", "old", "new", "modern", "antique", "broken", "clean", "dirty",
    "empty", "full", "open", "closed", "round", "square", "flat", "soft", "hard", "heavy",
    "wooden", "metal", "plastic", "glass", "leather", "fabric", "stone", "cheap", "fancy",
    "portable", "electric", "folding", "comfortable", "striped", "shiny",
)  # fmt: skip
_PLACES = (
    "in the corner", "on the left", "near the wall", "in the kitchen", "in the bedroom",
    "in the living room", "in the office", "in the bathroom", "in the hall", "of my house",
    "that i bought", "over there", "made of wood", "made of metal", "made of plastic",
    "for children", "for the office", "at home", "in my apartment",
)  # fmt: skip
_FRAMES = (
    "a {}", "the {}", "my {}", "this {}", "one {}", "a photo of a {}", "a picture of the {}",
    "there is a {}", "an image of {}", "find the {}", "where is the {}", "a close view of a {}",
    "some {}", "a piece of {}", "a kind of {}", "it is a {}", "the thing called {}",
)  # fmt: skip


@dataclass(frozen=True)
class Phrase:
    """A text to learn.

    Attributes:
        text: what is typed.
        label: the room class that it means; None where none is known.
    """

    text: str
    label: str | None


@cache
def text_probes() -> tuple[tuple[str, str], ...]:
    """(text, class) pairs that only tests may use."""
    lines = _PROBES.read_text(encoding="utf-8").splitlines()
    rows = (line.rsplit(";", 1) for line in lines if line and not line.startswith("#"))
    return tuple((text.strip(), label.strip()) for text, label in rows)


@cache
def _forbidden() -> frozenset[str]:
    return frozenset(bare(text) for text, _ in text_probes())


def bare(text: str) -> str:
    """Lower case, letters and digits only, without articles: what makes two texts the same."""
    words = re.sub(r"[^a-z0-9]+", " ", text.lower()).split()
    return " ".join(w for w in words if w not in ("a", "an", "the"))


def allowed(text: str) -> bool:
    """Whether a text may be learnt: it is no probe."""
    return bare(text) not in _forbidden()


def nouns(wordnet: WordNet, names: tuple[str, ...] = ()) -> list[Phrase]:
    """Names of things: room classes with synonyms and kinds, all visible nouns, and `names`.

    Returns:
        One phrase per text, those of a known class first.
    """
    known = dict(synonym_table())
    for text, label in _kinds(wordnet).items():
        known.setdefault(text, label)
    others = (word for s in wordnet.synsets.values() if s.file in _SEEN for word in s.words)
    found: dict[str, str | None] = dict(known)
    for text in (*names, *others):
        found.setdefault(text.lower(), None)
    return [Phrase(text, label) for text, label in found.items() if allowed(text)]


def _kinds(wordnet: WordNet) -> dict[str, str]:
    """WordNet's words for a class and its kinds; where classes nest, the nearest one."""
    best: dict[int, tuple[int, str]] = {}
    for name in room_classes():
        for offset in _meanings(wordnet, name):
            for kind, steps in wordnet.kinds_of(offset).items():
                if steps <= _MOST_STEPS_BELOW and (kind not in best or steps < best[kind][0]):
                    best[kind] = (steps, name)
    words: dict[str, str] = {}
    for kind, (_, name) in sorted(best.items(), key=lambda item: item[1][0]):
        for word in wordnet.synsets[kind].words:
            # a word whose commonest meaning is another thing would teach nonsense
            if kind == next(iter(_things(wordnet, word)), None):
                words.setdefault(word, name)
    return words


def _meanings(wordnet: WordNet, name: str) -> list[int]:
    """The commonest visible meaning of a class name."""
    return _things(wordnet, name)[:1]


def _things(wordnet: WordNet, word: str) -> list[int]:
    files = (ARTIFACT, FOOD, PLANT, ANIMAL, PERSON)
    return [o for o in wordnet.senses.get(word, ()) if wordnet.synsets[o].file in files]


def varied(phrase: Phrase, rng: np.random.Generator) -> Phrase:
    """The phrase as someone might put it: an adjective, a place, a plural, a frame around it."""
    for _ in range(10):
        text = phrase.text
        if rng.random() < 0.25:
            text = plural(text)
        if rng.random() < 0.4:
            text = f"{rng.choice(_ADJECTIVES)} {text}"
        if rng.random() < 0.2:
            text = f"{text} {rng.choice(_PLACES)}"
        if rng.random() < 0.4:
            text = str(rng.choice(_FRAMES)).format(text)
        if allowed(text):
            return Phrase(text, phrase.label)
    return phrase


def mistyped(text: str, rng: np.random.Generator) -> str:
    """One slip in one longer word: two letters swapped, one left out, doubled or replaced."""
    words = text.split()
    long = [k for k, word in enumerate(words) if len(word) >= 4]
    for _ in range(10):
        if not long:
            break
        k = int(rng.choice(long))
        changed = " ".join([*words[:k], _slip(words[k], rng), *words[k + 1 :]])
        if allowed(changed):
            return changed
    return text


def _slip(word: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(1, len(word) - 1))
    kind = rng.integers(4)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[:at] + word[at] + word[at:]
    return word[:at] + chr(ord("a") + int(rng.integers(26))) + word[at + 1 :]


def plural(text: str) -> str:
    """The English plural, regular forms only."""
    if text.endswith(("s", "x", "z", "ch", "sh")):
        return text if text.endswith("s") else text + "es"
    if text.endswith("y") and len(text) > 1 and text[-2] not in "aeiou":
        return text[:-1] + "ies"
    return text + "s"
