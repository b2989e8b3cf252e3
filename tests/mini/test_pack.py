"""Packed data is a data folder like the one it came from, below a size."""

import zipfile

import numpy as np
import pytest
import torch

from adaface.errors import ConfigError, MissingFileError
from adaface.mini.pack import write_pack
from adaface.mini.world.data import load_close, load_full
from adaface.mini.world.segment import load_portraits


def test_a_pack_unzips_to_a_data_folder_with_the_same_faces(drawn_data, tmp_path):
    size = write_pack(drawn_data, tmp_path / "faces.zip", 10**7)
    assert size == (tmp_path / "faces.zip").stat().st_size
    with zipfile.ZipFile(tmp_path / "faces.zip") as archive:
        archive.extractall(tmp_path / "data")
    for split in (0, 1):
        before, after = (load_full(folder, split=split) for folder in (drawn_data, tmp_path / "data"))
        assert torch.equal(before.images, after.images) and torch.equal(before.ids, after.ids)
    assert torch.equal(load_close(drawn_data).gender, load_close(tmp_path / "data").gender)
    assert torch.equal(load_portraits(drawn_data)[1], load_portraits(tmp_path / "data")[1])


def test_close_ups_give_way_to_the_limit(drawn_data, tmp_path):
    whole = write_pack(drawn_data, tmp_path / "whole.zip", 10**7)
    limit = int(whole * 0.97)
    assert write_pack(drawn_data, tmp_path / "less.zip", limit) <= limit


def test_a_limit_that_cannot_be_kept_is_an_error_and_writes_nothing(drawn_data, tmp_path):
    with pytest.raises(ConfigError, match="too few"):
        write_pack(drawn_data, tmp_path / "none.zip", 1000)
    assert not list(tmp_path.iterdir())


def test_missing_packs_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="lfw_64.npz"):
        write_pack(tmp_path, tmp_path / "out.zip", 10**7)


def test_held_out_people_are_never_in_the_training_split(drawn_data):
    train, held = (load_full(drawn_data, split=split) for split in (0, 1))
    assert len(train) and len(held)
    assert not (set(train.person.tolist()) & set(held.person.tolist()))


def test_fewer_close_ups_keep_all_ages(drawn_data, tmp_path):
    whole, part = (drawn_data / "utkface_64.npz").stat().st_size, tmp_path / "less.zip"
    limit = write_pack(drawn_data, tmp_path / "whole.zip", 10**7) - whole // 2
    write_pack(drawn_data, part, limit)
    with zipfile.ZipFile(part) as archive:
        archive.extractall(tmp_path / "data")
    before, after = (load_close(folder).age for folder in (drawn_data, tmp_path / "data"))
    assert 4 <= len(after) < len(before)
    halves = [float((ages < before.median()).float().mean()) for ages in (before, after)]
    assert abs(halves[0] - halves[1]) < 0.15
    assert after.max() > before.float().quantile(0.8), "the old ones stand last"


@pytest.mark.shared
def test_nobody_of_the_held_out_list_is_trained_on(shared):
    lines = (shared / "data" / "people_holdout.txt").read_text().splitlines()
    listed = {line.split("\t")[0] for line in lines if line and not line.startswith("#")}
    with np.load(shared / "data" / "lfw_64.npz") as pack:
        trained = set(pack["names"][pack["pid"][pack["split"] == 0]])
    with np.load(shared / "data" / "celeba_wild_64.npz") as pack:
        trained |= {f"celeba:{person}" for person in pack["person_id"][pack["pid"][pack["split"] == 0]]}
    assert len(listed) > 250
    assert not listed & trained
