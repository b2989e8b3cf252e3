"""Teachers: what they say, in the student's words, and where they are opened from."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from adaface.errors import MissingFileError, StackError, WrongModelError
from adaface.recipes.base.predictions import converted
from adaface.recipes.identity.teachers import IdTeacher, WeightedTeachers, open_teacher

ALPHAS = torch.linspace(0.999, 0.01, 10)
TIMES = torch.tensor([2, 7])


class Prompter(torch.nn.Module):
    """The ID embedding as a context of one position; counts how often it is asked."""

    asked = 0

    def context(self, id_embeddings, length):
        self.asked += 1
        return id_embeddings[:, None] * torch.ones(1, length or 1, 1)


class UNet(torch.nn.Module):
    """Says the mean of its context, for each place."""

    dtype = torch.float32

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, noisy, timesteps, context):
        said = self.weight * context.mean((1, 2))[:, None, None, None].expand_as(noisy)
        return SimpleNamespace(sample=said)


def teacher(**more):
    return IdTeacher(UNet(), Prompter(), ALPHAS, **more)


def shown():
    noisy = torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    return noisy, torch.tensor([[1.0, 3.0], [2.0, 2.0]])


def test_a_teacher_speaks_of_the_people_that_it_was_told():
    noisy, ids = shown()
    said = teacher().about(ids)(noisy, TIMES)
    assert_close(said, torch.full_like(noisy, 2.0))


def test_a_teacher_answers_in_the_student_s_words():
    noisy, ids = shown()
    said = teacher(given="epsilon", wanted="v_prediction").about(ids)(noisy, TIMES)
    plain = torch.full_like(noisy, 2.0)
    assert_close(said, converted(noisy, plain, ALPHAS[TIMES], given="epsilon", wanted="v_prediction"))


def test_people_are_encoded_once_however_often_a_teacher_is_asked():
    noisy, ids = shown()
    one = teacher()
    say = one.about(ids)
    say(noisy, TIMES), say(noisy, TIMES)
    assert one.prompter.asked == 1


def test_what_a_teacher_says_has_no_gradients():
    noisy, ids = shown()
    assert not teacher().about(ids.requires_grad_())(noisy, TIMES).requires_grad


def test_several_teachers_say_their_weighted_mean():
    noisy, ids = shown()
    first, second = teacher(), teacher()
    second.unet.weight.data.fill_(5.0)
    said = WeightedTeachers([first, second], [3, 1]).about(ids)(noisy, TIMES)
    assert_close(said, torch.full_like(noisy, 2.0 * (0.75 + 0.25 * 5)))


def test_several_teachers_models_keep_apart():
    both = [teacher(frozen={"teacher": UNet()}), teacher(frozen={"teacher": UNet()})]
    assert len(WeightedTeachers(both, [1, 1]).frozen) == 2


# opened


@pytest.fixture(scope="module")
def models(tiny_stack, faces):
    from adaface.recipes.registry import open_recipe
    from tiny_recipe import small

    recipe = open_recipe(small(tiny_stack, faces), torch.device("cpu"))
    yield recipe.models
    recipe.close()


def test_the_stack_s_own_teacher_shares_the_base_s_unet_and_adds_no_model(models):
    found = open_teacher({}, models, "auto")
    assert found.unet is models.denoiser.unet
    assert found.prompter is models.prompter
    assert not found.frozen


def write_unet(folder, **changes):
    from diffusers import UNet2DConditionModel

    values = dict(
        sample_size=8, in_channels=16, out_channels=16, block_out_channels=(8, 8), layers_per_block=1
    )
    values |= dict(norm_num_groups=4, cross_attention_dim=128, attention_head_dim=2)
    values |= dict(down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2)
    torch.manual_seed(0)
    UNet2DConditionModel(**values | changes).save_pretrained(folder)
    return folder


def test_a_folder_of_arc2face_brings_its_unet_and_its_text_encoder(models, tmp_path):
    from adaface.text.folder import save_text_encoder
    from tiny import text_model

    write_unet(tmp_path / "arc2face")
    save_text_encoder(text_model(), tmp_path / "encoder")
    found = open_teacher({str(tmp_path): 1.0}, models, "auto")
    assert found.frozen.keys() == {"teacher", "teacher_prompter"}
    assert found.prompter is not models.prompter
    assert not any(p.requires_grad for part in found.frozen.values() for p in part.parameters())
    ids = torch.randn(1, 128, generator=torch.Generator().manual_seed(0))
    said = found.about(ids)(torch.randn(1, 16, 8, 8), torch.tensor([500]))
    assert said.shape == (1, 16, 8, 8) and said.isfinite().all()


def test_a_unet_alone_shares_the_stack_s_id_prompter(models, tmp_path):
    found = open_teacher({str(write_unet(tmp_path / "own")): 1.0}, models, "bf16")
    assert found.prompter is models.prompter
    assert found.frozen.keys() == {"teacher"}
    assert found.unet.dtype == torch.bfloat16


def test_the_stack_s_teacher_and_a_folder_s_are_one_ensemble(models, tmp_path):
    found = open_teacher({"teacher": 3.0, str(write_unet(tmp_path / "own")): 1.0}, models, "auto")
    assert found.weights == (0.75, 0.25)


def test_a_folder_s_scheduler_says_what_its_unet_predicts(models, tmp_path):
    write_unet(tmp_path / "unet")
    scheduler = models.denoiser.scheduler
    scheduler.save_pretrained(tmp_path / "scheduler")
    path = tmp_path / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "prediction_type": "sample"}), encoding="utf-8")
    found = open_teacher({str(tmp_path): 1.0}, models, "auto")
    assert (found.given, found.wanted) == ("sample", "v_prediction")
    own = open_teacher({str(tmp_path / "unet"): 1.0}, models, "auto")
    assert own.given == "v_prediction", "a folder of its own: nobody says otherwise"
    (tmp_path / "model_index.json").write_text("{}")
    assert open_teacher({str(tmp_path / "unet"): 1.0}, models, "auto").given == "sample"


def test_a_teacher_of_other_noise_levels_is_refused(models, tmp_path):
    from diffusers import DDIMScheduler

    write_unet(tmp_path / "unet")
    DDIMScheduler(beta_schedule="linear").save_pretrained(tmp_path / "scheduler")
    with pytest.raises(WrongModelError, match="noise levels .* are others than the base's"):
        open_teacher({str(tmp_path): 1.0}, models, "auto")


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"in_channels": 4, "out_channels": 4}, "latents of channels 4, and this stack makes 16"),
     ({"cross_attention_dim": 32}, "context of width 32, and this stack makes 128")],
)  # fmt: skip
def test_a_teacher_of_another_family_is_refused(models, tmp_path, changes, told):
    with pytest.raises(WrongModelError, match=told):
        open_teacher({str(write_unet(tmp_path / "other", **changes)): 1.0}, models, "auto")


def test_a_folder_without_a_unet_says_what_is_looked_for(models, tmp_path):
    with pytest.raises(MissingFileError, match="no UNet in it .*arc2face, unet.*Give Arc2Face's folder"):
        open_teacher({str(tmp_path): 1.0}, models, "auto")


def test_a_stack_without_a_teacher_says_so(models):
    roles = {role: part for role, part in models.stack.roles.items() if role != "teacher"}
    bare = dataclasses.replace(models, stack=dataclasses.replace(models.stack, roles=roles))
    with pytest.raises(StackError, match='no role "teacher"'):
        open_teacher({}, bare, "auto")
