"""The stack that is shipped, held to its recorded figures: a small fixed evaluation with its own noise."""

import importlib.util
import json
from pathlib import Path

import pytest

import adaface

RECORD = json.loads((Path(__file__).parent / "shipped.json").read_text())  # by benchmarks/mini_figures.py
WEIGHTS = Path(adaface.__file__).parent / "mini" / "weights" / "stack.json"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WEIGHTS.is_file(), reason="no mini stack in this checkout: nothing to check"),
]


@pytest.fixture(scope="module")
def overall(tmp_path_factory, repo):
    """The means of the first block, measured again as it was recorded."""
    spec = importlib.util.spec_from_file_location("mini_figures", repo / "benchmarks" / "mini_figures.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    return benchmark.measure(tmp_path_factory.mktemp("shipped") / "run", **RECORD["request"])


@pytest.mark.parametrize("column", sorted(RECORD["figures"]))
def test_no_figure_is_three_deviations_below_its_record(overall, column):
    assert overall[column]["mean"] >= RECORD["figures"][column]["low"]
