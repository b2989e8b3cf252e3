"""Files in LDM's layout, of tiny random pipelines; names by the layout's own rules, not by diffusers."""

import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer.text_model."

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_names(names, layers):
    """diffusers' names of a UNet -> LDM's; layers: resnets in a block on the way down."""
    names, attentive = list(names), {n.split(".")[1] for n in names if re.match(r"up_blocks\.\d+\.att", n)}
    return {name: _unet_name(name, layers, attentive) for name in names}


def _unet_name(name, layers, attentive):
    for new, old in ENDS.items():
        if name.startswith(new + "."):
            return old + name.removeprefix(new)
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        what, k, rest = found.groups()
        place = 1 if what == "attentions" else 2 * int(k)
        return f"middle_block.{place}." + (_resnet(rest) if what == "resnets" else rest)
    side, block, what, k, rest = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", name).groups()
    ahead, blocks = (1, "input_blocks") if side == "down" else (0, "output_blocks")
    if what == "downsamplers":
        return f"input_blocks.{(int(block) + 1) * (layers + 1)}.0.op.{rest.removeprefix('conv.')}"
    if what == "upsamplers":
        return f"output_blocks.{int(block) * (layers + 1) + layers}.{1 + (block in attentive)}.{rest}"
    place = f"{blocks}.{ahead + int(block) * (layers + 1) + int(k)}"
    return f"{place}.1.{rest}" if what == "attentions" else f"{place}.0.{_resnet(rest)}"


def _resnet(rest):
    first, _, last = rest.partition(".")
    return f"{RESNET[first]}.{last}"


def vae_names(names, levels):
    """diffusers' names of an autoencoder -> LDM's."""
    return {name: _vae_name(name, levels) for name in names}


def _vae_name(name, levels):
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)", lambda m: f"up_blocks.{levels - 1 - int(m[1])}", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", r"up.\1.block.\2", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", r"up.\1.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    if "attentions" in name:
        for new, old in ATTENTION.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        name = name.replace("mid_block.attentions.0", "mid.attn_1")
    return name


def ldm_unet(unet):
    """A UNet's tensors under LDM's names, without prefix."""
    state = unet.state_dict()
    names = unet_names(state, unet.config.layers_per_block)
    return {names[name]: value.clone() for name, value in state.items()}


def ldm_vae(vae):
    """An autoencoder's tensors under LDM's names, without prefix; its attention as 1x1 convolutions."""
    state = vae.state_dict()
    names = vae_names(state, len(vae.config.block_out_channels))
    tensors = {names[name]: value.clone() for name, value in state.items()}
    matrices = [n for n, v in tensors.items() if ".attn_1." in n and v.ndim == 2]
    return {**tensors, **{name: tensors[name][:, :, None, None] for name in matrices}}


def ldm_tensors(pipe, text_prefix=TEXT):
    """Everything that an LDM file of this pipeline holds, with what such files hold beside the models."""
    from adaface.text.clip import text_parts

    text = text_parts(pipe.text_encoder).state_dict()
    positions = torch.arange(pipe.text_encoder.config.max_position_embeddings)
    return {
        **{UNET + name: value for name, value in ldm_unet(pipe.unet).items()},
        **{VAE + name: value for name, value in ldm_vae(pipe.vae).items()},
        **{text_prefix + name: value.clone() for name, value in text.items()},
        text_prefix + "embeddings.position_ids": positions[None],
        "alphas_cumprod": torch.linspace(1, 0, 10),
        "model_ema.decay": torch.tensor(0.9),
        "model_ema.diffusion_modelinput_blocks00weight": torch.zeros(2),
    }  # fmt: skip


def models(pipe):
    """All weights of a pipeline by model and name."""
    from adaface.text.clip import text_parts

    parts = {"unet": pipe.unet, "vae": pipe.vae, "text": text_parts(pipe.text_encoder)}
    return {
        f"{part}.{name}": value
        for part, model in parts.items()
        for name, value in model.state_dict().items()
        if not name.endswith("position_ids")
    }


def assert_same(first, second):
    """Equal names, and equal bits under each."""
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def changed(path, target, seed, beginning=""):
    """A copy of a safetensors file with other random numbers under the names that begin so."""
    generator, tensors = torch.Generator().manual_seed(seed), load_file(path)
    for name, value in tensors.items():
        if name.startswith(beginning) and value.is_floating_point():
            tensors[name] = torch.randn(value.shape, generator=generator, dtype=value.dtype)
    save_file(tensors, target)
    return target


@pytest.fixture(scope="session")
def base_folder(tiny_stack):
    """A diffusers folder of tiny models; not to be changed."""
    return tiny_stack / "base"


@pytest.fixture(scope="session")
def base_pipe(base_folder):
    """Its pipeline, as the stack opens it; not to be changed."""
    from diffusers import StableDiffusionPipeline

    from adaface.text.folder import load_text_encoder, load_tokenizer

    return StableDiffusionPipeline.from_pretrained(
        base_folder,
        text_encoder=load_text_encoder(base_folder / "text_encoder"),
        tokenizer=load_tokenizer(base_folder / "tokenizer"),
        local_files_only=True,
    )


@pytest.fixture(scope="session")
def ldm_file(base_pipe, tmp_path_factory):
    """The same models as one LDM file, .safetensors; not to be changed."""
    path = tmp_path_factory.mktemp("ldm") / "tiny.safetensors"
    save_file(ldm_tensors(base_pipe), path, metadata={"modelspec.title": "tiny"})
    return path


def metadata(path):
    """The texts in a safetensors file's header."""
    with safe_open(path, "pt") as file:
        return file.metadata()


def part(tensors, beginning):
    """The tensors whose names begin so."""
    return {name: value for name, value in tensors.items() if name.startswith(beginning)}


def files(folder):
    """A folder's files, by their names in it."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def opened(folder):
    """A diffusers folder as a pipeline."""
    from diffusers import StableDiffusionPipeline

    from adaface.text.folder import load_text_encoder, load_tokenizer

    return StableDiffusionPipeline.from_pretrained(
        folder, text_encoder=load_text_encoder(folder / "text_encoder"),
        tokenizer=load_tokenizer(folder / "tokenizer"), local_files_only=True, use_safetensors=True,
    )  # fmt: skip
