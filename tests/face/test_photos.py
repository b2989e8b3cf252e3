"""Several photos of one person: the weighted mean, and who is left out of it."""

import math

import numpy as np
import pytest
from PIL import Image

from adaface.errors import (
    ConfigError,
    DifferentPeopleError,
    FaceTooSmallError,
    ImageError,
    MissingFileError,
    NoFaceError,
    SeveralFacesError,
)
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.photos import Candidates, combine, mean_embedding
from adaface.face.types import AlignedCrop


def at(degrees: float, tilt: float = 0.0) -> tuple[float, float, float]:
    """A direction; people are far apart by angle, photos of one person differ by a few degrees."""
    a, b = math.radians(degrees), math.radians(tilt)
    return math.cos(a) * math.cos(b), math.sin(a) * math.cos(b), math.sin(b)


@pytest.fixture
def photos(new_face):
    """photos(a=[0], b=[5, 90]) -> candidates with faces at these angles, the first one the largest."""

    def make(**angles: list[float]) -> list[Candidates]:
        return [Candidates(name, [new_face(at(angle)) for angle in row]) for name, row in angles.items()]

    return make


@pytest.fixture
def shots(astronaut) -> list[np.ndarray]:
    """Three pictures of the astronaut, different enough not to count as copies."""
    dark = (astronaut * 0.6).astype(np.uint8)
    return [astronaut, np.ascontiguousarray(astronaut[20:300, 100:380][:, ::-1]), dark[:300, 60:400]]


def test_the_mean_is_weighted_by_quality_and_of_length_one(new_face):
    good, poor = new_face((1, 0, 0), quality=0.9), new_face((0, 1, 0), quality=0.3)
    expected = np.array([3, 1, 0]) / math.sqrt(10)
    np.testing.assert_allclose(mean_embedding([good, poor]), expected, atol=1e-6)
    np.testing.assert_allclose(mean_embedding([poor, good]), expected, atol=1e-6)
    with pytest.raises(NoFaceError, match="Give at least one photo"):
        mean_embedding([])


def test_photos_of_one_person_are_all_used(photos):
    found = combine(photos(a=[0], b=[10], c=[20]), same_person=0.5)
    assert found.used == ("a", "b", "c")
    assert found.left_out == ()
    np.testing.assert_allclose(found.id_embedding, at(10), atol=1e-6)
    assert min(found.similarities) > 0.9


@pytest.mark.parametrize("order", ["abcx", "xabc", "axbc"])
def test_a_stranger_is_left_out_with_a_reason_wherever_it_stands(photos, order):
    angles = {"a": [0], "b": [10], "c": [20], "x": [120]}
    found = combine(photos(**{name: angles[name] for name in order}), same_person=0.5)
    assert set(found.used) == {"a", "b", "c"}
    (out,) = found.left_out
    assert out.name == "x"
    assert "another person (similarity -0.34, at least 0.50 is expected)" in out.reason
    assert out.similarity == pytest.approx(math.cos(math.radians(110)), abs=1e-3)
    np.testing.assert_allclose(found.id_embedding, at(10), atol=1e-6)


def test_a_stranger_has_no_part_in_the_mean_that_judges_the_others(photos):
    """With the stranger in it, the mean of the others would be too far from `a`."""
    found = combine(photos(a=[-40], b=[0], c=[12], x=[100], y=[170]), same_person=0.66)
    assert found.used == ("a", "b", "c")


def test_two_photos_of_two_people_are_an_error_that_names_both(photos):
    with pytest.raises(
        DifferentPeopleError, match="different people: a | b.*similarity 0.00 at most"
    ) as caught:
        combine(photos(a=[0], b=[90]), same_person=0.5)
    assert caught.value.groups == (("a",), ("b",))
    for way in ("Remove the wrong ones", "as reference", "keep_all"):
        assert way in str(caught.value)


def test_two_against_two_is_an_error(photos):
    with pytest.raises(DifferentPeopleError) as caught:
        combine(photos(a=[0], b=[90], c=[5], d=[95]), same_person=0.5)
    assert caught.value.groups == (("a", "c"), ("b", "d"))


def test_photos_that_all_disagree_are_an_error(photos):
    with pytest.raises(DifferentPeopleError) as caught:
        combine(photos(a=[0], b=[90], c=[180]), same_person=0.5)
    assert caught.value.groups == (("a",), ("b",), ("c",))


def test_the_largest_group_wins_without_being_half_of_all(photos):
    found = combine(photos(a=[0], b=[72], c=[144], d=[216], e=[4]), same_person=0.5)
    assert found.used == ("a", "e")
    assert {out.name for out in found.left_out} == {"b", "c", "d"}


def test_a_reference_decides_instead_of_the_majority(photos):
    person = np.array(at(90), np.float32)
    found = combine(photos(a=[0], b=[90], c=[5]), same_person=0.5, reference=person)
    assert found.used == ("b",)
    with pytest.raises(NoFaceError, match=r"a, c: no face is like the reference \(best similarity 0.09"):
        combine(photos(a=[0], c=[5]), same_person=0.5, reference=person)


def test_of_several_faces_the_one_that_the_other_photos_show_is_taken(photos):
    found = combine(photos(a=[0], b=[120, 8], c=[4]), same_person=0.5)
    assert found.used == ("a", "b", "c")
    np.testing.assert_allclose(found.faces[1].id_embedding, at(8), atol=1e-6)
    assert found.notes == ("b: 2 faces; took the one like the other photos, not the largest",)


def test_of_two_people_in_every_photo_the_larger_one_is_taken(photos):
    found = combine(photos(a=[0, 90], b=[95, 5], c=[3, 88]), same_person=0.5)
    np.testing.assert_allclose(found.id_embedding, mean_embedding(found.faces))
    assert found.id_embedding @ np.array(at(3)) > 0.99
    assert found.used == ("a", "b", "c")


def test_keep_all_compares_nothing(photos):
    found = combine(photos(a=[0], b=[90]), same_person=0.5, keep_all=True)
    assert found.used == ("a", "b")
    np.testing.assert_allclose(found.id_embedding, at(45), atol=1e-6)


def test_a_recogniser_without_a_figure_leaves_nobody_out_and_says_so(photos):
    found = combine(photos(a=[0], b=[90]), same_person=None)
    assert found.used == ("a", "b")
    assert "not compared" in found.notes[0]


def test_the_same_photo_twice_counts_once(photos):
    found = combine(photos(a=[0], copy=[0], b=[30]), same_person=0.5)
    assert found.used == ("a", "b")
    assert found.left_out[0].reason == "the same picture as a"
    np.testing.assert_allclose(found.id_embedding, at(15), atol=1e-6)


def test_the_order_of_the_photos_does_not_matter(photos):
    forward = photos(a=[0], b=[120, 8], c=[4], x=[200])
    there, back = combine(forward, same_person=0.5), combine(forward[::-1], same_person=0.5)
    np.testing.assert_allclose(there.id_embedding, back.id_embedding, atol=1e-6)
    assert set(there.used) == set(back.used)


def test_one_photo_gives_its_faces_embedding(analyzer, astronaut, astronaut_face):
    found = analyzer.identity(astronaut)
    np.testing.assert_allclose(found.id_embedding, astronaut_face.id_embedding, atol=1e-6)
    assert len(found.faces) == len(found.used) == 1
    assert found.similarities == ()


def test_a_folder_stands_for_its_photos(analyzer, shots, tmp_path):
    for k, shot in enumerate(shots):
        Image.fromarray(shot).save(tmp_path / f"{k}.png")
    (tmp_path / "notes.txt").write_text("not a photo")
    found = analyzer.identity(tmp_path)
    assert found.used == tuple(str(tmp_path / f"{k}.png") for k in range(3))
    together = analyzer.identity([tmp_path / "0.png", str(tmp_path / "1.png"), tmp_path / "2.png"])
    np.testing.assert_array_equal(found.id_embedding, together.id_embedding)


def test_what_cannot_be_used_is_left_out_and_reported(
    analyzer, shots, coffee, cameraman, astronaut, tmp_path
):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    small = np.ascontiguousarray(astronaut[::6, ::6])
    found = analyzer.identity([*shots, tmp_path / "cut.jpg", coffee, cameraman, small])
    assert len(found.used) == 3
    reasons = {out.name.split(" (")[0]: out.reason for out in found.left_out}
    assert reasons.keys() == {str(tmp_path / "cut.jpg"), "photo 5", "photo 6", "photo 7"}
    for name, words in zip(
        reasons, ("broken or cut off", "no face found", "at least 20", "another person"), strict=True
    ):
        assert words in reasons[name]
    plain = analyzer.identity(shots)
    np.testing.assert_array_equal(found.id_embedding, plain.id_embedding)


def test_strict_makes_an_error_of_each(analyzer, shots, coffee, cameraman, two_people, tmp_path):
    with pytest.raises(NoFaceError, match="photo 4"):
        analyzer.identity([*shots, coffee], strict=True)
    with pytest.raises(DifferentPeopleError, match="photo 4 .*another person.*Remove these photos"):
        analyzer.identity([*shots, cameraman], strict=True)
    with pytest.raises(SeveralFacesError):
        analyzer.identity([*shots, two_people], strict=True)
    assert len(analyzer.identity(shots, strict=True).used) == 3


def test_a_path_that_is_not_there_is_an_error_even_among_others(analyzer, astronaut, tmp_path):
    with pytest.raises(MissingFileError, match=r"alcie.jpg: no such file or folder. Check the name"):
        analyzer.identity([astronaut, tmp_path / "alcie.jpg"])


def test_when_nothing_can_be_used_the_error_names_all_reasons(analyzer, coffee, astronaut, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "b.jpg").write_bytes(b"text")
    with pytest.raises(
        ImageError, match="none of the 2 photos can be used: .*a.jpg: the file is empty.*b.jpg: not a"
    ):
        analyzer.identity(tmp_path)
    with pytest.raises(NoFaceError, match="none of the 2 photos.*no face found"):
        analyzer.identity([coffee, tmp_path / "a.jpg"])
    with pytest.raises(NoFaceError, match="no face found"):
        analyzer.identity(coffee)
    with pytest.raises(FaceTooSmallError):
        FaceAnalyzer(min_face_px=200).identity(astronaut)
    with pytest.raises(ConfigError, match="photos: empty. Give at least one photo"):
        analyzer.identity([])
    with pytest.raises(ConfigError, match="photos=None: give a photo, a folder, or a list of photos"):
        analyzer.identity(None)


def test_index_and_position_choose_in_a_single_photo(analyzer, two_people, shots):
    small = analyzer.faces(two_people)[1]
    np.testing.assert_array_equal(analyzer.identity(two_people, index=1).faces[0].box, small.box)
    np.testing.assert_array_equal(
        analyzer.identity([two_people], position=(230, 150)).faces[0].box, small.box
    )
    with pytest.raises(ConfigError, match="choose in one photo, but 3 are given. Use reference"):
        analyzer.identity(shots, index=1)


def test_a_reference_chooses_in_every_photo(analyzer, two_people, cameraman, shots):
    found = analyzer.identity([two_people, *shots], reference=cameraman)
    assert len(found.used) == 1
    assert found.faces[0].box[0] < 512
    assert len(found.left_out) == 3
    with pytest.raises(NoFaceError, match="like the reference"):
        analyzer.identity(shots[0], reference=cameraman)


def test_ready_embeddings_and_crops_mix_with_photos(analyzer, shots, astronaut, astronaut_face):
    from adaface.face.align import align

    crop = AlignedCrop((align(astronaut, astronaut_face.landmarks) * 0.8).astype(np.uint8))
    other = analyzer.face(shots[1])
    found = analyzer.identity([shots[2], crop, other.id_embedding * 3, astronaut_face])
    assert len(found.used) == 4
    assert min(found.similarities) > 0.5


def test_two_photos_of_different_people_are_an_error_with_their_names(
    analyzer, astronaut, cameraman, tmp_path
):
    Image.fromarray(astronaut).save(tmp_path / "alice.png")
    Image.fromarray(cameraman).save(tmp_path / "bob.png")
    with pytest.raises(DifferentPeopleError, match=r"alice.png | .*bob.png \(similarity"):
        analyzer.identity(tmp_path)


def test_a_person_out_of_photos_says_whose_embeddings_they_are(analyzer, astronaut):
    assert analyzer.identity(astronaut).recognizer == analyzer.recognizer.name


def test_photos_of_different_people_can_all_be_kept(analyzer, astronaut, cameraman):
    with pytest.raises(DifferentPeopleError, match=r"keep_all \(--keep-all\)"):
        analyzer.identity([astronaut, cameraman])
    assert len(analyzer.identity([astronaut, cameraman], keep_all=True).used) == 2


def test_an_id_embedding_may_be_a_tensor_with_gradient_in_half_precision(analyzer, astronaut_face):
    torch = pytest.importorskip("torch")
    vector = torch.tensor(astronaut_face.id_embedding, dtype=torch.bfloat16, requires_grad=True)
    assert analyzer.face(vector).similarity(astronaut_face) > 0.999
