"""What a thing may be instead of a prompt: the names of a vocabulary that rival it.

The rule, which docs/answers.md tells to users. A name of the vocabulary is no rival of a prompt

- that *says the same*: it is the name, or a synonym, plural or slip of typing of it, or their
  texts are as similar as synonyms are;
- that is *a kind of* it: its last word is the prompt or a synonym of it, "office chair" for
  "chair", also inside a compound, "bookshelf" for "shelf". Such a name counts for the prompt.

A name that the prompt itself is a kind of, "chair" for "office chair", is a rival at first; where
the prompt is then not found, it is asked for again without that rival. A prompt that says the same
as a name is read as that name, so that synonyms give the same voxels; "wooden chair" keeps a
vector of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_ARTICLES = ("a", "an", "the", "some", "my")
_SHORTEST_SLIP = 4  # letters: "cat" is no slip for "car"
_SLIP_SIMILARITY = 0.6  # cosine: slips of typing keep .64 and more, other words .53 and less
_SHORTEST_PART = 3  # letters of each half of a compound


@dataclass(frozen=True)
class Reading:
    """How a prompt is understood.

    Attributes:
        text: whose vector stands for it: a name of the vocabulary, or the prompt itself.
        name: of the vocabulary, that says the same; empty: none does.
        spared: names that are no rivals.
        heads: names that are rivals at first only.
    """

    text: str
    name: str
    spared: frozenset[str]
    heads: frozenset[str]


class Alternatives:
    """A vocabulary, prepared for reading prompts."""

    def __init__(
        self, names: tuple[str, ...], synonyms: Mapping[str, str], same_similarity: float
    ) -> None:
        """`same_similarity`: cosine from which texts say the same; above 1: words alone decide."""
        self._bare = {name: bare(name) for name in names}
        self._same_similarity = same_similarity
        self._words = {words: name for name, words in self._bare.items()}
        for word, name in synonyms.items():
            self._words.setdefault(bare(word), name)
        self._said: dict[str, list[str]] = {name: [] for name in names}
        for word, name in self._words.items():
            self._said.setdefault(name, []).append(word)

    def read(self, prompt: str, similarity: Mapping[str, float]) -> Reading:
        """`similarity`: name -> cosine of its text with the prompt's."""
        words = bare(prompt)
        name, is_said = self._same(words, similarity)
        said = [*self._said.get(name, []), words] if name else [words]
        kinds = {one for one, its in self._bare.items()
                 if any(self._is_kind(its, word) for word in said)}  # fmt: skip
        meant = {words, self._bare.get(name, words)}
        heads = {one for one, its in self._bare.items()
                 if any(is_kind_of(text, its) for text in meant)}  # fmt: skip
        heads -= kinds | {name}
        return Reading(
            name if is_said else prompt, name, frozenset(kinds | {name} - {""}), frozenset(heads)
        )

    def _is_kind(self, name: str, word: str) -> bool:
        """A word that is no name ends many by chance: "hair" armchair."""
        return is_kind_of(name, word) and (word in self._words or name.endswith(f" {word}"))

    def _same(self, words: str, similarity: Mapping[str, float]) -> tuple[str, bool]:
        """The name that says the same, and whether the prompt says no more than it."""
        for form in (words, singular(words)):
            if form in self._words:
                return self._words[form], True
        if not similarity:
            return "", False
        nearest = max(similarity, key=similarity.__getitem__)
        likeness = similarity[nearest]
        if self._same_similarity <= 1 and likeness >= _SLIP_SIMILARITY:
            said = self._said[nearest]
            if any(is_slip(words, word) or is_slip(singular(words), word) for word in said):
                return nearest, True
        if likeness >= self._same_similarity:
            inside = any(word in words for word in self._said[nearest])
            return nearest, not inside
        return "", False


def bare(text: str) -> str:
    """Lower case, letters and digits of any script only, without articles."""
    words = re.sub(r"[\W_]+", " ", text.casefold()).split()
    return " ".join(word for word in words if word not in _ARTICLES) or text.casefold()


def singular(text: str) -> str:
    """The last word without its plural ending; regular English forms and a few others."""
    rest, _, last = text.rpartition(" ")
    irregular = {"shelves": "shelf", "knives": "knife", "people": "person", "men": "man",
                 "women": "woman"}
    if last in irregular:
        last = irregular[last]
    elif last.endswith("ies") and len(last) > 4:
        last = last[:-3] + "y"
    elif last.endswith(("ches", "shes", "xes", "sses")):
        last = last[:-2]
    elif last.endswith("s") and not last.endswith("ss") and len(last) > 2:
        last = last[:-1]
    return f"{rest} {last}".strip()


def is_kind_of(text: str, head: str) -> bool:
    """Whether the last word of `text` is `head`, or a compound that ends with it."""
    if text == head or not head or not text.endswith(head):
        return False
    before = text[: -len(head)]
    if before.endswith(" "):
        return True
    part = before.rpartition(" ")[2]
    return " " not in head and min(len(part), len(head)) >= _SHORTEST_PART


def is_slip(typed: str, meant: str) -> bool:
    """Whether one slip lies between them: a letter swapped, left out, doubled or replaced."""
    if typed == meant or min(len(typed), len(meant)) < _SHORTEST_SLIP:
        return False
    if abs(len(typed) - len(meant)) > 1:
        return False
    start = next((k for k, (a, b) in enumerate(zip(typed, meant, strict=False)) if a != b),
                 min(len(typed), len(meant)))  # fmt: skip
    a, b = typed[start:], meant[start:]
    swapped = len(a) > 1 and a[:2] == b[1::-1] and a[2:] == b[2:]
    return swapped or a[1:] == b[1:] or a[1:] == b or a == b[1:]
