"""Plots: which figure lies on which axis, and which value has the star."""

import numpy as np
import pytest

from adaface.evaluation.folder import open_run
from adaface.evaluation.report import plots
from adaface.evaluation.summary import summarize
from tiny_evaluation import photos, some_pictures, write_run

SWEEP = {"id_scale": [[0.5, "id_scale=0.5"], [1.0, ""], [2.0, "id_scale=2"]]}


@pytest.fixture
def run(tmp_path):
    shifts = ((-0.1, "id_scale=0.5"), (0.0, ""), (0.2, "id_scale=2"))
    pictures = [one for shift, variant in shifts for one in some_pictures(shift=shift, variant=variant)]
    return open_run(write_run(tmp_path, pictures, photos(), sweep=SWEEP))


@pytest.fixture
def figures(run, monkeypatch):
    """The plots of a run as matplotlib's figures, by their names."""
    monkeypatch.setattr(plots, "png", lambda figure: figure)
    return plots.draw(run, summarize(run))


def test_a_curve_is_text_match_to_the_right_and_likeness_upward(run, figures):
    (axes,) = figures["curve-id_scale"].axes
    points = summarize(run)["curves"]["id_scale"]
    means = [[point["scores"][name]["mean"] for name in ("clip_t", "similarity_dlib")] for point in points]
    assert axes.lines[0].get_xydata() == pytest.approx(np.array(means))
    assert axes.get_xlabel().startswith("Text match")
    assert axes.get_ylabel() == "Face similarity by dlib"


def test_the_star_lies_on_the_recommended_value(run, figures):
    (axes,) = figures["curve-id_scale"].axes
    (star,) = [line for line in axes.lines if line.get_marker() == "*"]
    usual = summarize(run)["curves"]["id_scale"][1]["scores"]
    assert star.get_xydata()[0] == pytest.approx([usual["clip_t"]["mean"], usual["similarity_dlib"]["mean"]])
    assert {text.get_text() for text in axes.texts} == {"0.5", "1 (recommended)", "2"}


def test_bars_of_a_point_are_its_own_intervals(run, figures):
    (axes,) = figures["curve-id_scale"].axes
    first = summarize(run)["curves"]["id_scale"][0]["scores"]
    across, upward = (bars.get_segments()[0] for bars in axes.collections[:2])
    assert across[:, 0] == pytest.approx([first["clip_t"][end] for end in ("low", "high")])
    assert upward[:, 1] == pytest.approx([first["similarity_dlib"][end] for end in ("low", "high")])


def test_likeness_has_a_row_of_dots_for_each_floor_the_pictures_and_the_ceiling(run, figures):
    (axes,) = figures["likeness-similarity"].axes
    rows = {
        label.get_text().split("\n")[0]: dots.get_offsets()[:, 0]
        for label, dots in zip(axes.get_yticklabels(), axes.collections, strict=True)
    }
    assert list(rows) == ["photos of", "pictures", "other photos of"]
    assert len(rows["pictures"]) == sum(picture.variant == "" for picture in run.pictures)
    assert sorted(rows["other photos of"]) == pytest.approx([0.6] * 3 + [0.61] * 3)
