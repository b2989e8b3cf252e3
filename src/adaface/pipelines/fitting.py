"""Does an identity fit the models at hand? Its rows at the wanted scale. Shapes: K rows of a subject, D
width.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import ConfigError, FormatError
from adaface.identity.files import Identity
from adaface.identity.names import check_distinct, slot

ID_SCALE = "id_scale"  # key of an identity's provenance: the scale that its rows were made with


def as_identities(identity: Identity | Sequence[Identity]) -> list[Identity]:
    """One or several identities as a list. Raises ConfigError: none at all, or two of one name."""
    several = [identity] if isinstance(identity, Identity) else list(identity)
    if not several:
        raise ConfigError(
            "no identity given: make one with `identity(photos)`, or load a file of `adaface embed`"
        )
    check_distinct([one.name for one in several])
    return several


def fit_rows(identity: Identity, encoder: AdaFaceEncoder, width: int, id_scale: float) -> Tensor:
    """Rows (K, D) of `identity` at `id_scale`, for a text encoder of `width`.

    Raises FormatError: rows of another width. ConfigError: a scale that these rows cannot be brought to.
    """
    rows = identity.subject_embeds
    if rows.shape[1] != width:
        raise FormatError(
            f"identity {slot(identity.name)}: its rows are {rows.shape[1]} wide, the text encoder of this "
            "stack "
            f"takes {width}. Make it again from the photos with this stack (adaface embed), or use the "
            "stack it "
            "was made for"
        )
    made_with = _made_with(identity)
    if id_scale == made_with:
        return rows
    pads = encoder.pad_embeddings.detach().to("cpu", rows.dtype)  # (K, D): what scale 0 stands for
    if made_with == 0 or pads.shape != rows.shape:
        raise ConfigError(
            f"identity {slot(identity.name)}: {len(rows)} rows made with id_scale {made_with:g} by another "
            "encoder "
            f"cannot be brought to {id_scale:g}. Leave id_scale at {made_with:g}, or make the identity "
            "again from "
            "the photos"
        )
    return pads + (id_scale / made_with) * (rows - pads)


def origin_notes(identity: Identity, fingerprints: Mapping[str, str]) -> list[str]:
    """What to tell the user if an identity was made by another encoder, or for another text encoder."""
    made = {key: identity.provenance.get(key, "unknown") for key in ("base_text_encoder", "encoder")}
    strange = [
        key
        for key, value in made.items()
        if "unknown" not in (value, fingerprints[key]) and value != fingerprints[key]
    ]
    advice = "If the likeness is poor, make it again from the photos with this stack (adaface embed)"
    if "base_text_encoder" in strange:
        return [f"{slot(identity.name)} was made for the text encoder of another base model. {advice}"]
    if "encoder" in strange:
        return [f"{slot(identity.name)} was made by another AdaFace encoder for this base model. {advice}"]
    return []


def _made_with(identity: Identity) -> float:
    try:
        return float(identity.provenance.get(ID_SCALE, 1.0))
    except ValueError as error:
        raise FormatError(
            f"identity {slot(identity.name)}: id_scale {identity.provenance[ID_SCALE]!r} in its header is "
            "no number. "
            "Make it again from the photos"
        ) from error
