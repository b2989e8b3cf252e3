"""Real photos with planted faults (research data beside the repository, never part of it): each treated as it
should be.
"""

import json
import zipfile
from pathlib import Path

import pytest

from adaface.errors import ImageError
from adaface.face.images import load_image
from adaface.face.search import find_faces

pytestmark = pytest.mark.shared

LEFT_OUT = {
    "stranger": "another person",
    "no_face": "no face found",
    "truncated_jpeg": "broken or cut off",
    "empty_file": "empty",
    "text_named_jpg": "not a picture",
    "exact_duplicate": "the same picture as",
    "tiny_40px": "at least 20",
}
USED = {"two_faces", "cmyk_jpeg", "grey_jpeg", "png_16bit_rgb", "png_16bit_grey", "huge_40mp"} | {
    "exif_orientation_6", "palette_png", "rgba_png", "near_duplicate", "upside_down_no_exif",
}  # fmt: skip


@pytest.fixture(scope="module")
def raw(shared, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    with zipfile.ZipFile(shared / "data" / "lfw_raw_sample.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def reports(raw, analyzer) -> dict[str, tuple[str, str]]:
    """path -> ("used", "") or ("left out", reason), of every person's folder."""
    found: dict[str, tuple[str, str]] = {}
    for folder in sorted((raw / "lfw_raw_sample").iterdir()):
        if any(folder.glob("*.jpg")):
            person = analyzer.identity(folder)
            found |= {Path(name).name: ("used", "") for name in person.used}
            found |= {Path(out.name).name: ("left out", out.reason) for out in person.left_out}
    return found


def test_every_planted_fault_is_treated_as_it_should_be(raw, reports):
    planted = json.loads((raw / "planted.json").read_text())["planted"]
    wrong = []
    for fault in planted:
        kind, name = fault["kind"], Path(fault["path"]).name
        if kind in LEFT_OUT:
            how, reason = reports.get(name, ("missing", ""))
            wrong += [(kind, how, reason)] * (how != "left out" or LEFT_OUT[kind] not in reason)
        elif kind in USED:
            wrong += [(kind, *reports[name])] * (reports[name][0] != "used")
    assert wrong == []


def test_no_untouched_photo_is_left_out(raw, reports):
    planted = {
        Path(fault["path"]).name for fault in json.loads((raw / "planted.json").read_text())["planted"]
    }
    clean = {name: how for name, (how, _) in reports.items() if name not in planted}
    assert len(clean) == 120
    assert set(clean.values()) == {"used"}


def test_a_folder_of_nothing_says_so(raw, analyzer):
    with pytest.raises(ImageError, match="no picture in this folder"):
        analyzer.identity(raw / "lfw_raw_sample" / "empty_person")


def test_a_face_is_found_in_every_untouched_photo_in_one_look(raw, analyzer):
    planted = {fault["path"] for fault in json.loads((raw / "planted.json").read_text())["planted"]}
    root = raw / "lfw_raw_sample"
    clean = [p for p in sorted(root.glob("*/*.jpg")) if p.relative_to(root).as_posix() not in planted]
    assert all(find_faces(analyzer.detector, load_image(path), persistent=False) for path in clean)
