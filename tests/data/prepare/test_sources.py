"""Which files of a folder are photos, whose they are, and what is said of the others."""

import os

import pytest

from adaface.data.prepare.sources import find_photos
from adaface.errors import ConfigError, MissingFileError
from tiny_photos import RED, photo, save, write_people


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def paths(found):
    return [(one.person, one.path) for one in found.photos]


def test_photos_are_found_in_deeper_folders_and_in_order(tmp_path):
    root = touch(tmp_path / "r", "bob/b.jpg", "bob/more/a.JPG", "bob/a.png", "ann/z.webp")
    found = find_photos([root], [])
    assert paths(found) == [
        ("ann", "ann/z.webp"), ("bob", "bob/a.png"), ("bob", "bob/b.jpg"), ("bob", "bob/more/a.JPG"),
    ]  # fmt: skip


def test_a_folder_without_subfolders_is_one_person(tmp_path):
    root = touch(tmp_path / "ann", "1.jpg", "2.jpg")
    assert paths(find_photos([root], [])) == [("ann", "1.jpg"), ("ann", "2.jpg")]


def test_system_files_and_what_the_originals_tools_write_are_passed_over_silently(tmp_path):
    names = [
        "ann/Thumbs.db",
        "ann/.DS_Store",
        "ann/._1.jpg",
        "ann/metainfo.json",
        "ann/mean_emb.pt",
        "ann/1.txt",
    ]
    found = find_photos([touch(tmp_path, "ann/1.jpg", "__MACOSX/1.jpg", ".git/x.jpg", *names)], [])
    assert paths(found) == [("ann", "ann/1.jpg")]
    assert (found.passed_over, found.rejected) == ([], [])


def test_other_files_are_told(tmp_path):
    found = find_photos([touch(tmp_path, "ann/1.jpg", "ann/film.mov", "ann/notes.docx")], [])
    assert found.passed_over == ["ann/film.mov", "ann/notes.docx"]


def test_photos_that_cannot_be_read_here_are_photos(tmp_path):
    assert paths(find_photos([touch(tmp_path, "ann/IMG_1.HEIC")], [])) == [("ann", "ann/IMG_1.HEIC")]


def test_masks_belong_to_their_photos(tmp_path):
    found = find_photos([touch(tmp_path, "ann/1.jpg", "ann/1_mask.png", "ann/2.png", "ann/3_mask.png")], [])
    assert [(one.path, one.mask) for one in found.photos] == [
        ("ann/1.jpg", "ann/1_mask.png"), ("ann/2.png", None),
    ]  # fmt: skip


def test_a_person_without_a_photo_is_told(tmp_path):
    found = find_photos([touch(tmp_path, "ann/1.jpg", "nobody/.keep")], [])
    assert found.empty == ["nobody"]


def test_a_photo_beside_the_people_is_nobodys(tmp_path):
    found = find_photos([touch(tmp_path, "ann/1.jpg", "stray.jpg")], [])
    (stray, rejection), = found.rejected  # fmt: skip
    assert (stray.path, rejection.code) == ("stray.jpg", "no_person")
    assert rejection.sentence == "stray.jpg lies beside the folders of people. Move it into one of them"


def test_a_folder_that_cannot_be_opened_is_told(tmp_path, monkeypatch):
    root = touch(tmp_path / "r", "ann/1.jpg", "bob/1.jpg")
    walk = os.walk

    def refused(folder, onerror, **options):
        if folder.name == "bob":
            onerror(PermissionError(13, "Permission denied", str(folder)))
            return iter(())
        return walk(folder, onerror=onerror, **options)

    monkeypatch.setattr(os, "walk", refused)
    found = find_photos([root], [])
    (where, rejection), = found.rejected  # fmt: skip
    assert (where.path, rejection.code) == ("bob", "unreadable_folder")
    assert rejection.sentence == "The folder cannot be opened (Permission denied). Check its permissions"
    assert found.empty == []


def test_links_that_lead_in_circles_are_not_followed(tmp_path):
    root = touch(tmp_path / "r", "ann/1.jpg")
    (root / "ann" / "loop").symlink_to(root)
    assert paths(find_photos([root], [])) == [("ann", "ann/1.jpg")]


def test_a_linked_person_is_followed(tmp_path):
    real = touch(tmp_path / "elsewhere", "1.jpg")
    root = touch(tmp_path / "r", "ann/1.jpg")
    (root / "bob").symlink_to(real)
    assert paths(find_photos([root], [])) == [("ann", "ann/1.jpg"), ("bob", "bob/1.jpg")]


def test_a_linked_root_has_the_links_name(tmp_path, monkeypatch):
    (tmp_path / "ffhq").symlink_to(touch(tmp_path / "images1024x1024", "00000/0.png"))
    monkeypatch.chdir(tmp_path / "ffhq")
    for root in (tmp_path / "ffhq", "../ffhq", tmp_path / "ffhq" / ".." / "ffhq"):
        assert find_photos([], [root]).photos[0].root == "ffhq"


def test_two_roots_of_one_name_are_told_apart(tmp_path):
    roots = [touch(tmp_path / k / "set", "1.png") for k in "ab"]
    assert [(one.root, one.person) for one in find_photos([], roots).photos] == [
        ("set", "set"), ("set-2", "set-2"),
    ]  # fmt: skip


def test_a_folder_of_many_people_and_a_person_of_its_name_are_told_apart(tmp_path):
    people = touch(tmp_path / "a", "faces/1.png")
    mixed = touch(tmp_path / "b" / "faces", "1.png")
    assert [one.person for one in find_photos([people], [mixed]).photos] == ["faces", "faces/faces"]


def test_roots_that_overlap_are_refused(tmp_path):
    root = write_people(tmp_path / "r", photos=1)
    with pytest.raises(ConfigError, match="the same photos twice. Name each folder once"):
        find_photos([root], [root / "ann"])


def test_a_root_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="no such folder. Give the folder that holds the photos"):
        find_photos([tmp_path / "nowhere"], [])
    with pytest.raises(MissingFileError, match="a file, not a folder"):
        find_photos([save(photo(RED, 0), tmp_path / "x.png")], [])


def test_no_root_at_all_is_told_with_the_command():
    with pytest.raises(ConfigError, match="no folder of photos. Give at least one: adaface prepare"):
        find_photos([], [])


def test_people_one_folder_too_deep_are_told_of(tmp_path):
    root = touch(
        tmp_path / "r", "set/ann/1.jpg", "set/bob/1.jpg", "carl/1.jpg", "carl/old/2.jpg", "carl/new/3.jpg"
    )
    touch(root, "dora/all/1.jpg", "dora/all/2.jpg")
    assert find_photos([root], []).nested == ["set"]
    assert find_photos([], [root]).nested == []


def test_the_console_and_the_report_tell_of_them_too(make, tmp_path, out):
    write_people(tmp_path / "above" / "set")
    said = []
    make(tmp_path / "above", tell=said.append, settings={"filter_people": False})
    assert said[0].startswith(f"{tmp_path / 'above' / 'set'}: all its photos lie in folders within, and are")
    assert "taken for one person's: <code>set</code>" in (out / "report.html").read_text()
