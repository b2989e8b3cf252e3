"""From what the user named (photos, identity files) to identities, and their photos for the grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaface.cli.console import say

if TYPE_CHECKING:
    from adaface.cli.grid import Tile
    from adaface.face.analyzer import FaceAnalyzer
    from adaface.face.photos import PhotoSet
    from adaface.pipelines.stack import Stack

MAX_SOURCES = 4  # photos that are shown in a grid
START_LABELS = {
    "init_image": "start picture",
    "mask": "mask: white is drawn anew",
    "control_image": "control image",
}


@dataclass(frozen=True)
class FaceChoice:
    """Which face of a photo is meant, as `FaceAnalyzer.identity` takes it."""

    index: int | None = None
    position: tuple[float, float] | None = None
    reference: Path | None = None
    strict: bool = False
    keep_all: bool = False
    min_face: float | None = None  # in pixels; of the analyser, not of a call

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `FaceAnalyzer.identity`."""
        names = ("index", "position", "reference", "strict", "keep_all")
        return {name: getattr(self, name) for name in names}

    def analyzer(self, stack: "Stack") -> "FaceAnalyzer":
        """The analyser of the stack, with the least size of a face that was asked for."""
        from adaface.pipelines.recognition import stack_analyzer

        return stack_analyzer(stack, **({} if self.min_face is None else {"min_face_px": self.min_face}))


def look_at(photos: Sequence[str], analyzer: "FaceAnalyzer", choice: FaceChoice) -> "PhotoSet":
    """The person in the photos; what was left out is told on stderr. Raises as `FaceAnalyzer.identity`."""
    found = analyzer.identity(list(photos) if len(photos) > 1 else photos[0], **choice.arguments())
    for item in found.left_out:
        say(f"Left out {item.name}: {item.reason}", style="yellow")
    for note in found.notes:
        say(f"Note: {note}", style="yellow")
    return found


def source_tiles(photos: "PhotoSet", name: str) -> "list[Tile]":
    """The photos that were used, upright, with the person's name under the first."""
    from PIL import Image

    from adaface.cli.grid import Tile
    from adaface.face.images import load_image

    shown = photos.used[:MAX_SOURCES]
    more = f", and {len(photos.used) - len(shown)} more" if len(photos.used) > len(shown) else ""
    labels = [f"photo of <{name}>{more}", *("" for _ in shown[1:])]
    return [
        Tile(Image.fromarray(load_image(path, max_side=1024)), label)
        for path, label in zip(shown, labels, strict=True)
    ]


def start_tiles(pictures: Mapping[str, Path]) -> "list[Tile]":
    """The pictures that a drawing starts from, by the names of `Personalizer.generate`."""
    from PIL import Image

    from adaface.cli.grid import Tile
    from adaface.face.images import load_image

    return [
        Tile(Image.fromarray(load_image(path, max_side=1024)), START_LABELS[name])
        for name, path in pictures.items()
    ]
