"""Averages of checkpoints: an average is an average."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from adaface.checkpoints.ldm import filled, open_ldm
from adaface.checkpoints.parts import ROLES, open_part
from adaface.checkpoints.surgery.averaging import average
from adaface.checkpoints.surgery.common import ORIGIN
from adaface.checkpoints.surgery.extracting import extract
from adaface.errors import ConfigError, FormatError, WrongModelError
from adaface.files import sha256
from tiny_ldm import TEXT, UNET, VAE, assert_same, changed, models
from tiny_text import GOLDEN

MODELS = (UNET, VAE, TEXT)


@pytest.fixture
def three(ldm_file, tmp_path):
    """Three LDM files of other numbers."""
    return [changed(ldm_file, tmp_path / f"{k}.safetensors", seed=k) for k in range(3)]


def weights_of(path):
    return {k: v for k, v in load_file(path).items() if k.startswith(MODELS) and v.is_floating_point()}


def mean(tensors, shares):
    total = sum(share * tensor.double() for share, tensor in zip(shares, tensors, strict=True))
    return total.to(tensors[0].dtype)


@pytest.mark.parametrize("shares", [None, [1, 1, 2]])
def test_each_number_is_the_mean_of_its_likes(shares, three, tmp_path):
    found = weights_of(average(three, tmp_path / "out.safetensors", shares).path)
    given, parts = [weights_of(path) for path in three], [0.25, 0.25, 0.5] if shares else [1 / 3] * 3
    assert found.keys() == given[0].keys()
    for name, value in found.items():
        assert torch.allclose(value, mean([tensors[name] for tensors in given], parts), rtol=2e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_average_of_equal_files_is_the_file(dtype, ldm_file, tmp_path):
    path = tmp_path / "one.safetensors"
    save_file({k: v.to(dtype) if v.is_floating_point() else v for k, v in load_file(ldm_file).items()}, path)
    assert_same(weights_of(average([path] * 3, tmp_path / "out.safetensors").path), weights_of(path))


def test_all_weight_on_one_gives_that_one(three, tmp_path):
    out = average(three, tmp_path / "out.safetensors", [0, 1, 0]).path
    assert_same(weights_of(out), weights_of(three[1]))


def test_what_is_no_weight_is_the_first_ones_and_old_averages_are_left_out(three, tmp_path):
    done = average(three, tmp_path / "out.safetensors")
    first, found = load_file(three[0]), load_file(done.path)
    rest = {
        k: v for k, v in first.items() if k not in weights_of(three[0]) and not k.startswith("model_ema.")
    }
    assert_same({k: v for k, v in found.items() if k not in weights_of(three[0])}, rest)
    assert sorted(done.left_out) == sorted(k for k in first if k.startswith("model_ema."))
    assert "alphas_cumprod" in rest


def test_files_and_folders_average_to_the_same_models(three, base_folder, tmp_path):
    folders = [
        extract(path, "pipeline", tmp_path / f"folder{k}", base_folder).path for k, path in enumerate(three)
    ]
    by_files = open_ldm(average(three, tmp_path / "out.safetensors").path, config=base_folder)
    for name, paths in (("folders", folders), ("mixed", [folders[0], three[1], folders[2]])):
        out = average(paths, tmp_path / name).path
        parts = {role: filled(open_part(out, role), base_folder, torch.float32) for role in ROLES}
        assert_same(models(SimpleNamespace(**parts)), models(by_files))
        assert (out / "tokenizer" / "vocab.json").is_file()


def test_names_of_the_text_encoder_may_differ(three, tmp_path):
    before = weights_of(average(three, tmp_path / "a.safetensors").path)
    short = {k.replace("text_model.", ""): v for k, v in load_file(three[1]).items()}
    save_file(short, three[1])
    assert_same(weights_of(average(three, tmp_path / "b.safetensors").path), before)


def test_pickled_files_can_be_among_them(three, tmp_path):
    before = weights_of(average(three, tmp_path / "a.safetensors").path)
    torch.save({"state_dict": load_file(three[2]), "epoch": 0}, tmp_path / "2.ckpt")
    out = average([*three[:2], tmp_path / "2.ckpt"], tmp_path / "b.safetensors").path
    assert_same(weights_of(out), before)


def test_models_alone_average_too(three, base_folder, tmp_path):
    whole = load_file(average(three, tmp_path / "whole.safetensors").path)
    vaes = [extract(path, "vae", tmp_path / f"vae{k}.safetensors").path for k, path in enumerate(three)]
    found = load_file(average(vaes, tmp_path / "vae.safetensors").path)
    assert_same({VAE + k: v for k, v in found.items()}, {k: v for k, v in whole.items() if k.startswith(VAE)})
    mixed = average([vaes[0], three[1], three[2]], tmp_path / "mixed.safetensors").path
    assert_same(load_file(mixed), found)


def test_a_models_folder_averages_with_its_config(three, base_folder, tmp_path):
    folders = [extract(p, "vae", tmp_path / f"vae{k}", base_folder).path for k, p in enumerate(three)]
    out = average(folders, tmp_path / "out").path
    pipe = open_ldm(average(three, tmp_path / "whole.safetensors").path, config=base_folder)
    assert_same(filled(open_part(out, "vae"), out, torch.float32).state_dict(), pipe.vae.state_dict())


def test_adaface_encoders_average_and_open(tiny_stack, tmp_path):
    from adaface.encoder.inverse import AdaFaceEncoder

    first = tiny_stack / "encoder"
    second = shutil.copytree(first, tmp_path / "second")
    changed(first / "model.safetensors", second / "model.safetensors", seed=5)
    out = average([first, second], tmp_path / "out").path
    a, b = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    expected = {name: mean([a[name], b[name]], [0.5, 0.5]) for name in a}
    assert_same(load_file(out / "model.safetensors"), expected)
    assert AdaFaceEncoder.from_pretrained(out).config == AdaFaceEncoder.from_pretrained(first).config


def test_encoders_of_several_checkpoints_of_the_authors_average(tmp_path):
    from adaface.checkpoints.convert import convert
    from adaface.encoder.inverse import AdaFaceEncoder

    files = [
        GOLDEN / "checkpoints" / "2025.pt",
        shutil.copy(GOLDEN / "checkpoints" / "2025.pt", tmp_path / "b.pt"),
    ]
    first, second = (convert(file, tmp_path / f"{k}").encoders[0].folder for k, file in enumerate(files))
    changed(first / "model.safetensors", second / "model.safetensors", seed=5)
    out = average([first, second], tmp_path / "out", [3, 1]).path
    a, b, found = (load_file(folder / "model.safetensors") for folder in (first, second, out))
    assert_same(found, {name: mean([a[name], b[name]], [0.75, 0.25]) for name in a})
    origin = AdaFaceEncoder.from_pretrained(out).config.origin
    assert [one["file"] for one in json.loads(origin["average"])] == ["2025.pt", "b.pt"]
    assert json.loads(origin["shares"]) == [0.75, 0.25]


def test_encoders_of_other_recognisers_are_not_averaged(tiny_stack, tmp_path):
    first = tiny_stack / "encoder"
    second = shutil.copytree(first, tmp_path / "second")
    values = json.loads((second / "config.json").read_text())
    (second / "config.json").write_text(json.dumps({**values, "recognizer": "other"}))
    with pytest.raises(FormatError, match="another encoder than .*: recognizer differ in config.json"):
        average([first, second], tmp_path / "out")


def test_an_encoders_file_alone_is_told_to_be_a_folder(tiny_stack, tmp_path):
    file = tiny_stack / "encoder" / "model.safetensors"
    with pytest.raises(ConfigError, match="an encoder is a folder with a config.json. Name the folder"):
        average([file, file], tmp_path / "out.safetensors")


def test_the_header_tells_the_inputs_and_their_shares(three, tmp_path):
    out = average(three, tmp_path / "out.safetensors", [1, 1, 2]).path
    with safe_open(out, "pt") as file:
        told = json.loads(file.metadata()[ORIGIN])
    assert told["operation"] == "average"
    assert told["inputs"] == [{"file": path.name, "sha256": sha256(path)} for path in three]
    assert told["shares"] == [0.25, 0.25, 0.5]


def test_models_of_other_sizes_are_one_error_and_nothing_is_written(three, tmp_path):
    tensors = load_file(three[2])
    tensors[f"{UNET}out.2.weight"] = torch.zeros(16, 32, 1, 3)
    save_file(tensors, three[2])
    before = set(tmp_path.iterdir())
    with pytest.raises(FormatError, match=r"its UNet does not fit .* 1 of another shape \(out.2.weight"):
        average(three, tmp_path / "out.safetensors")
    assert set(tmp_path.iterdir()) == before


def test_other_kinds_are_not_averaged_with_checkpoints(three, base_folder, tmp_path):
    with pytest.raises(WrongModelError, match="a VAE; expected here: a Stable Diffusion 1.x checkpoint"):
        average([three[0], base_folder / "vae"], tmp_path / "out.safetensors")


def test_kinds_without_an_average_are_refused(tmp_path):
    save_file({"<alice>": torch.zeros(16, 8)}, tmp_path / "word.safetensors")
    with pytest.raises(WrongModelError, match="a textual inversion; expected here: a Stable Diffusion 1.x"):
        average([tmp_path / "word.safetensors"] * 2, tmp_path / "out.safetensors")


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ([1, 1], "2 weights for 3 checkpoints. Give one for each"),
        ([1, -1, 1], "not those of an average. Give numbers of 0 or more, not all 0"),
        ([0, 0, 0], "not those of an average"),
        ([1, float("nan"), 1], "not those of an average"),
        ([1, float("inf"), 1], "not those of an average"),
    ],
)
def test_weights_that_make_no_average_are_refused(shares, words, three, tmp_path):
    with pytest.raises(ConfigError, match=words):
        average(three, tmp_path / "out.safetensors", shares)


@pytest.mark.parametrize("share", [1e308, 5e-324])
def test_only_the_ratios_of_weights_count_however_large_they_are(share, three, tmp_path):
    average(three, tmp_path / "huge.safetensors", [share] * 3)
    average(three, tmp_path / "equal.safetensors")
    assert_same(weights_of(tmp_path / "huge.safetensors"), weights_of(tmp_path / "equal.safetensors"))


def test_one_checkpoint_has_no_average(ldm_file, tmp_path):
    with pytest.raises(ConfigError, match="its average is itself. Name two or more"):
        average([ldm_file], tmp_path / "out.safetensors")


def test_an_averaged_file_opens_as_a_pipeline(three, base_folder, tmp_path):
    out = average(three[:2], tmp_path / "out.safetensors").path
    a, b = (models(open_ldm(path, config=base_folder)) for path in three[:2])
    expected = {name: mean([a[name], b[name]], [0.5, 0.5]) for name in a}
    assert_same(models(open_ldm(out, config=base_folder)), expected)


def test_a_folder_whose_index_names_no_models_is_told(base_folder, tmp_path):
    odd = shutil.copytree(base_folder, tmp_path / "odd")
    (odd / "model_index.json").write_text('{"unet": 3, "vae": [], "text_encoder": [null, null]}')
    with pytest.raises(FormatError, match="odd: names no model in its model_index.json. Copy it again"):
        average([odd, odd], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_share_of_nothing_takes_nothing_not_even_what_is_no_number(ldm_file, tmp_path):
    broken = {name: torch.full_like(value, float("nan")) for name, value in load_file(ldm_file).items()
              if value.is_floating_point()}  # fmt: skip
    save_file({**load_file(ldm_file), **broken}, tmp_path / "nan.safetensors")
    out = average([ldm_file, tmp_path / "nan.safetensors"], tmp_path / "out.safetensors", [1, 0]).path
    kept = {name: value for name, value in load_file(ldm_file).items() if not name.startswith("model_ema.")}
    assert_same(load_file(out), kept)
