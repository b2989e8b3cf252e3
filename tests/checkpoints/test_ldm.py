"""One LDM file as a stock pipeline, without a hub."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from adaface.checkpoints.ldm import SD15, empty, fit, open_ldm
from adaface.checkpoints.parts import diffusers_names, part_of
from adaface.checkpoints.tensors import Weights
from adaface.errors import (
    DamagedFileError,
    FormatError,
    MissingFileError,
    UnsafeFileError,
    WrongModelError,
)
from adaface.text.folder import load_text_encoder, load_tokenizer
from tiny_ldm import TEXT, UNET, VAE, assert_same, ldm_tensors, models, unet_names, vae_names


@pytest.fixture(autouse=True)
def no_torch_load(monkeypatch):
    """Whatever is opened here, torch.load is not asked."""
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))


@pytest.fixture
def broken(ldm_file, tmp_path):
    """Writes the tiny LDM file with some tensors replaced; None: left out."""

    def write(**replaced):
        tensors = {**load_file(ldm_file), **replaced}
        save_file({k: v for k, v in tensors.items() if v is not None}, tmp_path / "broken.safetensors")
        return tmp_path / "broken.safetensors"

    return write


def test_every_weight_is_the_pipelines_own(ldm_file, base_folder, base_pipe):
    assert_same(models(open_ldm(ldm_file, config=base_folder)), models(base_pipe))


def test_diffusers_own_loader_of_single_files_agrees(ldm_file, base_folder):
    from diffusers import StableDiffusionPipeline

    stock = StableDiffusionPipeline.from_single_file(
        str(ldm_file), config=str(base_folder), local_files_only=True, safety_checker=None
    )
    assert_same(models(open_ldm(ldm_file, config=base_folder)), models(stock))


def test_files_without_text_model_in_their_names_are_read_too(base_folder, base_pipe, tmp_path):
    save_file(ldm_tensors(base_pipe, TEXT.removesuffix("text_model.")), tmp_path / "old.safetensors")
    pipe = open_ldm(tmp_path / "old.safetensors", config=base_folder)
    assert_same(models(pipe), models(base_pipe))


def test_a_pickled_ckpt_gives_the_same(ldm_file, base_folder, base_pipe, tmp_path):
    torch.save({"state_dict": load_file(ldm_file), "global_step": 1}, tmp_path / "tiny.ckpt")
    assert_same(models(open_ldm(tmp_path / "tiny.ckpt", config=base_folder)), models(base_pipe))


def test_the_pictures_are_the_same_too(ldm_file, base_folder, base_pipe):
    def draw(pipe):
        pipe.set_progress_bar_config(disable=True)
        numbers = torch.Generator().manual_seed(0)
        return pipe(
            "a photo of a person", num_inference_steps=2, height=64, width=64, generator=numbers,
            output_type="pt",
        ).images  # fmt: skip

    assert torch.equal(draw(open_ldm(ldm_file, config=base_folder)), draw(base_pipe))


def test_weights_get_the_dtype_that_is_asked_for(ldm_file, base_folder, base_pipe):
    pipe = open_ldm(ldm_file, torch.float16, config=base_folder)
    assert_same(models(pipe), {name: value.half() for name, value in models(base_pipe).items()})
    assert not pipe.unet.training and not pipe.vae.training and not pipe.text_encoder.training


def test_the_models_live_on_when_the_file_is_gone(ldm_file, base_folder, base_pipe, tmp_path):
    copy = tmp_path / "gone.safetensors"
    copy.write_bytes(ldm_file.read_bytes())
    pipe = open_ldm(copy, config=base_folder)
    copy.write_bytes(b"")
    assert_same(models(pipe), models(base_pipe))


def test_the_scheduler_is_the_configs_own(ldm_file, base_folder, base_pipe):
    pipe = open_ldm(ldm_file, config=base_folder)
    assert type(pipe.scheduler) is type(base_pipe.scheduler)
    assert dict(pipe.scheduler.config) == dict(base_pipe.scheduler.config)


def test_a_given_text_encoder_and_vae_take_the_places_of_the_files(broken, base_folder, base_pipe):
    tensors = load_file(broken())
    path = broken(**{name: None for name in tensors if name.startswith((VAE, TEXT))})
    text_encoder, vae = load_text_encoder(base_folder / "text_encoder"), base_pipe.vae
    pipe = open_ldm(path, config=base_folder, text_encoder=text_encoder, vae=vae)
    assert pipe.text_encoder is text_encoder
    assert pipe.vae is vae


def test_a_checkpoint_without_a_vae_says_so(broken, base_folder):
    path = broken(**{name: None for name in load_file(broken()) if name.startswith(VAE)})
    with pytest.raises(FormatError, match=r"no VAE in this checkpoint. Take a whole one, or name a VAE"):
        open_ldm(path, config=base_folder)


def test_the_safety_checker_is_the_callers(ldm_file, base_folder):
    class Checker(torch.nn.Module):
        dtype = torch.float32

    class Extractor:
        pass

    assert open_ldm(ldm_file, config=base_folder).safety_checker is None
    checker, extractor = Checker(), Extractor()
    pipe = open_ldm(ldm_file, config=base_folder, safety_checker=checker, feature_extractor=extractor)
    assert pipe.safety_checker is checker
    assert pipe.feature_extractor is extractor


def test_missing_unknown_and_misshapen_tensors_are_one_error(broken, base_folder):
    path = broken(
        **{
            f"{UNET}time_embed.0.bias": None,
            f"{UNET}out.2.bias": torch.zeros(3),
            f"{UNET}input_blocks.0.0.extra": torch.zeros(1),
        }
    )
    with pytest.raises(FormatError) as caught:
        open_ldm(path, config=base_folder)
    message = str(caught.value)
    assert "its UNet does not fit unet/config.json" in message
    assert "1 missing (time_embedding.linear_1.bias)" in message
    assert "1 not known (input_blocks.0.0.extra)" in message
    assert "1 of another shape (conv_out.bias (3,) for (16,))" in message


def test_a_file_of_other_sizes_is_not_taken_for_sd15(ldm_file):
    with pytest.raises(FormatError, match="its VAE does not fit .* of other sizes give the configs"):
        open_ldm(ldm_file)


def test_another_family_is_refused(broken):
    with pytest.raises(WrongModelError, match="a Stable Diffusion XL checkpoint; expected here"):
        open_ldm(broken(**{"conditioner.embedders.0.x": torch.zeros(1)}))


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    class Surprise:
        def __reduce__(self):
            return pytest.fail, ("it was run",)

    torch.save({"state_dict": {UNET + "out.2.bias": torch.zeros(4)}, "more": Surprise()}, tmp_path / "x.ckpt")
    with pytest.raises(UnsafeFileError, match=r"x.ckpt: .*it names _pytest.outcomes._Fail, which"):
        open_ldm(tmp_path / "x.ckpt")


def test_a_web_page_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_text("<html>log in</html>")
    with pytest.raises(DamagedFileError, match="a web page"):
        open_ldm(tmp_path / "model.safetensors")


def test_a_folder_of_configs_that_lacks_one_is_an_error(ldm_file, tmp_path):
    with pytest.raises(MissingFileError, match=r"scheduler_config.json: no such file"):
        open_ldm(ldm_file, config=tmp_path)


class Shapes(Weights):
    """Names and shapes of a model's weights, without numbers."""

    def __init__(self, shapes):
        super().__init__(SD15, {})
        self.shapes = shapes

    def __getitem__(self, name):
        return torch.empty(self.shapes[name], device="meta")

    def __iter__(self):
        return iter(self.shapes)

    def __len__(self):
        return len(self.shapes)

    def shape(self, name):
        return self.shapes[name]

    def dtype(self, name):
        return torch.float32

    def blocks(self, name, numbers=0):
        raise NotImplementedError


@pytest.fixture(scope="module")
def sd15():
    """The three models of the shipped configs, without numbers."""
    from adaface.text.clip import text_parts

    models = {role: empty(role, SD15) for role in ("unet", "vae", "text_encoder")}
    return {**models, "text_encoder": text_parts(models["text_encoder"])}


@pytest.mark.parametrize(("role", "count"), [("unet", 686), ("vae", 248), ("text_encoder", 196)])
def test_the_shipped_configs_are_the_public_models_tensor_for_tensor(role, count, sd15):
    names = set(sd15[role].state_dict()) - {"embeddings.position_ids"}
    assert len(names) == count  # as in the published SD-1.5


def test_the_shipped_unet_has_sd15s_numbers(sd15):
    assert sum(p.numel() for p in sd15["unet"].parameters()) == 859_520_964
    assert sum(p.numel() for p in sd15["vae"].parameters()) == 83_653_863
    assert sum(p.numel() for p in sd15["text_encoder"].parameters()) == 123_060_480


@pytest.mark.parametrize("role", ["unet", "vae"])
def test_names_of_sd15_files_fit_the_shipped_configs_one_to_one(role, sd15):
    state = sd15[role].state_dict()
    ldm = unet_names(state, 2) if role == "unet" else vae_names(state, 4)
    prefix = {"unet": UNET, "vae": VAE}[role]
    shapes = {prefix + ldm[name]: tuple(value.shape) for name, value in state.items()}
    part = part_of(Shapes(shapes), role)
    assert diffusers_names(part) == {old: new for new, old in ldm.items()}
    assert fit(part, sd15[role], SD15) == diffusers_names(part)


def test_known_places_of_sd15_are_where_others_have_found_them(sd15):
    names = unet_names(sd15["unet"].state_dict(), 2)
    assert names["up_blocks.3.resnets.2.conv_shortcut.weight"] == "output_blocks.11.0.skip_connection.weight"
    assert names["up_blocks.0.upsamplers.0.conv.bias"] == "output_blocks.2.1.conv.bias"
    assert names["down_blocks.0.downsamplers.0.conv.weight"] == "input_blocks.3.0.op.weight"


def test_the_shipped_tokenizer_is_clips():
    tokenizer = load_tokenizer(SD15 / "tokenizer")
    assert tokenizer("photo of a id person").input_ids == [49406, 1125, 539, 320, 1014, 2533, 49407]
    assert len(tokenizer) == 49408
    assert tokenizer.pad_token_id == 49407


def test_the_shipped_vocabulary_follows_from_its_merges():
    folder = SD15 / "tokenizer"
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    merges = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")[1:-1]
    assert len(merges) == 48894
    assert [vocabulary[merge.replace(" ", "", 1)] for merge in merges] == list(range(512, 512 + 48894))
    assert sorted(vocabulary.values()) == list(range(49408))


def test_the_vocabularys_licence_lies_beside_it():
    assert "Permission is hereby granted" in (SD15 / "tokenizer" / "LICENSE").read_text()


def test_the_shipped_data_are_small():
    assert sum(path.stat().st_size for path in SD15.rglob("*") if path.is_file()) < 1_500_000
