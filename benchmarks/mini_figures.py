"""What the shipped mini stack draws of the astronaut, with the noise between blocks of seeds.

`python benchmarks/mini_figures.py --write tests/mini/shipped.json` records what the slow tests hold the stack
to: the figure of one block may lie three deviations of a block below the mean. Ends with one JSON line.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from skimage.data import astronaut

from adaface import Personalizer, Stack
from adaface.evaluation.face_similarity import similarity
from adaface.evaluation.text_match import ClipScorer, first_choice, plain_words

PLAIN = "a photo of <person>"
BLOCK = 16  # pictures of "a photo of <person>" a block, and about as many under the demo's prompts


def main() -> None:
    """Measure, print a table, and write the record if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    stack = Stack.load("mini")
    personalizer = Personalizer.from_pretrained(stack, device="cpu")
    person = personalizer.identity(astronaut())
    scorer = ClipScorer.from_pretrained(stack.path("clip"))
    prompts: list[str] = stack.settings["demo_prompts"]
    rows: dict[str, list[float]] = {"faces_found": [], "similarity": [], "first_choice": []}
    for block in range(options.blocks):
        seed = 100 + 1000 * block  # the tests measure the first block
        plain = personalizer.generate(
            "a photo of <person>", person, num_images=BLOCK, seed=seed, batch_size=BLOCK
        )
        matches = similarity(plain.images, person.id_embedding.numpy(), personalizer.analyzer)
        rows["faces_found"].append(float(np.mean([match.found for match in matches])))
        rows["similarity"].append(float(np.mean([match.similarity or 0.0 for match in matches])))
        made = personalizer.generate(prompts, person, num_images=4, seed=seed, batch_size=8)
        scores = scorer(made.images, [plain_words(prompt) for prompt in prompts])
        hits = first_choice(scores, [prompts.index(prompt) for prompt in made.prompts])
        rows["first_choice"].append(float(np.mean(hits)))
    grain = {"faces_found": 1 / BLOCK, "similarity": 0.0, "first_choice": 1 / (4 * len(prompts))}
    record = {name: summary(values, grain[name]) for name, values in rows.items()}
    if options.write:
        options.write.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps({"benchmark": "mini_figures", "blocks": options.blocks, **record}))


def summary(values: Sequence[float], grain: float) -> dict[str, float]:
    """Mean and deviation of blocks, and the least that one block should reach.

    grain: what one picture counts; blocks that are all alike still leave room for three other pictures.
    """
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    return {
        "mean": round(mean, 4),
        "sd": round(deviation, 4),
        "low": round(mean - 3 * max(deviation, grain), 4),
    }


if __name__ == "__main__":
    main()
