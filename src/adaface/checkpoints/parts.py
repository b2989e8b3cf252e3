"""UNet, VAE and text encoder inside LDM files and diffusers folders, and how their names correspond."""

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adaface.checkpoints.kinds import TEXT, UNET, VAE, Kind, kind_of, kind_of_folder, need_kind, read_json
from adaface.checkpoints.tensors import ManyWeights, Weights, open_tensors
from adaface.errors import FormatError, MissingFileError, WrongModelError
from adaface.sources.heads import is_folder

ROLES = ("unet", "vae", "text_encoder")
TITLES = {
    "unet": "UNet", "vae": "VAE", "text_encoder": "CLIP text encoder", "encoder": "AdaFace encoder",
}  # fmt: skip
ALONE = {Kind.UNET: "unet", Kind.VAE: "vae", Kind.TEXT_ENCODER: "text_encoder"}
STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
SHOWN = 40  # names that an error lists of each sort
Shape = tuple[int, ...]

_PREFIXES = {"unet": (UNET,), "vae": (VAE,), "text_encoder": (f"{TEXT}transformer.", "text_model.")}
_UNET_PARTS = (
    *("time_embed.", "input_blocks.", "middle_block.", "output_blocks.", "out."),
    *(
        "time_embedding.",
        "conv_in.",
        "down_blocks.",
        "mid_block.",
        "up_blocks.",
        "conv_norm_out.",
        "conv_out.",
    ),
)
_BEGINNINGS = {
    "unet": _UNET_PARTS,
    "vae": (
        *("encoder.conv", "encoder.down", "encoder.mid", "encoder.norm"),
        *("decoder.", "quant_conv.", "post_quant_conv."),
    ),
    "text_encoder": ("embeddings.", "encoder.layers.", "final_layer_norm."),
}
_LDM_SIGNS = {"unet": "input_blocks.", "vae": "encoder.down.", "text_encoder": "-"}
# the VAE's one attention block was renamed in diffusers 0.17; folders of before are still about
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass(frozen=True)
class Part:
    """One model among a file's or folder's weights."""

    role: str  # of ROLES
    ldm: bool  # named as LDM does, or as diffusers does; text encoders are named as transformers does in both
    weights: Weights
    names: Mapping[str, str]  # name inside the model -> name in the weights

    def shapes(self) -> dict[str, Shape]:
        """Shape of each tensor by its name inside the model."""
        return {plain: self.weights.shape(name) for plain, name in self.names.items()}

    def tensor(self, plain: str) -> Tensor:
        """A tensor of its own memory. Raises KeyError: there is none of that name."""
        return self.weights[self.names[plain]]


def part_of(weights: Weights, role: str) -> Part | None:
    """The model of that role in opened weights; None if they hold nothing of it."""
    names = {plain: name for name in weights if (plain := _plain(role, name))}
    if not names:
        return None
    ldm = any(plain.startswith(_LDM_SIGNS[role]) for plain in names)
    return Part(role, ldm, weights, names)


class Source:
    """A file or folder that models are taken from, opened once."""

    def __init__(self, path: str | Path, *kinds: Kind) -> None:
        """path: an LDM file, a diffusers folder, or a file or folder of one model. kinds: what it may be.

        Any kind will do if none is named. Raises WrongModelError: it is of another kind. Further what
        `what_is` raises.
        """
        self.path = Path(path)
        self.is_folder = is_folder(self.path)
        self._weights = None if self.is_folder else open_tensors(self.path)
        kind = kind_of_folder(self.path) if self._weights is None else kind_of(self._weights)
        self.kind = need_kind(path, kind, *kinds) if kinds else kind

    @property
    def weights(self) -> Weights:
        """All tensors of a file. Only for files."""
        assert self._weights is not None
        return self._weights

    def roles(self) -> list[str]:
        """The models that are in it, of ROLES."""
        return [role for role in ROLES if self._holds(role)]

    def part(self, role: str) -> Part:
        """The model of that role.

        Raises WrongModelError: there is none. Further what `open_tensors` raises.
        """
        weights = self._weights or open_component(self.path, role)
        part = part_of(weights, role)
        if part is None:
            raise WrongModelError(
                f"{self.path}: {self.kind}, with no {TITLES[role]} in it. Give one that has it"
            )
        return part

    def config(self, role: str) -> Path:
        """Where that model's config stands in a folder; for a file, a place where nothing is."""
        return component_folder(self.path, role) / "config.json"

    def _holds(self, role: str) -> bool:
        if self._weights is not None:
            return part_of(self._weights, role) is not None
        if (self.path / "model_index.json").is_file():
            entry = read_json(self.path / "model_index.json").get(role)  # [library, class], or [null, null]
            return isinstance(entry, list) and entry[:1] not in ([], [None])
        return ALONE.get(self.kind) == role


def open_part(path: str | Path, role: str) -> Part:
    """The model of that role in a file or folder, whatever else is there. Raises as `Source` and `part`."""
    return Source(path).part(role)


def component_folder(folder: Path, role: str) -> Path:
    """Where a model's files lie: in its own folder within a diffusers folder, or the folder itself."""
    return folder / role if (folder / role).is_dir() else folder


def open_component(folder: str | Path, role: str) -> Weights:
    """Weights of one model of a diffusers folder. Raises as `component_files` and `open_tensors`."""
    files = [open_tensors(file) for file in component_files(folder, role)]
    return files[0] if len(files) == 1 else ManyWeights(files)


def component_files(folder: str | Path, role: str) -> list[Path]:
    """Files of one model's weights: one file or shards, safetensors before .bin, any variant.

    Raises MissingFileError: there are none.
    """
    place, stem = component_folder(Path(folder), role), STEMS[role]
    if (place / f"{stem}.safetensors").is_file():
        return [place / f"{stem}.safetensors"]
    for index in (f"{stem}.safetensors.index.json", f"{stem}.bin.index.json"):
        if (place / index).is_file():
            return [place / name for name in _shards(place / index)]
    for pattern in (f"{stem}.*.safetensors", f"{stem}.bin", "pytorch_model.bin", f"{stem}.*.bin"):
        found = sorted(p for p in place.glob(pattern) if not fnmatch.fnmatch(p.name, "*non_ema*"))
        if found:
            return found[:1]
    raise MissingFileError(
        f"{place}: no {stem}.safetensors in it; the {TITLES[role]} of a diffusers folder is expected there. "
        "Copy or download the folder again"
    )


def _shards(index: Path) -> list[str]:
    """Files that the index of a model in pieces names. Raises FormatError: it names none."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise FormatError(
            f"{index}: names no files of weights (weight_map). Copy or download the folder again"
        )
    return sorted(set(names.values()))


def diffusers_names(part: Part) -> dict[str, str]:
    """LDM's names of a part -> diffusers' names, as diffusers' own conversion has them.

    The conversion is run on one number a tensor, which says afterwards where each went.
    """
    if not part.ldm:
        return {plain: plain for plain in part.names}
    plains = list(part.names)
    marks = {
        plain: torch.full([1] * len(part.weights.shape(part.names[plain])), number)
        for number, plain in enumerate(plains)
    }
    converted = _CONVERSIONS[part.role](marks)
    return {plains[int(mark.item())]: name for name, mark in converted.items()}


def match(target: Part, source: Part) -> dict[str, str]:
    """For each tensor of `target`, by its name inside the model, the name of its like in `source`.

    Raises FormatError: they do not correspond one to one in equal shapes; lists what differs.
    """
    pairs = _pairs(target, source)
    shapes = source.shapes()
    given = {
        own: shapes.pop(theirs) for own, theirs in pairs.items() if theirs in shapes and own in target.names
    }
    if sentence := difference(target.shapes(), {**given, **shapes}):
        raise FormatError(
            f"{source.weights.path}: its {TITLES[source.role]} does not fit the one in "
            f"{target.weights.path}: {sentence}. Use models of one architecture"
        )
    return pairs


def difference(wanted: Mapping[str, Shape], given: Mapping[str, Shape]) -> str:
    """What is missing, not known and of another shape, in words; '' if nothing is.

    Sizes of 1 at a shape's end do not count: 1x1 convolutions are matrices in newer files.
    """
    misshapen = [
        f"{name} {given[name]} for {shape}"
        for name, shape in wanted.items()
        if name in given and trimmed(given[name]) != trimmed(shape)
    ]
    sorts = (
        ("missing", sorted(wanted.keys() - given.keys())),
        ("not known", sorted(given.keys() - wanted.keys())),
        ("of another shape", sorted(misshapen)),
    )
    return "; ".join(f"{len(names)} {what} ({listing(names)})" for what, names in sorts if names)


def trimmed(shape: Shape) -> Shape:
    """A shape without the sizes of 1 at its end."""
    shape = tuple(shape)
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def listing(names: Iterable[str]) -> str:
    """The first names of a list, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _plain(role: str, name: str) -> str | None:
    plain = name
    for prefix in _PREFIXES[role]:
        plain = plain.removeprefix(prefix)
    if not plain.startswith(_BEGINNINGS[role]) or plain.endswith(".position_ids"):
        return None
    if role == "vae" and ".attentions." in plain:
        head, _, last = plain.rpartition(".")
        stem, _, old = head.rpartition(".")
        plain = f"{stem}.{_OLD_ATTENTION.get(old, old)}.{last}"
    return plain


def _pairs(target: Part, source: Part) -> dict[str, str]:
    if target.ldm and not source.ldm:
        return diffusers_names(target)
    if source.ldm and not target.ldm:
        return {new: old for old, new in diffusers_names(source).items()}
    return {plain: plain for plain in target.names}


def _convert_unet(marks: dict[str, Tensor]) -> dict[str, Tensor]:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    blocks = {name.split(".")[1] for name in marks if name.startswith("input_blocks.")}
    levels = 1 + sum(name.endswith(".0.op.weight") for name in marks)
    config = {"layers_per_block": len(blocks) // levels - 1}
    return convert_ldm_unet_checkpoint({UNET + name: mark for name, mark in marks.items()}, config)


def _convert_vae(marks: dict[str, Tensor]) -> dict[str, Tensor]:
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    levels = len({name.split(".")[2] for name in marks if name.startswith("encoder.down.")})
    config = {"down_block_types": [""] * levels, "up_block_types": [""] * levels}
    return convert_ldm_vae_checkpoint({VAE + name: mark for name, mark in marks.items()}, config)


_CONVERSIONS: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "unet": _convert_unet,
    "vae": _convert_vae,
}
