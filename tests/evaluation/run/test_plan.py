import pytest

from adaface.errors import ConfigError
from adaface.evaluation.records import Subject
from adaface.evaluation.run.plan import Plan, check_pairs, parse_sweeps, units_of
from adaface.evaluation.run.prompts import PromptLine
from adaface.pipelines.settings import Settings

BASE = Settings(guidance_scale=(2.0, 2.0), id_scale=1.0, steps=25)
ALONE, PAIR = PromptLine("a photo of <person>", "plain"), PromptLine("<person> and <other>", "pair")


def plan(names=("alice", "bob", "cleo"), lines=(ALONE,), seeds=range(2), variants=None) -> Plan:
    return Plan(variants or {"": BASE}, dict.fromkeys(names, lines), [Subject(name) for name in names], seeds)


def pictures(one: Plan):
    return [picture for unit in one.units() for picture in unit.pictures]


def test_a_plan_is_people_times_prompts_times_seeds():
    made = pictures(plan(lines=(ALONE, PromptLine("a sketch of <person>"))))
    assert len(made) == 3 * 2 * 2
    assert len({picture.key for picture in made}) == len({picture.file for picture in made}) == 12


def test_a_picture_knows_its_prompt_template_and_place():
    first = pictures(plan())[0]
    assert (first.prompt, first.template, first.kind) == (
        "a photo of <alice>",
        "a photo of <person>",
        "plain",
    )
    assert first.file == "pictures/alice/01-a-photo-of-person/0.png"


def test_each_subject_stands_beside_the_next_one_of_the_list():
    casts = [unit.cast for unit in plan(lines=(PAIR,)).units()]
    assert casts == [("alice", "bob"), ("bob", "cleo"), ("cleo", "alice")]
    assert pictures(plan(lines=(PAIR,)))[0].file == "pictures/alice+bob/01-person-and-other/0.png"


def test_prompts_for_two_need_two():
    with pytest.raises(ConfigError, match="prompts with <other> need two people, but there is one"):
        check_pairs([PAIR], [Subject("alice")])
    check_pairs([PAIR], [Subject("alice"), Subject("bob")])


def test_a_sweep_moves_one_setting_at_a_time_from_the_runs_own():
    variants, sweeps = parse_sweeps(["id_scale=0.5,1,1.5 guidance=1,2"], BASE)
    assert list(variants) == ["", "id_scale=0.5", "id_scale=1.5", "guidance_scale=1"]
    assert variants["id_scale=0.5"] == BASE.override({"id_scale": 0.5})
    assert variants["guidance_scale=1"] == BASE.override({"guidance_scale": (1.0, 1.0)})
    assert [one.setting for one in sweeps] == ["id_scale", "guidance_scale"]


def test_the_runs_own_value_is_a_point_of_each_sweep():
    _, (sweep,) = parse_sweeps(
        [
            "id_scale=1.5",
        ],
        BASE,
    )
    assert (sweep.values, sweep.variants) == (("1", "1.5"), ("", "id_scale=1.5"))
    _, (sweep,) = parse_sweeps(["id_scale=1.0,0"], BASE)
    assert (sweep.values, sweep.variants) == (("0", "1.0"), ("id_scale=0", ""))


def test_a_guidance_may_fall_from_the_first_step_to_the_last():
    variants, _ = parse_sweeps(["guidance_scale=4:1"], BASE)
    assert variants["guidance_scale=4:1"].guidance_scale == (4.0, 1.0)


@pytest.mark.parametrize(("text", "message"), [
    ("id_scale", "--sweep id_scale: give a setting and its values, as id_scale=0.5,1,1.5"),
    ("colour=1", "Settings that can be swept: id_scale, guidance_scale, steps"),
    ("id_scale=big", "--sweep id_scale: 'big' is not a number"),
    ("id_scale=-1", "id_scale=-1.0: give a number from 0"),
    ("guidance=1 guidance_scale=2", "guidance_scale twice. Give all its values at once"),
])  # fmt: skip
def test_a_sweep_that_is_none_says_what_to_write(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_sweeps([text], BASE)


def test_variants_have_folders_that_no_name_can_be():
    variants = {"": BASE, "id_scale=0.5": BASE.override({"id_scale": 0.5})}
    files = {picture.file.rsplit("/", 3)[0] for picture in pictures(plan(("alice",), variants=variants))}
    assert files == {"pictures", "pictures/id_scale=0.5"}


def test_pictures_that_are_there_make_the_same_parts_of_the_work():
    made = plan(lines=(ALONE, PAIR))
    again = units_of(pictures(made))
    assert [(unit.cast, list(unit.pictures)) for unit in again] == [
        (unit.cast, list(unit.pictures)) for unit in made.units()
    ]
