"""Diffusers folders as they are written anew: some models replaced, everything else copied."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from adaface.checkpoints.kinds import read_json
from adaface.checkpoints.parts import ROLES, STEMS, component_files
from adaface.checkpoints.surgery.writing import Entry, Tell, copy_tree, write_safetensors
from adaface.errors import FormatError
from adaface.files import need_room

WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt", ".msgpack", ".h5", ".onnx", ".index.json")
PAPERS = (".md", ".txt", ".json")
# what the numbers mean, beside their shapes; an activation under another name is another model
MEANING = {
    "text_encoder": ("num_attention_heads", "hidden_act", "layer_norm_eps"),
    "vae": ("act_fn", "norm_num_groups", "scaling_factor", "shift_factor"),
    "unet": ("act_fn", "norm_num_groups", "attention_head_dim"),
}


def is_weights(file: Path) -> bool:
    """Whether a file holds or lists weights, of any library and variant."""
    return file.name.endswith(WEIGHTS)


def copy_rest(base: Path, target: Path, replaced: list[str]) -> None:
    """Copy a diffusers folder's own files, but no weights of the replaced models, in any variant.

    Raises MissingFileError: a model is not there. WriteError: no room.
    """
    index = read_json(base / "model_index.json")
    components = [name for name in index if not name.startswith("_") and (base / name).is_dir()]

    def papers(file: Path) -> bool:
        own = file.parent == base
        return own and (file.name.endswith(PAPERS) or file.name.startswith("LICENSE"))

    for role in ROLES:
        if role not in replaced and role in index:
            component_files(base, role)
    need_room(target.parent, sum(_size(base / name) for name in components if name not in replaced))
    copy_tree(base, target, papers)
    for name in components:
        keep: Callable[[Path], bool] = (
            (lambda file: not is_weights(file)) if name in replaced else (lambda _: True)
        )
        copy_tree(base / name, target / name, keep)


def write_part(
    folder: Path, role: str, entries: Mapping[str, Entry], metadata: Mapping[str, str], tell: Tell | None
) -> int:
    """Write one model's weights into its folder, named as every supported library reads them."""
    prefix = "text_model." if role == "text_encoder" else ""
    named = {prefix + name: entry for name, entry in entries.items()}
    return write_safetensors(folder / f"{STEMS[role]}.safetensors", named, metadata, tell)


def need_like_config(role: str, config: Path, other: Path) -> None:
    """Raises FormatError: two configs of one role say different things about what the weights mean."""
    if not (config.is_file() and other.is_file()):
        return
    ours, theirs = read_json(config), read_json(other)
    apart = [
        f"{key} {theirs[key]!r} for {ours[key]!r}"
        for key in MEANING[role]
        if key in ours and key in theirs and ours[key] != theirs[key]
    ]
    if apart:
        raise FormatError(
            f"{other}: does not fit {config}: {', '.join(apart)}. Use models of one architecture"
        )


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write a JSON file into a folder that is not yet in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
