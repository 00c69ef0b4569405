"""The class table and the catalogue: pure parts of `geopurify train rooms`."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import geopurify_ros
from geopurify_ros.errors import InputError
from geopurify_ros.train.rooms.catalogue import (
    FURNITURE_FOLDER,
    KEPT_OUT_CLASSES,
    reserved_keys,
    splits_of,
    usable_models,
)
from geopurify_ros.train.rooms.classes import PLACES, class_of, room_classes, synonym_table

TRAIN = Path(geopurify_ros.__file__).parent / "train"
SHARED = Path(__file__).parents[4] / "shared/data/reserved_models.txt"
needs_furniture = pytest.mark.skipif(
    not FURNITURE_FOLDER.is_dir(), reason="needs the Debian package sweethome3d-furniture"
)


def test_there_are_at_least_sixty_classes_with_synonyms():
    assert len(room_classes()) >= 60
    assert all(c.synonyms for c in room_classes().values())
    assert {c.place for c in room_classes().values()} == set(PLACES)


def test_every_word_means_one_class():
    words = Counter(w for c in room_classes().values() for w in (c.name, *c.synonyms))
    assert [w for w, n in words.items() if n > 1] == []
    assert synonym_table()["couch"] == "sofa"
    assert all(synonym_table()[name] == name for name in room_classes())


def test_every_keyword_belongs_to_one_class():
    keywords = Counter(k for c in room_classes().values() for k in c.keywords)
    assert [k for k, n in keywords.items() if n > 1] == []


@pytest.mark.parametrize(
    ("key", "name", "label"),
    [
        ("S:x", "Coffee table", "coffee table"),  # the longest phrase wins over "table"
        ("B0:x", "Winchester armchair", "armchair"),
        ("B0:armchair", "Armchair", "office chair"),  # by its key
        ("S:x", "Garage door", None),  # left out by "!"
        ("S:x", "Parking slot 45°", None),
        ("S:x", "Nothing known", None),
        ("S:x", "Stable", None),  # whole words only
    ],
)
def test_class_of_a_catalogue_name(key, name, label):
    assert class_of(key, name) == label


def test_reserved_list_is_part_of_the_package():
    assert len(reserved_keys()) == 110
    assert {k.split(":")[0] for k in reserved_keys()} == {"B0", "BY", "K", "S"}


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_file(), reason="needs ../shared/data/reserved_models.txt")
def test_reserved_list_is_the_shared_one():
    lines = [line for line in SHARED.read_text().splitlines() if not line.startswith("#")]
    assert reserved_keys() == {":".join(line.split(":")[:2]) for line in lines}


@needs_furniture
def test_the_split_depends_on_the_model_alone():
    models = [m for m in usable_models() if m.label not in KEPT_OUT_CLASSES]
    for split in ("validation", "test"):
        assert 0.03 < sum(split in splits_of(m) for m in models) / len(models) < 0.08
    assert all(splits_of(m) == splits_of(replace(m, author="another")) for m in models)
    assert {splits_of(m) for m in usable_models()} == {
        ("train",), ("held-out", "validation"), ("held-out", "test")}


@needs_furniture
def test_kept_out_classes_have_models_and_are_shown_in_tests_alone():
    labels = {m.label for m in usable_models() if "test" not in splits_of(m)}
    assert len(KEPT_OUT_CLASSES) >= 8
    assert not labels & KEPT_OUT_CLASSES
    assert {m.label for m in usable_models() if "test" in splits_of(m)} >= KEPT_OUT_CLASSES


def test_missing_furniture_says_what_to_install(tmp_path):
    with pytest.raises(InputError, match="apt-get install sweethome3d-furniture"):
        usable_models(tmp_path)


@needs_furniture
def test_no_usable_model_is_reserved():
    keys = {m.key for m in usable_models()}
    assert len(keys) > 400
    assert not keys & reserved_keys()
    assert all(m.author and m.licence.startswith("CC") for m in usable_models())
    assert all(m.label in room_classes() for m in usable_models())


def test_train_knows_no_layer_above():
    text = "".join(p.read_text() for p in TRAIN.rglob("*.py"))
    used = set(re.findall(r"(?:from|import) geopurify_ros\.(\w+)", text))
    assert not used & {"ros", "cli", "commands"}
