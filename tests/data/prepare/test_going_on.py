"""Interrupted runs go on, finished ones are left alone, and no folder is taken that is not ours."""

import errno
import json
import os

import pytest

from adaface.data.dataset import FaceDataset
from adaface.data.executors import run_chunks
from adaface.data.prepare.looking import stage as stage_module
from adaface.errors import ConfigError, FormatError, WriteError
from tiny_photos import BLUE, Analyzer, photo, save, tree, write_people


@pytest.fixture
def many(tmp_path):
    return write_people(tmp_path / "many", photos=12)  # three chunks of eight


class Stops:
    """Runs so many chunks, then stops as Ctrl-C does; remembers what it was given."""

    def __init__(self, after):
        self.after, self.given = after, []

    def __call__(self, chunks, stage):
        self.given = [chunk.name for chunk in chunks]
        run_chunks(chunks[: self.after], stage)
        if self.after < len(chunks):
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_and_gives_the_same_bytes(make, many, out, tmp_path):
    first, second = Stops(1), Stops(9)
    with pytest.raises(KeyboardInterrupt):
        make(many, runner=first)
    make(many, runner=second)
    make(many, to=tmp_path / "whole")
    assert second.given == first.given[1:]
    assert tree(out) == tree(tmp_path / "whole")
    assert not (out / ".work").exists()


def test_what_a_killed_worker_left_half_done_is_done_again(make, many, out):
    with pytest.raises(KeyboardInterrupt):
        make(many, runner=Stops(1))
    (out / ".work" / ".half-000001-x").mkdir()
    assert make(many).kept == 24
    assert not (out / ".work").exists()


def test_a_chunk_that_is_made_twice_at_once_is_there_once(make, many, out, monkeypatch):
    """The other worker's rename comes first, just before ours."""
    place = stage_module._into_place

    def beaten(beside, target):
        if not target.exists():
            import shutil

            shutil.copytree(beside, target)
        place(beside, target)

    monkeypatch.setattr(stage_module, "_into_place", beaten)
    assert make(many).kept == 24


def test_a_full_disk_stops_the_run_and_keeps_what_is_done(make, many, out, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        make(many, runner=Stops(1))

    def full(stream):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(stage_module, "_sync", full)
        with pytest.raises(
            WriteError, match=r"No space left on device.*What is done so far is kept: free space"
        ):
            make(many)
    assert len(list((out / ".work").iterdir())) == 1
    assert make(many).kept == 24


def test_a_chunk_that_is_damaged_says_what_to_do(make, many, out):
    def spoil(chunks, stage):
        run_chunks(chunks, stage)
        (stage.work / chunks[1].name / "looks.json").write_text("[")

    with pytest.raises(FormatError, match=r"000001-.*damaged.*Delete this folder and give the same command"):
        make(many, runner=spoil)


def test_a_finished_data_set_is_not_made_again(make, out):
    first = make()
    before = tree(out)
    again = make(runner=lambda chunks, stage: pytest.fail("nothing is left to do"))
    assert (again.fresh, again.hash, again.kept) == (False, first.hash, 6)
    assert tree(out) == before


def test_a_finished_data_set_that_lost_its_card_is_made_again(make, out):
    make()
    whole = tree(out)
    (out / "dataset.json").unlink()
    assert make().fresh
    assert tree(out) == whole


def test_other_settings_need_another_folder_or_restart(make, out):
    make()
    with pytest.raises(ConfigError, match=r"begun with other settings \(size was 64, now 32\).*--restart"):
        make(settings={"size": 32})
    assert make(settings={"size": 32}, restart=True).fresh
    assert json.loads((out / "dataset.json").read_text())["image_size"] == 32


def test_another_recogniser_is_another_setting(make):
    make()
    with pytest.raises(ConfigError, match="recognizer was colour, now other"):
        make(analyzer=Analyzer("other"))


def test_changed_photos_need_restart_once_it_is_finished(make, raw, out):
    make()
    save(photo(BLUE, 901), raw / "carl" / "0.png")
    with pytest.raises(
        ConfigError, match="the photos or facts beside them have changed since. Give --restart"
    ):
        make()
    assert make(restart=True).kept == 7


def test_photos_may_change_while_it_is_unfinished(make, many, out):
    with pytest.raises(KeyboardInterrupt):
        make(many, runner=Stops(2))
    save(photo(BLUE, 901), many / "zoe" / "0.png")
    runner = Stops(9)
    assert make(many, runner=runner).kept == 25
    assert len(runner.given) == 2


def test_a_restart_keeps_the_old_data_set_until_the_new_one_is_whole(make, out):
    make()
    before = (out / "dataset.json").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        make(settings={"size": 32}, restart=True, runner=Stops(0))
    assert (out / "dataset.json").read_bytes() == before


def test_a_folder_inside_of_the_photos_is_refused(make, raw):
    with pytest.raises(ConfigError, match="lies inside of the photos' folder .* Choose a folder beside it"):
        make(to=raw / "ann" / "out")
    with pytest.raises(ConfigError, match="lies inside"):
        make(to=raw)


def test_photos_inside_of_the_folder_are_refused(make, raw, tmp_path):
    with pytest.raises(ConfigError, match="the photos lie inside of the data set's folder"):
        make(to=tmp_path)


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(make, out):
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(
        ConfigError, match=r"not empty \(thesis.txt\), and nothing of adaface prepare is in it"
    ):
        make()
    assert tree(out) == {"thesis.txt": b"mine"}


def test_an_empty_folder_is_taken_and_a_file_is_not(make, out):
    out.write_text("")
    with pytest.raises(ConfigError, match="a file, not a folder"):
        make()
    out.unlink()
    out.mkdir()
    assert make().fresh


def test_a_note_of_another_program_is_respected(make, out):
    out.mkdir()
    (out / "prepare.json").write_text('{"kind": "cake"}')
    with pytest.raises(ConfigError, match="not a note of this adaface prepare"):
        make()


def test_two_at_once_in_one_folder_are_refused(make, out):
    def second(chunks, stage):
        with pytest.raises(ConfigError, match="another adaface prepare is at work there"):
            make()
        run_chunks(chunks, stage)

    assert make(runner=second).fresh


def test_changed_facts_beside_the_photos_need_restart_once_it_is_finished(make, raw, out):
    make()
    (raw / "ann" / "metainfo.json").write_text('{"person_type": "woman"}')
    with pytest.raises(ConfigError, match="the photos or facts beside them have changed since"):
        make()
    make(restart=True)
    assert FaceDataset(out).class_words == ("woman", "person")


def test_damaged_facts_are_told_before_any_look(make, raw, out):
    (raw / "ann" / "metainfo.json").write_text("{")
    with pytest.raises(FormatError, match=r"metainfo\.json: not readable as JSON"):
        make(runner=lambda chunks, stage: pytest.fail("nothing is looked at"))
    assert not out.exists()


def test_a_data_set_is_not_taken_for_photos(make, out, tmp_path):
    make()
    with pytest.raises(ConfigError, match=r"a data set that was prepared .* not a folder of photos.*--ray"):
        make(out, to=tmp_path / "headnode")
    assert not (tmp_path / "headnode").exists()


def test_a_restart_that_was_interrupted_goes_on(make, many, out):
    make(many)
    first, second, third = Stops(1), Stops(1), Stops(9)
    for runner in (first, second):
        with pytest.raises(KeyboardInterrupt):
            make(many, restart=True, runner=runner)
    assert second.given == first.given[1:]
    make(many, restart=True, runner=third)
    assert third.given == first.given[2:]


def test_a_restart_looks_anew_at_what_was_begun_without_it(make, many):
    first, second = Stops(1), Stops(9)
    with pytest.raises(KeyboardInterrupt):
        make(many, runner=first)
    make(many, restart=True, runner=second)
    assert second.given == first.given


def test_chunks_that_a_kill_at_the_very_end_left_are_removed(make, out):
    make()
    (out / ".work" / "000000-x").mkdir(parents=True)
    assert not make().fresh
    assert not (out / ".work").exists()


@pytest.mark.parametrize("lacks", ["settings", "inputs", "result"])
def test_a_note_that_lacks_something_is_no_note(make, out, lacks):
    make()
    note = json.loads((out / "prepare.json").read_text())
    del note[lacks]
    (out / "prepare.json").write_text(json.dumps(note))
    with pytest.raises(ConfigError, match="not a note of this adaface prepare"):
        make()


def test_without_locks_the_work_is_done_all_the_same(make, monkeypatch):
    import fcntl

    def refused(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)
    assert make().fresh


def test_a_lock_that_was_taken_away_just_now_holds_nothing(make, out, monkeypatch):
    """The other command ends between our opening of its file and our locking of it."""
    import fcntl

    flock = fcntl.flock

    def late(stream, how):
        (out / ".adaface-prepare.lock").unlink()
        (out / ".adaface-prepare.lock").write_text("a third one's")
        flock(stream, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(ConfigError, match="another adaface prepare is at work there"):
        make()
    assert (out / ".adaface-prepare.lock").read_text() == "a third one's"
