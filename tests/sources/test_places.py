"""What a user names: paths are never asked of the hub, and say so; repositories begin with hub:."""

from pathlib import Path

import pytest

from adaface.errors import ConfigError, LicenceError, MissingFileError
from adaface.sources.licences import allows_commercial_use, require_commercial
from adaface.sources.places import HubPlace, copy_of, find_local, parse_place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("hub:owner/name", HubPlace("owner/name")),
        ("hub:owner/name@v1.0", HubPlace("owner/name", "v1.0")),
        ("hub:owner/name/unet", HubPlace("owner/name", None, "unet")),
        ("hub:owner/name@abc/models/x.pt", HubPlace("owner/name", "abc", "models/x.pt")),
    ],
)
def test_a_repository_is_read_and_written_alike(text, place):
    assert parse_place(text) == place
    assert str(place) == text


@pytest.mark.parametrize("text", ["owner/name", "./x", "C:/models/x", "model.safetensors"])
def test_what_does_not_begin_with_hub_is_a_path(text):
    assert parse_place(text) == Path(text)


@pytest.mark.parametrize("text", ["hub:", "hub:name", "hub:a/b/../../c", "hub:/a/b", "hub:a/b@"])
def test_what_is_no_repository_behind_hub_is_told(text):
    with pytest.raises(ConfigError, match="not a repository of the hub. Write hub:owner/name"):
        parse_place(text)


def test_a_path_that_is_not_there_names_the_folder_of_models_and_the_hubs_form(models):
    with pytest.raises(
        MissingFileError, match=r"no such file or folder.*models.*write hub:owner/name"
    ) as caught:
        find_local(Path("owner/name"))
    assert str(models) in str(caught.value)


def test_a_path_that_cannot_be_a_repository_is_not_taken_for_one():
    with pytest.raises(MissingFileError) as caught:
        find_local(Path("some/deep/path.ckpt"))
    assert "hub:" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_not_the_current_folder(name):
    with pytest.raises(ConfigError, match="an empty name: give a path, or hub:owner/name"):
        parse_place(name)


def test_a_relative_path_is_looked_up_in_the_folder_of_models(models):
    (models / "sd15").mkdir(parents=True)
    assert find_local(Path("sd15")) == (models / "sd15").resolve()


def test_a_copy_in_the_folder_of_models_stands_for_the_repository(models):
    (models / "owner" / "name" / "unet").mkdir(parents=True)
    assert copy_of(HubPlace("owner/name", inside="unet")) == (models / "owner/name/unet").resolve()
    assert copy_of(HubPlace("owner/other")) is None
    with pytest.raises(MissingFileError, match="not in your copy of owner/name"):
        copy_of(HubPlace("owner/name", inside="vae"))


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True), ("apache-2.0 (OpenCV Zoo)", True), ("creativeml-openrail-m", True),
        ("cc-by-4.0", True),
        ("cc-by-nc-4.0", False), ("research only: see LICENSE-WEIGHTS", False),
        ("mit; ArcFace networks of InsightFace: non-commercial research only", False),
        ("MIT (code), weights CC BY-NC 4.0", False), ("MIT code, weights for non commercial use", False),
        ("MIT; not for commercial use", False), ("academic use only, MIT", False), ("cc_by_nc_sa_4.0", False),
        ("BSD-3-Clause", True), ("MIT and Apache-2.0", True), ("mit, other", None), ("Mitsubishi only", None),
        ("unknown", None), ("", None), ("not stated by the repository", None), ("other (see its page)", None),
    ],
)  # fmt: skip
def test_a_licence_is_read_by_its_name(licence, allowed):
    assert allows_commercial_use(licence) is allowed


def test_every_part_that_forbids_commercial_use_is_named_with_its_licence():
    with pytest.raises(
        LicenceError, match=r"vae: cc-by-nc-4.0 \(forbids it\); unet: x \(not known to allow it\)"
    ):
        require_commercial({"base": "mit", "vae": "cc-by-nc-4.0", "unet": "x"})
    require_commercial({"base": "mit"})
