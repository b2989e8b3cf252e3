"""The stack that is shipped, held to its recorded figures: a fixed measurement with its own noise."""

import json
from pathlib import Path

import numpy as np
import pytest

import adaface
from adaface.pipelines.stack import Stack

FIGURES = Path(__file__).parent / "shipped.json"

WEIGHTS = Path(adaface.__file__).parent / "mini" / "weights" / "stack.json"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WEIGHTS.is_file(), reason="no mini stack in this checkout: nothing to check"),
]


def recorded() -> dict[str, dict[str, float]]:
    """What `benchmarks/mini_figures.py` wrote down: mean, deviation and least value of each figure."""
    return json.loads(FIGURES.read_text())


@pytest.fixture(scope="module")
def personalizer():
    from adaface import Personalizer

    return Personalizer.from_pretrained("mini", device="cpu")


@pytest.fixture(scope="module")
def astronaut(personalizer):
    from skimage.data import astronaut

    return personalizer.identity(astronaut())


@pytest.fixture(scope="module")
def drawn(personalizer, astronaut):
    """Sixteen pictures of her, one a seed."""
    return personalizer.generate("a photo of <person>", astronaut, num_images=16, seed=100, batch_size=16)


def test_faces_are_found_in_as_many_pictures_as_recorded(personalizer, drawn):
    found = [bool(personalizer.analyzer.faces(image)) for image in drawn.images]
    assert np.mean(found) >= recorded()["faces_found"]["low"]


def test_the_person_is_as_similar_as_recorded(personalizer, astronaut, drawn):
    """Holds little while the recorded similarity is not far above that of strangers; see docs/mini.md."""
    from adaface.evaluation.face_similarity import similarity

    matches = similarity(drawn.images, astronaut.id_embedding.numpy(), personalizer.analyzer)
    mean = np.mean([match.similarity or 0.0 for match in matches])
    assert mean >= recorded()["similarity"]["low"]


def test_prompts_are_ranked_first_as_often_as_recorded(personalizer, astronaut):
    from adaface.evaluation.text_match import ClipScorer, first_choice, plain_words

    prompts = Stack.load("mini").settings["demo_prompts"]
    made = personalizer.generate(prompts, astronaut, num_images=4, seed=100, batch_size=8)
    scorer = ClipScorer.from_pretrained(Stack.load("mini").path("clip"))
    scores = scorer(made.images, [plain_words(prompt) for prompt in prompts])
    hits = first_choice(scores, [prompts.index(prompt) for prompt in made.prompts])
    assert np.mean(hits) >= recorded()["first_choice"]["low"]
