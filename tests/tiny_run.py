"""What tests of a run share: two prompts, a score that needs no model, and what lies in a run's folder."""

import json

import numpy as np

from adaface.evaluation.folder import MANIFEST, RUN_JSON, read_pictures
from adaface.evaluation.records import Column
from adaface.evaluation.run.prompts import PromptLine

LINES = (PromptLine("a photo of <person>", "plain"), PromptLine("a sketch of <person>", "style"))


class Brightness:
    """A score that needs no model, and counts the pictures that it sees."""

    columns = (Column("brightness", "Brightness", "Mean of all pixels."),)
    provenance: dict[str, str]

    def __init__(self, model="bulb 1"):
        self.provenance, self.seen, self.groups = {"bulb": model}, 0, []

    def begin(self, world):
        return ["the bulb is on"]

    def __call__(self, cases):
        self.seen += len(cases)
        self.groups.append({case.picture.group for case in cases})
        return [{"brightness": float(np.asarray(case.image).mean()) / 255} for case in cases]


def manifest(folder):
    return read_pictures(folder / MANIFEST)[0]


def facts(folder):
    return json.loads((folder / RUN_JSON).read_text())
