"""The line of the log that says what the active query finds."""

from __future__ import annotations

from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.answers.summary import PromptAnswer
from geopurify_ros.ros.outputs.answer_log import AnswerLog


def chair(num_voxels=412, pieces=2):
    return PromptAnswer("chair", True, 0.81, num_voxels, pieces, (0, 0, 0), None)


def fridge(found=False):
    if found:
        return PromptAnswer("refrigerator", True, 0.9, 80, 1, (0, 0, 0), None)
    return PromptAnswer("refrigerator", False, 0.0, 0, 0, None, None, nearest="cabinet",
                        nearest_score=0.21)


def test_it_is_said_once_and_again_when_a_thing_comes_or_goes():
    said, asked = [], TextQuery(("chair", "refrigerator"), None, 0.2, 8)
    log = AnswerLog(said.append)
    log.answered(asked, [chair(), fridge()], set())
    assert said == ["chair: 412 voxels in 2 pieces, score 0.81; no refrigerator; "
                    "nearest: cabinet 0.21"]
    log.answered(asked, [chair(500, 3), fridge()], set())  # after a purification
    assert len(said) == 1
    log.answered(asked, [chair(500, 3), fridge(True)], set())
    assert said[1:] == ["chair: 500 voxels in 3 pieces, score 0.81; refrigerator: 80 voxels in "
                        "1 piece, score 0.90"]
    log.answered(asked, [chair(), fridge()], set())
    assert len(said) == 3


def test_who_asks_the_same_again_is_told_again():
    said = []
    log = AnswerLog(said.append)
    for _ in range(2):
        log.answered(TextQuery(("chair",), None, 0.2, 8), [chair()], set())
    assert len(said) == 2


def test_what_cannot_be_read_is_not_answered():
    said, asked = [], TextQuery(("chair", "стул"), None, 0.2, 8)
    log = AnswerLog(said.append)
    unread = PromptAnswer("стул", False, 0.0, 0, 0, None, None)
    log.answered(asked, [chair(), unread], {"стул"})
    assert said == ["chair: 412 voxels in 2 pieces, score 0.81"]
    log.answered(TextQuery(("стул",), None, 0.2, 8), [unread], {"стул"})
    log.answered(TextQuery(()), [], set())  # cleared
    assert len(said) == 1


def test_a_long_list_does_not_fill_the_screen():
    said, names = [], tuple(f"thing {k}" for k in range(11))
    found = [PromptAnswer(name, False, 0.0, 0, 0, None, None) for name in names]
    AnswerLog(said.append).answered(TextQuery(names), found, set())
    assert said[0].startswith("no thing 0; no thing 1; ")
    assert said[0].endswith("no thing 7; and 3 more, see query_result")
