"""The faces of a picture, numbered, so that a user sees which one an index means."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from adaface.face.images import open_picture
from adaface.face.types import Face, ImageSource

COLOUR = (255, 200, 0)
INK = (0, 0, 0)


def number_faces(image: ImageSource, faces: Sequence[Face] | Face, *, max_side: int = 1024) -> Image.Image:
    """A copy of the picture with a box and a number for each face; the numbers are what `index` takes.

    faces: of this picture, in the order of `FaceAnalyzer.faces`; a single one gets no number but a box. The
    longer side of the result is at most `max_side`. Raises what `adaface.face.load_image` raises.
    """
    picture = open_picture(image, max_side=max_side)
    shown = Image.fromarray(picture.pixels)
    draw = ImageDraw.Draw(shown)
    line = max(1, max(shown.size) // 300)
    numbered = [("", faces)] if isinstance(faces, Face) else [(str(k), face) for k, face in enumerate(faces)]
    for label, face in reversed(numbered):  # the larger ones last, so that their numbers stay on top
        x0, y0, x1, y1 = (round(float(v) * picture.scale) for v in face.box)
        draw.rectangle((x0, y0, x1, y1), outline=COLOUR, width=line)
        if label:
            _label(draw, (x0, y0), label, max(10, (y1 - y0) // 4))
    return shown


def _label(draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, height: int) -> None:
    """The number on a patch of colour at the box's upper left corner, inside of the picture."""
    font = ImageFont.load_default(size=min(height, 40))
    at = max(0, corner[0]), max(0, corner[1])
    left, top, right, bottom = draw.textbbox(at, text, font=font)
    draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=COLOUR)
    draw.text(at, text, font=font, fill=INK)
