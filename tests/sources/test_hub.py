"""The hub through huggingface_hub, against a look-alike on localhost: transfers break, lie, and go on."""

import errno
import hashlib

import pytest

from adaface.errors import HubError, MissingFileError, WriteError
from adaface.sources.hub import PARTIAL, cached, fetch, folder_of, list_files
from adaface.sources.places import HubPlace
from look_alike import COMMIT

REPO, BIG = "owner/name", "unet/model.safetensors"


def served(hub, name: str = BIG) -> bytes:
    return (hub.folder / REPO / name).read_bytes()


def test_a_listing_names_the_commit_the_licence_sizes_and_hashes(hub):
    listing = list_files(REPO)
    assert (listing.revision, listing.licence) == (COMMIT, "mit")
    assert listing.files[BIG].bytes == 1_024_000
    assert listing.files[BIG].sha256 == hashlib.sha256(served(hub)).hexdigest()
    assert listing.files["config.json"].sha256 is None
    assert listing.files["config.json"].git_sha1 is not None


@pytest.mark.parametrize("name", [BIG, "config.json"])
def test_a_file_arrives_whole(hub, tmp_path, name):
    to = fetch(list_files(REPO), name, tmp_path / "out" / "file")
    assert to.read_bytes() == served(hub, name)
    assert [path.name for path in to.parent.iterdir()] == ["file"]


def test_a_file_that_is_there_and_right_is_not_fetched_again(hub, tmp_path):
    listing = list_files(REPO)
    fetch(listing, BIG, tmp_path / "file")
    fetch(listing, BIG, tmp_path / "file")
    assert len(hub.log) == 1


def test_a_connection_that_breaks_is_taken_up_again(hub, tmp_path):
    hub.breaks[f"{REPO}/{BIG}"] = 300_000
    assert fetch(list_files(REPO), BIG, tmp_path / "file").read_bytes() == served(hub)
    first, second = hub.log
    assert first[1] == 0 < second[1]


def test_a_later_run_goes_on_behind_what_came_before(hub, tmp_path):
    (tmp_path / f"file{PARTIAL}").write_bytes(served(hub)[:700_000])
    assert fetch(list_files(REPO), BIG, tmp_path / "file").read_bytes() == served(hub)
    assert hub.log == [(f"{REPO}/{BIG}", 700_000)]


def test_other_bytes_than_were_listed_are_thrown_away_and_told(hub, tmp_path):
    hub.wrong.add(f"{REPO}/{BIG}")
    with pytest.raises(
        HubError, match=r"what came is not what the hub lists \(sha256 .*Run the same command"
    ):
        fetch(list_files(REPO), BIG, tmp_path / "file")
    assert list(tmp_path.glob("file*")) == []


def test_a_small_files_git_hash_is_compared_too(hub, tmp_path):
    hub.wrong.add(f"{REPO}/config.json")
    with pytest.raises(HubError, match=r"git-sha1 .*, the hub lists"):
        fetch(list_files(REPO), "config.json", tmp_path / "file")


def test_a_listed_file_that_is_gone_is_told(hub, tmp_path):
    listing = list_files(REPO)
    hub.gone.add(f"{REPO}/{BIG}")
    with pytest.raises(HubError, match=f"{BIG}: the repository has no such file"):
        fetch(listing, BIG, tmp_path / "file")


def test_a_file_that_was_never_listed_names_those_beside_it(hub, tmp_path):
    with pytest.raises(HubError, match=rf"holds no unet/other.bin; it has {BIG}. Name the right file"):
        fetch(list_files(REPO), "unet/other.bin", tmp_path / "file")


def test_an_unknown_repository_or_revision_is_told(hub):
    with pytest.raises(HubError, match="owner/nobody: no such repository, or a private one"):
        list_files("owner/nobody")
    with pytest.raises(HubError, match="owner/name@v9: no such revision"):
        list_files(REPO, "v9")


def test_a_hub_that_does_not_answer_is_told(hub, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"the hub at http://127.0.0.1:9 did not deliver .* Check the network"):
        list_files(REPO)


def test_a_full_disk_is_told_and_what_came_is_kept(hub, tmp_path, monkeypatch):
    import adaface.sources.hub as ours

    def full(url, stream, **_):
        stream.write(served(hub)[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ours, "http_get", full)
    with pytest.raises(WriteError, match=r"file: not written \(No space left on device\). Free space"):
        fetch(list_files(REPO), BIG, tmp_path / "file")
    assert (tmp_path / f"file{PARTIAL}").stat().st_size == 1000


def test_offline_nothing_is_asked_and_the_cache_counts(hub, monkeypatch):
    import huggingface_hub.constants as constants

    place = HubPlace(REPO, inside="unet")
    before = folder_of(place)
    assert (before / "model.safetensors").read_bytes() == served(hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.log)
    assert folder_of(place) == before
    assert cached(place, "model.safetensors") == before / "model.safetensors"
    assert cached(place, "other") is None
    assert len(hub.log) == asked
    with pytest.raises(HubError, match="not on this machine, and the hub cannot be asked"):
        list_files(REPO)
    with pytest.raises(HubError, match="hub:owner/other: not on this machine"):
        folder_of(HubPlace("owner/other"))


def test_your_own_copy_counts_before_the_hub(hub, models):
    (models / REPO / "unet").mkdir(parents=True)
    assert folder_of(HubPlace(REPO, inside="unet")) == (models / REPO / "unet").resolve()
    assert hub.log == []


def test_only_what_fits_the_patterns_is_fetched(hub):
    folder = folder_of(HubPlace(REPO), ("config.json",))
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_a_folder_that_the_repository_has_not_is_told(hub):
    with pytest.raises(MissingFileError, match="hub:owner/name/vae: the repository holds no vae"):
        folder_of(HubPlace(REPO, inside="vae"))
