"""Checkpoints with other models in them, their averages, and models taken out: files and folders."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from adaface.checkpoints.ldm import open_ldm
from adaface.checkpoints.surgery.common import ORIGIN
from adaface.checkpoints.surgery.extracting import extract
from adaface.checkpoints.surgery.swapping import swap
from adaface.checkpoints.surgery.writing import new_folder
from adaface.errors import (
    ConfigError,
    DamagedFileError,
    FormatError,
    MissingFileError,
    WriteError,
    WrongModelError,
)
from adaface.files import need_room, sha256
from tiny_ldm import TEXT, UNET, VAE, assert_same, files, metadata, models, opened, part


@pytest.mark.parametrize(("role", "prefix"), [("text_encoder", TEXT), ("vae", VAE)])
@pytest.mark.parametrize("source", ["other", "other_folder"])
def test_swapping_takes_the_one_model_and_keeps_all_else(
    role, prefix, source, request, ldm_file, other, tmp_path
):
    out = swap(ldm_file, request.getfixturevalue(source), tmp_path / "out.safetensors", role).path
    old, new, found = load_file(ldm_file), load_file(other), load_file(out)
    ids = prefix + "embeddings.position_ids"
    assert_same(found, {**old, **part(new, prefix), **part(old, ids)})


@pytest.mark.parametrize("role", ["text_encoder", "vae"])
@pytest.mark.parametrize("source", ["other", "other_folder"])
def test_swapping_in_a_folder_gives_the_same_models(
    role, source, request, base_folder, ldm_file, other, tmp_path
):
    given = request.getfixturevalue(source)
    folder = swap(base_folder, given, tmp_path / "out", role).path
    file = swap(ldm_file, other, tmp_path / "out.safetensors", role).path
    assert_same(models(opened(folder)), models(open_ldm(file, config=base_folder)))


def test_a_folders_other_files_are_copied_and_no_stale_weights(base_folder, other_folder, tmp_path):
    base = shutil.copytree(base_folder, tmp_path / "base")
    for name in ("text_encoder/model.fp16.safetensors", "text_encoder/pytorch_model.bin"):
        (base / name).write_bytes(b"of the old text encoder")
    (base / "v1-5-pruned.safetensors").write_bytes(b"not of the folder's models")
    (base / "README.md").write_text("where it is from")
    (base / ".cache").mkdir()
    (base / ".cache" / "lock").write_text("")
    out = swap(base, other_folder, tmp_path / "out", "text_encoder").path
    old, new = files(base_folder), files(out)
    changed_names = {"text_encoder/model.safetensors"}
    assert new.keys() == old.keys() | {"README.md"}
    assert {name for name in old if old[name] != new[name]} == changed_names


def test_text_encoder_names_without_text_model_fit_those_with_it(ldm_file, other, tmp_path):
    short = {name.replace("text_model.", ""): value for name, value in load_file(other).items()}
    save_file(short, tmp_path / "short.safetensors")
    out = swap(ldm_file, tmp_path / "short.safetensors", tmp_path / "out.safetensors", "text_encoder").path
    found = part(load_file(out), TEXT)
    found.pop(TEXT + "embeddings.position_ids")
    expected = part(load_file(other), TEXT)
    expected.pop(TEXT + "embeddings.position_ids")
    assert_same(found, expected)


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_a_bare_text_encoder_file_can_be_the_source(prefix, ldm_file, other, tmp_path):
    tensors = {prefix + k.removeprefix(TEXT): v for k, v in part(load_file(other), TEXT).items()}
    save_file({**tensors, "logit_scale": torch.ones(1)}, tmp_path / "clip.safetensors")
    out = swap(ldm_file, tmp_path / "clip.safetensors", tmp_path / "out.safetensors", "text_encoder").path
    name = "encoder.layers.0.mlp.fc1.weight"
    assert torch.equal(load_file(out)[TEXT + name], tensors[prefix + name])


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_vae_file_in_ldms_own_names_can_be_the_source(suffix, ldm_file, other, tmp_path):
    """As VAEs are published: names without prefix, the training's loss among them."""
    tensors = {k.removeprefix(VAE): v for k, v in part(load_file(other), VAE).items()}
    extras = {"loss.logvar": torch.zeros(1), "model_ema.decay": torch.ones(1)}
    vae = tmp_path / f"vae{suffix}"
    if suffix == ".ckpt":
        torch.save({"state_dict": {**tensors, **extras}, "epoch": 1}, vae)
    else:
        save_file({**tensors, **extras}, vae)
    out = swap(ldm_file, vae, tmp_path / "out.safetensors", "vae").path
    assert_same(part(load_file(out), VAE), part(load_file(other), VAE))


OLD = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}


def test_a_vae_folder_with_the_attentions_old_names_can_be_the_source(
    other_folder, ldm_file, other, tmp_path
):
    path = other_folder / "vae" / "diffusion_pytorch_model.safetensors"
    renamed = {}
    for name, value in load_file(path).items():
        for new, old in OLD.items():
            name = name.replace(f"attentions.0.{new}", f"attentions.0.{old}")
        renamed[name] = value
    assert renamed.keys() != load_file(path).keys()
    save_file(renamed, path)
    out = swap(ldm_file, other_folder / "vae", tmp_path / "out.safetensors", "vae").path
    assert_same(part(load_file(out), VAE), part(load_file(other), VAE))


def test_the_sources_dtype_is_kept(ldm_file, other, tmp_path):
    save_file({k: v.half() for k, v in load_file(other).items()}, tmp_path / "half.safetensors")
    out = load_file(swap(ldm_file, tmp_path / "half.safetensors", tmp_path / "out.safetensors", "vae").path)
    assert {v.dtype for v in part(out, VAE).values()} == {torch.float16}
    assert {v.dtype for v in part(out, UNET).values()} == {torch.float32}


def test_a_pickled_base_becomes_a_safetensors_file(ldm_file, other, tmp_path):
    torch.save({"state_dict": load_file(ldm_file), "global_step": 3}, tmp_path / "base.ckpt")
    a = swap(tmp_path / "base.ckpt", other, tmp_path / "a.safetensors", "vae").path
    b = swap(ldm_file, other, tmp_path / "b.safetensors", "vae").path
    assert_same(load_file(a), load_file(b))


def test_the_header_tells_where_the_file_is_from(ldm_file, other, tmp_path):
    found = metadata(swap(ldm_file, other, tmp_path / "out.safetensors", "vae").path)
    told = json.loads(found[ORIGIN])
    assert found["format"] == "pt"
    assert found["modelspec.title"] == "tiny"  # what the base's header said is kept
    assert told["operation"] == "swap-vae"
    assert told["inputs"] == [{"file": p.name, "sha256": sha256(p)} for p in (ldm_file, other)]


def test_the_report_counts(ldm_file, other, tmp_path):
    done = swap(ldm_file, other, tmp_path / "out.safetensors", "vae")
    tensors = load_file(done.path)
    assert (done.tensors, done.changed) == (len(tensors), len(part(tensors, VAE)))
    assert done.bytes == sum(v.numel() * v.element_size() for v in tensors.values())


def test_progress_is_told_to_the_end(ldm_file, other, tmp_path):
    told = []
    done = swap(ldm_file, other, tmp_path / "out.safetensors", "vae", tell=lambda *args: told.append(args))
    assert told[-1] == (done.bytes, done.bytes)
    assert told == sorted(told)


def test_keys_that_do_not_fit_are_one_error_and_nothing_is_written(ldm_file, other, tmp_path):
    tensors = load_file(other)
    before_names = [name.removeprefix(VAE) for name in tensors]
    for name in list(part(tensors, VAE + "encoder.down.0")):
        del tensors[name]
    tensors[VAE + "decoder.conv_in.bias"] = torch.zeros(7)
    tensors[VAE + "decoder.new"] = torch.zeros(1)
    save_file(tensors, other)
    before = set(tmp_path.iterdir())
    with pytest.raises(FormatError) as caught:
        swap(ldm_file, other, tmp_path / "out.safetensors", "vae")
    message = str(caught.value)
    assert f"{other}: its VAE does not fit the one in {ldm_file}" in message
    assert "missing (encoder.down.0.block.0.conv1.bias, " in message
    missing = [name for name in before_names if name.startswith("encoder.down.0")]
    assert all(name in message for name in missing)
    assert "1 not known (decoder.new)" in message
    assert "1 of another shape (decoder.conv_in.bias (7,) for (8,))" in message
    assert set(tmp_path.iterdir()) == before


def test_a_folder_whose_config_means_something_else_is_refused(base_folder, other_folder, tmp_path):
    path = other_folder / "text_encoder" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_attention_heads": 2}))
    with pytest.raises(FormatError, match="num_attention_heads 2 for 4. Use models of one architecture"):
        swap(base_folder, other_folder, tmp_path / "out", "text_encoder")


def test_a_source_of_another_kind_is_refused(ldm_file, other_folder, tmp_path):
    with pytest.raises(WrongModelError, match="a UNet alone; expected here: .* or a VAE"):
        swap(ldm_file, other_folder / "unet", tmp_path / "out.safetensors", "vae")


def test_a_source_that_lacks_the_model_is_refused(ldm_file, other, tmp_path):
    save_file({k: v for k, v in load_file(other).items() if not k.startswith(VAE)}, other)
    with pytest.raises(WrongModelError, match="a Stable Diffusion 1.x checkpoint, with no VAE in it"):
        swap(ldm_file, other, tmp_path / "out.safetensors", "vae")


def test_a_damaged_source_is_refused(ldm_file, tmp_path):
    (tmp_path / "vae.safetensors").write_bytes(b"")
    with pytest.raises(DamagedFileError, match="empty"):
        swap(ldm_file, tmp_path / "vae.safetensors", tmp_path / "out.safetensors", "vae")


def test_the_result_has_the_bases_form(ldm_file, base_folder, other, tmp_path):
    with pytest.raises(ConfigError, match="is a file, and so is the result. Name one that ends with .safe"):
        swap(ldm_file, other, tmp_path / "out.ckpt", "vae")
    with pytest.raises(ConfigError, match="is a folder, and so is the result. Name a new folder"):
        swap(base_folder, other, tmp_path / "out.safetensors", "vae")


def test_a_result_called_as_another_kind_of_file_becomes_no_folder(ldm_file, base_folder, other, tmp_path):
    with pytest.raises(ConfigError, match=r"no .ckpt is written. Name a .safetensors file or a new folder"):
        swap(base_folder, other, tmp_path / "new.ckpt", "vae")
    with pytest.raises(ConfigError, match=r"no .pt is written"):
        extract(ldm_file, "vae", tmp_path / "vae.pt", base_folder)


@pytest.mark.parametrize("which", [0, 1])
def test_an_input_that_cannot_be_reached_is_told(which, ldm_file, tmp_path):
    inputs = [ldm_file, ldm_file]
    inputs[which] = tmp_path / ("x" * 300)
    with pytest.raises(MissingFileError, match=r"x: cannot be reached \(File name too long\)"):
        swap(*inputs, tmp_path / "out.safetensors", "vae")


@pytest.mark.parametrize("end", ["", ".safetensors"])
def test_a_result_whose_name_is_too_long_is_told_before_the_work(end, ldm_file, base_folder, tmp_path):
    base = ldm_file if end else base_folder
    with pytest.raises(WriteError, match=r"not written \(File name too long\). Choose another name"):
        swap(base, ldm_file, tmp_path / ("x" * 300 + end), "vae")


def test_a_file_that_cannot_be_copied_is_named(tmp_path):
    gone = pytest.raises(WriteError, match=r"out: not written \(.*gone.txt: No such file")
    with gone, new_folder(tmp_path / "out") as folder:
        shutil.copyfile(tmp_path / "gone.txt", folder / "gone.txt")


def test_what_is_there_is_not_replaced_unasked(ldm_file, base_folder, other, tmp_path):
    with pytest.raises(ConfigError, match="is there already. Choose another name, or say --overwrite"):
        swap(ldm_file, other, other, "vae")
    with pytest.raises(ConfigError, match="a folder with something in it. Name a new or an empty one"):
        swap(base_folder, other, tmp_path, "vae", overwrite=True)


def test_a_file_may_replace_its_own_source(ldm_file, other, tmp_path):
    expected = swap(ldm_file, other, tmp_path / "out.safetensors", "vae").path
    swap(ldm_file, other, other, "vae", overwrite=True)
    assert_same(load_file(other), load_file(expected))


def test_an_empty_folder_may_become_the_result(base_folder, other, tmp_path):
    (tmp_path / "out").mkdir()
    assert (swap(base_folder, other, tmp_path / "out", "vae").path / "model_index.json").is_file()


@pytest.mark.parametrize("target", ["file", "folder"])
def test_a_full_disk_leaves_nothing_behind(target, ldm_file, base_folder, other, tmp_path, monkeypatch):
    base, out = (ldm_file, "out.safetensors") if target == "file" else (base_folder, "out")
    before = set(tmp_path.iterdir())

    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteError, match=r"out.*: not written \(No space left on device\). Free space, or"):
        swap(base, other, tmp_path / out, "vae", tell=full)
    assert set(tmp_path.iterdir()) == before


def test_a_folder_that_lacks_a_model_is_told_before_anything_is_written(base_folder, other_folder, tmp_path):
    base = shutil.copytree(base_folder, tmp_path / "base")
    (base / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    before = set(tmp_path.iterdir())
    with pytest.raises(
        MissingFileError, match=r"unet: no diffusion_pytorch_model.safetensors in it; the UNet"
    ):
        swap(base, other_folder, tmp_path / "out", "vae")
    assert set(tmp_path.iterdir()) == before


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(WriteError, match=r"\d GB are to be written, .* GB are free. Free space, or choose"):
        need_room(tmp_path / "to" / "be", 10 * free)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the administrator may write anywhere")
def test_a_folder_that_may_not_be_written_is_told(ldm_file, other, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(WriteError, match="Permission denied"):
        swap(ldm_file, other, tmp_path / "locked" / "out.safetensors", "vae")


def test_a_stopped_run_leaves_nothing_behind(base_folder, other, tmp_path):
    before = set(tmp_path.iterdir())

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        swap(base_folder, other, tmp_path / "out", "vae", tell=stop)
    assert set(tmp_path.iterdir()) == before
