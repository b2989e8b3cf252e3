"""Names that are no text, pipes and devices, troubles that pass, links, and runs that begin with nothing."""

import errno
import json
import os
from pathlib import Path

import pytest

from adaface.data.dataset import FaceDataset
from adaface.data.prepare.looking import look as look_module
from adaface.data.prepare.sources import find_photos
from adaface.errors import ImageError
from tiny_photos import BLUE, GREEN, photo, save


@pytest.fixture
def fails(monkeypatch):
    """fails(path, number, times): reading `path` fails with this error, so many times."""
    monkeypatch.setattr(look_module, "PAUSE_S", 0)

    def begin(path, number, times):
        left, whole = [times], Path.read_bytes

        def read_bytes(self):
            if self == path and left[0]:
                left[0] -= 1
                raise OSError(number, os.strerror(number), str(self))
            return whole(self)

        monkeypatch.setattr(Path, "read_bytes", read_bytes)

    return begin


def test_a_folder_whose_name_is_no_text_is_a_person(make, raw, out):
    odd = os.fsdecode(b"bad\xffp")
    save(photo(BLUE, 700), raw / odd / "0.png")
    save(photo(BLUE, 701), raw / odd / os.fsdecode(b"x\xff.png"))
    save(photo((40, 180, 200), 702), raw / "bad\\udcffp" / "0.png")  # which the other one would be shown as
    assert make(original_layout=True).kept == 9
    people = list(FaceDataset(out).people)
    assert [name for name in people if name not in ("ann", "bob")] == ["bad\\udcffp", "raw/bad\\udcffp"]
    assert "bad\\udcffp" in (out / "report.html").read_text(encoding="utf-8")


def test_a_pipe_and_a_device_are_told_and_not_waited_for(make, raw, out, reasons):
    os.mkfifo(raw / "ann" / "pipe.jpg")
    (raw / "ann" / "zero.jpg").symlink_to("/dev/zero")
    (raw / "ann" / "gone.jpg").symlink_to("/nowhere/at/all.jpg")
    assert make().kept == 6
    told = reasons(out)
    for name in ("ann/pipe.jpg", "ann/zero.jpg"):
        assert told[name] == (
            "unreadable_file",
            "This is a folder, a pipe or a device, not a file. Take it away",
        )
    assert told["ann/gone.jpg"][0] == "unreadable_file"


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_photo_is_not_given_up_for_a_trouble_that_may_pass(make, raw, out, fails, number):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look_module, "TRIES", 2)
        fails(raw / "bob" / "1.png", number, 2)
        with pytest.raises(ImageError, match=r"1\.png: cannot be read just now .*give the same command"):
            make()
    assert make().kept == 6


def test_a_trouble_that_passes_at_once_is_not_noticed(make, raw, fails):
    fails(raw / "bob" / "1.png", errno.EIO, 1)
    assert make().kept == 6


def test_a_photo_that_may_be_read_at_last_is_looked_at_again(make, raw, out, fails, monkeypatch):
    """Its permissions are mended between an interruption and the same command."""
    path, may = raw / "bob" / "1.png", os.access
    monkeypatch.setattr(os, "access", lambda file, mode: file != path and may(file, mode))
    fails(path, errno.EACCES, 1)

    def look_and_stop(chunks, stage):
        from adaface.data.executors import run_chunks

        run_chunks(chunks, stage)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(runner=look_and_stop)
    monkeypatch.setattr(os, "access", may)
    assert make().kept == 6


def test_linked_folders_within_a_person_and_a_mixed_root_are_followed(tmp_path):
    save(photo(GREEN, 1), tmp_path / "disk" / "more" / "a.png")
    save(photo(GREEN, 2), tmp_path / "r" / "ann" / "b.png")
    (tmp_path / "r" / "ann" / "linked").symlink_to(tmp_path / "disk")
    (tmp_path / "r" / "ann" / "loop").symlink_to(tmp_path / "r")
    (tmp_path / "disk" / "more" / "up").symlink_to(tmp_path / "disk")
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "ffhq").symlink_to(tmp_path / "disk")
    found = find_photos([tmp_path / "r"], [tmp_path / "mixed"])
    assert [one.path for one in found.photos] == ["ann/b.png", "ann/linked/more/a.png", "ffhq/more/a.png"]
    assert "ann/loop (a link)" in found.passed_over


def test_class_words_for_nobody_are_told(make, tmp_path):
    types, said = tmp_path / "types.json", []
    types.write_text(json.dumps({"ann": "woman", "Bob": "man"}))
    make(person_types=types, tell=said.append)
    assert f"{types}: nobody has the name of 1 folders in it: Bob" in said
