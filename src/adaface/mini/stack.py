"""A finished build as a stack: fp16 weights, manifest, model cards. Plain file names, so that stock readers open them."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from adaface.encoder.inverse import AdaFaceEncoder
from adaface.files import write_atomic
from adaface.mini import models
from adaface.mini.data import load_full
from adaface.mini.tokenizer import write_tokenizer
from adaface.mini.captions import vocabulary
from adaface.pipelines.manifest import Part
from adaface.pipelines.stack import write_manifest

if TYPE_CHECKING:
    from adaface.mini.build import Build

LICENCE = "research only: see LICENSE-WEIGHTS"
STRANGERS = 500
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
        "a sepia photo of <person> in front of a striped wall",
    ],
}


def write_stack(build: "Build") -> dict[str, object]:
    """Write `OUT/stack` from the finished steps; returns its size."""
    folder = build.out / "stack"
    recipe = build.base_recipe()
    pipeline = StableDiffusionPipeline(
        vae=build.vae.half(), unet=recipe.unet.half(), text_encoder=recipe.text.half(), tokenizer=build.tokenizer,
        scheduler=models.new_scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder / "base")
    recipe.id_text.half().save_pretrained(folder / "id_prompter" / "text_encoder")
    for part in ("base", "id_prompter", "clip"):
        write_tokenizer(folder / part / ("" if part == "clip" else "tokenizer"), vocabulary(), build.config.sizes.text_length)
    for part in ("base", "id_prompter"):
        _portable_text_encoder(folder / part / "text_encoder")
    encoder = AdaFaceEncoder.from_pretrained(build.folder("encoder") / "model").half()
    encoder.save_pretrained(folder / "encoder")
    clip = models.new_clip(build.config.sizes, build.tokenizer)
    clip.load_state_dict(load_file(build.folder("clip") / "clip.safetensors"))
    clip.half().save_pretrained(folder / "clip")
    _edit_json(folder / "clip" / "config.json", dtype="float32", torch_dtype="float32")
    _write_preprocessor(folder / "clip")
    segmenter = load_file(build.folder("faces") / "segmenter.safetensors")
    halves = {name: tensor.half() for name, tensor in segmenter.items()}
    write_atomic(folder / "segmenter" / "segmenter.safetensors", lambda path: save_file(halves, path))
    held = load_full(build.data, split=0, clean=True)
    apart = torch.unique(held.person, return_inverse=True)[1]
    first = torch.stack([(apart == p).nonzero()[0, 0] for p in range(min(int(apart.max()) + 1, STRANGERS))])
    strangers = {"id_embeddings": held.ids[first].contiguous()}
    write_atomic(folder / "strangers.safetensors", lambda path: save_file(strangers, path))
    roles = {
        "base": Part(path="base", licence=LICENCE),
        "encoder": Part(path="encoder", licence=LICENCE),
        "id_prompter": Part(path="id_prompter", licence=LICENCE),
        "recognizer": Part(builtin="sface", licence="Apache-2.0 (OpenCV Zoo)"),
        "teacher": Part(path="base/unet", licence=LICENCE, options={"context_length": None}),
        "clip": Part(path="clip", licence=LICENCE),
        "strangers": Part(path="strangers.safetensors", licence=LICENCE),
        "segmenter": Part(path="segmenter", licence=LICENCE),
    }
    write_manifest(folder, name="mini", roles=roles, settings=SETTINGS)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    return {"megabytes": math.ceil(size / 1e5) / 10}


def _portable_text_encoder(folder: Path) -> None:
    """Keys with the prefix that both layouts of transformers read, and float32 as the type to open it in."""
    path = folder / "model.safetensors"
    tensors = {_prefixed(name): tensor for name, tensor in load_file(path).items()}
    write_atomic(path, lambda beside: save_file(tensors, beside, metadata={"format": "pt"}))
    _edit_json(folder / "config.json", dtype="float32", torch_dtype="float32")


def _prefixed(name: str) -> str:
    return name if name.startswith("text_model.") else f"text_model.{name}"


def _edit_json(path: Path, **values: object) -> None:
    text = json.dumps(json.loads(path.read_text()) | values, indent=2) + "\n"
    write_atomic(path, lambda beside: beside.write_text(text))


def _write_preprocessor(folder: Path) -> None:
    settings = {
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64},
        "do_resize": True, "do_center_crop": True, "do_rescale": True, "do_normalize": True, "resample": 3,
        "rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_convert_rgb": True,
    }  # fmt: skip
    write_atomic(folder / "preprocessor_config.json", lambda path: path.write_text(json.dumps(settings, indent=2) + "\n"))
