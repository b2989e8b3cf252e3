"""The mini stack's segmenter as a parser of `adaface prepare`."""

import pickle

import numpy as np
import pytest
from skimage import data

from adaface.data.prepare.looking.crop import cut, head_frame
from adaface.errors import MissingFileError
from adaface.face.analyzer import FaceAnalyzer
from adaface.mini.parser import SHIPPED, SegmenterParser, ShippedParser

shipped = pytest.mark.skipif(not SHIPPED.is_file(), reason="no mini stack in the package")


@shipped
@pytest.mark.parametrize("size", [64, 200])
def test_the_head_is_the_person_and_the_upper_corners_are_not(size):
    picture = data.astronaut()
    matrix = head_frame(FaceAnalyzer().face(picture).landmarks, 1.2).matrix(size)
    mask, labels = SegmenterParser()(cut(picture, matrix, size))
    assert mask.shape == (size, size) and labels is None and set(np.unique(mask)) == {0, 255}
    third = size // 3
    assert (mask[third:-third, third:-third] == 255).mean() > 0.95
    assert (mask[: size // 8, : size // 8] == 255).mean() < 0.5


@shipped
def test_it_travels_to_other_processes_and_is_named_by_its_weights():
    again = pickle.loads(pickle.dumps(ShippedParser()))
    assert again().name == SegmenterParser().name
    assert SegmenterParser().name.startswith("mini-")


def test_weights_that_are_not_there_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        ShippedParser(tmp_path / "nowhere.safetensors")()
