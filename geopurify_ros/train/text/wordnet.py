"""Read the nouns of WordNet 3.0 from its database files (Debian package wordnet-base)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from geopurify_ros.errors import InputError

WORDNET_FOLDER = Path("/usr/share/wordnet")
# Lexicographer files of things that can be seen (wordnet: lexnames(5WN)).
ANIMAL, ARTIFACT, FOOD, OBJECT, PERSON, PLANT, SUBSTANCE = 5, 6, 13, 17, 18, 20, 27
_FIRST_COLUMN_OF_LICENCE = "  "


@dataclass(frozen=True)
class Synset:
    """One meaning.

    Attributes:
        words: lemmas, lower case, with spaces.
        file: number of its lexicographer file.
        hypernyms: offsets of what it is a kind of.
    """

    words: tuple[str, ...]
    file: int
    hypernyms: tuple[int, ...]


@dataclass(frozen=True)
class WordNet:
    """All nouns.

    Attributes:
        synsets: by offset.
        senses: word -> offsets, the commonest meaning first.
    """

    synsets: dict[int, Synset]
    senses: dict[str, tuple[int, ...]]

    def kinds_of(self, offset: int) -> dict[int, int]:
        """Offsets of all that is a kind of `offset`, itself included -> steps below it."""
        depth = {offset: 0}
        waiting = [offset]
        for parent in waiting:  # grows while it is walked
            for child in self._children[parent]:
                if child not in depth:
                    depth[child] = depth[parent] + 1
                    waiting.append(child)
        return depth

    @cached_property
    def _children(self) -> dict[int, list[int]]:
        children: dict[int, list[int]] = defaultdict(list)
        for offset, synset in self.synsets.items():
            for parent in synset.hypernyms:
                children[parent].append(offset)
        return children


def read_wordnet(folder: Path | None = None) -> WordNet:
    """Read data.noun and index.noun.

    Raises:
        InputError: they are not there.
    """
    folder = folder or WORDNET_FOLDER
    try:
        data = (folder / "data.noun").read_text(encoding="latin-1").splitlines()
        index = (folder / "index.noun").read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise InputError(
            f"no WordNet in {folder}: install the Debian package wordnet-base "
            "(apt-get install wordnet-base)"
        ) from error
    synsets = dict(_synset(line) for line in data if not line.startswith(_FIRST_COLUMN_OF_LICENCE))
    senses = dict(_senses(line) for line in index if not line.startswith(_FIRST_COLUMN_OF_LICENCE))
    return WordNet(synsets, senses)


def _synset(line: str) -> tuple[int, Synset]:
    fields = line.split(" | ")[0].split()
    num_words = int(fields[3], 16)
    words = tuple(w.replace("_", " ").lower() for w in fields[4 : 4 + 2 * num_words : 2])
    pointers = fields[5 + 2 * num_words :]
    above = [
        int(pointers[k + 1]) for k in range(0, len(pointers), 4) if pointers[k] in ("@", "@i")
    ]
    return int(fields[0]), Synset(words, int(fields[1]), tuple(above))


def _senses(line: str) -> tuple[str, tuple[int, ...]]:
    fields = line.split()
    num_senses = int(fields[2])
    return fields[0].replace("_", " "), tuple(int(f) for f in fields[-num_senses:])
