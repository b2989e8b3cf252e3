"""A checkpoint of the authors -> folders that `AdaFaceEncoder.from_pretrained` reads."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from adaface.checkpoints.original import OriginalEncoder, Skipped, read_original
from adaface.checkpoints.surgery.writing import new_folder
from adaface.encoder.config import AdaFaceEncoderConfig
from adaface.encoder.folder import write_encoder
from adaface.errors import ConfigError
from adaface.files import need_room, sha256

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Converted:
    """One encoder that was written."""

    name: str  # arc2face, consistentID, ...
    folder: Path
    part: str  # where it stood in the file
    config: AdaFaceEncoderConfig


@dataclass(frozen=True)
class Conversion:
    """What came of a checkpoint."""

    source: Path
    encoders: tuple[Converted, ...]
    skipped: tuple[Skipped, ...]


def convert(
    source: str | Path, out: str | Path, *, licence: str = UNKNOWN, recognizer: str = UNKNOWN
) -> Conversion:
    """Write the encoders of a checkpoint of the authors in our format; nothing of the file is run.

    out: a new folder, for one encoder the encoder's own; several get one each in it, by their names
    (`arc2face`, `consistentID`). It appears whole or not at all. licence: of the weights, which the file does
    not say. recognizer: name of the network that its ID embeddings are from. Raises ConfigError: `out` is
    there already. WriteError: it cannot be written. Further what `read_original` raises.
    """
    source, out = Path(source), Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"{out}: is there already, and nothing is overwritten. Name a new folder")
    encoders, skipped = read_original(source)
    need_room(out.parent, sum(value.nbytes for one in encoders for value in one.tensors.values()))
    origin = {"file": source.name, "sha256": sha256(source)}
    done = []
    with new_folder(out) as folder:
        for one in encoders:
            place = Path() if len(encoders) == 1 else Path(one.name)
            config = dataclasses.replace(
                one.config, licence=licence, recognizer=recognizer, origin={**origin, "part": one.part}
            )
            _write(folder / place, config, one)
            done.append(Converted(one.name, out / place, one.part, config))
    return Conversion(source, tuple(done), tuple(skipped))


def _write(folder: Path, config: AdaFaceEncoderConfig, encoder: OriginalEncoder) -> None:
    # copies: the file's own tensors may share their memory with each other, which safetensors refuses
    write_encoder(folder, config, {name: value.clone() for name, value in encoder.tensors.items()})
