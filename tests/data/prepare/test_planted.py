"""Real photos with planted faults (research data beside the repository, never part of it): each treated as it
should be, and nothing else left out.
"""

import json
import zipfile

import pytest

from adaface.data.executors import run_chunks
from adaface.data.prepare.run import Request, prepare
from adaface.data.prepare.settings import PrepareSettings
from tiny_photos import tree

pytestmark = [pytest.mark.shared, pytest.mark.slow]

KEEP = {"cmyk_jpeg", "grey_jpeg", "png_16bit_rgb", "png_16bit_grey", "huge_40mp", "exif_orientation_6"} | {
    "palette_png", "rgba_png", "nested_folder",
}  # fmt: skip
REJECT = {
    "stranger": "other_person", "no_face": "no_face", "truncated_jpeg": "broken_file",
    "tiny_40px": "face_too_small", "empty_file": "empty_file", "text_named_jpg": "not_a_picture",
    "exact_duplicate": "duplicate",
}  # fmt: skip
EITHER = {"two_faces", "upside_down_no_exif"}  # a rule may keep them or not, but never as somebody else


@pytest.fixture(scope="module")
def raw(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    with zipfile.ZipFile(shared / "data" / "lfw_raw_sample.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def out(raw, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "out"
    before = tree(raw)
    request = Request(out=folder, data_roots=[raw / "lfw_raw_sample"], settings=PrepareSettings(size=64))
    prepare(request, lambda chunks, stage: run_chunks(chunks, stage, workers=2))
    assert tree(raw) == before
    return folder


@pytest.fixture(scope="module")
def codes(out):
    lines = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    return {line["path"]: line["code"] for line in lines}


@pytest.fixture(scope="module")
def planted(raw):
    return json.loads((raw / "planted.json").read_text())["planted"]


def test_the_nine_that_should_be_kept_are_kept(planted, codes):
    kept = [fault["path"] for fault in planted if fault["kind"] in KEEP]
    assert len(kept) == 9
    assert {path: codes[path] for path in kept if path in codes} == {}


def test_every_fault_is_rejected_for_its_own_reason(planted, codes):
    faults = {fault["path"]: REJECT[fault["kind"]] for fault in planted if fault["kind"] in REJECT}
    assert {path: codes.get(path) for path in faults} == faults


def test_of_the_near_duplicates_one_is_dropped(planted, codes):
    copy = next(fault for fault in planted if fault["kind"] == "near_duplicate")
    assert sorted(codes.get(path, "") for path in (copy["path"], copy["of"])) == ["", "near_duplicate"]


def test_a_photo_of_two_people_is_kept_as_the_folders_or_left_out(planted, codes, out):
    from adaface.data.dataset import FaceDataset

    data = FaceDataset(out)
    sources = {data.facts(row)["source"]: row for row in range(len(data))}
    named = [fault for fault in planted if fault["kind"] in EITHER]
    assert named
    for fault in named:
        if fault["path"] not in codes:
            assert data.facts(sources[fault["path"]])["similarity"] > 0.4


def test_system_files_are_ignored_and_an_empty_person_is_told(planted, codes, out):
    assert "Andy_Roddick/Thumbs.db" not in codes
    result = json.loads((out / "prepare.json").read_text())["result"]
    assert (result["empty"], result["passed_over"]) == (["empty_person"], 0)


def test_no_untouched_photo_is_left_out(planted, codes):
    known = {fault["path"] for fault in planted} | {fault["of"] for fault in planted if "of" in fault}
    assert {path: code for path, code in codes.items() if path not in known} == {}
