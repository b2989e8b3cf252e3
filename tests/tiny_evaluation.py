"""Run folders by hand: generated pictures, made-up scores, photos of nobody."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from adaface.evaluation.folder import ANCHORS, FORMAT, MANIFEST, RUN_JSON, line
from adaface.evaluation.records import Column, Picture

COLUMNS = (
    Column("face_found", "Faces found", "1 where a face is found."),
    Column("similarity", "Face similarity", "Cosine to the photos.", low=-1.0, anchored=True),
    Column("similarity_dlib", "Face similarity by dlib", "By another recogniser.", low=-1.0, anchored=True),
    Column("clip_t", "Text match", "Cosine of picture and words.", low=-1.0),
)
TEMPLATES = (("a photo of <person>", "scene"), ('a <person> & a "red" cap', "clothes"))


def picture(
    person: str,
    template: str,
    seed: int,
    scores: Mapping[str, float | None],
    variant: str = "",
    kind: str = "",
) -> Picture:
    """One line of a manifest; its file name tells what it is."""
    slug = "".join(letter if letter.isalnum() else "-" for letter in template)[:20]
    file = f"pictures/{variant or 'own'}/{person}/{slug}/{seed}.png"
    prompt = template.replace("<person>", f"<{person}>")
    return Picture((person,), prompt, template, seed, file, kind=kind, variant=variant, scores=dict(scores))


def write_run(
    folder: Path, pictures: Sequence[Picture], anchors: Sequence[Picture] = (), **facts: object
) -> Path:
    """A run folder with these pictures (4 x 4 pixels on disk) and facts over the defaults; returns it."""
    names = list(dict.fromkeys(one.subjects[0] for one in pictures))
    whole = {
        "format": FORMAT,
        "version": 1,
        "stack": {"name": "tiny"},
        "columns": [asdict(column) for column in COLUMNS],
        "subjects": [
            {"name": name, "given": [{"path": f"people/{name}/0.png", "sha256": "ab" * 32}], "scored": []}
            for name in names
        ],
        **facts,
    }
    for path in (*(one.file for one in pictures), *(f"people/{name}/0.png" for name in names)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shade = sum(path.encode()) % 256
        Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(folder / path)
    (folder / RUN_JSON).write_text(json.dumps(whole), encoding="utf-8")
    (folder / MANIFEST).write_text("".join(map(line, pictures)), encoding="utf-8")
    (folder / ANCHORS).write_text("".join(map(line, anchors)), encoding="utf-8")
    return folder


def some_pictures(
    people: int = 3, seeds: int = 2, shift: float = 0.0, variant: str = "", noise: float = 0.02
) -> list[Picture]:
    """people x TEMPLATES x seeds, likeness 0.2 + shift and noise."""
    rng = np.random.default_rng(people * 100 + seeds)
    found = []
    for person in range(people):
        for template, kind in TEMPLATES:
            for seed in range(seeds):
                likeness = 0.2 + shift + 0.05 * person + float(rng.normal()) * noise
                scores = {
                    "face_found": 1.0,
                    "similarity": likeness,
                    "similarity_dlib": likeness / 2,
                    "clip_t": 0.3 - shift / 2 + float(rng.normal()) * noise,
                }
                found.append(picture(f"p{person}", template, seed, scores, variant, kind))
    return found


def photos(people: int = 3, same: float = 0.6, other: float = 0.05) -> list[Picture]:
    """Two photos of each kind a person, as `anchors` makes them, scored."""
    found = []
    for person in range(people):
        for kind, likeness in (("same", same), ("other", other)):
            for number in range(2):
                value = likeness + 0.01 * number
                scores = {
                    "face_found": 1.0,
                    "similarity": value,
                    "similarity_dlib": value / 2,
                    "clip_t": None,
                }
                one = picture(f"p{person}", "", number, scores, f"photo: {kind}", kind)
                found.append(one)
    return found
