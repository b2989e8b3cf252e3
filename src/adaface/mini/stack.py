"""A finished build as a stack: fp16 weights and a manifest, under names that stock readers open."""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from adaface.encoder.fingerprint import text_encoder_fingerprint
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.files import write_atomic
from adaface.mini import models, plan
from adaface.mini.card import write_card
from adaface.mini.starting import WORLD
from adaface.mini.world.data import TRAIN, FacePack, load_full
from adaface.mini.world.facts import ACCESSORIES, BACKGROUNDS, STYLES, unseen_pairs
from adaface.mini.world.geometry import SIZE
from adaface.pipelines.manifest import Part
from adaface.pipelines.stack import write_manifest
from adaface.text.folder import load_text_encoder, save_text_encoder

if TYPE_CHECKING:
    from adaface.mini.build import Build

LICENCE = "research only: see LICENSE-WEIGHTS"
CLIPS = ("clip", "clip_second")
TRAINED = ["faces", "vae", "base", "identity", *CLIPS, "encoder"]  # the steps that the card lists
STRANGERS = 500  # at most, to compare a face with
# The files are half precision for their size; each of the two names is read by some transformers.
OPEN_AS = {"dtype": "float32", "torch_dtype": "float32"}
SETTINGS: dict[str, Any] = {
    "steps": 25,
    "guidance_scale": [2.0, 2.0],
    "id_scale": 1.0,
    "layer_weights": [1.0],
    "negative_prompt": "",
    "num_id_vectors": 16,
    "demo_prompts": [
        "a photo of <person>",
        "a photo of <person> wearing sunglasses",
        "a photo of <person> in a meadow",
        "a pencil sketch of <person>",
        "a photo of <person> wearing a red cap under a night sky",
        "an oil painting of <person> in front of a brick wall",
    ],
    "compositions": {  # of this world, for stage 2: never a pair that training does not show
        "single": ["a photo of {subject}"],
        "phrasings": [
            "{a_style} of {subject}{wear}{scene}",
            "{a_style} of {subject}{wear}, {scene}",
            "{subject}{wear}{scene}, {style}",
        ],
        "parts": {
            "style": {"share": 0.4, "plain": STYLES[0], "words": list(STYLES[1:])},
            "wear": {"share": 0.5, "words": list(ACCESSORIES[1:])},
            "scene": {"share": 0.65, "words": list(BACKGROUNDS[1:])},
        },
        "never": [list(pair) for pair in unseen_pairs()],
    },
}

ROLES = {
    "base": Part(path="base", licence=LICENCE),
    "encoder": Part(path="encoder", licence=LICENCE),
    "id_prompter": Part(path="id_prompter", licence=LICENCE),
    "recognizer": Part(builtin="sface", licence="Apache-2.0 (OpenCV Zoo)"),
    "teacher": Part(path="base/unet", licence=LICENCE, options={"context_length": None}),
    "clip": Part(path="clip", licence=LICENCE),
    "clip_second": Part(path="clip_second", licence=LICENCE),
    "strangers": Part(path="strangers.safetensors", licence=LICENCE),
    "world": Part(path="world", licence=LICENCE),
}
PREPROCESSOR: dict[str, Any] = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": SIZE},
    "crop_size": {"height": SIZE, "width": SIZE},
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "resample": 3,
    "rescale_factor": 1 / 255,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "do_convert_rgb": True,
}


def write_stack(build: "Build") -> dict[str, object]:
    """Write `OUT/stack` from the finished steps; returns its size.

    It is made in a folder beside and renamed once it is whole, so nothing of an earlier stack stays in it.
    """
    final, folder = build.out / "stack", build.out / ".stack"
    shutil.rmtree(folder, ignore_errors=True)
    _fill(build, folder)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    old = build.out / ".stack-before"
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    folder.rename(final)
    shutil.rmtree(old, ignore_errors=True)
    return {"megabytes": math.ceil(size / 1e5) / 10}


def _fill(build: "Build", folder: Path) -> None:
    _write_base(build, folder)
    shutil.rmtree(folder / "base" / "tokenizer", ignore_errors=True)  # as this version of a library writes it
    for place in ("base/tokenizer", "id_prompter/tokenizer", *CLIPS):
        shutil.copytree(build.folder("faces") / "tokenizer", folder / place, dirs_exist_ok=True)
    _write_encoder(build, folder)
    for name in CLIPS:
        _write_clip(build, folder / name)
    for name in WORLD:
        halves = {key: value.half() for key, value in load_file(build.folder("faces") / name).items()}
        write_atomic(folder / "world" / name, lambda path, halves=halves: save_file(halves, path))  # type: ignore[misc]
    strangers = {"id_embeddings": _one_photo_each(load_full(build.data, split=TRAIN, clean=True), STRANGERS)}
    write_atomic(folder / "strangers.safetensors", lambda path: save_file(strangers, path))
    options = {
        "preset": plan.preset_name(build.config),
        "start": plan.named(build.start),
        "vae-start": plan.named(build.vae_start),
    }
    write_card(folder / "README.md", build.out / "run", TRAINED, options, build.start)
    write_manifest(folder, name="mini", roles=ROLES, settings=SETTINGS)


def _write_base(build: "Build", folder: Path) -> None:
    """The base as a diffusers folder, and the ID teacher's text encoder."""
    recipe = build.base_recipe()
    pipeline = StableDiffusionPipeline(
        vae=build.vae.half(),
        unet=recipe.unet.half(),
        text_encoder=recipe.text.half(),
        tokenizer=build.tokenizer,
        scheduler=models.new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "base")
    build.forget("vae")  # it is half precision now
    for config in (folder / "base").glob("*/config.json"):
        _edit_config(config, _name_or_path=None)  # a path of this machine
    for part, model in (("base", recipe.text), ("id_prompter", recipe.id_text.half())):
        save_text_encoder(model, folder / part / "text_encoder")
        _edit_config(folder / part / "text_encoder" / "config.json", **OPEN_AS)


def _write_encoder(build: "Build", folder: Path) -> None:
    """The AdaFace encoder, which names the text encoder it is for as that one is shipped: rounded to half."""
    trained = AdaFaceEncoder.from_pretrained(build.folder("encoder") / "model")
    shipped = text_encoder_fingerprint(load_text_encoder(folder / "base" / "text_encoder"))
    trained.config = dataclasses.replace(trained.config, base_text_encoder=shipped)
    trained.save_pretrained(folder / "encoder", dtype=torch.float16)


def _write_clip(build: "Build", folder: Path) -> None:
    clip = models.new_clip(build.config.sizes, build.tokenizer)
    clip.load_state_dict(load_file(build.folder(folder.name) / "clip.safetensors"))
    clip.half().save_pretrained(folder)
    _edit_config(folder / "config.json", **OPEN_AS)
    text = json.dumps(PREPROCESSOR, indent=2) + "\n"
    write_atomic(folder / "preprocessor_config.json", lambda path: path.write_text(text))


def _one_photo_each(pack: FacePack, count: int) -> Tensor:
    """ID embeddings (at most `count`, D_id) of the first photo of each person."""
    people = torch.unique(pack.person, return_inverse=True)[1]
    count = min(int(people.max()) + 1, count)
    first = torch.stack([(people == p).nonzero()[0, 0] for p in range(count)])
    return pack.ids[first].contiguous()


def _edit_config(config: Path, **values: object) -> None:
    """Set values of a model's config; None takes one out."""
    known = json.loads(config.read_text()) | values
    text = json.dumps({key: value for key, value in known.items() if value is not None}, indent=2) + "\n"
    write_atomic(config, lambda beside: beside.write_text(text))
