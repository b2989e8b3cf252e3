"""Parts for the benchmark of training steps: a stack of SD-1.5's blocks with random weights, and photos.

"sd15" has SD-1.5's sizes. "narrow" has a fifth of its channels, half its side and a small text encoder, so
that a step takes seconds on one core while UNet, VAE and text encoder keep their shares of the work. "tiny"
is for tests.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from adaface.checkpoints.ldm import SD15
from adaface.data.shards import Entry, ShardWriter
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.pipelines.manifest import Part
from adaface.pipelines.quiet import quiet
from adaface.pipelines.stack import write_manifest
from adaface.text.folder import load_tokenizer, save_text_encoder

with quiet():
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

LICENCE = "MIT (random numbers)"
ROWS = 16  # photos
POINTS = np.array([[0.36, 0.42], [0.64, 0.42], [0.5, 0.56], [0.4, 0.7], [0.6, 0.7]], np.float32)
SETTINGS = {"guidance_scale": [4.0, 1.0], "layer_weights": [1.0, 1.0, 1.0], "num_id_vectors": 16}


@dataclass(frozen=True)
class Shape:
    """Sizes of the parts. latent: side of the latents; pictures have eight times as much."""

    unet: tuple[int, int, int, int]
    vae: tuple[int, int, int, int]
    width: int
    latent: int
    layers: int = 12

    @property
    def pixels(self) -> int:
        """Side of a picture."""
        return 8 * self.latent


SHAPES = {
    "sd15": Shape((320, 640, 1280, 1280), (128, 256, 512, 512), 768, 64),
    "narrow": Shape((64, 128, 256, 256), (24, 48, 96, 96), 144, 32, layers=3),
    "tiny": Shape((32, 32, 64, 64), (8, 8, 16, 16), 144, 16, layers=3),
}


def unet(shape: Shape) -> Any:
    """A UNet of SD-1.5's blocks."""
    config = UNet2DConditionModel.load_config(SD15 / "unet")
    sizes = {"block_out_channels": shape.unet, "cross_attention_dim": shape.width}
    return UNet2DConditionModel.from_config(config, **sizes, sample_size=shape.latent)


def vae(shape: Shape) -> Any:
    """An autoencoder of SD-1.5's blocks."""
    config = AutoencoderKL.load_config(SD15 / "vae")
    groups = min(32, shape.vae[0])
    return AutoencoderKL.from_config(
        config, block_out_channels=shape.vae, norm_num_groups=groups, sample_size=shape.pixels
    )


def text_model(shape: Shape) -> Any:
    """CLIP-L's text model, as wide and as deep as the shape says."""
    config = CLIPTextConfig.from_pretrained(SD15 / "text_encoder")
    config.update({"hidden_size": shape.width, "intermediate_size": 4 * shape.width})
    config.update({"num_hidden_layers": shape.layers, "num_attention_heads": 12})
    return CLIPTextModel(config).eval()


def clip(shape: Shape) -> Any:
    """A CLIP of ViT-B/32's cut, which judges decoded pictures."""
    full = shape.width == SHAPES["sd15"].width
    width, layers, heads = (512, 12, 8) if full else (64, 2, 2)
    text = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    ids = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    width, heads_seen = (768, 12) if full else (64, 2)
    vision = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    return CLIPModel(
        CLIPConfig(
            text_config={**text, **ids, "num_attention_heads": heads, "max_position_embeddings": 77},
            vision_config={**vision, "num_attention_heads": heads_seen, "image_size": 224, "patch_size": 32},
            projection_dim=512 if full else 64,
        )
    ).eval()


def write_stack(folder: Path, shape: Shape, dtype: torch.dtype = torch.float32, seed: int = 0) -> Path:
    """Write base, ID prompter, a teacher with a UNet of its own, and a CLIP; all of random numbers."""
    torch.manual_seed(seed)
    with quiet():
        tokenizer = load_tokenizer(SD15 / "tokenizer")
        scheduler = DDIMScheduler.from_pretrained(SD15, subfolder="scheduler", clip_sample=False)
        text = text_model(shape).to(dtype)
        pipe = StableDiffusionPipeline(
            vae(shape).to(dtype), text, tokenizer, unet(shape).to(dtype), scheduler, None, None,
            requires_safety_checker=False,
        )  # fmt: skip
        pipe.save_pretrained(folder / "base")
        del pipe
        save_text_encoder(text, folder / "base" / "text_encoder")
        encoder = AdaFaceEncoder.from_text_encoder(text, tokenizer, recognizer="sface", licence=LICENCE)
        encoder.save_pretrained(folder / "encoder")
        save_text_encoder(text_model(shape).to(dtype), folder / "id_prompter" / "text_encoder")
        tokenizer.save_pretrained(folder / "id_prompter" / "tokenizer")
        unet(shape).to(dtype).save_pretrained(folder / "teacher")
        clip(shape).to(dtype).save_pretrained(folder / "clip")
        tokenizer.save_pretrained(folder / "clip" / "tokenizer")
    roles = {
        name: Part(name, licence=LICENCE) for name in ("base", "encoder", "id_prompter", "teacher", "clip")
    }
    roles["recognizer"] = Part(builtin="sface", licence="Apache-2.0")
    write_manifest(folder, name="random", roles=roles, settings=SETTINGS)
    return folder


def write_photos(folder: Path, shape: Shape, rows: int = ROWS, width: int = 128) -> Path:
    """A prepared data set of `rows` drawn faces, four to a person, with masks and ID embeddings."""
    rng = np.random.default_rng(0)
    side = shape.pixels
    with ShardWriter(folder, image_size=side, recognizer="sface", settings={"drawn": True}) as writer:
        for row in range(rows):
            picture = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
            mask = Image.new("L", (side, side), 0)
            colour = tuple(int(value) for value in rng.integers(60, 220, 3))
            for canvas, fill in ((picture, colour), (mask, 255)):
                ImageDraw.Draw(canvas).ellipse([side * 0.2, side * 0.1, side * 0.8, side * 0.9], fill=fill)
            vector = rng.normal(size=width).astype(np.float32)
            writer.add(
                Entry(
                    key=f"row-{row}",
                    image=_file(picture, "JPEG"),
                    mask=_file(mask, "PNG"),
                    person=f"person {row // 4}",
                    class_word=("woman", "man", "girl", "boy")[row // 4 % 4],
                    landmarks=POINTS * side,
                    id_embedding=vector / np.linalg.norm(vector),
                )
            )
    return folder


def _file(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()
