"""The gates' arithmetic, by hand-computed cases."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from adaface.errors import ConfigError
from adaface.mini.gates import CHOICES, hits_of, measure, some_facts
from adaface.mini.people import HeldOut, held_out, margins
from adaface.mini.world.facts import seen_combinations


def people(*directions) -> HeldOut:
    others = [torch.tensor([d], dtype=torch.float32) for d in directions]
    return HeldOut(pack=None, given=torch.arange(len(others)), others=others)


def test_the_margin_is_own_minus_strangers():
    three = people([1.0, 0.0], [0.0, 1.0], [-1.0, 0.0])
    drawn = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = torch.tensor([True, True, False])
    # own 1, strangers (0, -1); own 0, strangers (1, -1); no face: 0
    assert margins(drawn, found, three) == pytest.approx([1.5, 0.0, 0.0])


def test_swapping_people_turns_the_margin_around():
    two = people([1.0, 0.0], [-1.0, 0.0])
    right = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    found = torch.tensor([True, True])
    assert_close(margins(right, found, two), -margins(right.flip(0), found, two))


def test_a_picture_that_fits_its_own_caption_best_is_a_hit():
    scores = np.eye(40, dtype=np.float32)
    assert hits_of(scores, 0).mean() == 1
    assert hits_of(scores[:, np.roll(np.arange(40), 1)], 0).mean() == 0
    assert 0 <= hits_of(np.random.default_rng(0).random((40, 40), np.float32), 0).mean() < 6 / CHOICES


@pytest.mark.parametrize("seen", [True, False])
def test_the_captions_to_choose_from_have_different_facts_of_one_sort(seen):
    facts = some_facts(torch.Generator().manual_seed(0), 64, seen=seen)
    assert (seen_combinations()[facts.background, facts.accessory, facts.style] == seen).all()
    shown = {
        (int(a), int(b), int(c))
        for a, b, c in zip(facts.background, facts.accessory, facts.style, strict=True)
    }
    assert len(shown) == 64


def test_more_people_than_there_are_is_an_error_that_counts_them(drawn_data):
    assert len(held_out(drawn_data, 6).given) == 6
    with pytest.raises(ConfigError, match="people=7 .* has 6 such people.*Give 2 to 6"):
        held_out(drawn_data, 7)


def test_the_photo_that_is_given_never_scores(drawn_data):
    people = held_out(drawn_data, 6)
    for given, rows, others in zip(people.given, people.rows, people.others, strict=True):
        assert given not in rows
        assert torch.equal(people.pack.ids[rows], others)


class Second:
    """A recogniser of another width: mean colours of the crop's quarters."""

    name, dim = "quarters", 12

    def __call__(self, crops):
        quarters = crops.reshape(-1, 2, 56, 2, 56, 3).mean((2, 4)).reshape(len(crops), 12).astype(np.float32)
        return quarters / np.linalg.norm(quarters + 1e-3, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def table(smoke_build, drawn_data):
    return measured(smoke_build, drawn_data, "cpu")


def measured(smoke_build, drawn_data, device):
    from adaface.evaluation.text_match import ClipScorer
    from adaface.mini.measuring import held_out_world
    from adaface.pipelines.personalizer import Personalizer
    from adaface.pipelines.stack import Stack

    stack = Stack.load(smoke_build.out / "stack")
    personalizer = Personalizer.from_pretrained(stack, device=device, dtype="float32")
    personalizer.settings = personalizer.settings.override({"steps": 2})
    clip = ClipScorer.from_pretrained(stack.path("clip"), device=device)
    told: list[str] = []
    gates = measure(
        personalizer,
        clip,
        held_out_world(drawn_data, stack),
        held_out(drawn_data, 4),
        tell=told.append,
        second=Second(),
    )
    assert told == ["autoencoder", "teacher", "encoder", "captions", "second recogniser quarters"]
    return {gate.name: gate for gate in gates}


def test_every_gate_of_a_whole_stack_is_measured(table):
    assert len(table) == 10
    assert all(np.isfinite([gate.value, gate.low, gate.high]).all() for gate in table.values())
    assert all(gate.low <= gate.value <= gate.high for gate in table.values())
    ceiling = table["VAE ceiling: similarity of a reconstruction to its crop"]
    assert -1 <= ceiling.value <= 1 and ceiling.aim == 0.65
    assert "encoder: margin by quarters, share of the reconstructions'" in table
    aims = {name: gate.aim for name, gate in table.items() if name.startswith("caption")}
    of_real = "share of the rate on real pictures"
    assert aims == {
        f"caption retrieval, seen pairs, {of_real}": 0.8,
        f"caption retrieval, unseen pairs, {of_real}": 0.6,
    }


@pytest.mark.gpu
def test_the_gates_are_measured_on_a_gpu_too(smoke_build, drawn_data, table):
    ceiling = "VAE ceiling: similarity of a reconstruction to its crop"
    there = measured(smoke_build, drawn_data, "cuda")
    assert there[ceiling].value == pytest.approx(table[ceiling].value, abs=0.02)
