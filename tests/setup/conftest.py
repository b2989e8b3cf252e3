"""A look-alike hub that serves tiny models in the layout of the real repositories, under their real names.

The text encoders, the tokenizer and the authors' checkpoint (2024, D = 40) are those of tests/golden, so that
all of them fit each other.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

from look_alike import LookAlike

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
BASE, DREAM = "stable-diffusion-v1-5/stable-diffusion-v1-5", "Lykon/dreamshaper-8"
VAE, ARC2FACE = "stabilityai/sd-vae-ft-mse", "FoivosPar/Arc2Face"
AUTHORS = "adaface-neurips/adaface-models"
LICENCES = {BASE: "creativeml-openrail-m", DREAM: "creativeml-openrail-m", VAE: "mit", ARC2FACE: "mit",
            AUTHORS: "mit"}  # fmt: skip
NEWEST = "VGGface2_HQ_masks2025-05-22T17-51-19_zero3-ada-1000.pt"
D_ID = 32


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> Path:
    """Folder of all repositories; not to be changed."""
    root = tmp_path_factory.mktemp("hub")
    _write_base(root)
    arc2face = root / ARC2FACE
    (arc2face / "encoder").mkdir(parents=True)
    shutil.copy(GOLDEN / "arc2face-prompter/encoder/config.json", arc2face / "encoder")
    from safetensors.torch import load_file

    weights = load_file(GOLDEN / "arc2face-prompter/encoder/model.safetensors")
    torch.save(weights, arc2face / "encoder" / "pytorch_model.bin")
    shutil.copytree(root / BASE / "unet", arc2face / "arc2face")
    _write_recognizer(arc2face / "arcface.onnx")
    _other(arc2face / "controlnet" / "diffusion_pytorch_model.safetensors")
    models = root / AUTHORS / "models" / "adaface"
    models.mkdir(parents=True)
    shutil.copy(GOLDEN / "checkpoints" / "2024.pt", models / NEWEST)
    _other(models / "subjects-celebrity2024-05-16T17-22-46_zero3-ada-30000.pt")
    _other(root / AUTHORS / "models" / "rv51" / "realisticVisionV51_v51VAE_dste8.safetensors")
    return root


def _write_base(root: Path) -> None:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    base = root / BASE
    UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(32, 64), layers_per_block=1,
        norm_num_groups=8, cross_attention_dim=40, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
    ).save_pretrained(base / "unet")  # fmt: skip
    AutoencoderKL(
        block_out_channels=(8,) * 4, latent_channels=4, norm_num_groups=4, layers_per_block=1, sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    ).save_pretrained(root / VAE)  # fmt: skip
    DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    ).save_pretrained(base / "scheduler")  # fmt: skip
    shutil.copytree(GOLDEN / "text-encoder/tokenizer", base / "tokenizer")
    parts = {"scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
             "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
             "vae": ["diffusers", "AutoencoderKL"],
             "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
             "feature_extractor": ["transformers", "CLIPImageProcessor"]}  # fmt: skip
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.6.0", **parts}
    (base / "model_index.json").write_text(json.dumps(index))
    _write_checker(base)
    for decoy in (
        "v1-5-pruned.ckpt", "text_encoder/model.safetensors", "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors", "safety_checker/pytorch_model.bin",
    ):  # fmt: skip
        _other(base / decoy)
    shutil.copytree(GOLDEN / "text-encoder/text_encoder", root / DREAM / "text_encoder")
    _other(root / DREAM / "text_encoder" / "model.fp16.safetensors")


def _write_checker(base: Path) -> None:
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    vision = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                  image_size=224, patch_size=112)  # fmt: skip
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=8))
    checker.save_pretrained(base / "safety_checker")
    features = {"crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True,
                "size": 224, "feature_extractor_type": "CLIPFeatureExtractor", "resample": 3,
                "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
    (base / "feature_extractor").mkdir()
    (base / "feature_extractor" / "preprocessor_config.json").write_text(json.dumps(features))


def _other(path: Path) -> None:
    """A file that must not be fetched: nothing could read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not to be fetched")


def _write_recognizer(path: Path) -> None:
    """An ONNX network (1, 3, 112, 112) -> (1, D_ID): averages of regions, mixed by random weights."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    mix = np.random.default_rng(0).normal(size=(3 * 49, D_ID)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["data"], ["small"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Flatten", ["small"], ["flat"]),
        helper.make_node("MatMul", ["flat", "mix"], ["id"]),
    ]
    data = helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])
    out = helper.make_tensor_value_info("id", TensorProto.FLOAT, [1, D_ID])
    graph = helper.make_graph(nodes, "tiny", [data], [out], [numpy_helper.from_array(mix, "mix")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)


@pytest.fixture
def hub(served, tmp_path, monkeypatch):
    """The running look-alike; commands in a process of their own find it by HF_ENDPOINT."""
    with LookAlike(served, LICENCES) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("ADAFACE_MODELS", str(tmp_path / "models"))
        yield running


@pytest.fixture
def copies(served, tmp_path, monkeypatch) -> Path:
    """All repositories as copies in the folder of models, and no hub: commands may run in this process."""
    monkeypatch.setenv("ADAFACE_MODELS", str(served))
    return served
