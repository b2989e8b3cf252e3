"""What a call of `Personalizer.generate` gives back."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from adaface.pipelines.settings import Settings


@dataclass(frozen=True, eq=False)
class Generation:
    """Pictures with all that is needed to draw them again.

    images: prompt by prompt, `num_images` of each. prompts: as used, with the person's place in it, one a
    picture. seeds: one a picture. settings: as used. notes: what the user should know, such as words that
    were cut.
    """

    images: tuple[Image.Image, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: Settings
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.images)

    def records(self) -> Iterator[dict[str, Any]]:
        """For each picture its prompt, seed and settings, as plain JSON values."""
        for prompt, seed in zip(self.prompts, self.seeds, strict=True):
            yield {"prompt": prompt, "seed": seed, "settings": self.settings.to_json()}
