"""Files appear whole or not at all."""

import os
import stat

import pytest

from adaface.errors import MissingFileError, WriteError
from adaface.files import digest, half_written, held, sha256, slug, write_atomic, write_text


def write(text: str):
    return lambda path: path.write_text(text)


def test_a_file_is_written_into_folders_that_are_made(tmp_path):
    path = write_atomic(tmp_path / "a" / "b" / "c.txt", write("hello"))
    assert path.read_text() == "hello"
    assert [p.name for p in path.parent.iterdir()] == ["c.txt"]


def test_a_writer_that_fails_leaves_the_older_file(tmp_path):
    path = write_atomic(tmp_path / "c.txt", write("old"))

    def half(beside):
        beside.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteError, match="not written .No space left on device.. Free space"):
        write_atomic(path, half)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["c.txt"]


def test_a_text_that_is_none_in_utf_8_is_escaped_as_json_would(tmp_path):
    path = write_text(tmp_path / "a.json", '{"name": "ünï\udc80"}')
    assert path.read_bytes() == '{"name": "ünï\\udc80"}'.encode()


def test_a_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteError, match="not written"):
        write_atomic(tmp_path / "file" / "c.txt", write("x"))


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_file_has_the_permissions_of_any_new_file_and_the_umask_is_left_alone(tmp_path, mask, monkeypatch):
    before = os.umask(mask)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", lambda _: pytest.fail("a thread beside would write with this mask"))
            path = write_atomic(tmp_path / "c.txt", write("x"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_the_bytes_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    there = []
    monkeypatch.setattr(os, "fsync", lambda handle: there.append((tmp_path / "c.txt").exists()))
    write_atomic(tmp_path / "c.txt", write("x"))
    assert there == [False]


def test_a_folders_digest_is_that_of_its_names_and_files(tmp_path):
    write_atomic(tmp_path / "f" / "b.txt", write("1"))
    write_atomic(tmp_path / "f" / "a" / "c.txt", write("2"))
    hashes = {name: sha256(tmp_path / "f" / name) for name in ("b.txt", "a/c.txt")}
    assert sha256(tmp_path / "f") == digest(hashes) == digest(dict(reversed(hashes.items())))
    assert sha256(tmp_path / "f") != digest({**hashes, "b.txt": hashes["a/c.txt"]})
    with pytest.raises(MissingFileError, match="no such file or folder. Check the path"):
        sha256(tmp_path / "g")


def test_a_safetensors_file_has_the_permissions_of_any_other(tmp_path):
    import torch
    from safetensors.torch import save_file

    other = write_atomic(tmp_path / "a.txt", write("a"))
    path = write_atomic(tmp_path / "a.safetensors", lambda beside: save_file({"a": torch.zeros(1)}, beside))
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_what_a_killed_writer_left_is_known_by_its_name(tmp_path):
    """And nothing else: neither other files' halves, nor a hidden file of somebody else."""

    def killed(beside):
        beside.write_text("half of i")
        (tmp_path / f"{beside.name}").rename(tmp_path / "kept")
        names.append(beside.name)

    names: list[str] = []
    with pytest.raises(WriteError):
        write_atomic(tmp_path / "card[1].json", killed)
    for name in (names[0], ".card[1].mine.json", ".other.0123456789abcdef.json", "card[1].json"):
        (tmp_path / name).write_text("x")
    assert half_written(tmp_path / "card[1].json") == [tmp_path / names[0]]


@pytest.mark.parametrize("folder", [True, False])
def test_a_place_is_held_by_one(tmp_path, folder):
    place = tmp_path / "place"
    if folder:
        place.mkdir()
    with held(place) as ours:
        assert ours
        with pytest.raises(BlockingIOError), held(place):
            pass
    with held(place) as ours:
        assert ours
    assert place.exists() == folder


def test_a_text_becomes_a_part_of_a_file_name():
    assert slug("A photo of <person>, in Paris!") == "a-photo-of-person-in-paris"
    assert slug("ab cd", longest=3) == "ab"
    assert (slug("素描"), slug("素描", empty="prompt")) == ("picture", "prompt")
