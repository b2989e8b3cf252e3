"""The authors' checkpoints of 2024 and 2025: which encoders are in one, and what each is made of.

Shapes: D width, V vocabulary, P text positions, K ID vectors, M copies of keys and values. Source: the
authors' code; docs/method.md.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaface.checkpoints.names import LIGHTNING, ORIGINAL
from adaface.checkpoints.pickles import read_pickle
from adaface.checkpoints.records import Record, tensors_of
from adaface.checkpoints.scan import shown
from adaface.encoder.config import AdaFaceEncoderConfig
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import AdaFaceError, ConfigError, FormatError, WrongModelError
from adaface.spec import ID_OFFSET, INVERSE_PROMPT_FILL, INVERSE_PROMPT_HEAD

GENERATORS = "string_to_subj_basis_generator_dict"
TEXT_MODEL = "prompt2token_proj"
TABLES = f"{TEXT_MODEL}.text_model.embeddings."
NAMES = {16: "arc2face", 4: "consistentID"}  # by K: the two ID prompters that the authors have encoders for
SCALES = {"consistentID": 6.0}  # the authors' default at inference; 1 for all others
CLIP_TOKENS = {"<|startoftext|>": 49406, "<|endoftext|>": 49407, "photo": 1125, "of": 539, "a": 320, ",": 267}
CLIP_VOCABULARY = 49408
START, END = "<|startoftext|>", "<|endoftext|>"
BACKGROUND = "background tokens: for what is behind the person"
DEAD = {
    "string_to_static_embedder": "vectors of one subject, not made from a face",
    "emb_global_scale_scores": "scales of these vectors",
    "ca_q_bns": "norms of a part of the training that was switched off",
    "ca_outfeat_lns": "norms of a part of the training that was switched off",
    "unet_lora_modules": "LoRA of the U-Net that training drew with",
    "obj_proj_in": "for subjects that are no people; never trained",
    "pos_embs": "positions of an input that is not used",
    "pos_embs_ln": "norm of positions that are not used",
    "static_img_suffix_embs": "learnt vectors behind the person's; off unless asked for",
    TEXT_MODEL: "buffers that hold no weights",
    f"{TEXT_MODEL}_grad_scaler": "scale of gradients",
    "hidden_state_layer_weights_grad_scaler": "scale of gradients",
}
_LAYER = re.compile(rf"{TEXT_MODEL}\.text_model\.encoder\.layers\.(\d+)\.(.+)")


@dataclass(frozen=True, eq=False)
class OriginalEncoder:
    """One encoder of a checkpoint, in our terms; the tensors are views on the file."""

    name: str
    part: str  # where it stands in the file
    config: AdaFaceEncoderConfig
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Skipped:
    """A part of a checkpoint that is not taken over."""

    part: str
    tensors: int
    why: str


def read_original(path: str | Path) -> tuple[list[OriginalEncoder], list[Skipped]]:
    """The encoders of a checkpoint of the authors, and the parts that are not needed; nothing of it is run.

    Raises WrongModelError: it is no such checkpoint. FormatError: its encoder is of a kind that is not known,
    or its parts do not fit. Further what `read_pickle` raises.
    """
    path = Path(path)
    tree = read_pickle(path, ORIGINAL | LIGHTNING)
    try:
        return _take_apart(tree)
    except AdaFaceError as error:
        raise type(error)(f"{path}: {error}") from error


def _take_apart(tree: object) -> tuple[list[OriginalEncoder], list[Skipped]]:
    found = list(_generators(tree))
    encoders: list[OriginalEncoder] = []
    skipped: list[Skipped] = []
    for part, generator in found:
        left = tensors_of(generator)
        if generator.get("placeholder_is_bg") is True or not isinstance(generator.get(TEXT_MODEL), Record):
            skipped.append(Skipped(part, len(left), BACKGROUND))
            continue
        encoders.append(_encoder(part, generator, left))
        skipped += _dead(left, f"{part}.")
    if not encoders:
        raise WrongModelError(
            f"no encoder under {GENERATORS!r}; expected here: a checkpoint that AdaFace's authors published, "
            "or that their training saved (embeddings_gs-*.pt). Give one of these"
        )
    skipped += _dead(tensors_of(tree, skip=[GENERATORS]), "")
    return _named(encoders), skipped


def _generators(tree: object) -> Iterator[tuple[str, Record]]:
    """Each generator with its place: one for each placeholder, or several in a list."""
    group = tree.get(GENERATORS) if isinstance(tree, dict) else None
    for placeholder, generator in _modules(group).items():
        if generator.name[1] == "ModuleList":
            several = _modules(generator)
            yield from ((shown(f"{GENERATORS}.{placeholder}.{n}"), one) for n, one in several.items())
        else:
            yield shown(f"{GENERATORS}.{placeholder}"), generator


def _modules(node: object) -> dict[Any, Any]:
    """Children of a ModuleDict or ModuleList that are records themselves."""
    inside = node.get("_modules") if isinstance(node, Record) else node
    inside = inside if isinstance(inside, dict) else {}
    return {key: child for key, child in inside.items() if isinstance(child, Record)}


def _named(encoders: list[OriginalEncoder]) -> list[OriginalEncoder]:
    """Names that differ: by the number of ID vectors where that tells, else by their order."""
    names = [encoder.name for encoder in encoders]
    if len(set(names)) == len(names):
        return encoders
    return [
        OriginalEncoder(f"encoder-{n}", one.part, one.config, one.tensors) for n, one in enumerate(encoders)
    ]


def _dead(left: Mapping[str, Tensor], prefix: str) -> list[Skipped]:
    counts: dict[str, int] = {}
    for name in left:
        first = name.split(".")[0]
        counts[first] = counts.get(first, 0) + 1
    return [
        Skipped(prefix + shown(first), count, DEAD.get(first, "not known here"))
        for first, count in counts.items()
    ]


def _encoder(part: str, generator: Record, left: dict[str, Tensor]) -> OriginalEncoder:
    """Take an encoder's tensors out of `left`."""
    if any(name.startswith("layerwise_proj.") for name in left):
        raise FormatError(
            f"{part}: a projection behind each layer (layerwise_proj), which this version has not. "
            "Use a checkpoint without it"
        )
    count = _whole(part, generator, "N_ID", "num_out_embs_per_layer")
    try:
        tensors, weights = _layers(left), left.pop("hidden_state_layer_weights")
        for kind in ("weight", "bias"):
            tensors[f"final_layer_norm.{kind}"] = left.pop(f"{TEXT_MODEL}.text_model.final_layer_norm.{kind}")
        tables = left.pop(f"{TABLES}token_embedding.weight"), left.pop(f"{TABLES}position_embedding.weight")
    except KeyError as error:
        raise FormatError(f"{part}: no tensor {error.args[0]} in it. Download or copy it again") from error
    tokens = _tokens(part, generator, len(tables[0]))
    if weights.ndim not in (1, 2):
        raise FormatError(f"{part}: layer weights {tuple(weights.shape)}. Use another checkpoint")
    tensors["hidden_layer_weights"] = weights if weights.ndim == 1 else weights.float().mean(1).to(weights)
    tensors |= _rows(part, *tables, count, tokens, left.pop("pad_embeddings", None))
    words = {word: number for word, number in tokens.items() if word not in (START, END)}
    config = _config(part, generator, tensors, count, words)
    _check(part, config, tensors)
    return OriginalEncoder(NAMES.get(count, f"{count}-vectors"), part, config, tensors)


def _rows(
    part: str, table: Tensor, positions: Tensor, count: int, tokens: Mapping[str, int], pads: Tensor | None
) -> dict[str, Tensor]:
    """What is kept of tables (V, D) and (P, D): the template's rows, the ID vectors' places, pads there.

    pads: (P, D) as saved beside the tables: these were trained further in 2024, and pads were not.
    """
    fits = table.ndim == positions.ndim == 2 and table.shape[1] == positions.shape[1]
    if not fits or (pads is not None and pads.shape != positions.shape):
        shapes = ", ".join(str(tuple(one.shape)) for one in (table, positions, pads) if one is not None)
        raise FormatError(
            f"{part}: words, positions and pads that do not fit: {shapes}. Use another checkpoint"
        )
    if not 1 <= count <= len(positions) - ID_OFFSET:
        raise FormatError(f"{part}: {count} ID vectors in a text of {len(positions)}. Use another checkpoint")
    places = slice(ID_OFFSET, ID_OFFSET + count)
    if pads is None:
        pads = table[tokens[END]] + positions
    head = [tokens[word] for word in (START, *INVERSE_PROMPT_HEAD.split())]
    return {
        "prefix": table[head] + positions[:ID_OFFSET],
        "positions": positions[places],
        "pad_embeddings": pads[places],
    }


def _layers(left: dict[str, Tensor]) -> dict[str, Tensor]:
    matches = [match for match in map(_LAYER.fullmatch, list(left)) if match]
    return {f"layers.{match[1]}.{match[2]}": left.pop(match[0]) for match in matches}


def _config(
    part: str, generator: Record, tensors: Mapping[str, Tensor], count: int, tokens: Mapping[str, int]
) -> AdaFaceEncoderConfig:
    kept = generator.get(TEXT_MODEL).get("config")
    settings = kept.state if isinstance(kept, Record) and isinstance(kept.state, dict) else {}
    depth = 1 + max((int(name.split(".")[1]) for name in tensors if name.startswith("layers.")), default=-1)
    try:
        width = tensors["prefix"].shape[1]
        return AdaFaceEncoderConfig(
            width=width,
            layers=depth,
            heads=settings["num_attention_heads"],
            mlp_width=len(tensors["layers.0.mlp.fc1.weight"]),
            hidden_act=settings["hidden_act"],
            layer_norm_eps=float(settings["layer_norm_eps"]),
            num_id_vectors=count,
            multipliers=tuple(_multiplier(tensors, n, width) for n in range(depth)),
            mixed_layers=len(tensors["hidden_layer_weights"]),
            id_scale=SCALES.get(NAMES.get(count, ""), 1.0),
            tokens=tokens,
        )
    except (KeyError, TypeError, ValueError, ArithmeticError, ConfigError) as error:
        raise FormatError(
            f"{part}: no encoder that is known here ({error}). Use another checkpoint"
        ) from error


def _multiplier(tensors: Mapping[str, Tensor], layer: int, width: int) -> int:
    """M, from the rows of the weights: the attributes beside them may be wrong."""
    return max(1, len(tensors[f"layers.{layer}.self_attn.k_proj.weight"]) // width)


def _check(part: str, config: AdaFaceEncoderConfig, tensors: Mapping[str, Tensor]) -> None:
    with torch.device("meta"):
        wanted = {name: value.shape for name, value in AdaFaceEncoder(config).state_dict().items()}
    found = {name: value.shape for name, value in tensors.items()}
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        first = wrong[0]
        raise FormatError(
            f"{part}: {len(wrong)} tensors do not fit its other ones: {', '.join(wrong[:3])}; {first} is "
            f"{found.get(first)}, expected is {wanted.get(first)}. Download or copy it again"
        )
    if odd := [name for name, value in tensors.items() if not value.is_floating_point()]:
        raise FormatError(f"{part}: {odd[0]} holds {tensors[odd[0]].dtype}. Use another checkpoint")


def _tokens(part: str, generator: Record, vocabulary: int) -> dict[str, int]:
    """Ids of the template's words in the encoder's own vocabulary, from the tokenizer beside it."""
    tokenizer = generator.get("tokenizer") or generator.get("clip_tokenizer")
    known = tokenizer.get("encoder") if isinstance(tokenizer, Record) else None
    if not isinstance(known, dict):
        if vocabulary != CLIP_VOCABULARY:
            raise FormatError(
                f"{part}: no tokenizer in it, and not CLIP's vocabulary. Use another checkpoint"
            )
        return dict(CLIP_TOKENS)
    words = [START, END, *INVERSE_PROMPT_HEAD.split(), INVERSE_PROMPT_FILL.strip()]
    ids: dict[str, int] = {}
    for word in words:
        number = known.get(word if word in (START, END) else f"{word}</w>")
        if type(number) is not int or not 0 <= number < vocabulary:
            raise FormatError(f"{part}: {word!r} is not one token of its tokenizer. Use another checkpoint")
        ids[word] = number
    return ids


def _whole(part: str, generator: Record, *names: str) -> int:
    value = next((v for v in map(generator.get, names) if v is not None), None)
    if type(value) is not int:
        raise FormatError(f"{part}: no number of ID vectors ({' or '.join(names)}). Use another checkpoint")
    return value
