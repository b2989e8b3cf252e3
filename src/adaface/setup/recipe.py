"""What the full-size stack is made of: repositories, folders in them, files by preference. No hash stands
here: sizes and hashes come from the hub when it is asked.
"""

from dataclasses import dataclass

SAFE = ("model.safetensors", "diffusion_pytorch_model.safetensors")
PICKLED = ("pytorch_model.bin",)  # only where the file is converted


@dataclass(frozen=True)
class Pick:
    """One file: the first of `names` that the source holds; a * in a name takes the newest that fits.

    to: where it goes below the stack's folder; "" keeps the name, below the source's `to`. optional: the
    stack works without it.
    """

    names: tuple[str, ...]
    to: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Source:
    """Where one role of a stack comes from.

    place: "hub:owner/name" with the folder inside. to: folder below the stack's. picks: its files. known:
    what is known of the licence beside what the repository's card says. purpose: for people.
    """

    role: str
    place: str
    to: str
    picks: tuple[Pick, ...]
    purpose: str
    known: str = ""


def _same(*names: str, optional: bool = False) -> tuple[Pick, ...]:
    return tuple(Pick((name,), optional=optional) for name in names)


CHECKER = "safety_checker"  # a part of the base that can be left out
DOWNLOADS = "downloads"  # what is converted and not part of the stack
SD15 = (
    Source(
        "base", "hub:stable-diffusion-v1-5/stable-diffusion-v1-5", "base",
        (*_same("model_index.json", "scheduler/scheduler_config.json"),
         *_same("tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/tokenizer_config.json"),
         *_same("tokenizer/special_tokens_map.json", optional=True),
         *_same("unet/config.json", "unet/diffusion_pytorch_model.safetensors")),
        "Stable Diffusion 1.5: UNet, scheduler, tokenizer",
    ),
    Source(
        CHECKER, "hub:stable-diffusion-v1-5/stable-diffusion-v1-5", "base",
        _same("safety_checker/config.json", "safety_checker/model.safetensors",
              "feature_extractor/preprocessor_config.json"),
        "the base's safety checker; without it, pictures are not looked at",
    ),
    Source(
        "text_encoder", "hub:Lykon/dreamshaper-8/text_encoder", "base/text_encoder",
        (*_same("config.json"), Pick(SAFE, "model.safetensors")),
        "text encoder of DreamShaper 8, which the authors trained with",
    ),
    Source(
        "vae", "hub:stabilityai/sd-vae-ft-mse", "base/vae",
        (*_same("config.json"), Pick(SAFE[::-1], "diffusion_pytorch_model.safetensors")),
        "autoencoder MSE-840000 EMA",
    ),
    Source(
        "id_prompter", "hub:FoivosPar/Arc2Face/encoder", f"{DOWNLOADS}/id_prompter",
        (*_same("config.json"), Pick((*SAFE, *PICKLED))),
        "Arc2Face's text encoder: ID embedding -> ID prompt",
    ),
    Source(
        "teacher", "hub:FoivosPar/Arc2Face/arc2face", "teacher",
        (*_same("config.json"), Pick(SAFE[::-1], "diffusion_pytorch_model.safetensors")),
        "Arc2Face's UNet; for training and measuring only",
    ),
    Source(
        "recognizer", "hub:FoivosPar/Arc2Face", "recognizer", (Pick(("arcface.onnx",)),),
        "face recogniser that Arc2Face was trained with (not antelopev2's glintr100)",
        known="ArcFace networks of InsightFace: non-commercial research only",
    ),
    Source(
        "encoder", "hub:adaface-neurips/adaface-models/models/adaface", f"{DOWNLOADS}/encoder",
        (Pick(("*.pt",)),),
        "the authors' AdaFace encoder, converted to safetensors",
    ),
)  # fmt: skip
STACKS = {"sd15": SD15}
ASSUMPTIONS = (
    "stabilityai/sd-vae-ft-mse holds the autoencoder that is elsewhere called vae-ft-mse-840000-ema-pruned",
    "Arc2Face's text encoder reads the base's own tokenizer (CLIP's)",
    "the recogniser takes RGB crops of 112 x 112, (pixel - 127.5) / 127.5, as InsightFace feeds it",
    "the encoder was trained with the recogniser that Arc2Face brings and with DreamShaper 8's text encoder",
)
