"""Draw docs/pictures/any-pipeline.png: a start picture at three strengths, and two masks.

`python scripts/any_pipeline_pictures.py [--stack mini] [--out docs/pictures/any-pipeline.png] [--seed 1]`.
The photo is scikit-image's astronaut (NASA, public domain); the masks are drawn here, around head and suit.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFilter
from skimage import data

from adaface import Personalizer
from adaface.cli.grid import Block, Tile, picture_grid
from adaface.cli.pictures import save_png

CUT = (96, 0, 352, 256)  # of the photo: head and shoulders
HEAD = (78, 12, 206, 198)
SUIT = [(0, 256), (0, 222), (18, 180), (58, 146), (96, 140), (156, 168), (198, 204), (226, 256)]
BLUR = 3


def picture(white: Callable[[ImageDraw.ImageDraw], None]) -> Image.Image:
    """A mask with soft edges: what `white` paints is drawn anew."""
    mask = Image.new("L", (256, 256), 0)
    white(ImageDraw.Draw(mask))
    return mask.filter(ImageFilter.GaussianBlur(BLUR))


def background(pen: ImageDraw.ImageDraw) -> None:
    """All but the person."""
    pen.rectangle((0, 0, 256, 256), fill=255)
    pen.polygon(SUIT, fill=0)
    pen.ellipse(HEAD, fill=0)


def suit(pen: ImageDraw.ImageDraw) -> None:
    """What the person wears."""
    pen.polygon(SUIT, fill=255)
    pen.ellipse((84, 30, 200, 196), fill=0)


def main() -> None:
    """Draw the strip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stack", default="mini")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/any-pipeline.png"))
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    photo = Image.fromarray(data.astronaut())
    start = photo.crop(CUT)
    personalizer = Personalizer.from_pretrained(given.stack)
    person = personalizer.identity(photo)

    def tile(prompt: str, label: str, **options: Any) -> Tile:
        made = personalizer.generate(
            prompt, person, num_images=1, seed=given.seed, init_image=start, **options
        )
        return Tile(made.images[0], label)

    glasses, night, scarf = (
        "a photo of <person> wearing sunglasses",
        "a photo of <person> under a night sky",
        "a photo of <person> wearing a blue scarf",
    )
    around, worn = picture(background), picture(suit)
    blocks = [
        Block(
            f"{glasses}: --init-image, --strength",
            [tile(glasses, f"strength {s}", strength=s) for s in (0.3, 0.6, 0.9)],
        ),
        Block(
            f"{night}: --init-image, --mask",
            [
                Tile(around, "mask: white is drawn anew"),
                tile(night, "the person's pixels stay", mask=around),
            ],
        ),
        Block(
            f"{scarf}: --init-image, --mask",
            [Tile(worn, "mask: white is drawn anew"), tile(scarf, "all else stays", mask=worn)],
        ),
    ]
    save_png(given.out, picture_grid([Tile(start, "start picture (NASA, public domain)")], blocks))


if __name__ == "__main__":
    main()
