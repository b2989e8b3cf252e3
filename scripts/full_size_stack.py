"""Write a stack of SD-1.5's real sizes with random weights: for tests of memory, speed and loading, offline.

`python scripts/full_size_stack.py OUT [--dtype float16] [--seed 0]` writes 2.6 GB (in half precision) in the
layout of a real stack: UNet, autoencoder and CLIP-L of SD-1.5, Arc2Face's prompter, an AdaFace encoder of
CLIP-L's size, and a small random recogniser of 512 numbers, as ArcFace has. One block of one tensor is
in memory at a time. The pictures that it draws show nothing.
"""

import argparse
import json
import math
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adaface.pipelines.quiet import quiet

with quiet():  # the libraries' hints at their first import
    from adaface.checkpoints.ldm import SD15
    from adaface.checkpoints.surgery.writing import Entry, new_folder, write_safetensors
from adaface.encoder.config import AdaFaceEncoderConfig
from adaface.encoder.folder import FORMAT, KIND
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.face.recognize import RecognizerSpec
from adaface.pipelines.manifest import Part
from adaface.pipelines.stack import write_manifest
from adaface.text.clip import text_parts

LICENCE = "MIT (random numbers)"
BLOCK = 1 << 20  # numbers that are drawn at a time
RECOGNIZER = RecognizerSpec(name="random-512", licence=LICENCE)
SETTINGS: dict[str, Any] = {"guidance_scale": [4.0, 1.0], "layer_weights": [1.0, 1.0], "num_id_vectors": 16}


def write_stack(out: Path, dtype: torch.dtype, seed: int) -> None:
    """Write the stack `out`, which appears whole or not at all.

    Raises ConfigError: there is something in that place. WriteError: no room, or no permission.
    """
    with new_folder(out) as folder:
        shutil.copytree(SD15, folder / "base")
        write_model(unet(), folder / "base/unet/diffusion_pytorch_model.safetensors", dtype, seed)
        write_model(vae(), folder / "base/vae/diffusion_pytorch_model.safetensors", dtype, seed + 1)
        for number, place in enumerate(("base", "id_prompter")):
            target = folder / place
            if place != "base":
                shutil.copytree(SD15 / "tokenizer", target / "tokenizer")
                shutil.copytree(SD15 / "text_encoder", target / "text_encoder")
            write_model(
                text_model(),
                target / "text_encoder/model.safetensors",
                dtype,
                seed + 2 + number,
                "text_model.",
            )
        write_encoder(folder / "encoder", dtype, seed + 4)
        write_recognizer(folder / "recognizer", seed + 5)
        roles = {
            **{name: Part(name, licence=LICENCE) for name in ("base", "encoder", "id_prompter")},
            "recognizer": Part("recognizer/random.onnx", licence=LICENCE, options=asdict(RECOGNIZER)),
        }
        write_manifest(folder, name="full-size-random", roles=roles, settings=SETTINGS)


def unet() -> nn.Module:
    """SD-1.5's UNet, as shapes only."""
    from diffusers import UNet2DConditionModel

    return on_meta(lambda: UNet2DConditionModel.from_config(config_of("unet")))


def vae() -> nn.Module:
    """SD-1.5's autoencoder, as shapes only."""
    from diffusers import AutoencoderKL

    return on_meta(lambda: AutoencoderKL.from_config(config_of("vae")))


def text_model() -> nn.Module:
    """The parts of CLIP-L's text model, as shapes only."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return on_meta(lambda: text_parts(CLIPTextModel(CLIPTextConfig.from_pretrained(SD15 / "text_encoder"))))


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    """A model without numbers."""
    with torch.device("meta"), quiet():
        return make()


def config_of(part: str) -> dict[str, Any]:
    """The config of a part of SD-1.5."""
    config: dict[str, Any] = json.loads((SD15 / part / "config.json").read_text(encoding="utf-8"))
    return config


def write_model(model: nn.Module, path: Path, dtype: torch.dtype, seed: int, prefix: str = "") -> int:
    """Write random weights for the parameters of a model that has none; the bytes of them."""
    generator = torch.Generator().manual_seed(seed)
    named = {name: value for name, value in model.state_dict().items() if not name.endswith("position_ids")}
    entries = {prefix + name: entry(name, value, dtype, generator) for name, value in named.items()}
    return write_safetensors(path, entries, {})


def entry(name: str, like: Tensor, dtype: torch.dtype, generator: torch.Generator) -> Entry:
    """A tensor of numbers that keep what goes through them at its size."""
    shape = tuple(like.shape)

    def blocks() -> Iterator[Tensor]:
        for start in range(0, like.numel(), BLOCK):
            yield numbers(name, shape, min(BLOCK, like.numel() - start), generator).to(dtype)

    return Entry(dtype, shape, blocks)


def numbers(name: str, shape: tuple[int, ...], count: int, generator: torch.Generator) -> Tensor:
    """`count` numbers of a tensor: norms start at 1, biases at 0, tables and matrices are random."""
    if len(shape) == 1:
        known = "norm" in name or name == "hidden_layer_weights"
        return torch.full((count,), 1.0 if known and not name.endswith("bias") else 0.0)
    fan_in = 2500 if "embedding" in name and len(shape) == 2 else math.prod(shape[1:])
    return torch.randn(count, generator=generator) / math.sqrt(fan_in)


def write_encoder(folder: Path, dtype: torch.dtype, seed: int) -> None:
    """An AdaFace encoder of CLIP-L's size."""
    config = AdaFaceEncoderConfig(
        width=768, layers=12, heads=12, mlp_width=3072, recognizer=RECOGNIZER.name, licence=LICENCE
    )
    model = on_meta(lambda: AdaFaceEncoder(config))
    write_model(model, folder / "model.safetensors", dtype, seed)
    text = json.dumps({"kind": KIND, "format": FORMAT, **asdict(config)}, indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


def write_recognizer(folder: Path, seed: int) -> None:
    """A face recogniser of one layer: coarse colours -> 512 numbers."""
    from onnx import TensorProto, helper, numpy_helper, save

    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(3 * 7 * 7, 512, generator=generator).numpy()
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["data"], ["coarse"], kernel_shape=[16, 16], strides=[16, 16]),
            helper.make_node("Flatten", ["coarse"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
        ],
        "random",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 512])],
        [numpy_helper.from_array(weights, "weights")],
    )
    folder.mkdir(parents=True)
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "random.onnx")


def main() -> None:
    """Write, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.perf_counter()
    write_stack(given.out, getattr(torch, given.dtype), given.seed)
    size = sum(path.stat().st_size for path in given.out.rglob("*") if path.is_file())
    line = {"gigabytes": round(size / 1e9, 3), "seconds": round(time.perf_counter() - started, 1)}
    print(json.dumps({"wrote": given.out.name, **line, "peak_memory_mb": round(peak_memory() / 1e6)}))


def peak_memory() -> int:
    """The most memory that this process had, in bytes.

    On Linux from its own map: `getrusage` also counts that of the process which started it, until then.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
