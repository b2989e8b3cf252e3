"""A stack of random tiny models on disk, of the mini stack's shapes: pictures 64x64, latents 8x8x16, T=64,
K=16, D=128.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

PROMPT = "a photo of <person> in the meadow"
PHOTO = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
MASK = np.zeros((64, 64), np.uint8)  # its right part
MASK[:, 40:] = 255

WORDS = [
    "photo",
    "of",
    "a",
    "id",
    "person",
    ",",
    "the",
    "in",
    "on",
    "at",
    "with",
    "wearing",
    "meadow",
    "beach",
    "cap",
    "red",
    "blue",
    "scarf",
    "sunglasses",
    "sketch",
    "sepia",
    "pencil",
    "night",
    "sky",
    "man",
    "woman",
    "boy",
    "girl",
    "child",
    "and",
]
WIDTH, LENGTH = 128, 64
SETTINGS = {
    "steps": 4,
    "guidance_scale": [3.0, 1.0],
    "layer_weights": [1.0],
    "negative_prompt": "sepia",
    "num_id_vectors": 16,
}


def write_tiny_stack(folder: Path, *, seed: int = 0, settings: dict | None = None) -> Path:
    """Write base, encoder, ID prompter, CLIP, strangers and the manifest below `folder`."""
    from adaface.pipelines.manifest import Part
    from adaface.pipelines.stack import write_manifest

    torch.manual_seed(seed)
    text_model = write_base(folder / "base")
    write_encoder(folder, text_model)
    write_clip(folder / "clip")
    write_strangers(folder / "strangers.safetensors")
    roles = {
        "base": Part("base", licence="MIT"),
        "encoder": Part("encoder", licence="MIT"),
        "id_prompter": Part("id_prompter", licence="MIT"),
        "recognizer": Part(builtin="sface", licence="Apache-2.0"),
        "teacher": Part("base/unet", licence="MIT", options={"context_length": None}),
        "clip": Part("clip", licence="MIT"),
        "strangers": Part("strangers.safetensors", licence="MIT"),
    }
    write_manifest(folder, name="tiny", roles=roles, settings=SETTINGS if settings is None else settings)
    return folder


def text_model(layers: int = 2):
    """A random CLIPTextModel for the tiny vocabulary."""
    from transformers import CLIPTextConfig, CLIPTextModel

    vocab = vocabulary_size()
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocab,
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=vocab - 2,
            eos_token_id=vocab - 1,
            pad_token_id=vocab - 1,
        )
    ).eval()


def vocabulary_size() -> int:
    """Size of the vocabulary that `write_tokenizer` makes of WORDS."""
    from adaface.mini.world.tokenizer import merges_for

    return 512 + len({a + b for a, b in merges_for(WORDS)}) + 2


def tokenizer(folder: Path):
    """The tiny tokenizer, written to `folder` and read again."""
    from adaface.mini.world.tokenizer import write_tokenizer
    from adaface.text.folder import load_tokenizer

    write_tokenizer(folder, WORDS, LENGTH)
    return load_tokenizer(folder)


def write_base(folder: Path):
    """A diffusers folder of a random Stable Diffusion pipeline; returns its text model."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    from adaface.mini.world.tokenizer import write_tokenizer
    from adaface.text.folder import save_text_encoder

    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=16,
        out_channels=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
    )
    vae = AutoencoderKL(
        block_out_channels=(8,) * 4,
        latent_channels=16,
        norm_num_groups=4,
        layers_per_block=1,
        sample_size=64,
        scaling_factor=1.0,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=True,
        rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
    )
    text = text_model()
    pipe = StableDiffusionPipeline(
        vae, text, tokenizer(folder / "tokenizer"), unet, scheduler, None, None, requires_safety_checker=False
    )
    pipe.save_pretrained(folder)
    save_text_encoder(text, folder / "text_encoder")  # the layout that both transformers read
    write_tokenizer(folder / "tokenizer", WORDS, LENGTH)
    return text


def controlnet(unet, seed: int = 0):
    """A random ControlNet for `unet`; a fresh one has zeros where it speaks, and would change nothing."""
    from diffusers import ControlNetModel

    torch.manual_seed(seed)
    model = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16, 16, 16))
    for module in (*model.controlnet_down_blocks, model.controlnet_mid_block):
        torch.nn.init.normal_(module.weight, std=0.1)
    torch.nn.init.normal_(model.controlnet_cond_embedding.conv_out.weight, std=0.1)
    return model.eval()


def write_encoder(folder: Path, base_text_model) -> None:
    """A random AdaFace encoder and a random ID prompter for the base's text model."""
    from adaface.encoder.inverse import AdaFaceEncoder
    from adaface.mini.world.tokenizer import write_tokenizer
    from adaface.text.folder import save_text_encoder

    save_text_encoder(text_model(), folder / "id_prompter" / "text_encoder")
    write_tokenizer(folder / "id_prompter" / "tokenizer", WORDS, LENGTH)
    words = tokenizer(folder / "id_prompter" / "tokenizer")
    AdaFaceEncoder.from_text_encoder(
        base_text_model, words, 16, recognizer="sface", licence="MIT"
    ).save_pretrained(folder / "encoder")


def write_clip(folder: Path) -> None:
    """A random CLIPModel with its tokenizer."""
    from transformers import CLIPConfig, CLIPModel

    from adaface.mini.world.tokenizer import write_tokenizer

    vocab = vocabulary_size()
    text = dict(
        vocab_size=vocab,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=vocab - 2,
        eos_token_id=vocab - 1,
        pad_token_id=vocab - 1,
    )
    vision = dict(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    write_tokenizer(folder / "tokenizer", WORDS, LENGTH)


def write_strangers(path: Path, count: int = 50) -> None:
    """Unit vectors of people who do not exist."""
    from safetensors.numpy import save_file

    rows = np.random.default_rng(0).normal(size=(count, 128)).astype(np.float32)
    save_file({"id_embeddings": rows / np.linalg.norm(rows, axis=1, keepdims=True)}, path)


@pytest.fixture(scope="session")
def tiny_stack(tmp_path_factory) -> Path:
    """Folder of the tiny stack; not to be changed."""
    return write_tiny_stack(tmp_path_factory.mktemp("tiny-stack"))


@pytest.fixture(scope="session")
def personalizer(tiny_stack):
    """The tiny stack, opened on the CPU."""
    from adaface.pipelines.personalizer import Personalizer

    return Personalizer.from_pretrained(tiny_stack, device="cpu")


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """A photo of a real face, (512, 512, 3) uint8: NASA, public domain."""
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="session")
def person(personalizer):
    """Somebody called <person>, who does not exist."""
    return personalizer.identity(id_embedding=unit_vector(1))


def unit_vector(seed: int) -> np.ndarray:
    """A random ID embedding (128,)."""
    row = np.random.default_rng(seed).normal(size=128).astype(np.float32)
    return row / np.linalg.norm(row)
