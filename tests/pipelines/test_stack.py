"""The manifest of a stack."""

import json
import shutil

import pytest

from adaface.errors import MissingFileError, StackError
from adaface.files import sha256
from adaface.pipelines.manifest import Part
from adaface.pipelines.stack import SFACE, Stack, write_manifest


@pytest.fixture
def copy(tiny_stack, tmp_path):
    """A copy of the tiny stack that a test may damage."""
    return shutil.copytree(tiny_stack, tmp_path / "copy")


def edit(folder, change):
    path = folder / "stack.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_a_stack_names_each_role_with_path_hash_and_licence(tiny_stack):
    stack = Stack.load(tiny_stack)
    assert {"base", "encoder", "id_prompter", "recognizer", "teacher", "clip", "strangers"} == set(
        stack.roles
    )
    assert stack.path("base") == tiny_stack / "base"
    assert stack.part("encoder").licence == "MIT"
    assert stack.part("encoder").sha256 == sha256(tiny_stack / "encoder")
    assert stack.part("strangers").sha256 == sha256(tiny_stack / "strangers.safetensors")


def test_a_builtin_recogniser_is_hashed_too(tiny_stack):
    checks = Stack.load(tiny_stack).check_files("recognizer")
    assert len(checks) == 2
    assert all(check.ok for check in checks)


def test_a_whole_stack_passes(tiny_stack):
    Stack.load(tiny_stack).verify()


def test_a_file_that_nobody_listed_does_no_harm(copy):
    (copy / "base" / ".DS_Store").write_text("x")
    Stack.load(copy).verify()


def test_a_changed_file_is_named_with_both_hashes(copy):
    path = copy / "encoder" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StackError, match=r"model\.safetensors: sha256 .*, expected .*Copy it again"):
        Stack.load(copy).verify()


def test_a_cut_file_is_named_with_both_sizes(copy):
    path = copy / "encoder" / "model.safetensors"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StackError, match=rf"{size - 10} bytes, expected {size}"):
        Stack.load(copy).verify()


def test_a_missing_file_is_named(copy):
    (copy / "base" / "unet" / "config.json").unlink()
    with pytest.raises(StackError, match=r"unet/config\.json: missing"):
        Stack.load(copy).verify("base")


def test_only_the_asked_roles_are_verified(copy):
    (copy / "clip" / "config.json").unlink()
    Stack.load(copy).verify("base", "encoder")


def test_an_unknown_stack_says_what_to_give():
    with pytest.raises(
        MissingFileError, match=r"no such stack. Give a folder that holds a stack.json, or one of: mini"
    ):
        Stack.load("no-such-stack")


def test_a_folder_without_manifest_says_so(tmp_path):
    with pytest.raises(MissingFileError, match=r"no stack\.json in it"):
        Stack.load(tmp_path)


def test_a_manifest_that_is_not_json_says_so(copy):
    (copy / "stack.json").write_text("{")
    with pytest.raises(StackError, match="not a readable JSON file"):
        Stack.load(copy)


def test_a_manifest_of_something_else_is_refused(copy):
    (copy / "stack.json").write_text("{}")
    with pytest.raises(StackError, match="not the manifest of a stack.*Give a stack's folder"):
        Stack.load(copy)


def test_a_later_version_asks_for_an_upgrade(copy):
    edit(copy, lambda data: data.update(version=3))
    with pytest.raises(StackError, match="version 3, this package reads 2. Upgrade adaface"):
        Stack.load(copy)


def test_a_missing_role_is_named(copy):
    edit(copy, lambda data: data["roles"].pop("encoder"))
    with pytest.raises(StackError, match="missing: encoder"):
        Stack.load(copy)


@pytest.mark.parametrize("path", ["../elsewhere", "/etc"])
def test_a_role_outside_the_folder_is_refused(copy, path):
    edit(copy, lambda data: data["roles"]["base"].update(path=path))
    with pytest.raises(StackError, match="points outside the stack"):
        Stack.load(copy)


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd"])
def test_a_file_outside_the_folder_is_refused(copy, name):
    edit(copy, lambda data: data["roles"]["base"]["files"].update({name: {"bytes": 1, "sha256": "0"}}))
    with pytest.raises(StackError, match="points outside the stack"):
        Stack.load(copy)


def test_a_list_of_files_that_was_edited_is_refused(copy):
    edit(copy, lambda data: data["roles"]["base"]["files"].pop("model_index.json"))
    with pytest.raises(StackError, match="its sha256 does not fit its list of files"):
        Stack.load(copy)


def test_an_unknown_setting_names_the_nearest(copy):
    edit(copy, lambda data: data["settings"].update(stepps=3))
    with pytest.raises(StackError, match='settings: unknown setting "stepps"; did you mean "steps"'):
        Stack.load(copy)


def test_a_bad_setting_is_found_when_the_stack_is_read(copy):
    edit(copy, lambda data: data["settings"].update(steps=0))
    with pytest.raises(StackError, match="settings: steps=0: give a whole number"):
        Stack.load(copy)


def test_a_role_that_is_not_there_says_what_it_is_for(copy):
    edit(copy, lambda data: data["roles"].pop("clip"))
    with pytest.raises(StackError, match='has no role "clip": image-text model.*Use a stack that has one'):
        Stack.load(copy).path("clip")


def test_a_builtin_has_no_path(tiny_stack):
    with pytest.raises(StackError, match='builtin "sface", which has no path here. Open it with'):
        Stack.load(tiny_stack).path("recognizer")


def test_an_unknown_role_is_not_written(tmp_path):
    with pytest.raises(StackError, match="unknown roles: bass. Known: base"):
        write_manifest(tmp_path, name="x", roles={"bass": Part(builtin=SFACE)}, settings={})


def test_a_part_that_is_not_there_is_not_written(tmp_path):
    with pytest.raises(MissingFileError, match="base: no such file or folder"):
        write_manifest(tmp_path, name="x", roles={"base": Part("base")}, settings={})


def test_reading_what_was_written_gives_the_same(tiny_stack):
    stack = Stack.load(tiny_stack)
    before = (tiny_stack / "stack.json").read_bytes()
    write_manifest(tiny_stack, name=stack.name, roles=stack.roles, settings=stack.settings)
    assert (tiny_stack / "stack.json").read_bytes() == before
