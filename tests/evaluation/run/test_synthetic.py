import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from adaface.errors import ConfigError, StackError
from adaface.evaluation.run.synthetic import (
    MOST,
    PHOTOS,
    Teacher,
    as_subject,
    check_people,
    draw_people,
    forget_people,
    random_ids,
)
from adaface.pipelines.manifest import Part
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.stack import Stack


def strangers(count=400, width=16):
    """People who lie around one direction, more so along the first axis."""
    rows = np.random.default_rng(0).normal(size=(count, width)) * np.linspace(0.5, 0.05, width)
    rows[:, -1] += 1
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_random_ids_are_unit_vectors_drawn_by_the_generator():
    ids = random_ids(strangers(), 16, 5, generator())
    assert torch.allclose(ids.norm(dim=-1), torch.ones(5))
    assert torch.equal(ids, random_ids(strangers(), 16, 5, generator()))
    assert not torch.allclose(ids, random_ids(strangers(), 16, 5, generator(1)))


def test_random_ids_lie_where_strangers_lie():
    known = torch.from_numpy(strangers())
    ids = random_ids(strangers(), 16, 2000, generator())
    assert torch.allclose(ids.mean(0), known.mean(0), atol=0.05)
    assert torch.allclose(ids.std(0), known.std(0), atol=0.05)


def test_few_strangers_still_give_a_direction_each():
    ids = random_ids(strangers(3), 16, 4, generator())
    assert torch.linalg.matrix_rank(ids) <= 3
    assert torch.allclose(ids.norm(dim=-1), torch.ones(4))


def test_without_strangers_all_directions_are_alike():
    assert random_ids(None, 16, 4000, generator()).mean(0).abs().max() < 0.03


def test_the_teacher_draws_by_id_and_seed(personalizer):
    teacher = Teacher(personalizer)
    one, other = random_ids(None, 128, 2, generator())
    (first,), (second,) = teacher(one, [1]), teacher(one, [2])
    assert (first.size, np.array_equal(first, second)) == ((64, 64), False)
    assert np.array_equal(teacher(one, [1])[0], first)
    assert not np.array_equal(teacher(other, [1])[0], first)


def test_a_teacher_with_a_unet_of_its_own_draws_with_it(personalizer, tiny_stack, tmp_path):
    from diffusers import UNet2DConditionModel

    shutil.copytree(tiny_stack / "base" / "unet", tmp_path / "unet")
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "unet")
    torch.nn.init.normal_(unet.conv_out.weight, std=0.5)
    unet.save_pretrained(tmp_path / "unet")
    stack = Stack.load(tiny_stack)
    own = replace(stack, roles={**stack.roles, "teacher": Part(str(tmp_path / "unet"))})
    other = Personalizer(
        personalizer.pipe, personalizer.encoder, personalizer.id_prompter,
        analyzer=personalizer.analyzer, settings=personalizer.settings, stack=own,
    )  # fmt: skip
    (face,) = random_ids(None, 128, 1, generator())
    assert not np.array_equal(Teacher(other)(face, [1])[0], Teacher(personalizer)(face, [1])[0])
    assert other.pipe.unet is personalizer.pipe.unet  # nothing was changed


class FakeTeacher:
    """Draws somebody in white every second time; the other pictures are black."""

    def __init__(self, drawn="white"):
        analyzer = SimpleNamespace(
            faces=lambda image: [image] if image.getpixel((0, 0)) == (255, 255, 255) else [],
            recognizer=SimpleNamespace(dim=8),
        )
        self.personalizer = SimpleNamespace(stack=SimpleNamespace(roles={}), analyzer=analyzer)
        self.drawn, self.seeds = drawn, []

    def __call__(self, vector, seeds):
        self.seeds += seeds
        return tuple(Image.new("RGB", (8, 8), self.drawn if k % 2 else "black") for k in range(len(seeds)))


def test_synthetic_people_have_pictures_that_show_a_face(tmp_path):
    teacher, told = FakeTeacher(), []
    people = dict(draw_people(teacher, 2, 0, tmp_path, lambda done, total: told.append((done, total))))
    assert list(people) == ["synthetic01", "synthetic02"]
    assert all(len(paths) == PHOTOS for paths in people.values())
    assert all(Image.open(path).getpixel((0, 0))[0] == 255 for path in people["synthetic02"])
    assert len(set(teacher.seeds)) == len(teacher.seeds)
    assert told[-1] == (2, 2)


def test_photos_share_no_noise_with_pictures_nor_with_another_run(tmp_path):
    """A picture drawn from a photo's noise looks like that photo, whoever it should show."""
    drawn = {}
    for seed in (0, 1000):
        teacher = FakeTeacher()
        dict(draw_people(teacher, 3, seed, tmp_path / str(seed), lambda *_: None))
        drawn[seed] = set(teacher.seeds)
    assert not drawn[0] & drawn[1000]
    assert min(drawn[0] | drawn[1000]) > 10**9  # pictures count up from the run's seed


def test_people_who_were_drawn_before_a_stop_are_not_drawn_again(tmp_path):
    whole = FakeTeacher()
    dict(draw_people(whole, 3, 0, tmp_path / "whole", lambda *_: None))
    first, second = FakeTeacher(), FakeTeacher()
    coming = draw_people(first, 3, 0, tmp_path / "run", lambda *_: None)
    people = [next(coming), next(coming)]
    (people[1][1][0]).write_bytes(b"changed")
    again = dict(draw_people(second, 3, 0, tmp_path / "run", lambda *_: None))
    assert again["synthetic01"] == people[0][1]
    per_person = len(whole.seeds) // 3
    assert second.seeds == whole.seeds[per_person:], "the seeds of an unbroken start"
    forget_people(tmp_path / "run")
    dict(draw_people(second, 3, 0, tmp_path / "run", lambda *_: None))
    assert second.seeds[-len(whole.seeds) :] == whole.seeds


def test_a_teacher_that_draws_no_faces_ends(tmp_path):
    assert dict(draw_people(FakeTeacher("red"), 1, 0, tmp_path, lambda *_: None)) == {"synthetic01": []}


def test_a_synthetic_person_is_split_like_any_other(tmp_path):
    one = as_subject("synthetic01", [tmp_path / "0.png", tmp_path / "1.png"], "sface")
    assert (one.synthetic, one.apart, one.given) == (True, True, (tmp_path / "0.png",))


@pytest.mark.parametrize("count", [0, MOST + 1])
def test_nobody_and_more_people_than_there_may_be_are_refused(count):
    with pytest.raises(ConfigError, match=f"--people {count}: give 1 to {MOST}"):
        check_people(count)


def test_a_stack_without_a_teacher_is_told(personalizer):
    roles = {role: part for role, part in personalizer.stack.roles.items() if role != "teacher"}
    other = Personalizer(
        personalizer.pipe, personalizer.encoder, personalizer.id_prompter,
        stack=replace(personalizer.stack, roles=roles),
    )  # fmt: skip
    with pytest.raises(StackError, match='no role "teacher"'):
        Teacher(other)
