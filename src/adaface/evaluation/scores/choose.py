"""Which scores a run has, with the models that they need."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from adaface.errors import AdaFaceError, ConfigError, MissingExtra
from adaface.evaluation.face_similarity import strangers_of
from adaface.evaluation.records import Case, Column, Scorer, Scores, World
from adaface.evaluation.scores.faces import FaceScorer
from adaface.evaluation.scores.recognisers import CropRecogniser, FaceComparer
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.recognize import load_recognizer
from adaface.files import sha256
from adaface.pipelines.stack import Stack

if TYPE_CHECKING:
    import torch

AUTO, DLIB, NONE = "auto", "dlib", "none"  # of the second recogniser
CLIP, DINO = "clip", "dino"


@dataclass(frozen=True, eq=False)
class Absent:
    """A score that cannot be told in this run: a note, and no column."""

    note: str
    columns: Sequence[Column] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)

    def begin(self, world: World) -> Sequence[str]:
        """Why it is absent."""
        return [self.note]

    def __call__(self, cases: Sequence[Case]) -> list[Scores]:
        """Nothing, for each picture."""
        return [{} for _ in cases]


def scorers(
    stack: Stack,
    *,
    analyzer: FaceAnalyzer,
    clip: str | Path | None = None,
    dino: str | Path | None = None,
    second: str | Path = AUTO,
    device: "str | torch.device" = "cpu",
    offered: Mapping[str, str | None] | None = None,
) -> list[Scorer]:
    """The scorers of a run, in the order of tables; models are opened here, once.

    analyzer: with the stack's recogniser. clip: a folder or "hub:owner/name" of a CLIPModel. dino: of a
    ViTModel. second: "dlib", "none", the path of a recogniser's ONNX file, or "auto" for dlib where it is
    installed. device: of CLIP, DINO and dlib's network. offered: what a protocol would take as "clip" and as
    "dino" where the user names none; a note is made where it cannot be had. Then CLIP is the stack's own, and
    DINO is no score.
    Raises HubError, MissingFileError, FormatError: a model that cannot be had or read. MissingExtra: dlib is
    not installed. ConfigError: the second recogniser is the first one.
    """
    offered = offered or {}
    found: list[Scorer] = _face_scorers(stack, analyzer, second, device)
    found += _clip_scorers(stack, clip, offered.get(CLIP), device)
    found += _named(dino, offered.get(DINO), lambda place: _dino(place, device), "DINO is not told")
    return found


def _named(
    named: str | Path | None, offered: str | None, opened: Callable[[str | Path], Scorer], otherwise: str
) -> list[Scorer]:
    """The model that the user named, else the one that is offered, if it can be had. otherwise: if not."""
    if named is not None:
        return [opened(named)]
    if offered is None:
        return []
    try:
        return [opened(offered)]
    except AdaFaceError as error:
        return [Absent(f"{otherwise}: {error}")]


def _face_scorers(
    stack: Stack, analyzer: FaceAnalyzer, second: str | Path, device: "str | torch.device"
) -> list[Scorer]:
    notes: list[Scorer] = []
    again: FaceComparer | None = None
    try:
        again = _second(second, analyzer, device)
    except MissingExtra as error:
        if str(second).lower() != AUTO:
            raise
        notes.append(Absent(f"no second recogniser: {error}"))
    strangers = strangers_of(stack, analyzer.recognizer.dim)
    if strangers is None:
        notes.append(Absent(f'no percentile: the stack "{stack.name}" has no role "strangers"'))
    return [
        FaceScorer(analyzer, strangers=strangers, second=again, provenance=_who(stack, analyzer)),
        *notes,
    ]


def _who(stack: Stack, analyzer: FaceAnalyzer) -> dict[str, str]:
    """The analyser's networks, and the strangers, with digests and licences as far as they are known."""
    recognizer, detector = analyzer.recognizer, analyzer.detector
    spec = getattr(recognizer, "spec", None)
    found = {
        f"face recogniser {recognizer.name}": (
            getattr(recognizer, "path", None),
            getattr(spec, "licence", ""),
        ),
        f"face detector {type(detector).__name__}": (getattr(detector, "path", None), ""),
    }
    if "strangers" in stack.roles:
        found["strangers"] = (stack.path("strangers"), stack.roles["strangers"].licence)
    return {name: _told(path, licence) for name, (path, licence) in found.items() if path is not None}


def _told(path: Path, licence: str = "") -> str:
    return f"sha256 {sha256(path)}{f'; {licence}' if licence else ''}"


def _second(which: str | Path, analyzer: FaceAnalyzer, device: "str | torch.device") -> FaceComparer | None:
    """Another recogniser, if one is wanted. Raises MissingExtra: dlib is not installed."""
    if str(which).lower() == NONE:
        return None
    if str(which).lower() in (AUTO, DLIB):
        from adaface.evaluation.scores.dlib_resnet import DlibRecogniser

        return DlibRecogniser(device)
    network = load_recognizer(which)
    first = getattr(analyzer.recognizer, "path", None)
    if network.name == analyzer.recognizer.name or (first and sha256(first) == sha256(network.path)):
        raise ConfigError(
            f"{which}: the second recogniser is the first one, {analyzer.recognizer.name}, so that it would "
            "only say the same again. Give another one, or --second dlib"
        )
    return CropRecogniser(network, _told(network.path, network.spec.licence))


def _clip_scorers(
    stack: Stack, clip: str | Path | None, offered: str | None, device: "str | torch.device"
) -> list[Scorer]:
    def opened(place: str | Path) -> Scorer:
        from adaface.evaluation.scores.pretrained import model_folder

        return _clip(model_folder(place), device)

    why = f"CLIP is the stack's own, because {offered} cannot be had"
    found = _named(clip, offered, opened, why)
    if found and not isinstance(found[0], Absent):
        return found
    if "clip" not in stack.roles:
        note = f'no text match: the stack "{stack.name}" has no CLIP model. Name one with --clip'
        return [*found, Absent(note)]
    return [_clip(stack.path("clip"), device, stack.roles["clip"].licence), *found]


def _clip(folder: Path, device: "str | torch.device", licence: str = "") -> Scorer:
    from adaface.evaluation.scores.clip import ClipScores
    from adaface.evaluation.scores.pretrained import weights_file
    from adaface.evaluation.text_match import ClipScorer

    scorer = ClipScorer.from_pretrained(folder, device=device)
    return ClipScores(scorer, {"CLIP": _told(weights_file(folder, "a CLIPModel"), licence)})


def _dino(dino: str | Path, device: "str | torch.device") -> Scorer:
    from adaface.evaluation.scores.dino import WHAT, DinoScores
    from adaface.evaluation.scores.pretrained import model_folder, weights_file

    folder = model_folder(dino)
    return DinoScores.from_pretrained(
        folder, device=device, provenance={"DINO": _told(weights_file(folder, WHAT))}
    )
