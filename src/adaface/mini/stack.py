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
from adaface.mini.captions import vocabulary
from adaface.mini.data import load_full
from adaface.mini.tokenizer import write_tokenizer
from adaface.pipelines.manifest import Part
from adaface.pipelines.stack import write_manifest
from adaface.text.folder import save_text_encoder

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
    for part, model in (("base", recipe.text), ("id_prompter", recipe.id_text.half())):
        save_text_encoder(model, folder / part / "text_encoder")
        _edit_json(folder / part / "text_encoder" / "config.json", dtype="float32", torch_dtype="float32")
    for place in ("base/tokenizer", "id_prompter/tokenizer", "clip"):
        write_tokenizer(folder / place, vocabulary(), build.config.sizes.text_length)
    trained = AdaFaceEncoder.from_pretrained(build.folder("encoder") / "model")
    trained.save_pretrained(folder / "encoder", dtype=torch.float16)
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


def _edit_json(path: Path, **values: object) -> None:
    text = json.dumps(json.loads(path.read_text()) | values, indent=2) + "\n"
    write_atomic(path, lambda beside: beside.write_text(text))


def _write_preprocessor(folder: Path) -> None:
    settings = {
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64},
        "do_resize": True, "do_center_crop": True, "do_rescale": True, "do_normalize": True, "resample": 3,
        "rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_convert_rgb": True,
    }  # fmt: skip
    write_atomic(
        folder / "preprocessor_config.json",
        lambda path: path.write_text(json.dumps(settings, indent=2) + "\n"),
    )
