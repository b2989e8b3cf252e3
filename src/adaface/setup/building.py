"""Fetched files -> a stack: two parts are converted to safetensors, and stack.json is written."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from adaface.checkpoints.convert import convert
from adaface.checkpoints.ldm import filled
from adaface.checkpoints.parts import open_part
from adaface.encoder.fingerprint import text_encoder_fingerprint
from adaface.encoder.folder import read_encoder, write_encoder
from adaface.errors import FormatError
from adaface.face.recognize import ARCFACE, unnamed
from adaface.files import write_atomic
from adaface.pipelines.manifest import Part
from adaface.pipelines.stack import Stack, write_manifest
from adaface.setup.fetching import ENCODER, PROMPTER, Tell, is_built
from adaface.setup.plan import Plan, RolePlan
from adaface.setup.recipe import CHECKER, DOWNLOADS
from adaface.text.folder import load_text_encoder, save_text_encoder

TOKENIZER = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
ARC2FACE = "arc2face"  # of the encoders in one file, the one that is for Arc2Face's ID prompts


def build(plan: Plan, folder: Path, tell: Tell) -> Stack:
    """Convert what needs it and write `folder/stack.json`; what an earlier run converted is kept.

    Raises FormatError or UnsafeFileError: a fetched file is not what it should be. WriteError: no room.
    """
    recognizer = next(role for role in plan.roles if role.role == "recognizer").items[0].to
    tokenizer = folder / PROMPTER / "tokenizer"
    for name in TOKENIZER:
        if (source := folder / "base" / "tokenizer" / name).is_file():
            write_atomic(tokenizer / name, partial(shutil.copyfile, source))
    for role in plan.roles:
        if role.role == "id_prompter" and not is_built(folder, role):
            tell("id_prompter: Arc2Face's text encoder to safetensors")
            _convert_prompter(folder, role)
        if role.role == "encoder" and not is_built(folder, role):
            tell("encoder: the authors' checkpoint to safetensors, nothing in it is executed")
            _convert_encoder(folder, role, folder / recognizer)
    settings = {"num_id_vectors": read_encoder(folder / ENCODER)[0].num_id_vectors}
    write_manifest(folder, name=plan.stack, roles=_parts(plan, folder, recognizer), settings=settings)
    shutil.rmtree(folder / DOWNLOADS, ignore_errors=True)  # ours: converted, no longer needed
    return Stack.load(folder)


def _convert_prompter(folder: Path, role: RolePlan) -> None:
    staged = folder / DOWNLOADS / PROMPTER
    weights = next(folder / item.to for item in role.items if not item.to.endswith(".json"))
    home = staged / "text_encoder"  # where `filled` looks for a text encoder's config
    write_atomic(home / "config.json", lambda path: shutil.copyfile(staged / "config.json", path))
    model = filled(open_part(weights, "text_encoder"), staged, torch.float32)
    save_text_encoder(model, folder / PROMPTER / "text_encoder")


def _convert_encoder(folder: Path, role: RolePlan, recognizer: Path) -> None:
    checkpoint = folder / role.items[0].to
    converted = folder / DOWNLOADS / "converted"
    shutil.rmtree(converted, ignore_errors=True)  # of a run that was broken off
    done = convert(checkpoint, converted, licence=role.licence, recognizer=unnamed(recognizer).name)
    found = {one.name: one.folder for one in done.encoders}
    if ARC2FACE not in found:
        raise FormatError(
            f"{checkpoint}: holds the encoders {', '.join(found)}, but none for {ARC2FACE}. Choose another "
            "file (--from encoder=...)"
        )
    config, tensors = read_encoder(found[ARC2FACE])
    base = load_text_encoder(folder / "base" / "text_encoder")
    made_for = replace(config, base_text_encoder=text_encoder_fingerprint(base))
    write_encoder(folder / ENCODER, made_for, tensors)


def _parts(plan: Plan, folder: Path, recognizer: str) -> dict[str, Part]:
    places = {"text_encoder": "base/text_encoder", "vae": "base/vae", "recognizer": recognizer}
    options: dict[str, dict[str, Any]] = {
        "recognizer": _recognizer_options(folder / recognizer),
        "teacher": {"context_length": None},
    }
    if plan.role(CHECKER) is None:
        options["base"] = {CHECKER: False}
    return {
        role.role: Part(
            places.get(role.role, role.role),
            licence=role.licence,
            purpose=role.purpose,
            origin=role.origin,
            options=options.get(role.role, {}),
        )
        for role in plan.roles
        if role.role != CHECKER  # its files are the base's
    }


def _recognizer_options(path: Path) -> dict[str, Any]:
    return {"name": unnamed(path).name, "same_person": ARCFACE.same_person, "licence": ARCFACE.licence}
