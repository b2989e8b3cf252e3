"""A checkpoint with another text encoder or VAE; the inputs stay as they are."""

from pathlib import Path

from adaface.checkpoints.parts import Source, match
from adaface.checkpoints.surgery.common import CHECKPOINTS, SOURCES, Written, check_out, origin
from adaface.checkpoints.surgery.folders import copy_rest, need_like_config, write_part
from adaface.checkpoints.surgery.writing import Tell, copied, new_folder, write_safetensors


def swap(
    base: str | Path,
    source: str | Path,
    out: str | Path,
    role: str,
    *,
    overwrite: bool = False,
    tell: Tell | None = None,
) -> Written:
    """Write `base` with the text encoder or the VAE of `source`, whose numbers and dtype stay as they are.

    base: an LDM file of SD-1.x (out: a .safetensors file), or a diffusers folder (out: a new folder).
    source: either, or a file or folder of that model alone. role: of ROLES. overwrite: `out` may be a file
    that is there. tell: is told the bytes done and in all.
    Raises WrongModelError: one is another model. FormatError: keys that are missing, not known or misshapen,
    all counted. ConfigError: `out` does not do. WriteError: no room, or no permission. Further what
    `open_tensors` raises.
    """
    check_out(Path(base), Path(out), overwrite)
    old, new = Source(base, *CHECKPOINTS), Source(source, *SOURCES[role])
    target, given = old.part(role), new.part(role)
    pairs = match(target, given)
    need_like_config(role, old.config(role), new.config(role))
    entries = {
        plain: copied(given.weights, given.names[theirs], target.weights.shape(target.names[plain]))
        for plain, theirs in pairs.items()
    }
    operation = f"swap-{role.replace('_', '-')}"
    if old.is_folder:
        with new_folder(out) as folder:
            copy_rest(old.path, folder, [role])
            size = write_part(folder / role, role, entries, origin(operation, given.weights), tell)
        return Written(Path(out), size, len(entries), len(entries))
    named = {target.names[plain]: entry for plain, entry in entries.items()}
    metadata = {**old.weights.metadata, **origin(operation, old.weights, given.weights)}
    everything = {name: copied(old.weights, name) for name in old.weights} | named
    size = write_safetensors(out, everything, metadata, tell)
    return Written(Path(out), size, len(everything), len(named))
