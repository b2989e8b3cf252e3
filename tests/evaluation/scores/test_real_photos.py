"""The scores of real people's photos, taken for pictures: theirs, somebody else's, blurred, two in one."""

import zipfile

import numpy as np
import pytest
from PIL import Image

import tiny_scores as tiny
from adaface.evaluation.scores.choose import scorers
from adaface.pipelines.recognition import stack_analyzer
from adaface.pipelines.stack import Stack

pytestmark = [pytest.mark.shared, pytest.mark.slow]
pytest.importorskip("dlib")
NAMES = ("Andy_Roddick", "Bill_Graham", "Bill_McBride", "Joan_Laporta")
SCORES = ("similarity", "margin", "percentile", "similarity_dlib", "margin_dlib")


@pytest.fixture(scope="module")
def photos(shared, tmp_path_factory):
    """Six photos of each person: one is given, two score, three are pictures."""
    folder = tmp_path_factory.mktemp("raw")
    with zipfile.ZipFile(shared / "data" / "lfw_raw_sample.zip") as archive:
        archive.extractall(folder)
    return {name: sorted(folder.rglob(f"{name}/*.jpg"))[:6] for name in NAMES}


@pytest.fixture(scope="module")
def scorer(photos):
    stack = Stack.load("mini")
    faces = scorers(stack, analyzer=stack_analyzer(stack), second="dlib")[0]
    people = [tiny.person(name, paths[:1], paths[1:3]) for name, paths in photos.items()]
    assert faces.begin(tiny.world(*people)) == []
    return faces


def means(scorer, cases):
    rows = scorer(cases)
    return {name: float(np.mean([row[name] for row in rows])) for name in SCORES}


def pictures(photos, step=0, change=lambda image: image):
    """Each person's pictures, passed off as those of the person `step` places on."""
    return [
        tiny.case(change(Image.open(path)), NAMES[(k + step) % len(NAMES)])
        for k, name in enumerate(NAMES)
        for path in photos[name][3:]
    ]


def pair(photos, left, right, names):
    image = Image.new("RGB", (500, 250))
    for k, name in enumerate((left, right)):
        image.paste(Image.open(photos[name][3]).resize((250, 250)), (250 * k, 0))
    return tiny.case(image, *names)


def test_own_photos_are_like_swapped_ones_are_not_and_blur_is_between(photos, scorer):
    own = means(scorer, pictures(photos))
    swapped = means(scorer, pictures(photos, step=1))
    blurred = means(scorer, pictures(photos, change=lambda image: image.resize((20, 20)).resize(image.size)))
    for name in SCORES:
        assert own[name] > blurred[name] > swapped[name]
    assert own["similarity"] > 0.5 > 0.2 > swapped["similarity"]
    assert own["similarity_dlib"] > 0.4 > swapped["similarity_dlib"]  # the author's limit for one person
    assert own["margin"] > 0.4 > 0.05 > swapped["margin"]
    assert own["percentile"] > 99


def test_two_people_side_by_side_have_their_own_faces_in_any_order(photos, scorer):
    a, b = NAMES[:2]
    rows = scorer([pair(photos, a, b, (a, b)), pair(photos, b, a, (a, b)), pair(photos, a, a, (a, b))])
    assert [row["assignment"] for row in rows] == [1, 1, 0.5]
    assert rows[0]["similarity"] == pytest.approx(rows[1]["similarity"], abs=0.05)
    assert rows[2]["similarity"] < rows[0]["similarity"] - 0.1
