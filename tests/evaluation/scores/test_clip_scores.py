"""Does it fit its words, and the photos? By hand with features in the plane, and with the shipped model."""

import numpy as np
import pytest
from PIL import Image

import tiny_scores as tiny
from adaface.evaluation.scores.clip import ClipScores
from adaface.evaluation.scores.features import features
from adaface.evaluation.text_match import ClipScorer
from adaface.pipelines.stack import Stack

TEMPLATES = ("a red <person>", "a blue <person>", "a purple <person>", "a black <person>")


def scores(scorer, *cases):
    return scorer(list(cases))


@pytest.fixture
def scorer(tmp_path):
    """alice has the photos orange and blue, bob the photo purple."""
    scorer = ClipScores(tiny.FakeClip())
    alice = tiny.person(
        "alice", [tiny.photo(tmp_path, "black")], [tiny.photo(tmp_path, n) for n in ("orange", "blue")]
    )
    bob = tiny.person("bob", [tiny.photo(tmp_path, "purple")])
    scorer.begin(tiny.world(alice, bob, templates=TEMPLATES))
    return scorer


def test_the_scores_of_a_picture_are_those_computed_by_hand(scorer):
    (row,) = scores(scorer, tiny.case(tiny.picture("orange"), "alice", template=TEMPLATES[0]))
    assert row["clip_t"] == pytest.approx(0.8)  # orange and the text's red
    assert row["clip_i"] == pytest.approx((1.0 + 0.6) / 2)  # orange, blue
    assert row["retrieval"] == 1  # red 0.8; blue 0.6, purple -0.8, black -0.6
    assert row["retrieval_shuffled"] == 0
    assert row["diversity"] is None  # a single seed
    assert set(row) == {column.name for column in scorer.columns}


def test_with_the_prompts_of_others_retrieval_falls_to_nothing(scorer):
    pictures = ("red", "blue", "purple", "black")
    own = [tiny.case(tiny.picture(p), "alice", template=t) for p, t in zip(pictures, TEMPLATES, strict=True)]
    turned = (*TEMPLATES[1:], TEMPLATES[0])
    shuffled = [
        tiny.case(tiny.picture(p), "alice", template=t) for p, t in zip(pictures, turned, strict=True)
    ]
    right, wrong = scorer(own), scorer(shuffled)
    assert [row["retrieval"] for row in right] == [1] * 4
    assert [row["retrieval"] for row in wrong] == [0] * 4
    assert [row["retrieval_shuffled"] for row in right] == [0] * 4
    assert np.mean([row["clip_t"] for row in right]) > np.mean([row["clip_t"] for row in wrong]) + 0.5


def test_the_control_finds_a_score_that_prefers_one_prompt_whatever_is_drawn(scorer):
    cases = [
        tiny.case(tiny.picture("red"), "alice", template=TEMPLATES[k], seed=seed)
        for k in (1, 2, 3)
        for seed in range(100)
    ]
    told = np.mean([row["retrieval_shuffled"] for row in scorer(cases)])
    assert told == pytest.approx(1 / 3, abs=0.1)  # red is one of three that may be passed off


def test_the_control_is_the_same_in_every_run(scorer):
    cases = [tiny.case(tiny.picture("red"), "alice", template=TEMPLATES[1], seed=seed) for seed in range(9)]
    assert scorer(cases) == scorer(cases)


def test_a_text_is_compared_with_class_words_for_names(tmp_path):
    seen = []

    class Listening(tiny.FakeClip):
        def embed_texts(self, texts):
            seen.extend(texts)
            return super().embed_texts(texts)

    scorer = ClipScores(Listening())
    people = [tiny.person("alice", class_word="old woman"), tiny.person("bob", class_word="man")]
    templates = ("red <person>", "blue <person> and <other>")
    scorer.begin(tiny.world(*people, templates=templates))
    scorer([tiny.case(tiny.picture("red"), "alice", "bob", template=templates[1])])
    assert set(seen) == {"red an old woman", "blue an old woman and a man"}


def test_templates_that_are_the_same_text_do_not_beat_each_other(scorer, tmp_path):
    scorer.begin(
        tiny.world(tiny.person("alice"), templates=("red <person>", "red a person", "blue <person>"))
    )
    (row,) = scores(scorer, tiny.case(tiny.picture("red"), "alice", template="red <person>"))
    assert row["retrieval"] == 1


def test_a_prompt_without_a_template_of_the_run_has_no_retrieval(scorer):
    (row,) = scores(scorer, tiny.case(tiny.picture("red"), "alice", template="", prompt="red <alice>"))
    assert row["clip_t"] == pytest.approx(1)
    assert row["retrieval"] is None


def test_an_empty_prompt_matches_nothing(scorer):
    (row,) = scores(scorer, tiny.case(tiny.picture("red"), "alice", template="", prompt=" "))
    assert row["clip_t"] is None
    assert row["clip_i"] is not None


def test_chance_is_one_of_the_prompts(scorer):
    chance = {column.name: column.chance for column in scorer.columns}
    assert chance["retrieval"] == 1 / 4
    assert chance["clip_t"] is None


def test_of_two_people_the_match_with_the_photos_is_the_mean(scorer):
    (row,) = scores(scorer, tiny.case(tiny.picture("orange"), "alice", "bob"))
    assert row["clip_i"] == pytest.approx(((1.0 + 0.6) / 2 - 0.8) / 2)


def test_somebody_without_photos_has_no_match_with_photos(scorer):
    scorer.begin(tiny.world(tiny.person("alice")))
    assert scores(scorer, tiny.case(tiny.picture("red"), "alice", template="red"))[0]["clip_i"] is None


def test_diversity_is_one_minus_the_mean_cosine_of_the_seeds(scorer):
    faces = ("red", "orange", "blue")
    rows = scorer(
        [
            *(
                tiny.case(tiny.picture(f), "alice", template=TEMPLATES[0], seed=k)
                for k, f in enumerate(faces)
            ),
            *(tiny.case(tiny.picture("red"), "bob", template=TEMPLATES[0], seed=k) for k in range(2)),
        ]
    )
    expected = 1 - (0.8 + 0.0 + 0.6) / 3
    assert [row["diversity"] for row in rows] == pytest.approx([expected] * 3 + [0, 0])


def test_seeds_of_other_settings_are_another_group(scorer):
    cases = [tiny.case(tiny.picture(f), "alice", template=TEMPLATES[0], variant=f) for f in ("red", "blue")]
    assert [row["diversity"] for row in scorer(cases)] == [None, None]


def test_a_broken_picture_stops_no_other(scorer):
    rows = scores(scorer, tiny.case(tiny.broken(), "alice"), tiny.case(tiny.picture("orange"), "alice"))
    assert set(rows[0].values()) == {None}
    assert rows[1]["clip_i"] == pytest.approx(0.8)


def test_an_unreadable_photo_is_told(scorer, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (note,) = scorer.begin(tiny.world(tiny.person("alice", [tmp_path / "bad.png"])))
    assert "bad.png" in note and "The photo is left out" in note


def test_the_shipped_model_prefers_what_a_picture_shows(astronaut):
    """Sepia, sketch-like grey and plain: with their own prompts, and with each other's."""
    face = Image.fromarray(astronaut).crop((130, 0, 330, 200)).resize((64, 64), Image.Resampling.BICUBIC)
    grey = np.asarray(face.convert("L"), np.float32)[..., None]
    sepia = Image.fromarray(np.clip(grey * [1.07, 0.74, 0.43], 0, 255).astype(np.uint8))
    templates = ("a photo of <person>", "a sepia photo of <person>")
    scorer = ClipScores(ClipScorer.from_pretrained(Stack.load("mini").path("clip")))
    scorer.begin(tiny.world(tiny.person("alice", class_word="woman"), templates=templates))
    pictures = (face, sepia)
    own = scorer([tiny.case(p, "alice", template=t) for p, t in zip(pictures, templates, strict=True)])
    other = scorer(
        [tiny.case(p, "alice", template=t) for p, t in zip(pictures, templates[::-1], strict=True)]
    )
    for right, wrong in zip(own, other, strict=True):
        assert right["clip_t"] > wrong["clip_t"]
        assert (right["retrieval"], wrong["retrieval"]) == (1, 0)


def test_a_picture_that_comes_several_times_is_looked_at_once():
    seen = []
    one, other, broken = tiny.picture("red"), tiny.picture("blue"), tiny.broken()

    def embed(images):
        seen.extend(images)
        return np.eye(2, dtype=np.float32)[: len(images)]

    found = features([one, broken, other, one, broken], embed)
    assert len(seen) == 2
    assert [None if row is None else row.tolist() for row in found] == [[1, 0], None, [0, 1], [1, 0], None]
