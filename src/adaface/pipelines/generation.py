"""What a call of `Personalizer.generate` gives back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from adaface.pipelines.settings import Settings


@dataclass(frozen=True, eq=False)
class Generation:
    """Pictures with all that is needed to draw them again.

    images: prompt by prompt, `num_images` of each. prompts: as used, with the person's place in it, one a
    picture. seeds: one a picture. settings: as used. notes: what the user should know, such as words that
    were cut. sources: SHA-256 of the pixels of `init_image`, `mask` and `control_image`, if there were any.
    """

    images: tuple[Image.Image, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: Settings
    notes: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.images)

    def records(self) -> Iterator[dict[str, Any]]:
        """For each picture prompt, seed, settings and digests of its sources, as plain JSON values."""
        more = {"sources": dict(self.sources)} if self.sources else {}
        for prompt, seed in zip(self.prompts, self.seeds, strict=True):
            yield {"prompt": prompt, "seed": seed, "settings": self.settings.to_json(), **more}
