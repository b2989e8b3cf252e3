"""The hub, through huggingface_hub: what a repository holds, and its files, compared with its own hashes.

HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE count, as they do for every program over huggingface_hub.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import (
    HfApi,
    constants,
    errors as hub_errors,
    hf_hub_url,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # public, not re-exported
from huggingface_hub.utils.sha import git_hash

from adaface import files
from adaface.errors import HubError, MissingFileError, WriteError
from adaface.sources.places import HubPlace, copy_of

TRIES = 5  # times that a broken transfer is gone on with in one run, beside huggingface_hub's own
PARTIAL = ".part"  # behind the name of a file that is on its way
UNSTATED = "not stated by the repository"


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it. One of the two hashes is None: large files have a SHA-256, small ones
    git's.
    """

    name: str
    bytes: int
    sha256: str | None = None
    git_sha1: str | None = None

    def fault(self, path: Path) -> str | None:
        """What is wrong with the file at `path`; None if it is what the hub lists."""
        if not path.is_file():
            return "missing"
        if path.stat().st_size != self.bytes:
            return f"{path.stat().st_size} bytes, the hub lists {self.bytes}"
        kind, listed = ("sha256", self.sha256) if self.sha256 else ("git-sha1", self.git_sha1)
        if listed is None:  # then the size is all that the hub tells
            return None
        found = files.sha256(path) if self.sha256 else git_hash(path.read_bytes())
        return None if found == listed else f"{kind} {found[:12]}..., the hub lists {listed[:12]}..."


@dataclass(frozen=True)
class Listing:
    """What a repository holds at one commit.

    revision: the commit's own name, whatever branch or tag was asked for. licence: as its card names it.
    """

    repo: str
    revision: str
    licence: str = UNSTATED
    files: dict[str, RemoteFile] = field(default_factory=dict)


def page(repo: str) -> str:
    """The repository's page, where its licence stands in full."""
    return f"{constants.ENDPOINT}/{repo}"


def list_files(repo: str, revision: str | None = None) -> Listing:
    """The files of a repository with sizes and hashes, by one question to the hub.

    Raises HubError: offline, not reachable, no such repository or revision, or one that asks for a token.
    """
    with _told(f"{repo}{f'@{revision}' if revision else ''}"):
        _online()
        info = HfApi().model_info(repo, revision=revision, files_metadata=True)
    found = [_remote(entry) for entry in info.siblings or ()]
    licence = getattr(info.card_data, "license", None) or UNSTATED
    named = ", ".join(licence) if isinstance(licence, list) else str(licence)
    if named == "other":
        named = str(getattr(info.card_data, "license_name", None) or "other (see its page)")
    return Listing(repo, str(info.sha), named, {file.name: file for file in found})


def fetch(listing: Listing, name: str, to: Path) -> Path:
    """Bring one file to `to`; what an earlier, broken transfer brought is gone on with.

    Its size and hash are compared with the hub's; it appears whole or not at all. huggingface_hub's own
    download begins anew in another process since 2.x, so only its transfer is used here.
    Raises HubError: no such file, the transfer broke, or what came is not what the hub lists. WriteError: the
    disk is full or cannot be written.
    """
    if name not in listing.files:
        raise HubError(_not_listed(listing, name))
    wanted, partial = listing.files[name], to.with_name(to.name + PARTIAL)
    if wanted.fault(to) is None:
        return to
    where = f"{listing.repo}@{listing.revision[:12]}/{name}"
    url = hf_hub_url(listing.repo, name, revision=listing.revision, endpoint=constants.ENDPOINT)
    with _writable(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        if partial.exists() and partial.stat().st_size > wanted.bytes:
            partial.unlink()
        for left in reversed(range(TRIES)):
            if _transfer(url, wanted, partial, where, last=left == 0):
                break
        if (fault := wanted.fault(partial)) is not None:
            partial.unlink()
            raise HubError(
                f"{where}: what came is not what the hub lists ({fault}). Run the same command again"
            )
        partial.replace(to)
    return to


def _transfer(url: str, wanted: RemoteFile, partial: Path, where: str, *, last: bool) -> bool:
    """Go on with a file; True if it is whole, False if the connection broke: try again.

    Raises HubError: the hub refuses it, or the connection broke and this was the last try.
    """
    with partial.open("ab") as stream:
        before = stream.tell()
        try:
            with _told(where):
                _online()
                if wanted.bytes:
                    http_get(
                        url,
                        stream,
                        resume_size=before,
                        headers=build_hf_headers(),
                        expected_size=wanted.bytes,
                        displayed_filename=wanted.name,
                    )
        except HubError as error:
            refused = isinstance(error.__cause__, hub_errors.HfHubHTTPError | hub_errors.OfflineModeIsEnabled)
            if refused or last:
                raise
            return False
    return True


def _online() -> None:
    """Raises what huggingface_hub raises, before it tries anything, if HF_HUB_OFFLINE is set."""
    if constants.HF_HUB_OFFLINE:
        raise hub_errors.OfflineModeIsEnabled("HF_HUB_OFFLINE is set")


def folder_of(place: HubPlace, patterns: Sequence[str] = ("*",)) -> Path:
    """The repository's files (those that fit `patterns`) as a folder: your copy, else the hub's cache.

    Offline only what the cache holds counts. Raises HubError: see `list_files`; MissingFileError: nothing
    fits inside the repository.
    """
    if (copy := copy_of(place)) is not None:
        return copy
    wanted = (*(f"{place.inside}/{pattern}" for pattern in patterns), place.inside)
    with _writable(Path(constants.HF_HUB_CACHE)), _told(str(place)):
        root = _snapshot(
            place.repo,
            place.revision,
            wanted if place.inside else tuple(patterns),
            constants.HF_HUB_CACHE,
            constants.HF_HUB_OFFLINE,
        )
    if not (root / place.inside).exists():
        raise MissingFileError(f"{place}: the repository holds no {place.inside}. Look at its list of files")
    return root / place.inside


@lru_cache
def _snapshot(repo: str, revision: str | None, patterns: tuple[str, ...], cache: str, offline: bool) -> Path:
    """One answer a process: what was fetched a moment ago is not asked for again."""
    return Path(
        snapshot_download(
            repo,
            revision=revision,
            cache_dir=cache,
            local_files_only=offline,
            allow_patterns=list(patterns),
        )
    )


def cached(place: HubPlace, name: str = "") -> Path | None:
    """Where `folder_of(place)` has the file `name`, the hub not being asked; None: not on this machine."""
    try:
        copy = copy_of(place)
    except MissingFileError:
        return None
    if copy is not None:
        return copy / name
    inside = "/".join(part for part in (place.inside, name) if part)
    found = try_to_load_from_cache(
        place.repo, inside, cache_dir=constants.HF_HUB_CACHE, revision=place.revision
    )
    return Path(found) if isinstance(found, str) else None


def _remote(entry: Any) -> RemoteFile:
    sha256 = None if entry.lfs is None else str(entry.lfs["sha256"])
    return RemoteFile(entry.rfilename, int(entry.size or 0), sha256, None if sha256 else entry.blob_id)


def _not_listed(listing: Listing, name: str) -> str:
    folder = name.rpartition("/")[0]
    near = [other for other in listing.files if other.rpartition("/")[0] == folder] or sorted(listing.files)
    held = ", ".join(near[:8]) or "no files"
    return f"{listing.repo}@{listing.revision[:12]} holds no {name}; it has {held}. Name the right file"


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Inside, whatever huggingface_hub raises becomes one HubError about `what`."""
    try:
        yield
    except OSError as error:
        if getattr(error, "errno", None) is not None and not _of_network(error):
            raise  # the disk, not the hub
        raise HubError(_reason(what, error)) from error
    except (_http_error(), hub_errors.HFValidationError) as error:
        raise HubError(_reason(what, error)) from error


def _of_network(error: OSError) -> bool:
    return isinstance(error, ConnectionError | TimeoutError | _http_error())


def _http_error() -> type[Exception]:
    """What the HTTP library below huggingface_hub raises: httpx's in 1.x and 2.x, requests' in 0.x."""
    kind: type[Exception] = vars(hub_errors)["HTTPError"]
    return kind


_LOG_IN = "log in (hf auth login, or set HF_TOKEN)"
_REASONS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (
        (hub_errors.GatedRepoError,),
        f"its owner asks you to accept terms first: do so on its page, then {_LOG_IN}",
    ),
    (
        (hub_errors.RepositoryNotFoundError,),
        f"no such repository, or a private one. Check the name; for a private one {_LOG_IN}",
    ),
    (
        (hub_errors.RevisionNotFoundError,),
        "no such revision. Name a branch, a tag or a commit of the repository",
    ),
    (
        (hub_errors.OfflineModeIsEnabled, hub_errors.LocalEntryNotFoundError),
        "not on this machine, and the hub cannot be asked. Go online (is HF_HUB_OFFLINE set?), or put the "
        "repository's files into the folder owner/name below $ADAFACE_MODELS",
    ),
    (
        (hub_errors.EntryNotFoundError,),
        "the repository has no such file (any more). Look at its list of files",
    ),
)


def _reason(what: str, error: Exception) -> str:
    for kinds, words in _REASONS:
        if isinstance(error, kinds):
            return f"{what}: {words}"
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return (
        f"{what}: the hub at {constants.ENDPOINT} did not deliver ({line[:200]}). Check the network and run "
        "the same command again: what came is kept"
    )


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Inside, a full or closed disk becomes a WriteError about `path`."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{path}: not written ({error.strerror or error}). Free space, or choose another place, and run "
            "the same command again: what came is kept"
        ) from error
