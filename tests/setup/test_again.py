"""`adaface setup` run again in its folder with other wishes: what is there afterwards is what was wished."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from adaface.encoder.folder import read_encoder
from adaface.files import sha256
from adaface.pipelines.stack import Stack
from adaface.setup import building
from adaface.setup.choosing import Wishes, make_plan
from adaface.setup.fetching import fetch_all
from adaface.setup.plan import read_plan
from tiny_cli import run

from .conftest import ARC2FACE, AUTHORS, DREAM, GOLDEN, NEWEST, VAE

WITHOUT = ("--without", "teacher", "--without", "safety_checker")


@pytest.fixture
def out(copies, tmp_path):
    """A stack that is set up, of copies."""
    folder = tmp_path / "stack"
    setup(folder)
    return folder


def setup(folder, *arguments, code=0):
    return run("setup", "sd15", "-o", folder, "-y", "--no-check", *WITHOUT, *arguments, code=code)


def told(folder, role):
    return json.loads((folder / "stack.json").read_text())["roles"][role]


def changed(source, target):
    """A copy of a folder of weights with other numbers, of the same size."""
    shutil.copytree(source, target)
    for path in target.glob("*model.safetensors"):
        tensors = {name: value + 0.125 for name, value in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
    return target


def altered(source, target):
    """A checkpoint of other numbers: those of each larger storage in another order."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if "/data/" in entry.filename and len(content) > 4096:
                content = np.frombuffer(content, dtype="<u4")[::-1].tobytes()
            new.writestr(entry, content)
    return target


def test_another_encoder_takes_the_place_of_the_one_before(out, tmp_path):
    other = altered(GOLDEN / "checkpoints" / "2024.pt", tmp_path / "other.pt")
    before = sha256(out / "encoder" / "model.safetensors")
    setup(out, "--from", f"encoder={other}")
    assert sha256(out / "encoder" / "model.safetensors") != before
    assert read_encoder(out / "encoder")[0].origin["sha256"] == sha256(other)
    assert told(out, "encoder")["origin"] == str(other)
    Stack.load(out).verify()

    setup(out)  # and back
    assert sha256(out / "encoder" / "model.safetensors") == before


def test_another_id_prompter_takes_the_place_of_the_one_before(out, tmp_path):
    other = shutil.copytree(GOLDEN / "arc2face-prompter" / "encoder", tmp_path / "other")
    name = "text_model.final_layer_norm.bias"
    tensors = load_file(other / "model.safetensors")
    save_file({**tensors, name: tensors[name] + 1}, other / "model.safetensors")
    setup(out, "--from", f"id_prompter={other}")
    made = load_file(out / "id_prompter" / "text_encoder" / "model.safetensors")
    assert torch.equal(made[name], tensors[name] + 1)
    Stack.load(out).verify()


def test_another_text_encoder_is_written_into_the_encoder_and_nothing_is_converted_again(
    out, copies, tmp_path, monkeypatch
):
    before = read_encoder(out / "encoder")[0].base_text_encoder
    other = changed(copies / DREAM / "text_encoder", tmp_path / "other")
    monkeypatch.setattr(building, "convert", None)
    setup(out, "--from", f"text_encoder={other}")
    assert read_encoder(out / "encoder")[0].base_text_encoder != before
    Stack.load(out).verify()


def test_another_recogniser_is_written_into_the_encoder(out, copies, tmp_path):
    mine = shutil.copy(copies / ARC2FACE / "arcface.onnx", tmp_path / "mine.onnx")
    setup(out, "--from", f"recognizer={mine}")
    assert read_encoder(out / "encoder")[0].recognizer == f"mine-{sha256(mine)[:8]}"


def test_a_product_that_lost_a_file_is_made_again(out):
    (out / "encoder" / "model.safetensors").unlink()
    setup(out)
    Stack.load(out).verify()


def test_a_conversion_that_was_broken_off_is_done_again(out, copies, tmp_path, monkeypatch):
    other = shutil.copy(GOLDEN / "checkpoints" / "2024-06.pt", tmp_path / "other.pt")
    whole = sha256(out / "encoder" / "model.safetensors")
    write = building.write_encoder

    def broken(folder, config, tensors):
        write(folder, config, tensors)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "write_encoder", broken)
        setup(out, "--from", f"encoder={other}", code=130)
    assert sha256(out / "encoder" / "model.safetensors") != whole
    setup(out)  # the wishes of before: what lies there is not of them
    assert sha256(out / "encoder" / "model.safetensors") == whole


def test_a_file_of_equal_size_is_told_from_the_one_before(out, copies, tmp_path):
    other = changed(copies / VAE, tmp_path / "other")
    name = "diffusion_pytorch_model.safetensors"
    assert (other / name).stat().st_size == (copies / VAE / name).stat().st_size
    setup(out, "--from", f"vae={other}")
    assert sha256(out / "base" / "vae" / name) == sha256(other / name)
    assert told(out, "vae")["origin"] == str(other)


def test_a_file_of_ones_own_that_changed_is_copied_again(out, copies, tmp_path):
    mine = shutil.copytree(copies / VAE, tmp_path / "mine")
    name = "diffusion_pytorch_model.safetensors"
    setup(out, "--from", f"vae={mine}")
    save_file({key: value + 1 for key, value in load_file(mine / name).items()}, mine / name)
    setup(out, "--from", f"vae={mine}")
    assert sha256(out / "base" / "vae" / name) == sha256(mine / name)


def test_one_file_is_named_as_the_origin_and_not_its_folder(out, copies, tmp_path):
    mine = shutil.copy(copies / AUTHORS / "models" / "adaface" / NEWEST, tmp_path / "mine.pt")
    setup(out, "--from", f"encoder={mine}")
    assert told(out, "encoder")["origin"] == str(mine)


def test_what_is_no_part_any_more_is_told_and_left_alone(copies, tmp_path):
    folder = tmp_path / "stack"
    run("setup", "sd15", "-o", folder, "-y", "--no-check")
    done = setup(folder)
    assert f"{folder}/teacher (" in done.stderr
    assert f"{folder}/base/safety_checker (" in done.stderr
    assert f"{folder}/base/feature_extractor (" in done.stderr
    assert done.stderr.count("of an earlier run, not in the plan any more. Delete it if you do not") == 3
    assert (folder / "teacher" / "diffusion_pytorch_model.safetensors").is_file()
    left = json.loads(setup(folder, "--json").stdout)["left"]
    assert set(left) == {"teacher", "base/safety_checker", "base/feature_extractor"}
    assert all(size > 0 for size in left.values())


def test_nothing_is_told_of_a_folder_that_holds_its_plan_alone(out):
    assert "of an earlier run" not in setup(out).stderr


def test_each_licence_is_shown_once_whatever_else_is_wished(copies, tmp_path):
    folder = tmp_path / "stack"
    first = setup(folder)
    assert first.stderr.count("Licence of") == len(make_plan("sd15", Wishes(without=("teacher",))).licences)
    mine = shutil.copytree(copies / VAE, tmp_path / "mine")
    second = setup(folder, "--from", f"vae={mine}")
    assert [line.split(": ")[0] for line in second.stderr.splitlines() if "Licence of" in line] == [
        f"Licence of {mine}"
    ]
    assert "Licence of" not in setup(folder).stderr


def test_a_role_that_is_wished_as_before_keeps_its_commit(tmp_path, monkeypatch):
    """The hub's head moves on between two runs; only what is wished anew is asked for."""
    from adaface.setup import choosing
    from adaface.sources.hub import Listing, RemoteFile

    monkeypatch.setenv("ADAFACE_MODELS", str(tmp_path / "none"))
    asked = []

    def listing(repo, revision=None):
        asked.append(repo)
        picks = [pick.names[0] for source in choosing.STACKS["sd15"] for pick in source.picks]
        folders = ("", "encoder/", "arc2face/", "text_encoder/", "models/adaface/")
        names = [folder + name.replace("*", "x") for folder in folders for name in picks]
        return Listing(repo, f"commit-{len(asked)}", "mit", {n: RemoteFile(n, 1, "0" * 64) for n in names})

    monkeypatch.setattr(choosing, "list_files", listing)
    first = make_plan("sd15")
    count = len(asked)
    wishes = Wishes({"vae": "hub:owner/vae"}, without=("teacher",))
    second = make_plan("sd15", wishes, first)
    assert asked[count:] == ["owner/vae"]
    assert [second.role(r).revision for r in ("base", "encoder")] == [
        first.role(r).revision for r in ("base", "encoder")
    ]
    assert second.role("vae").repo == "owner/vae"
    assert make_plan("sd15", wishes, second) == second


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"stack": "sd15", "asked": {}, "roles": [], "licences_seen": []}']
)
def test_a_plan_of_nothing_is_no_plan_and_setup_makes_another(copies, tmp_path, text):
    folder = tmp_path / "stack"
    folder.mkdir()
    (folder / "setup.json").write_text(text)
    assert read_plan(folder) is None
    setup(folder)
    assert read_plan(folder).role("recognizer") is not None


@pytest.mark.parametrize(
    ("key", "value"), [("to", "../beside"), ("to", "/beside"), ("bytes", "many"), ("name", None)]
)
def test_a_plan_with_odd_values_is_no_plan(out, key, value):
    plan = json.loads((out / "setup.json").read_text())
    plan["roles"][0]["items"][0][key] = value
    (out / "setup.json").write_text(json.dumps(plan))
    assert read_plan(out) is None


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that opens and cannot be read")
def test_a_source_that_cannot_be_read_is_told_by_its_own_name(copies, tmp_path):
    mine = tmp_path / "mine.pt"
    mine.symlink_to("/proc/self/mem")
    done = setup(tmp_path / "stack", "--from", f"encoder={mine}", code=1)
    assert f"{mine}: cannot be read" in done.stderr
    assert "not written" not in done.stderr


def test_a_source_that_stops_being_readable_is_told_by_its_own_name(copies, tmp_path, monkeypatch):
    from adaface.errors import MissingFileError

    mine = shutil.copy(copies / AUTHORS / "models" / "adaface" / NEWEST, tmp_path / "mine.pt")
    plan = make_plan("sd15", Wishes({"encoder": str(mine)}))
    opened = Path.open

    def fails(path, *mode):
        if path == mine:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *mode)

    monkeypatch.setattr(Path, "open", fails)
    with pytest.raises(MissingFileError, match=r"mine\.pt: cannot be read \(Permission denied\)"):
        fetch_all(plan, tmp_path / "stack", lambda _: None)


@pytest.mark.parametrize("name", ["id_prompter/text_encoder/model.safetensors", "encoder/model.safetensors"])
@pytest.mark.parametrize("damage", [lambda whole: whole[:300], lambda whole: whole[:-400] + bytes(400)])
def test_a_converted_part_that_was_damaged_since_is_made_anew(out, name, damage):
    whole = (out / name).read_bytes()
    (out / name).write_bytes(damage(whole))
    setup(out)
    assert (out / name).read_bytes() == whole
    Stack.load(out).verify()


def test_a_config_of_a_converted_part_that_was_damaged_since_is_made_anew(out):
    config = out / "encoder" / "config.json"
    whole = config.read_bytes()
    config.write_text("{")
    setup(out)
    assert config.read_bytes() == whole


def test_an_encoder_for_another_width_of_words_becomes_no_stack(out):
    before = (out / "stack.json").read_bytes()
    done = setup(out, "--from", f"encoder={GOLDEN / 'checkpoints' / '2025.pt'}", code=1)
    assert "but this encoder was trained for 24" in done.stderr
    assert (out / "stack.json").read_bytes() == before
