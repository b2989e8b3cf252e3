"""Text encoders and tokenizers as folders that every supported transformers reads. Nothing is unpickled."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from adaface.errors import DamagedFileError, FormatError, MissingFileError
from adaface.files import write_atomic
from adaface.sources.heads import AGAIN, need_safetensors
from adaface.text.clip import text_parts

PREFIX = "text_model."  # in files of transformers < 5.6 and Stable Diffusion folders; later ones read it too
TOKENIZER_FILES = ("vocab.json", "merges.txt")  # the form that every supported transformers reads


def load_text_encoder(folder: str | Path, dtype: torch.dtype = torch.float32) -> CLIPTextModel:
    """A CLIPTextModel in eval mode from config.json and model.safetensors, keys with `text_model.` or not.

    Stock `from_pretrained` of transformers 4 meets a folder of 5.x with random weights and a warning; this
    does not. Raises MissingFileError: a file is not there. FormatError: a file cannot be read, or its tensors
    do not fit.
    """
    folder = Path(folder)
    _need(folder / "config.json", "a text encoder's folder holds config.json and model.safetensors")
    config = _read_config(folder)
    with torch.device("meta"):  # no time for random weights that the file's replace
        model = CLIPTextModel(config)
    tensors = {_bare(key): value for key, value in read_tensors(folder / "model.safetensors").items()}
    tensors.pop("embeddings.position_ids", None)  # a buffer that old files hold
    parts = text_parts(model)
    check_tensors(folder / "model.safetensors", tensors, parts.state_dict())
    parts.load_state_dict(tensors, assign=True)
    positions = torch.arange(config.max_position_embeddings)[None]  # in no file
    cast(nn.Module, parts.embeddings).register_buffer("position_ids", positions, persistent=False)
    return model.to(dtype).eval()


def save_text_encoder(model: CLIPTextModel, folder: str | Path) -> None:
    """Write config.json and model.safetensors with the keys that every supported transformers reads.

    Raises WriteError: the folder cannot be written.
    """
    folder = Path(folder)
    tensors = {
        PREFIX + key: value.detach().cpu().contiguous()
        for key, value in text_parts(model).state_dict().items()
    }
    tensors.pop(PREFIX + "embeddings.position_ids", None)
    write_atomic(
        folder / "model.safetensors", lambda path: save_file(tensors, path, metadata={"format": "pt"})
    )
    write_atomic(
        folder / "config.json", lambda path: path.write_text(model.config.to_json_string(), encoding="utf-8")
    )


def load_tokenizer(folder: str | Path) -> CLIPTokenizer:
    """A CLIPTokenizer from vocab.json and merges.txt, or from tokenizer.json where transformers reads it.

    Raises MissingFileError: neither form is there. FormatError: they are damaged, or name no length
    (model_max_length).
    """
    folder = Path(folder)
    if not (folder / "tokenizer.json").is_file():
        for name in TOKENIZER_FILES:
            _need(
                folder / name, "a tokenizer's folder holds vocab.json, merges.txt and tokenizer_config.json"
            )
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    except Exception as error:  # the tokenizers library raises bare ones
        reason = str(error).strip().splitlines()[0]
        raise FormatError(f"{folder}: not the files of a CLIP tokenizer ({reason}). {AGAIN}") from error
    if tokenizer.model_max_length > 1_000_000:
        raise FormatError(
            f"{folder}/tokenizer_config.json: no model_max_length. Write the text encoder's positions there"
        )
    return tokenizer


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU.

    Raises MissingFileError: it is not there, or cannot be read. DamagedFileError: not a whole one, or no
    weights at all. FormatError: of another format.
    """
    _need(path, "weights are read from safetensors alone. Convert pickled ones first (adaface convert)")
    need_safetensors(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise DamagedFileError(f"{path}: not a whole safetensors file ({error}). {AGAIN}") from error


def check_tensors(path: Path, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Check that a file holds exactly the tensors that its config asks for.

    Raises FormatError: names the missing, the surplus and the first one of another shape.
    """
    missing, surplus = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or surplus:
        raise FormatError(
            f"{path}: does not fit its config.json; {len(missing)} tensors missing {missing[:3]}, "
            f"{len(surplus)} not known {surplus[:3]}. Use weights and config of one model"
        )
    for key, value in tensors.items():
        if value.shape != wanted[key].shape:
            raise FormatError(
                f"{path}: {key} is {tuple(value.shape)}, its config.json asks for "
                f"{tuple(wanted[key].shape)}. Use weights and config of one model"
            )


def _read_config(folder: Path) -> CLIPTextConfig:
    try:
        return CLIPTextConfig.from_pretrained(folder)
    except (OSError, ValueError, TypeError) as error:
        raise FormatError(f"{folder}/config.json: not a CLIP text model's config ({error})") from error


def _bare(key: str) -> str:
    return key.removeprefix(PREFIX)


def _need(path: Path, advice: str) -> None:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; {advice}")
