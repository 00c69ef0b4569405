"""Who rivals whom: words, plurals, slips, kinds, and texts that say the same."""

import pytest

from geopurify_ros.core.answers.alternatives import (
    Alternatives,
    bare,
    is_kind_of,
    is_slip,
    singular,
)

NAMES = ("chair", "office chair", "armchair", "table", "coffee table", "sofa", "shelf",
         "bookshelf", "trash can", "tv", "rug", "bath mat", "christmas tree")
SYNONYMS = {"couch": "sofa", "bin": "trash can", "television": "tv", "swivel chair":
            "office chair", "mat": "rug"}
KNOWN = Alternatives(NAMES, SYNONYMS, 0.82)
FAR = dict.fromkeys(NAMES, 0.3)


def near(name, cosine):
    return FAR | {name: cosine}


@pytest.mark.parametrize(("prompt", "name"), [
    ("sofa", "sofa"), ("couch", "sofa"), ("Couches", "sofa"), ("the sofas", "sofa"),
    ("television", "tv"), ("TV", "tv"), ("TVs", "tv"),
    ("bins", "trash can"), ("trash-can", "trash can"),
    ("shelves", "shelf"), ("a swivel chair", "office chair"),
])
def test_synonyms_plurals_and_articles_are_read_as_the_name(prompt, name):
    reading = KNOWN.read(prompt, FAR)
    assert (reading.text, reading.name) == (name, name)
    assert name in reading.spared


def test_a_slip_of_typing_is_read_as_what_it_looks_and_sounds_like():
    assert KNOWN.read("chiar", near("chair", 0.7)).text == "chair"
    assert KNOWN.read("tabels", near("table", 0.6)).text == "table"
    assert KNOWN.read("chiar", near("table", 0.7)).text == "chiar"  # means something else
    assert KNOWN.read("chiar", near("chair", 0.4)).name == ""


def test_what_says_the_same_is_no_rival_and_keeps_what_it_says_more():
    paraphrase = KNOWN.read("divan", near("sofa", 0.9))
    assert (paraphrase.text, paraphrase.name) == ("sofa", "sofa")
    wooden = KNOWN.read("wooden chair", near("chair", 0.95))
    assert (wooden.text, wooden.name) == ("wooden chair", "chair")
    assert wooden.spared == {"chair", "office chair", "armchair"}
    assert wooden.heads == set()
    other = KNOWN.read("mirror", near("tv", 0.6))
    assert (other.text, other.name, other.spared) == ("mirror", "", frozenset())


def test_kinds_are_no_rivals_heads_are_at_first():
    chair, office = KNOWN.read("chair", FAR), KNOWN.read("office chair", FAR)
    assert chair.spared == {"chair", "office chair", "armchair"}
    assert chair.heads == set()
    assert (office.spared, office.heads) == ({"office chair"}, {"chair"})
    assert KNOWN.read("bookshelf", FAR).heads == {"shelf"}
    assert KNOWN.read("rug", FAR).spared == {"rug", "bath mat"}  # a mat is a rug
    assert KNOWN.read("tree", FAR).spared == {"christmas tree"}
    assert KNOWN.read("hair", FAR).spared == set()  # no armchair
    assert bare("Café-Table") == "café table"


def test_without_a_similarity_words_alone_decide():
    known = Alternatives(NAMES, SYNONYMS, 2.0)
    assert known.read("divan", near("sofa", 0.99)).name == ""
    assert known.read("chiar", near("chair", 0.99)).name == ""
    assert known.read("couch", near("tv", 0.99)).name == "sofa"


def test_words():
    assert bare(" The Trash-Can! ") == "trash can"
    assert [singular(w) for w in ("chairs", "glass", "glasses", "boxes", "tvs", "berries",
                                  "dining tables", "shelves")] == [
        "chair", "glass", "glass", "box", "tv", "berry", "dining table", "shelf"]
    assert is_kind_of("office chair", "chair")
    assert is_kind_of("armchair", "chair")
    assert not is_kind_of("chair", "chair")
    assert not is_kind_of("chairlift", "chair")
    assert is_slip("chiar", "chair")
    assert is_slip("chairr", "chair")
    assert is_slip("chaor", "chair")
    assert is_slip("refridgerator", "refrigerator")
    assert is_slip("tabel", "table")
    assert not is_slip("cat", "car")
    assert not is_slip("chair", "chair")
    assert not is_slip("chairs", "char")
