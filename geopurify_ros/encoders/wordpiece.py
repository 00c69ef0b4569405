"""Split text into the sub-words of a BERT vocabulary (WordPiece, Wu et al. 2016), lower case."""

from __future__ import annotations

import re
import unicodedata

_UNKNOWN, _START, _END = "[UNK]", "[CLS]", "[SEP]"
_LONGEST_WORD = 100


class WordPiece:
    """Text to token numbers.

    Attributes:
        vocabulary: sub-words; a continuation starts with "##".
    """

    def __init__(self, vocabulary: tuple[str, ...]) -> None:
        """Take the sub-words in the order of their numbers."""
        self.vocabulary = vocabulary
        self._number = {piece: k for k, piece in enumerate(vocabulary)}

    def __call__(self, text: str, max_tokens: int) -> list[int]:
        """Numbers of the pieces between start and end; what goes beyond `max_tokens` is cut."""
        pieces = [p for word in _words(text) for p in self._pieces(word)]
        framed = [_START, *pieces[: max_tokens - 2], _END]
        return [self._number[piece] for piece in framed]

    def unreadable(self, text: str) -> tuple[str, ...]:
        """Words that are no Latin ones or that no pieces make up; the text if it has no word."""
        words = [word for word in _words(text) if word[0].isalnum()]
        if not words:
            return (text,)
        return tuple(
            word for word in words
            if self._pieces(word) == [_UNKNOWN] or not all(map(_is_latin, word))
        )

    def _pieces(self, word: str) -> list[str]:
        pieces: list[str] = []
        start = 0
        while start < len(word) <= _LONGEST_WORD:
            prefix = "##" if start else ""
            end = len(word)
            while end > start and prefix + word[start:end] not in self._number:
                end -= 1
            if end == start:
                return [_UNKNOWN]
            pieces.append(prefix + word[start:end])
            start = end
        return pieces or [_UNKNOWN]


def _is_latin(letter: str) -> bool:
    return letter.isdecimal() or unicodedata.name(letter, "").startswith("LATIN")


def _words(text: str) -> list[str]:
    """Runs of letters and digits, and single punctuation marks; accents are dropped."""
    plain = unicodedata.normalize("NFD", text.lower())
    plain = "".join(c for c in plain if unicodedata.category(c) != "Mn")
    return re.findall(r"[^\W_]+|[^\w\s]|_", plain)
