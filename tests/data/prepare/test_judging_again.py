"""What only decides on photos that were looked at may change, and no photo is looked at again for it."""

import json
import shutil
from dataclasses import replace

import pytest

from adaface.data.dataset import FaceDataset
from adaface.data.executors import run_chunks
from adaface.data.prepare.run import Request, _recorded, plan_chunks
from adaface.data.prepare.settings import JUDGING, PrepareSettings
from adaface.data.record import Photo
from adaface.errors import ConfigError, NothingKeptError
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.recognize import SFACE, SFACE_FILE as FILE, OnnxRecognizer, wheel_model
from tiny_photos import YELLOW, Always, Analyzer, LeftHalf, MarkDetector, photo, save, tree


class Counts:
    """Runs all chunks; remembers how many it was given."""

    def __init__(self):
        self.given = 0

    def __call__(self, chunks, stage):
        self.given += len(chunks)
        run_chunks(chunks, stage)


OTHERS = {"size": 32, "crop": "square", "margin": 1.5, "image_type": "png", "min_face_px": 41.0} | {
    "min_quality": 0.1, "min_inside": 0.5, "same_person": 0.7, "filter_people": False,
    "drop_near_duplicates": False,
}  # fmt: skip


@pytest.mark.parametrize("name", list(OTHERS))
def test_chunks_have_other_names_where_looks_would_be_others_and_only_there(tmp_path, name):
    def names(settings):
        recorded = _recorded(Request(out=tmp_path, settings=settings, analyzer=Analyzer()))
        return [chunk.name for chunk in plan_chunks([Photo(tmp_path, "raw", "a.png", "a")], recorded.looks)]

    usual = PrepareSettings(size=64)
    changed = replace(usual, **{name: OTHERS[name]})
    assert (names(usual) == names(changed)) == (name in JUDGING)


def test_chunks_have_other_names_with_other_networks_or_another_spec(tmp_path):
    def looks(**made):
        return _recorded(Request(out=tmp_path, **{"analyzer": Analyzer(), **made})).looks

    def fed(**spec):
        recognizer = OnnxRecognizer(wheel_model(FILE), replace(SFACE, name="mine", **spec))
        return looks(analyzer=Always(FaceAnalyzer(MarkDetector(), recognizer)))

    others = [looks(), looks(analyzer=Analyzer("other")), looks(parser=Always(LeftHalf())), fed()]
    assert len({*others, fed(mean=1.0)}) == 5
    assert fed(same_person=0.5) == fed()


def test_another_threshold_after_nothing_was_kept_looks_at_no_photo_again(make, out, tmp_path):
    with pytest.raises(NothingKeptError):
        make(settings={"same_person": 0.99999})
    counts = Counts()
    assert make(settings={"same_person": 0.8}, runner=counts).kept == 6
    make(settings={"same_person": 0.8}, to=tmp_path / "anew")
    assert counts.given == 0
    assert tree(out) == tree(tmp_path / "anew")


def test_another_look_is_refused_even_where_nothing_is_finished(make):
    with pytest.raises(NothingKeptError):
        make(settings={"same_person": 0.99999})
    with pytest.raises(ConfigError, match=r"begun with other settings \(min_face_px was 40.0, now 41.0\)"):
        make(settings={"same_person": 0.99999, "min_face_px": 41.0})


def test_kept_looks_are_judged_again_by_a_restart(make, raw, out, tmp_path):
    save(photo(YELLOW, 40), raw / "ann" / "stranger.png")
    assert make(keep_looks=True).kept == 6
    assert (out / ".work").is_dir()
    with pytest.raises(ConfigError, match=r"filter_people was yes, now no.*--restart"):
        make(settings={"filter_people": False})
    counts = Counts()
    again = {"settings": {"filter_people": False}, "restart": True}
    assert make(runner=counts, keep_looks=True, **again).kept == 7
    assert counts.given == 0
    make(to=tmp_path / "anew", settings={"filter_people": False})
    assert tree(out / ".work") and FaceDataset(out).hash == FaceDataset(tmp_path / "anew").hash
    make(runner=counts, restart=True)
    assert counts.given == 0 and not (out / ".work").exists()


def test_kept_looks_stay_when_nothing_is_left_to_do(make, out):
    make(keep_looks=True)
    before = tree(out)
    assert not make().fresh
    assert tree(out) == before


def test_kept_looks_of_photos_that_changed_go_with_the_next_restart(make, raw, out):
    make(keep_looks=True)
    save(photo(YELLOW, 1), raw / "yve" / "0.png")
    counts = Counts()
    assert make(restart=True, keep_looks=True, runner=counts).kept == 7
    assert counts.given == len(list((out / ".work").iterdir())) == 1


def test_a_restart_that_would_look_otherwise_takes_no_kept_looks(make, out):
    make(keep_looks=True)
    counts = Counts()
    make(settings={"size": 32}, restart=True, runner=counts)
    assert counts.given == 1 and not (out / ".work").exists()


def test_looks_that_somebody_took_away_are_made_again(make, out):
    make(keep_looks=True)
    shutil.rmtree(out / ".work")
    assert make(restart=True, settings={"filter_people": False}).kept == 6
    assert json.loads((out / "prepare.json").read_text())["looks_kept"] is False
