"""The mini stack's models in the classes of diffusers and transformers. Shapes: B, C channels, T, D."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from adaface.mini.world.geometry import SIZE


@dataclass(frozen=True, kw_only=True)
class MiniConfig:
    """Sizes of the mini stack."""

    text_width: int = 256
    text_layers: int = 4
    text_heads: int = 4
    text_length: int = 64
    unet_widths: tuple[int, ...] = (96, 192)
    unet_heads: int = 4
    unet_layers: int = 1
    vae_widths: tuple[int, ...] = (16, 32, 64, 128)
    latent_channels: int = 16
    clip_width: int = 192
    clip_layers: int = 4
    id_width: int = 128


def new_vae(config: MiniConfig) -> AutoencoderKL:
    """An untrained autoencoder: (B, 3, 64, 64) in -1..1 <-> latents (B, C, 8, 8) for four widths."""
    levels = len(config.vae_widths)
    return AutoencoderKL(
        sample_size=SIZE,
        block_out_channels=config.vae_widths,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=config.latent_channels,
        layers_per_block=1,
        norm_num_groups=8,
        scaling_factor=1.0,
    )


def new_text_model(config: MiniConfig, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained CLIP text model for that tokenizer."""
    return CLIPTextModel(text_config(config, tokenizer))


@torch.no_grad()
def say_looks(text: CLIPTextModel, tokenizer: CLIPTokenizer, words: Sequence[str], rows: Tensor) -> None:
    """Add rows (W, D) to the token rows of these words (W), in place."""
    ids = tokenizer.convert_tokens_to_ids([f"{word}</w>" for word in words])
    text.get_input_embeddings().weight[torch.tensor(ids)] += rows


def text_config(config: MiniConfig, tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """Sizes and special tokens; those must be set, else the pooled output is silently that of position 0."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.text_width,
        intermediate_size=config.text_width * 4,
        num_hidden_layers=config.text_layers,
        num_attention_heads=config.text_heads,
        max_position_embeddings=config.text_length,
        projection_dim=config.text_width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )


def new_unet(config: MiniConfig) -> UNet2DConditionModel:
    """An untrained UNet over latents (B, C, 8, 8) with context (B, T, D)."""
    levels = len(config.unet_widths)
    return UNet2DConditionModel(
        sample_size=SIZE // 2 ** (len(config.vae_widths) - 1),
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        layers_per_block=config.unet_layers,
        block_out_channels=config.unet_widths,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        cross_attention_dim=config.text_width,
        attention_head_dim=config.unet_heads,  # diffusers reads this as the number of heads
        norm_num_groups=16,
    )


def for_training(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The same UNet, with plain attention on a CPU: there fused attention's backward takes half of a step."""
    if next(unet.parameters()).device.type == "cpu":
        unet.set_attn_processor(AttnProcessor())
    return unet


def new_clip(config: MiniConfig, tokenizer: CLIPTokenizer) -> CLIPModel:
    """An untrained CLIP for 64-pixel pictures."""
    vision = {
        "hidden_size": config.clip_width,
        "intermediate_size": config.clip_width * 4,
        "num_hidden_layers": config.clip_layers,
        "num_attention_heads": 4,
        "image_size": SIZE,
        "patch_size": 8,
        "projection_dim": 128,
    }
    text = text_config(config, tokenizer).to_dict()
    text |= {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 3, "projection_dim": 128}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))


def new_scheduler() -> DDIMScheduler:
    """DDIM with v-prediction and zero terminal SNR; the other flags are what such a schedule needs."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def count_parameters(model: torch.nn.Module) -> int:
    """Number of weights."""
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
def whiten_latents(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Fold a normalisation of the latents, mean and std (C,), into the 1x1 convolutions, in place.

    Stock pipelines know only one scaling factor; now each channel has mean 0 and deviation 1.
    """
    channels = len(mean)
    enc, dec = vae.quant_conv, vae.post_quant_conv
    dec.bias += dec.weight[:, :, 0, 0] @ mean
    dec.weight *= std.view(1, -1, 1, 1)
    enc.weight[:channels] /= std.view(-1, 1, 1, 1)
    enc.bias[:channels] = (enc.bias[:channels] - mean) / std
    enc.bias[channels:] -= 2 * std.log()
