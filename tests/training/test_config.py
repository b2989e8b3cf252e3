"""Settings: dataclass < YAML < key=value, checked whole."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest

from adaface.errors import ConfigError, MissingFileError
from adaface.training.config import Layer, build, flat, read_overrides, read_yaml, to_yaml


@dataclass(frozen=True, kw_only=True)
class Loop:
    steps: int = 10
    rate: float = 1e-3

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"steps={self.steps}: give at least 1")


@dataclass(frozen=True, kw_only=True)
class Run:
    data: str
    batch: int = 4
    fast: bool = True
    name: str | None = None
    kind: Literal["adamw", "prodigy"] = "adamw"
    span: tuple[float, float] = (0.7, 1.0)
    prompts: tuple[str, ...] = ("a photo",)
    weights: Mapping[str, float] = field(default_factory=dict)
    loop: Loop = field(default_factory=Loop)


def run(*overrides: str, **values: object) -> Run:
    return build(Run, [Layer("run.yaml", {"data": "faces", **values}), read_overrides(overrides)])


def message(*overrides: str, **values: object) -> str:
    with pytest.raises(ConfigError) as caught:
        run(*overrides, **values)
    return str(caught.value)


def test_what_is_not_given_keeps_the_value_of_the_dataclass():
    assert run() == Run(data="faces")


def test_a_file_is_stronger_than_the_dataclass():
    assert run(loop={"steps": 20}).loop == Loop(steps=20)


def test_key_value_is_stronger_than_the_file():
    made = run("loop.steps=30", loop={"steps": 20, "rate": 0.5})
    assert made.loop == Loop(steps=30, rate=0.5)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("batch=1e3", "batch", 1000),
        ("batch=9007199254740993", "batch", 9007199254740993),
        ("fast=no", "fast", False),
        ("name=none", "name", None),
        ("name=a=b", "name", "a=b"),
        ("kind=prodigy", "kind", "prodigy"),
        ("span=0.5,0.9", "span", (0.5, 0.9)),
        ("span=[0.5, 0.9]", "span", (0.5, 0.9)),
        ('prompts=["a, b", "c"]', "prompts", ("a, b", "c")),
        ("prompts=a photo of <person>, smiling", "prompts", ("a photo of <person>, smiling",)),
        ("weights.eyes=2", "weights", {"eyes": 2.0}),
    ],
)
def test_a_text_is_read_as_its_setting_wants_it(text, name, value):
    assert getattr(run(text), name) == value


def test_a_number_that_yaml_takes_for_a_text_is_a_number(tmp_path):
    (tmp_path / "run.yaml").write_text("data: faces\nloop:\n  rate: 1e-4\n")
    assert build(Run, [read_yaml(tmp_path / "run.yaml")]).loop.rate == 1e-4


def test_an_unknown_setting_names_its_place_and_the_nearest_one():
    assert message(bacth=3) == "run.yaml: bacth: no such setting; did you mean batch?"


def test_an_unknown_setting_of_a_group_names_the_nearest_one_there():
    assert message("loop.step=3") == "key=value: loop.step: no such setting; did you mean loop.steps?"


def test_a_setting_that_is_like_none_names_them_all():
    assert "known: data, batch, fast" in message("zzz=3")


def test_all_faults_are_told_at_once():
    told = message("span=1", "loop.steps=0", bacth=3, fast="perhaps")
    assert told.startswith("4 faults in the settings: ")
    for part in ("run.yaml: bacth", "fast=perhaps: give true or false", "span=1: give 2 values", "steps=0"):
        assert part in told


def test_a_setting_that_has_no_value_of_its_own_must_be_given():
    with pytest.raises(ConfigError, match="data: has to be given. Add data="):
        build(Run, [])


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("batch=2.5", "give a whole number"),
        ("batch=true", "give a number"),
        ("kind=sgd", "give one of adamw, prodigy"),
        ("prompts=[a", "not a list"),
        ("loop=3", "is a group of settings: loop.steps, loop.rate"),
        ("weights=3", "give names and values"),
    ],
)
def test_a_value_that_does_not_fit_says_what_would(text, advice):
    assert advice in message(text)


def test_a_number_where_a_text_belongs_asks_for_quotes():
    assert "put it in quotes" in message(data=2024)


def test_words_without_a_value_are_told_together():
    with pytest.raises(ConfigError, match="'batch', '=3': not key=value"):
        read_overrides(["batch", "=3", "fast=true"])


def test_the_written_yaml_gives_the_config_again(tmp_path):
    made = run("name=null", "loop.rate=1e-5", "weights.eyes=2", 'prompts=["a: b", "yes"]')
    (tmp_path / "config.yaml").write_text(to_yaml(made))
    assert build(Run, [read_yaml(tmp_path / "config.yaml")]) == made
    assert dataclasses.asdict(made)["prompts"] == ("a: b", "yes")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="none.yaml: no such file"):
        read_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize(("text", "told"), [("a: [1", "not a YAML file"), ("- 1", "no keys and values")])
def test_a_file_that_is_not_yaml_of_settings_is_told(tmp_path, text, told):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        read_yaml(tmp_path / "bad.yaml")


def test_a_yaml_file_runs_nothing(tmp_path):
    (tmp_path / "bad.yaml").write_text(f"a: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']")
    with pytest.raises(ConfigError, match="not a YAML file"):
        read_yaml(tmp_path / "bad.yaml")
    assert not (tmp_path / "made").exists()


def test_nested_settings_have_one_name_each():
    assert flat({"a": 1, "b": {"c": (2, 3), "d": {"e": None}}}) == {"a": 1, "b.c": (2, 3), "b.d.e": None}
