"""`adaface doctor`: each file of a stack, expected and found; a setup that is not through yet."""

import json
import shutil

import pytest

from adaface.setup.plan import Item, Plan, RolePlan
from tiny_cli import error, run


@pytest.fixture
def copy(tiny_stack, here):
    """A copy of the tiny stack that a test may damage."""
    return shutil.copytree(tiny_stack, here / "copy")


def role(report: dict, name: str) -> dict:
    return next(one for one in report["stack"]["roles"] if one["role"] == name)


def test_each_file_has_both_sizes_both_hashes_and_its_role_a_licence_and_a_purpose(copy):
    report = json.loads(run("doctor", "--stack", copy, "--json").stdout)
    for one in report["stack"]["roles"]:
        assert one["licence"]
        assert one["purpose"]
        assert one["files"]
        for file in one["files"]:
            assert file["found_bytes"] == file["bytes"] > 0
            assert file["found"] == file["expected"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a git-lfs pointer"),
        (b"<!DOCTYPE html><html><body>Log in</body></html>", "a web page"),
        (b"short", "5 bytes, expected"),
    ],
)
def test_a_usual_mistake_is_called_by_its_name(copy, content, words):
    (copy / "encoder" / "model.safetensors").write_bytes(content)
    report = json.loads(run("doctor", "--stack", copy, "--json", code=1).stdout)
    assert words in role(report, "encoder")["files"][1]["fault"]
    assert any(words in problem for problem in report["problems"])


def test_a_setup_that_is_not_through_tells_what_is_there_and_what_is_to_come(here):
    folder = here / "models"
    (folder / "base" / "vae").mkdir(parents=True)
    (folder / "base" / "vae" / "config.json").write_text("{}")
    items = (Item("config.json", "base/vae/config.json", 2), Item("x.safetensors", "base/vae/x", 9, "0" * 64))
    plan = RolePlan("vae", "the autoencoder", "mit", items, repo="owner/vae", revision="abc")
    Plan("sd15", {}, (plan,)).save(folder)
    report = json.loads(run("doctor", "--stack", folder, "--json", code=1).stdout)
    first, second = role(report, "vae")["files"]
    assert (first["ok"], second["ok"]) == (True, False)
    assert any(
        "base/vae/x: missing. Run adaface setup again: it goes on" in text for text in report["problems"]
    )
    assert role(report, "vae")["origin"] == "hub:owner/vae@abc"


def test_a_setup_that_only_lacks_its_manifest_says_so(here):
    folder = here / "models"
    (folder / "vae").mkdir(parents=True)
    (folder / "vae" / "config.json").write_text("{}")
    plan = RolePlan("vae", "p", "mit", (Item("config.json", "vae/config.json", 2),), local="there")
    Plan("sd15", {}, (plan,)).save(folder)
    report = json.loads(run("doctor", "--stack", folder, "--json", code=1).stdout)
    assert "all is fetched, but there is no stack.json. Run adaface setup again" in report["problems"][0]


def test_a_stack_is_found_by_its_name_below_the_folder_of_models(copy, here, monkeypatch):
    monkeypatch.setenv("ADAFACE_MODELS", str(here))
    done = run("doctor", "--stack", "copy")
    assert f"ADAFACE_MODELS={here}" in done.stdout
    assert "All is well" in done.stdout


def test_a_folder_here_with_the_stacks_name_does_not_hide_the_stack(copy, here, monkeypatch):
    (here / "models").mkdir()
    copy.rename(here / "models" / "sd15")
    Plan("sd15", {}, (RolePlan("vae", "p", "mit", (), local="there"),)).save(here / "models" / "sd15")
    monkeypatch.setenv("ADAFACE_MODELS", str(here / "models"))
    (here / "sd15").mkdir()
    report = json.loads(run("doctor", "--stack", "sd15", "--json").stdout)
    assert report["ok"]
    assert report["stack"]["folder"] == str((here / "models" / "sd15").resolve())


def test_a_folder_here_with_the_stacks_name_does_not_hide_a_setup_that_is_not_through(here, monkeypatch):
    folder = here / "models" / "sd15"
    plan = RolePlan("vae", "p", "mit", (Item("config.json", "vae/config.json", 2),), local="there")
    Plan("sd15", {}, (plan,)).save(folder)
    monkeypatch.setenv("ADAFACE_MODELS", str(here / "models"))
    (here / "sd15").mkdir()
    report = json.loads(run("doctor", "--stack", "sd15", "--json", code=1).stdout)
    assert report["stack"]["folder"] == str(folder)
    assert "vae/config.json: missing. Run adaface setup again: it goes on" in report["problems"][0]


@pytest.mark.parametrize("roles", ["[]", "{}", "null", '[{"role": "vae"}]'])
def test_a_plan_of_nothing_is_no_setup_that_is_not_through(here, roles):
    (here / "models").mkdir()
    text = f'{{"stack": "sd15", "asked": {{}}, "roles": {roles}, "licences_seen": []}}'
    (here / "models" / "setup.json").write_text(text)
    message = error("doctor", "--stack", here / "models")
    assert "no stack.json in it. Give a folder that holds a stack.json" in message


def test_what_was_converted_already_is_listed_while_the_rest_is_to_come(here):
    folder = here / "models"
    (folder / "encoder").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / "encoder" / name).write_text("{}")
    encoder = RolePlan("encoder", "p", "mit", (Item("x.pt", "downloads/x.pt", 9, "0" * 64),), local="there")
    vae = RolePlan("vae", "p", "mit", (Item("config.json", "vae/config.json", 2),), local="there")
    plan = Plan("sd15", {}, (encoder, vae))
    plan.with_made(encoder, folder).save(folder)
    report = json.loads(run("doctor", "--stack", folder, "--json", code=1).stdout)
    found = role(report, "encoder")["files"]
    assert [file["name"] for file in found] == ["encoder/config.json", "encoder/model.safetensors"]
    assert all(file["ok"] and file["found_bytes"] == 2 for file in found)
    (folder / "encoder" / "config.json").write_text("[]")  # then it is made anew, of what is to be fetched
    report = json.loads(run("doctor", "--stack", folder, "--json", code=1).stdout)
    assert any("downloads/x.pt: missing" in text for text in report["problems"])


def test_a_stack_of_setup_is_mended_by_setup(copy):
    (copy / "encoder" / "config.json").write_text("{}")
    assert "Copy the stack again" in run("doctor", "--stack", copy, code=1).stdout
    (copy / "setup.json").write_text("{}")
    assert "Run adaface setup again" in run("doctor", "--stack", copy, code=1).stdout
