"""One line in the node's log for an answer that says something new."""

from __future__ import annotations

from collections.abc import Callable

from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.answers.summary import PromptAnswer

_MOST = 8  # prompts in a line; query_result has all


class AnswerLog:
    """Says what the active query finds: once, and again when a thing comes or goes."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """`say` writes a line at INFO."""
        self._say = say
        self._asked: TextQuery | None = None
        self._found: list[bool] = []

    def answered(self, asked: TextQuery, found: list[PromptAnswer], unread: set[str]) -> None:
        """`unread`: prompts that the encoder cannot read, which are told when they are asked."""
        states = [one.found for one in found]
        # the same object: who asks the same once more wants to be told once more
        if asked is self._asked and states == self._found:
            return
        self._asked, self._found = asked, states
        sentences = [one.sentence for one in found if one.prompt not in unread]
        if len(sentences) > _MOST:
            more = len(sentences) - _MOST
            sentences[_MOST:] = [f"and {more} more, see query_result"]
        if sentences:
            self._say("; ".join(sentences))
