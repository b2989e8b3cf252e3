"""Fetched files -> a stack: two parts are converted to safetensors, and stack.json is written."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from adaface.checkpoints.convert import convert
from adaface.checkpoints.ldm import filled
from adaface.checkpoints.parts import open_part
from adaface.encoder.config import AdaFaceEncoderConfig
from adaface.encoder.fingerprint import text_encoder_fingerprint
from adaface.encoder.folder import read_encoder, write_encoder
from adaface.errors import FormatError
from adaface.face.recognize import ARCFACE, unnamed
from adaface.files import write_atomic
from adaface.pipelines.base import BaseParts, check_family
from adaface.pipelines.manifest import Part
from adaface.pipelines.stack import Stack, write_manifest
from adaface.setup.checking import check_files
from adaface.setup.fetching import Tell
from adaface.setup.plan import Plan, RolePlan, product_of
from adaface.setup.recipe import CHECKER, DOWNLOADS, source_of
from adaface.text.folder import load_text_encoder, save_text_encoder

TOKENIZER = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
ARC2FACE = "arc2face"  # of the encoders in one file, the one that is for Arc2Face's ID prompts


def build(plan: Plan, folder: Path, tell: Tell) -> Stack:
    """Convert what needs it and write `folder/stack.json`.

    What an earlier run converted of the same files is kept. Raises what `checking.check_files` raises for
    files that are not what they should be; FormatError or UnsafeFileError: they cannot be converted;
    WrongModelError: they are not of one family; WriteError: no room.
    """
    check_files(plan, folder)
    base, prompter = source_of(plan.stack, "base").to, source_of(plan.stack, "id_prompter").product
    for name in TOKENIZER:
        if (source := folder / base / "tokenizer" / name).is_file():
            write_atomic(folder / prompter / "tokenizer" / name, partial(shutil.copyfile, source))
    for role in plan.roles:
        if role.role in _CONVERSIONS and not plan.is_built(folder, role):
            words, turn = _CONVERSIONS[role.role]
            tell(f"{role.role}: {words}")
            plan = plan.with_made(role, None)
            plan.save(folder)  # if this is broken off, what lies there is of two makings
            turn(folder, role, folder / product_of(plan.stack, role.role))
            plan = plan.with_made(role, folder)
            plan.save(folder)
    config = _mark_encoder(plan, folder)
    plan.with_made(_needed(plan, "encoder"), folder).save(folder)
    text_encoder = folder / source_of(plan.stack, "text_encoder").to
    check_family(BaseParts(folder / base, text_encoder=text_encoder), config.width)
    write_manifest(
        folder,
        name=plan.stack,
        roles=_parts(plan, folder),
        settings={"num_id_vectors": config.num_id_vectors},
    )
    shutil.rmtree(folder / DOWNLOADS, ignore_errors=True)  # ours: converted, no longer needed
    return Stack.load(folder)


def _convert_prompter(folder: Path, role: RolePlan, product: Path) -> None:
    weights = next(folder / item.to for item in role.items if not item.to.endswith(".json"))
    staged = weights.parent
    home = staged / "text_encoder"  # where `filled` looks for a text encoder's config
    write_atomic(home / "config.json", lambda path: shutil.copyfile(staged / "config.json", path))
    model = filled(open_part(weights, "text_encoder"), staged, torch.float32)
    save_text_encoder(model, product)


def _convert_encoder(folder: Path, role: RolePlan, product: Path) -> None:
    (item,) = role.items
    checkpoint, converted = folder / item.to, folder / DOWNLOADS / "converted"
    shutil.rmtree(converted, ignore_errors=True)  # of a run that was broken off
    done = convert(checkpoint, converted)
    found = {one.name: one.folder for one in done.encoders}
    if ARC2FACE not in found:
        raise FormatError(
            f"{checkpoint}: holds the encoders {', '.join(found)}, but none for {ARC2FACE}. Choose another "
            "file (--from encoder=...)"
        )
    write_encoder(product, *read_encoder(found[ARC2FACE]))


_CONVERSIONS: dict[str, tuple[str, Callable[[Path, RolePlan, Path], None]]] = {
    "id_prompter": ("Arc2Face's text encoder to safetensors", _convert_prompter),
    "encoder": ("the checkpoint to safetensors, nothing in it is executed", _convert_encoder),
}


def _mark_encoder(plan: Plan, folder: Path) -> AdaFaceEncoderConfig:
    """Write into the encoder's config what it is used with in this stack; the config."""
    place = folder / product_of(plan.stack, "encoder")
    config, tensors = read_encoder(place)
    text = load_text_encoder(folder / source_of(plan.stack, "text_encoder").to)
    used: dict[str, Any] = {
        "licence": _needed(plan, "encoder").licence,
        "recognizer": unnamed(folder / _recognizer_file(plan)).name,
        "base_text_encoder": text_encoder_fingerprint(text),
    }
    if any(getattr(config, name) != value for name, value in used.items()):
        config = replace(config, **used)
        write_encoder(place, config, tensors)
    return config


def _needed(plan: Plan, name: str) -> RolePlan:
    """The plan of a role that no plan leaves out."""
    role = plan.role(name)
    assert role is not None
    return role


def _recognizer_file(plan: Plan) -> str:
    (item,) = _needed(plan, "recognizer").items
    return item.to


def _parts(plan: Plan, folder: Path) -> dict[str, Part]:
    options: dict[str, dict[str, Any]] = {
        "recognizer": _recognizer_options(plan, folder),
        "teacher": {"context_length": None},
    }
    if plan.role(CHECKER) is None:
        options["base"] = {CHECKER: False}
    return {
        role.role: Part(
            _place(plan, role),
            licence=role.licence,
            purpose=role.purpose,
            origin=role.origin,
            options=options.get(role.role, {}),
        )
        for role in plan.roles
        if role.role != CHECKER  # its files are the base's
    }


def _place(plan: Plan, role: RolePlan) -> str:
    """Where a role's part lies below the stack's folder."""
    source = source_of(plan.stack, role.role)
    return _recognizer_file(plan) if role.role == "recognizer" else source.product or source.to


def _recognizer_options(plan: Plan, folder: Path) -> dict[str, Any]:
    name = unnamed(folder / _recognizer_file(plan)).name
    return {"name": name, "same_person": ARCFACE.same_person, "licence": _needed(plan, "recognizer").licence}
