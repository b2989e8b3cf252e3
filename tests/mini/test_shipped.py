"""The stack that is shipped, held to its recorded figures: a small fixed evaluation with its own noise."""

import json
from pathlib import Path

import pytest

import adaface
from adaface.evaluation.folder import open_run
from adaface.evaluation.run.protocols import protocol
from adaface.evaluation.run.request import Request
from adaface.evaluation.run.run import evaluate
from adaface.evaluation.summary import summarize
from adaface.pipelines.stack import Stack

RECORD = json.loads((Path(__file__).parent / "shipped.json").read_text())  # by benchmarks/mini_figures.py
WEIGHTS = Path(adaface.__file__).parent / "mini" / "weights" / "stack.json"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WEIGHTS.is_file(), reason="no mini stack in this checkout: nothing to check"),
]


@pytest.fixture(scope="module")
def overall(tmp_path_factory):
    """The means of the first block, measured again as `adaface evaluate` would."""
    stack = Stack.load("mini")
    request = Request(
        folder=tmp_path_factory.mktemp("shipped") / "run",
        stack=stack,
        protocol=protocol("mini", stack),
        second="dlib",
        models={"device": "cpu"},
        **RECORD["request"],
    )
    evaluate(request)
    return summarize(open_run(request.folder))["overall"]


@pytest.mark.parametrize("column", sorted(RECORD["figures"]))
def test_no_figure_is_three_deviations_below_its_record(overall, column):
    assert overall[column]["mean"] >= RECORD["figures"][column]["low"]
