"""Look words, class words and the tokenizer that makes each of them one token."""

import pytest
import torch
from torch.testing import assert_close
from transformers import CLIPTokenizer

from adaface.mini import models, starting
from adaface.mini.config import preset
from adaface.mini.world.captions import vocabulary
from adaface.mini.world.look import (
    CODES,
    GROUPS,
    LookCodes,
    age_groups,
    fit_class_words,
    fit_look_codes,
    look_words,
)
from adaface.mini.world.tokenizer import write_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, vocabulary(), 64)
    return CLIPTokenizer.from_pretrained(str(folder))


def test_every_word_of_the_world_is_one_token(tokenizer):
    words = [word for word in vocabulary() if "-" not in word]  # punctuation always splits
    assert [w for w in words if len(tokenizer(w).input_ids) != 3] == []


def test_the_prompts_own_words_are_one_token_each(tokenizer):
    assert len(tokenizer("photo of a id person").input_ids) == 2 + 5
    assert len(tokenizer("photo of a " + ", " * 16).input_ids) == 2 + 3 + 16


def test_any_text_can_be_written(tokenizer):
    text = "a zebra über <alice>"
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True).replace(
        " ", ""
    ) == text.replace(" ", "")


def test_there_is_a_word_for_each_code_and_no_two_are_alike():
    assert len(set(look_words())) == GROUPS * CODES


def test_codes_are_the_nearest_centres_and_decode_to_them():
    ids = torch.nn.functional.normalize(
        torch.randn(300, 64, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    looks = fit_look_codes(ids, torch.Generator().manual_seed(1), rounds=5)
    codes = looks.codes(ids[:10])
    brute = (looks.split(ids[:10])[:, :, None] - looks.centres).norm(dim=-1).argmin(-1)
    assert torch.equal(codes, brute)
    own, other = (looks.decode(codes) * ids[:10]).sum(-1), (looks.decode(codes) * ids[10:20]).sum(-1)
    assert own.mean() > 0.6 > other.mean()


def test_a_centre_is_its_own_code():
    looks = LookCodes(rotation=torch.eye(32), centres=torch.randn(GROUPS, CODES, 2))
    codes = torch.randint(CODES, (5, GROUPS))
    exact = looks.centres[torch.arange(GROUPS), codes].flatten(1)
    assert torch.equal(looks.codes(exact), codes)


def test_class_words_are_learnt_and_unsure_ones_are_left_out():
    generator = torch.Generator().manual_seed(0)
    gender, age = (
        torch.randint(2, (600,), generator=generator),
        torch.randint(18, 90, (600,), generator=generator),
    )
    ids = 0.05 * torch.randn(600, 32, generator=generator)
    ids[:, 0] += gender * 2.0 - 1
    ids[:, 1] += age_groups(age) - 1.0
    net, accuracy = fit_class_words(
        torch.nn.functional.normalize(ids, dim=-1), gender, age, generator, steps=300
    )
    assert accuracy["gender_accuracy"] > 0.9
    assert set(net.class_words(ids[:5], sure=1.1).tolist()) == {0}


def test_ages_are_grouped_at_30_and_56():
    assert_close(age_groups(torch.tensor([18, 29, 30, 55, 56, 99])), torch.tensor([0, 0, 1, 1, 2, 2]))


def test_words_that_a_stack_knows_keep_their_rows_in_a_larger_vocabulary(tmp_path):
    sizes, clips, tokenizers = preset("smoke").sizes, [], []
    for name, words in (("old", ["red", "cap"]), ("new", ["gold", "crown", "cap", "red"])):
        write_tokenizer(tmp_path / name, words, sizes.text_length)
        tokenizers.append(CLIPTokenizer.from_pretrained(str(tmp_path / name)))
        clips.append(models.new_clip(sizes, tokenizers[-1]))
    clips[0].save_pretrained(tmp_path / "old")
    (old, new), rows = clips, [clip.text_model.get_input_embeddings().weight for clip in clips]
    fresh = rows[1].clone()
    starting.load_clip(tmp_path / "old", new, tokenizers[1])
    before, words = (tokenizer.get_vocab() for tokenizer in tokenizers)
    assert before["red</w>"] != words["red</w>"]
    for word, row in words.items():
        assert torch.equal(rows[1][row], rows[0][before[word]] if word in before else fresh[row])
    assert_close(new.visual_projection.weight, old.visual_projection.weight)
