"""Where faces are in latents."""

import pytest
import torch

from adaface.recipes.composition.faces import REACH, face_places


def test_a_face_is_where_its_landmarks_are():
    marks = torch.tensor([[[24.0, 24], [40, 24], [32, 32], [26, 40], [38, 40]]])  # middle (32, 32), reach 20
    places = face_places(marks, torch.tensor([1]), 2, 64, (8, 8))
    assert places.shape == (2, 1, 8, 8)
    assert places[0].max() == 0
    assert places[1, 0, 3:5, 3:5].min() == 1
    assert places[1, 0, 0, 0] == 0
    # the place at (28, 52) is 20.4 pixels away, about the reach of 20: half of it
    assert float(places[1, 0, 6, 3]) == pytest.approx(0.5 + (REACH * 16 - 416**0.5) / 8, abs=1e-4)


def test_without_faces_there_is_no_place():
    assert face_places(torch.zeros(0, 5, 2), torch.zeros(0, dtype=torch.long), 3, 64, (8, 8)).max() == 0
