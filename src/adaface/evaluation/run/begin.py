"""run.json: what a run was asked for, and whether a folder is that run, begun before."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaface import files
from adaface.errors import ConfigError, FormatError, WriteError
from adaface.evaluation.folder import FORMAT, MANIFEST, RUN_JSON, read_facts
from adaface.evaluation.records import Subject, broad_class
from adaface.pipelines.stack import Stack

VERSION = 1
BEGUN, DONE = "begun", "done"


def parts_of(stack: Stack, *roles: str) -> dict[str, dict[str, str]]:
    """Digest and licence of each part of `roles` that the stack has; a part of the hub is its place."""
    return {role: _part(stack, role) for role in roles if role in stack.roles}


def _part(stack: Stack, role: str) -> dict[str, str]:
    part = stack.part(role)
    if part.files:
        digest = part.sha256
    elif part.hub is not None:
        digest = f"hub:{part.hub}@{part.revision}"
    else:
        digest = part.builtin or files.sha256(stack.path(role))
    return {"sha256": digest, "licence": part.licence}


def before(folder: Path, request: Mapping[str, Any], stack: Mapping[str, Any]) -> dict[str, Any] | None:
    """The run.json of the same request, begun or done before; None where nothing was drawn yet.

    request: what decides the pictures, as plain JSON. stack: its name and the digests of its parts.
    Raises ConfigError: the folder holds something else, a run of another stack, or one that was asked for
    differently. FormatError: its run.json is damaged.
    """
    if not (folder / RUN_JSON).is_file():
        others = sorted(entry.name for entry in folder.iterdir() if entry.name[0] != ".")
        if others:
            raise ConfigError(
                f"{folder}: not empty ({', '.join(others[:3])}), and no run of adaface evaluate. Choose a "
                "new or an empty folder (-o)"
            )
        return None
    facts = dict(read_facts(folder))
    if facts.get("version") != VERSION or not isinstance(facts.get("request"), dict):
        raise FormatError(f"{folder / RUN_JSON}: of another version of adaface. Choose another folder (-o)")
    _check_kinds(folder, facts)
    asked = json.loads(json.dumps(request))
    if not (folder / MANIFEST).is_file() and (facts["request"], facts.get("stack")) != (asked, stack):
        return None  # nothing was drawn yet: a run that failed at once may be asked for differently
    _check_stack(folder, facts.get("stack", {}), stack)
    _check_request(folder, facts["request"], asked)
    return facts


_KINDS = {
    "stack": dict, "notes": list, "met": list, "events": list, "subjects": list, "times": dict,
    "provenance": dict, "templates": list, "columns": list, "left_out": dict, "made_of": dict,
}  # fmt: skip


def _check_kinds(folder: Path, facts: Mapping[str, Any]) -> None:
    """Raises FormatError: an entry that a run reads is not of the kind that it writes."""
    for name, kind in _KINDS.items():
        if name in facts and not isinstance(facts[name], kind):
            raise FormatError(
                f"{folder / RUN_JSON}: damaged: {name} is {_short(facts[name])}. Put back the file as it "
                "was, or choose another folder (-o)"
            )


def _check_stack(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    parts = {**then.get("parts", {}), **now["parts"]}
    changed = [
        role for role in parts
        if then.get("parts", {}).get(role, {}).get("sha256") != now["parts"].get(role, {}).get("sha256")
    ]  # fmt: skip
    if changed:
        raise ConfigError(
            f'{folder}: a run of the stack "{then.get("name")}" with another {", ".join(changed)} than '
            f'"{now["name"]}" has now. Give the same models to go on, or choose another folder (-o)'
        )


def _check_request(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if changed:
        told = ", ".join(
            f"{name} was {_short(then.get(name))}, now {_short(now.get(name))}" for name in changed
        )
        raise ConfigError(
            f"{folder}: begun with other settings ({told}). Give the same ones to go on, or choose another "
            "folder (-o)"
        )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write run.json. Raises WriteError."""
    text = json.dumps({"format": FORMAT, "version": VERSION, **facts}, indent=1, ensure_ascii=False) + "\n"
    files.write_text(folder / RUN_JSON, text)


def subject_row(one: Subject, folder: Path, identity: Path | None = None) -> dict[str, Any]:
    """A subject as it stands in run.json. identity: the file that says who it is, instead of photos."""
    vector = None if one.id_embedding is None else [float(value) for value in one.id_embedding]
    return {
        "name": one.name,
        "given": [_photo(path, folder) for path in one.given],
        "scored": [_photo(path, folder) for path in one.scored],
        "apart": one.apart,
        "synthetic": one.synthetic,
        "broad_class": one.broad_class,
        "class_word": one.class_word,
        "recognizer": one.recognizer,
        "id_embedding": vector,
        "identity": None if identity is None else _photo(identity, folder),
    }


def _photo(path: Path, folder: Path) -> dict[str, str]:
    inside = path.resolve().is_relative_to(folder.resolve())
    told = path.resolve().relative_to(folder.resolve()).as_posix() if inside else str(path)
    return {"path": told, "sha256": files.sha256(path)}


def subjects_of(facts: Mapping[str, Any], folder: Path) -> list[Subject]:
    """The subjects of a run.json.

    Raises ConfigError: a photo or identity file is gone or has changed since. FormatError: it does not hold
    any.
    """
    import numpy as np

    try:
        identities_of(facts, folder)
        return [
            Subject(
                row["name"],
                tuple(_same(folder, photo) for photo in row["given"]),
                tuple(_same(folder, photo) for photo in row["scored"]),
                None if row["id_embedding"] is None else np.array(row["id_embedding"], np.float32),
                row["recognizer"],
                broad_class(row["broad_class"]),
                row["class_word"],
                bool(row["synthetic"]),
            )
            for row in facts["subjects"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(
            f"{folder / RUN_JSON}: its subjects cannot be read ({error!r}). Choose another folder (-o)"
        ) from error


def identities_of(facts: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Identity files of a run.json, by the subject's name. Raises ConfigError: one is gone or has changed."""
    rows = ((row["name"], row.get("identity")) for row in facts["subjects"])
    return {name: _same(folder, identity) for name, identity in rows if identity is not None}


def _same(folder: Path, photo: Mapping[str, str]) -> Path:
    path = folder / photo["path"]
    if not path.is_file() or files.sha256(path) != photo["sha256"]:
        raise ConfigError(
            f"{path}: gone or changed since the run was begun. Put the file back, or choose another "
            "folder (-o)"
        )
    return path.resolve()


def append(path: Path, text: str) -> None:
    """Add lines to a file. Raises WriteError: disk trouble; what stood there stays."""
    try:
        with path.open("a", encoding="utf-8") as lines:
            lines.write(text)
    except OSError as error:
        raise WriteError(
            f"{path}: not written ({error.strerror}). Free some space; the same command goes on"
        ) from error
