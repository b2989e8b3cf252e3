"""What the full-size stack is made of: repositories, folders in them, files by preference. No hash stands
here: sizes and hashes come from the hub when it is asked.
"""

from dataclasses import dataclass

from adaface.sources.places import HubPlace, parse_place

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


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where one role of a stack comes from.

    place: "hub:owner/name" with the folder inside. to: folder below the stack's. product: folder of what is
    converted of it; "" if its files are used as they are. picks: its files. known: what is known of the
    licence beside what the repository's card says. purpose: for people. optional: the stack opens without
    it. assumed: what nobody has looked into. other, other_assumed: purpose and assumptions of what a user
    names in its place; {origin} stands for that.
    """

    role: str
    place: str
    to: str
    picks: tuple[Pick, ...]
    purpose: str
    other: str
    product: str = ""
    known: str = ""
    optional: bool = False
    assumed: tuple[str, ...] = ()
    other_assumed: tuple[str, ...] = ()

    @property
    def repo(self) -> str:
        """The repository, owner/name."""
        place = parse_place(self.place)
        assert isinstance(place, HubPlace)
        return place.repo

    @property
    def one_file(self) -> bool:
        """Whether a single file is all of it."""
        return len(self.picks) == 1


def _same(*names: str, optional: bool = False) -> tuple[Pick, ...]:
    return tuple(Pick((name,), optional=optional) for name in names)


CHECKER = "safety_checker"  # a part of the base that can be left out
DOWNLOADS = "downloads"  # what is converted and not part of the stack
FEEDING = "the recogniser takes RGB crops of 112 x 112, (pixel - 127.5) / 127.5, as InsightFace feeds it"
SD15 = (
    Source(
        role="base", place="hub:stable-diffusion-v1-5/stable-diffusion-v1-5", to="base",
        picks=(
            *_same("model_index.json", "scheduler/scheduler_config.json"),
            *_same("tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/tokenizer_config.json"),
            *_same("tokenizer/special_tokens_map.json", optional=True),
            *_same("unet/config.json", "unet/diffusion_pytorch_model.safetensors"),
        ),
        purpose="Stable Diffusion 1.5: UNet, scheduler, tokenizer",
        other="the base that you named: UNet, scheduler, tokenizer",
        other_assumed=("the base of {origin} is of Stable Diffusion 1.x and predicts noise",),
    ),
    Source(
        role=CHECKER, place="hub:stable-diffusion-v1-5/stable-diffusion-v1-5", to="base", optional=True,
        picks=_same("safety_checker/config.json", "safety_checker/model.safetensors",
                    "feature_extractor/preprocessor_config.json"),
        purpose="the base's safety checker; without it, pictures are not looked at",
        other="the safety checker that you named; without it, pictures are not looked at",
    ),
    Source(
        role="text_encoder", place="hub:Lykon/dreamshaper-8/text_encoder", to="base/text_encoder",
        picks=(*_same("config.json"), Pick(SAFE, "model.safetensors")),
        purpose="text encoder of DreamShaper 8, which the authors trained with",
        other="the text encoder that you named, in place of DreamShaper 8's",
        assumed=("the encoder was trained with DreamShaper 8's text encoder",),
        other_assumed=("the encoder was trained with the text encoder of {origin}",),
    ),
    Source(
        role="vae", place="hub:stabilityai/sd-vae-ft-mse", to="base/vae",
        picks=(*_same("config.json"), Pick(SAFE[::-1], "diffusion_pytorch_model.safetensors")),
        purpose="autoencoder MSE-840000 EMA",
        other="the autoencoder that you named",
        assumed=("stabilityai/sd-vae-ft-mse holds the autoencoder that is elsewhere called "
                 "vae-ft-mse-840000-ema-pruned",),
        other_assumed=("the autoencoder of {origin} is for Stable Diffusion 1.x's latents",),
    ),
    Source(
        role="id_prompter", place="hub:FoivosPar/Arc2Face/encoder", to=f"{DOWNLOADS}/id_prompter",
        product="id_prompter", picks=(*_same("config.json"), Pick((*SAFE, *PICKLED))),
        purpose="Arc2Face's text encoder: ID embedding -> ID prompt",
        other="the ID prompter that you named: ID embedding -> ID prompt",
        assumed=("Arc2Face's text encoder reads the base's own tokenizer (CLIP's)",),
        other_assumed=("the ID prompter of {origin} reads the base's own tokenizer",
                       "the encoder was trained with the ID prompts of {origin}"),
    ),
    Source(
        role="teacher", place="hub:FoivosPar/Arc2Face/arc2face", to="teacher", optional=True,
        picks=(*_same("config.json"), Pick(SAFE[::-1], "diffusion_pytorch_model.safetensors")),
        purpose="Arc2Face's UNet; for training and measuring only",
        other="the teacher's UNet that you named; for training and measuring only",
    ),
    Source(
        role="recognizer", place="hub:FoivosPar/Arc2Face", to="recognizer",
        picks=(Pick(("arcface.onnx",)),),
        purpose="face recogniser that Arc2Face was trained with (not antelopev2's glintr100)",
        other="the face recogniser that you named; that ID prompter and encoder were trained with it is your "
              "word, and no check can tell",
        known="ArcFace networks of InsightFace: non-commercial research only",
        assumed=("the encoder was trained with the recogniser that Arc2Face brings", FEEDING),
        other_assumed=("the encoder and the ID prompter were trained with the recogniser of {origin}: no "
                       "check can tell, since the encoder is marked with it", FEEDING),
    ),
    Source(
        role="encoder", place="hub:adaface-neurips/adaface-models/models/adaface",
        to=f"{DOWNLOADS}/encoder", product="encoder", picks=(Pick(("*.pt",)),),
        purpose="the authors' AdaFace encoder, converted to safetensors",
        other="the AdaFace encoder that you named, converted to safetensors",
    ),
)  # fmt: skip
STACKS = {"sd15": SD15}


def source_of(stack: str, role: str) -> Source:
    """The recipe of one role. Raises KeyError, StopIteration: unknown names, which plans do not hold."""
    return next(source for source in STACKS[stack] if source.role == role)
