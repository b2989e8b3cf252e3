"""A picture with numbered boxes shows which face an index means."""

import numpy as np
from PIL import Image

from adaface.face.preview import COLOUR, number_faces


def boxes_drawn(preview: Image.Image) -> np.ndarray:
    return (np.asarray(preview) == COLOUR).all(-1)


def test_every_face_gets_a_box_where_it_is(analyzer, two_people):
    faces = analyzer.faces(two_people)
    preview = number_faces(two_people, faces)
    assert preview.size == (1024, 512)
    drawn = boxes_drawn(preview)
    for face in faces:
        x0, _, x1, y1 = face.box.round().astype(int)
        assert drawn[y1 - 2 : y1 + 1, x0:x1].mean() > 0.5
    assert not drawn[:, 400:600].any()


def test_the_numbers_are_the_indices(analyzer, two_people):
    faces = analyzer.faces(two_people)
    both, first = number_faces(two_people, faces), number_faces(two_people, faces[:1])
    x0, y0, x1, y1 = faces[0].box.round().astype(int)
    np.testing.assert_array_equal(np.asarray(both)[y0:y1, x0:x1], np.asarray(first)[y0:y1, x0:x1])
    swapped = number_faces(two_people, faces[::-1])
    assert (np.asarray(both)[y0:y1, x0:x1] != np.asarray(swapped)[y0:y1, x0:x1]).any()


def test_a_single_face_gets_a_box_without_a_number(astronaut, astronaut_face):
    preview = number_faces(astronaut, astronaut_face)
    x0, y0, x1, y1 = astronaut_face.box.round().astype(int)
    assert boxes_drawn(preview).any()
    assert not boxes_drawn(preview)[y0 + 5 : y1 - 5, x0 + 5 : x1 - 5].any()


def test_the_preview_is_bounded_and_the_picture_untouched(astronaut, astronaut_face):
    before = astronaut.copy()
    preview = number_faces(astronaut, [astronaut_face], max_side=256)
    assert preview.size == (256, 256)
    rows, columns = np.nonzero(boxes_drawn(preview))
    np.testing.assert_allclose([columns.max(), rows.max()], astronaut_face.box[2:] / 2, atol=3)
    np.testing.assert_array_equal(astronaut, before)


def test_no_faces_give_the_plain_picture(coffee):
    np.testing.assert_array_equal(np.asarray(number_faces(coffee, [])), coffee)
