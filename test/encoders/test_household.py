"""The list of things for encoders without a vocabulary, read by hand."""

import re
from pathlib import Path

import geopurify_ros
from geopurify_ros.core.answers.alternatives import Alternatives
from geopurify_ros.encoders.household import household

LINES = (Path(geopurify_ros.__file__).parent / "assets" / "household.txt").read_text(
    encoding="ascii").splitlines()
ROWS = [line for line in LINES if not line.startswith("#")]
WORD = r"[a-z0-9]+(?:[ -][a-z0-9]+)*"
FORM = re.compile(rf"{WORD} ; (?:-|{WORD}(?:, {WORD})*)")


def words_of(row):
    name, synonyms = row.split(" ; ")
    return [name] + ([] if synonyms == "-" else synonyms.split(", "))


def test_a_header_says_what_it_is_for():
    header = [line for line in LINES if line.startswith("#")]
    assert LINES[:len(header)] == header
    assert "open_clip" in " ".join(header)
    assert "for this project" in " ".join(header)


def test_every_line_is_a_name_and_its_synonyms_in_lower_case():
    assert 350 <= len(ROWS) <= 450
    assert [row for row in ROWS if not FORM.fullmatch(row)] == []


def test_no_word_comes_twice():
    words = [word for row in ROWS for word in words_of(row)]
    assert sorted({word for word in words if words.count(word) > 1}) == []
    # nor with another space or hyphen in it
    assert len({re.sub("[ -]", "", word) for word in words}) == len(words)


def test_names_are_short():
    assert [w for row in ROWS for w in words_of(row) if len(w.split()) > 3 or len(w) > 24] == []


def test_all_that_a_robot_meets_is_in_it():
    names = {row.split(" ; ")[0] for row in ROWS}
    assert names >= {
        "wall", "floor", "ceiling", "window", "door", "stairs", "column",  # structure
        "chair", "bed", "lamp", "laptop", "book", "mug", "refrigerator", "apple", "toilet",
        "broom", "hammer", "fire extinguisher", "toy", "bicycle", "car", "person", "dog", "tree",
        "potted plant", "wheelchair", "microscope", "shopping cart", "traffic cone",
    }


def test_the_reader_gives_every_name_with_its_synonyms():
    names, profile = household()
    assert list(names) == [row.split(" ; ")[0] for row in ROWS]
    assert profile.synonyms == {
        word: words_of(row)[0] for row in ROWS for word in words_of(row)[1:]}
    assert not profile.is_calibrated
    assert profile.areas_m2 == {}


def test_prompts_are_read_by_their_words():
    """No model was asked how near two texts are when they say the same: likeness alone is none."""
    names, profile = household()
    known = Alternatives(names, profile.synonyms, profile.same_similarity)
    assert known.read("the staircase", dict.fromkeys(names, 0.9)).text == "stairs"
    assert known.read("stepladder of oak", dict.fromkeys(names, 0.9)).name == ""
