"""Parameters: one set of defaults, checked once, the same in ROS files and on the command line."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from geopurify_ros.config import Config, settings, with_values
from geopurify_ros.config_file import as_yaml, load_yaml, uses_sim_time, with_assignments
from geopurify_ros.errors import ConfigError

MAPPING_YAML = Path(__file__).parents[1] / "config" / "mapping.yaml"


def written(tmp_path, text):
    path = tmp_path / "parameters.yaml"
    path.write_text(text)
    return path


def flat(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_every_parameter_says_what_it_is():
    found = settings(Config())
    assert "depth.max_m" in found
    assert [name for name, spec in found.items() if len(spec.about) < 8] == []


def test_every_number_has_a_range_that_holds_its_default():
    for name, spec in settings(Config()).items():
        if isinstance(spec.value, (int, float)) and not isinstance(spec.value, bool):
            assert spec.low <= spec.value <= spec.high, name
        elif spec.choices:
            assert spec.value in spec.choices, name


def test_mapping_yaml_holds_every_parameter_with_its_default():
    """Types too: ROS refuses 5 where a parameter is declared as 5.0."""
    document = yaml.safe_load(MAPPING_YAML.read_text())
    assert list(document) == ["/**"]
    stored = dict(flat(document["/**"]["ros__parameters"]))
    stored.pop("use_sim_time", None)
    defaults = {name: spec.value for name, spec in settings(Config()).items()}
    assert stored == defaults
    assert {n: type(v) for n, v in stored.items()} == {n: type(v) for n, v in defaults.items()}


def test_mapping_yaml_says_what_the_code_says():
    """Comments, ranges and which parameters are live, not only names and values."""
    assert MAPPING_YAML.read_text() == as_yaml(Config())


def test_mapping_yaml_loads_as_the_default_configuration():
    assert load_yaml(MAPPING_YAML) == Config()


def test_a_file_changes_what_it_names(tmp_path):
    path = written(tmp_path, """
/**:
  ros__parameters:
    use_sim_time: true
    depth: {max_m: 4}
geopurify/mapping:
  ros__parameters:
    query.initial: "chair, table"
""")
    changed = load_yaml(path)
    assert (changed.depth.max_m, changed.query.initial) == (4.0, "chair, table")
    assert dataclasses.replace(changed, depth=Config().depth, query=Config().query) == Config()


@pytest.mark.parametrize("text", ["", "# only comments\n", "/**:\n", "/**: {ros__parameters: }\n"])
def test_a_file_without_parameters_is_the_default(tmp_path, text):
    assert load_yaml(written(tmp_path, text)) == Config()


@pytest.mark.parametrize("text", ["- 1", "just text", "/**: 3", "/**: {ros__parameters: [1]}"])
def test_a_file_of_another_form_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match="is no ROS parameter file"):
        load_yaml(written(tmp_path, text))


@pytest.mark.parametrize(("text", "sentence"), [
    ("depth: {max_m: 3.0}", "no ros__parameters under depth"),
    ("/**: {ros__parameter: {depth: {max_m: 3.0}}}", "no ros__parameters under depth"),
    ("/planner: {ros__parameters: {speed: 3.0}}", "nothing for this node: it names /planner"),
])
def test_a_file_that_would_change_nothing_is_refused(tmp_path, text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_yaml(written(tmp_path, text))


def test_namespaces_may_be_nested_and_other_nodes_are_left_alone(tmp_path):
    path = written(tmp_path, """
geopurify: {mapping: {ros__parameters: {use_sim_time: true, depth: {max_m: 3.0}}}}
planner: {ros__parameters: {speed: 3.0}}
""")
    assert load_yaml(path).depth.max_m == 3.0
    assert uses_sim_time(path)
    assert not uses_sim_time(MAPPING_YAML)


@pytest.mark.parametrize("content", [b"a: [1\nb: 2", b"\xff\xfe\x00", b"a: 2026-13-45"])
def test_a_file_that_is_no_yaml_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "parameters.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as YAML") as caught:
        load_yaml(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read"):
        load_yaml(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(("text", "sentence"), [
    ("/**: {ros__parameters: {depth: {maxm: 4.0}}}", "no parameter depth.maxm; .*depth.max_m"),
    ("/**: {ros__parameters: {7: 4.0}}", "no parameter 7"),
    ("/**: {ros__parameters: {depth: 4.0}}", "no parameter depth;"),
    ("/**: {ros__parameters: {depth: {max_m: .nan}}}", "depth.max_m is nan"),
])
def test_files_with_wrong_parameters_name_them(tmp_path, text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_yaml(written(tmp_path, text))


@pytest.mark.parametrize(("name", "value", "sentence"), [
    ("depth.far_m", 1.0, "no parameter depth.far_m"),
    ("purify", 1.0, "no parameter purify"),
    ("depth.max_m", "far", "depth.max_m is 'far', expected a float"),
    ("depth.max_m", True, "depth.max_m is True, expected a float"),
    ("depth.max_m", None, "depth.max_m is None, expected a float"),
    ("depth.max_m", 10**400, "depth.max_m is 1000+, expected a float"),
    ("purify.neighbors", 32.0, "purify.neighbors is 32.0, expected a int"),
    ("purify.neighbors", False, "purify.neighbors is False, expected a int"),
    ("map.frame", 3, "map.frame is 3, expected a str"),
    ("depth.max_m", 1e9, r"depth.max_m is 1000000000.0, expected 0.01 to 1000"),
    ("depth.max_m", float("nan"), "depth.max_m is nan, expected 0.01 to 1000"),
    ("depth.max_m", float("inf"), "depth.max_m is inf"),
    ("query.threshold", -0.01, "query.threshold is -0.01, expected 0.0 to 1.0"),
    ("purify.neighbors", 0, "purify.neighbors is 0, expected 1 to 256"),
    ("pose.source", "gps", "pose.source is 'gps', expected one of tf, pose, odom"),
    ("encoder.dtype", "half", "encoder.dtype is 'half', expected one of auto, float32, bfloat16"),
    ("depth.min_m", 6.0, r"depth.min_m \(6.0\) must be below depth.max_m \(5.0\)"),
])
def test_wrong_values_are_refused_by_name(name, value, sentence):
    with pytest.raises(ConfigError, match=sentence):
        with_values(Config(), {name: value})


def test_range_ends_are_allowed():
    changed = with_values(Config(), {"query.threshold": 1.0, "purify.iterations": 0})
    assert (changed.query.threshold, changed.purify.iterations) == (1.0, 0)


@pytest.mark.parametrize(("text", "expected"), [
    ("depth.max_m=4", 4.0),
    ("depth.max_m = 4.5", 4.5),
    ("depth.max_m=1e1", 10.0),  # a number to ROS, though not to PyYAML
    ("purify.neighbors=16", 16),
    ("query.initial=chair, table", "chair, table"),
    ("query.initial=", ""),
    ("encoder.name=open_clip:ViT-B-16:a=b", "open_clip:ViT-B-16:a=b"),
])
def test_assignments_of_the_command_line(text, expected):
    name = text.partition("=")[0].strip()
    value = settings(with_assignments(Config(), [text]))[name].value
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(("text", "sentence"), [
    ("depth.max_m", "'depth.max_m' is not of the form name=value"),
    ("depth.max_m=[1", "cannot be read as YAML"),
    ("map.frame=2026-13-45", "cannot be read as YAML"),
    ("depth.max_m=[1]", r"depth.max_m is \[1\], expected a float"),
    ("=3", "no parameter ;"),
])
def test_malformed_assignments_are_refused(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        with_assignments(Config(), [text])


def test_the_last_assignment_wins():
    changed = with_assignments(Config(), ["depth.max_m=3.0", "depth.max_m=4.0"])
    assert changed.depth.max_m == 4.0
