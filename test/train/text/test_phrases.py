"""The training list of the text tower."""

from __future__ import annotations

import numpy as np
import pytest

from geopurify_ros.errors import InputError
from geopurify_ros.train.rooms.classes import room_classes, synonym_table
from geopurify_ros.train.text.phrases import (
    Phrase,
    allowed,
    bare,
    mistyped,
    nouns,
    plural,
    text_probes,
    varied,
)
from geopurify_ros.train.text.wordnet import WORDNET_FOLDER, read_wordnet

needs_wordnet = pytest.mark.skipif(
    not (WORDNET_FOLDER / "data.noun").is_file(), reason="needs the Debian package wordnet-base"
)


@pytest.fixture(scope="module")
def wordnet():
    return read_wordnet()


def test_there_are_150_different_probes_of_known_classes():
    texts = [bare(text) for text, _ in text_probes()]
    assert len(texts) == len(set(texts)) == 150
    assert {label for _, label in text_probes()} <= set(room_classes())


def test_no_probe_is_a_class_or_one_of_its_synonyms():
    assert not {bare(text) for text, _ in text_probes()} & {bare(w) for w in synonym_table()}


@needs_wordnet
def test_no_probe_is_in_the_training_list(wordnet):
    """Neither as it stands, nor put differently, nor through a typing error."""
    probes = {bare(text) for text, _ in text_probes()}
    phrases = nouns(wordnet)
    assert len(phrases) > 50_000
    assert not probes & {bare(phrase.text) for phrase in phrases}
    rng = np.random.default_rng(0)
    for phrase in phrases[:3000]:
        made = varied(phrase, rng)
        assert bare(made.text) not in probes
        assert bare(mistyped(made.text, rng)) not in probes


@needs_wordnet
def test_wordnet_gives_kinds_of_a_class(wordnet):
    label_of = {p.text: p.label for p in nouns(wordnet)}
    assert label_of["studio couch"] == "sofa"
    assert label_of["captain's chair"] == "armchair"  # the nearest class, not "chair"
    assert label_of["skillet"] == "pan"
    assert label_of["quartz"] is None  # visible, but of no class
    assert "happiness" not in label_of  # nothing to see


@needs_wordnet
def test_wordnet_knows_what_is_above(wordnet):
    sofa = wordnet.senses["sofa"][0]
    assert wordnet.synsets[sofa].words == ("sofa", "couch", "lounge")
    assert wordnet.senses["settee"][-1] in wordnet.kinds_of(sofa)


def test_missing_wordnet_says_what_to_install(tmp_path):
    with pytest.raises(InputError, match="apt-get install wordnet-base"):
        read_wordnet(tmp_path)


def test_probes_are_never_made_by_chance():
    assert not allowed("The  DIVAN")
    rng = np.random.default_rng(0)
    made = [mistyped("pillow", rng) for _ in range(3000)]
    assert "pilow" not in made
    assert len(set(made)) > 50


@pytest.mark.parametrize(
    ("one", "many"),
    [("chair", "chairs"), ("box", "boxes"), ("bench", "benches"), ("glass", "glass"),
     ("lady", "ladies"), ("toy", "toys")],
)
def test_plural(one, many):
    assert plural(one) == many


def test_varied_phrases_keep_their_words_and_label():
    rng = np.random.default_rng(0)
    made = [varied(Phrase("coffee table", "coffee table"), rng) for _ in range(200)]
    assert all("coffee table" in m.text and m.label == "coffee table" for m in made)
    assert len({m.text for m in made}) > 100
