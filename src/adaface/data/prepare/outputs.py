"""The folder that a data set is written to: whose it is, what was begun in it, what may be done there."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from adaface.data.layout import CARD
from adaface.data.prepare.settings import looking, shown
from adaface.errors import ConfigError, WriteError
from adaface.files import half_written, held, write_atomic

NOTE, WORK, LOCK = "prepare.json", ".work", ".adaface-prepare.lock"
KIND, VERSION = "adaface-prepare", 1
BEGUN, DONE = "begun", "done"
FOLLOWS = "least_similarity"  # a setting that follows from others
LOOKS_KEPT = "looks_kept"  # in the note of a finished data set
RESULT = {"photos": int, "kept": int, "people": int, "rejected": dict, "empty": list, "passed_over": int}
RESULT |= {"hash": str}  # what a finished run writes down


def check_places(out: Path, roots: Sequence[Path]) -> None:
    """Raises ConfigError: `out` lies in one of the photos' folders, or one of these in `out`, or is itself a
    data set.
    """
    place = out.expanduser().resolve()
    for root in roots:
        if (root / NOTE).is_file():
            raise ConfigError(
                f"{root}: a data set that was prepared ({NOTE} is in it), not a folder of photos. Name the "
                "photos first and the one folder for the data set last; an address behind --ray has a port "
                "(HEAD:6379)"
            )
        if place.is_relative_to(root.resolve()):
            raise ConfigError(
                f"{out}: lies inside of the photos' folder {root}: its pictures would be taken for photos "
                "next time. Choose a folder beside it"
            )
        if root.resolve().is_relative_to(place):
            raise ConfigError(
                f"{root}: the photos lie inside of the data set's folder {out}. Choose another folder for it"
            )


def begin(out: Path, settings: dict[str, Any], inputs: str, *, restart: bool) -> dict[str, Any] | None:
    """Make `out` ours; what was done there before with these settings and photos is gone on with.

    settings: JSON. As long as it is not finished, those that only judge may change: looks stay. inputs:
    digest of the photos. restart: make everything anew; after an interruption of the same it goes on, and
    looks that a finished one has kept are kept. Returns the note of a finished data set if there is nothing
    left to do, else None.
    Raises ConfigError: `out` is not empty and not ours, or was made with other settings or of other photos.
    WriteError: it cannot be written.
    """
    note = _note(out)
    if note is not None and not restart:
        part = looking if note["state"] == BEGUN else dict
        _check_settings(out, part(note["settings"]), part(settings))
        if note["state"] == DONE and (out / CARD).is_file():
            if note["inputs"] != inputs:
                raise ConfigError(
                    f"{out}: finished, but the photos or facts beside them have changed since. Give "
                    "--restart to make it anew, or choose another folder"
                )
            return note
    if restart and not _goes_on(note, settings):
        shutil.rmtree(out / WORK, ignore_errors=True)
    write_note(out, {"state": BEGUN, "settings": settings, "inputs": inputs, "restart": restart})
    return None


def _goes_on(note: dict[str, Any] | None, settings: dict[str, Any]) -> bool:
    """Whether a --restart may take the looks that lie there: of one like it, or kept to be judged again."""
    if note is None or note.get("restart" if note["state"] == BEGUN else LOOKS_KEPT) is not True:
        return False
    return looking(note["settings"]) == json.loads(json.dumps(looking(settings)))


def write_note(out: Path, note: dict[str, Any]) -> None:
    """Write prepare.json. Raises WriteError."""
    text = json.dumps({"kind": KIND, "version": VERSION, **note}, indent=1, ensure_ascii=True) + "\n"
    write_atomic(out / NOTE, lambda beside: beside.write_text(text, encoding="utf-8"))


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep a second command out of the folder as long as this one is at work there; where the system cannot,
    nothing is kept out.

    Raises ConfigError: another one is at work, or the folder is not ours. WriteError: no permission.
    """
    _note(out)  # nothing is written to a folder that is not ours, not even the lock
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(out / LOCK))
        except BlockingIOError as error:
            raise ConfigError(
                f"{out}: another adaface prepare is at work there. Wait until it ends"
            ) from error
        except OSError as error:
            raise WriteError(f"{out}: cannot be written ({error.strerror}). Choose another folder") from error
        yield


def _note(out: Path) -> dict[str, Any] | None:
    """What prepare.json says; None where `out` is new or empty. Raises ConfigError: not ours."""
    if out.is_file():
        raise ConfigError(f"{out}: a file, not a folder. Choose another place for the data set")
    path = out / NOTE
    if not path.is_file():
        ours = {out / LOCK, *half_written(path)}  # of a run that was killed as it began
        others = sorted(entry.name for entry in out.iterdir() if entry not in ours) if out.is_dir() else []
        if others:
            raise ConfigError(
                f"{out}: not empty ({', '.join(others[:3])}), and nothing of adaface prepare is in it. "
                "Choose a new or an empty folder"
            )
        return None
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        known = note["kind"] == KIND and note["version"] == VERSION and _is_whole(note)
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        known = False
    if not known:
        raise ConfigError(f"{path}: not a note of this adaface prepare. Choose another folder")
    return dict(note)


def _is_whole(note: dict[str, Any]) -> bool:
    """Whether a note holds what is read of it. Raises KeyError, TypeError: it does not."""
    ours = isinstance(note["settings"], dict) and isinstance(note["inputs"], str)
    if note["state"] != DONE:
        return ours and note["state"] == BEGUN
    result = note["result"]
    return ours and {name: type(value) for name, value in result.items()} == RESULT


def _check_settings(out: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names:
        told = [name for name in names if name != FOLLOWS] or names
        changes = ", ".join(
            f"{name} was {shown(before.get(name))}, now {shown(now.get(name))}" for name in told
        )
        raise ConfigError(
            f"{out}: begun with other settings ({changes}). Give the same ones to go on, --restart to make "
            "it anew, or choose another folder"
        )
