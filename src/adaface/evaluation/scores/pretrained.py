"""A model of transformers out of a folder or the hub; pickled files are read without running them."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoConfig

from adaface.checkpoints.tensors import open_tensors
from adaface.errors import FormatError, MissingFileError, WrongModelError
from adaface.pipelines.quiet import quiet
from adaface.sources.hub import folder_of
from adaface.sources.places import HubPlace, find_local, parse_place

SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
SMALL = ("*.json", "*.txt")


def model_folder(name: str | Path) -> Path:
    """The folder that `name` means: a path, or "hub:owner/name", which is fetched, its safetensors if it has
    them, else its pickled file.

    Raises MissingFileError: no such folder. HubError: it cannot be fetched.
    """
    place = parse_place(name)
    if not isinstance(place, HubPlace):
        return find_local(place)
    folder = folder_of(place, (*SMALL, SAFE))
    return folder if (folder / SAFE).is_file() else folder_of(place, (*SMALL, PICKLED))


def weights_file(folder: Path, what: str) -> Path:
    """The file of weights in the folder of a model. what: as messages call it, such as "a CLIPModel".

    Raises MissingFileError: no config.json, or no weights.
    """
    if not (folder / "config.json").is_file():
        raise MissingFileError(f"{folder}: no config.json; give the folder of {what}")
    for name in (SAFE, PICKLED):
        if (folder / name).is_file():
            return folder / name
    raise MissingFileError(f"{folder}: neither {SAFE} nor {PICKLED}. Copy the weights of {what} there")


def open_pretrained(folder: Path, kind: Any, what: str, **options: Any) -> Any:
    """The model of the class `kind` in `folder`, float32, in eval mode. options: of `from_pretrained`.

    Raises MissingFileError: a file is not there. WrongModelError: a model of another kind. FormatError:
    weights that cannot be read, or do not fit the config.
    """
    path = weights_file(folder, what)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder.resolve(), local_files_only=True)
            if not isinstance(config, kind.config_class):
                raise WrongModelError(
                    f"{folder}: its config.json is of a {config.model_type}, where {what} was expected. "
                    "Give another folder"
                )
            model, report = _load(folder.resolve(), path, config, kind, options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise FormatError(f"{folder}: not a readable {what.split()[-1]} ({error}). {_AGAIN}") from error
    if report["missing_keys"]:
        raise FormatError(f"{folder}: weights are missing: {sorted(report['missing_keys'])[:3]}. {_AGAIN}")
    return model.float().eval()


_AGAIN = "Copy the folder again"


def _load(folder: Path, path: Path, config: Any, kind: Any, options: dict[str, Any]) -> Any:
    if path.name == SAFE:
        given: dict[str, Any] = dict(local_files_only=True, use_safetensors=True)
        return kind.from_pretrained(folder, output_loading_info=True, **given, **options)
    tensors = dict(open_tensors(path))
    return kind.from_pretrained(None, config=config, state_dict=tensors, output_loading_info=True, **options)
