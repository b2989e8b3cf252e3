"""One model of a checkpoint by itself, or an LDM file as a diffusers folder; the inputs stay as they are."""

from pathlib import Path

from adaface.checkpoints.kinds import read_json
from adaface.checkpoints.parts import ROLES, Part, Source, component_folder
from adaface.checkpoints.surgery.common import (
    CHECKPOINTS,
    SOURCES,
    SUFFIX,
    Written,
    check_out_name,
    origin,
)
from adaface.checkpoints.surgery.folders import copy_rest, write_json, write_part
from adaface.checkpoints.surgery.writing import (
    Entry,
    Tell,
    check_free,
    copied,
    new_folder,
    write_safetensors,
)
from adaface.errors import ConfigError

PIPELINE = "pipeline"  # in place of a role: all of them, as a diffusers folder


def extract(
    checkpoint: str | Path,
    role: str,
    out: str | Path,
    config: str | Path | None = None,
    *,
    overwrite: bool = False,
    tell: Tell | None = None,
) -> Written:
    """Write one model of a checkpoint by itself, or (`pipeline`) all of an LDM file as a diffusers folder.

    out: a .safetensors file, in which names are the checkpoint's own without their prefix; or a new folder,
    as diffusers reads it. config: for files of other sizes than SD-1.5: a diffusers folder whose configs (and
    scheduler and tokenizer) are to be used.
    Raises ConfigError: `role` or `out` does not do. WrongModelError, FormatError, WriteError: as `swap`.
    """
    if role not in (*ROLES, PIPELINE):
        raise ConfigError(
            f"{role!r}: not a model of a checkpoint. Choose from {', '.join((*ROLES, PIPELINE))}"
        )
    check_out_name(Path(out))
    source = Source(checkpoint, *(CHECKPOINTS if role == PIPELINE else SOURCES[role]))
    if Path(out).suffix.lower() != SUFFIX:
        configs = Path(config) if config is not None else source.path if source.is_folder else _sd15()
        return _into_folder(source, role, Path(out), configs, tell)
    if role == PIPELINE:
        raise ConfigError(f"{out}: a pipeline is a folder. Name a new folder")
    part = source.part(role)
    check_free(Path(out), overwrite=overwrite)
    prefix = "text_model." if role == "text_encoder" else ""
    entries = {prefix + plain: copied(part.weights, name) for plain, name in part.names.items()}
    size = write_safetensors(out, entries, origin(f"extract {role}", part.weights), tell)
    return Written(Path(out), size, len(entries))


def _into_folder(source: Source, role: str, out: Path, configs: Path, tell: Tell | None) -> Written:
    roles, size, count = (list(ROLES) if role == PIPELINE else [role]), 0, 0
    parts = [source.part(role) for role in roles]
    metadata = origin(f"extract {role}", *(part.weights for part in parts))
    with new_folder(out) as folder:
        if role == PIPELINE:
            copy_rest(configs, folder, roles)
        for part in parts:
            place = folder / part.role if role == PIPELINE else folder
            values, entries = _in_diffusers_names(part, configs)
            write_json(place / "config.json", values)
            size += write_part(place, part.role, entries, metadata, tell)
            count += len(entries)
    return Written(out, size, count)


def _sd15() -> Path:
    from adaface.checkpoints.ldm import SD15  # with diffusers, which a file's way does not need

    return SD15


def _in_diffusers_names(part: Part, configs: Path) -> tuple[dict[str, object], dict[str, Entry]]:
    from adaface.checkpoints.ldm import empty, fit, named_as_in_files

    model = named_as_in_files(part.role, empty(part.role, configs))
    names = fit(part, model, configs)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    entries = {
        names[plain]: copied(part.weights, name, shapes[names[plain]]) for plain, name in part.names.items()
    }
    return read_json(component_folder(configs, part.role) / "config.json"), entries
