"""From a picture to a face: which one is taken, what is refused, and what the messages say."""

import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
from PIL import Image

from adaface.errors import (
    ConfigError,
    FaceTooSmallError,
    ImageError,
    MissingFileError,
    NoFaceError,
    SeveralFacesError,
    ShapeError,
)
from adaface.face.align import align
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.recognize import OnnxRecognizer, RecognizerSpec
from adaface.face.types import AlignedCrop, Detection


def test_a_face_has_box_landmarks_score_embedding_and_quality(astronaut_face):
    face = astronaut_face
    assert (face.box.shape, face.landmarks.shape, face.id_embedding.shape) == ((4,), (5, 2), (128,))
    assert {face.box.dtype, face.landmarks.dtype, face.id_embedding.dtype} == {np.dtype(np.float32)}
    assert np.linalg.norm(face.id_embedding) == pytest.approx(1, abs=1e-6)
    assert 0.9 < face.score <= 1
    assert 0.8 < face.quality <= 1
    assert face.size_px == pytest.approx(90, abs=3)
    assert face.area == pytest.approx(face.width * face.height)


def test_the_same_picture_gives_the_same_bits(analyzer, astronaut, astronaut_face):
    again = FaceAnalyzer().face(astronaut)
    np.testing.assert_array_equal(again.id_embedding, astronaut_face.id_embedding)
    np.testing.assert_array_equal(again.box, astronaut_face.box)


def test_two_threads_get_what_one_gets(analyzer, astronaut, astronaut_face, cameraman):
    other = analyzer.face(cameraman)
    wrong = []

    def look(picture, face):
        for _ in range(5):
            wrong.extend([1] * (not np.array_equal(analyzer.face(picture).id_embedding, face.id_embedding)))

    pairs = ((astronaut, astronaut_face), (cameraman, other))
    threads = [threading.Thread(target=look, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_every_form_of_a_picture_gives_the_same_person(analyzer, astronaut, astronaut_face, tmp_path):
    image = Image.fromarray(astronaut)
    path = tmp_path / "photo.jpg"
    image.save(path, quality=92)
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated = tmp_path / "rotated.jpg"
    image.rotate(90).save(rotated, exif=exif, quality=92)
    forms = [
        image,
        path,
        str(rotated),
        path.read_bytes(),
        astronaut.astype(np.uint16) * 257,
        image.convert("CMYK"),
        image.convert("P"),
        image.convert("L"),
        image.convert("RGBA"),
    ]
    for form in forms:
        face = analyzer.face(form)
        assert face.similarity(astronaut_face) > 0.85
        np.testing.assert_allclose(face.box, astronaut_face.box, atol=6)


def test_boxes_are_in_pixels_of_the_upright_original(analyzer, astronaut, astronaut_face, tmp_path):
    Image.fromarray(astronaut).resize((6000, 6000)).save(tmp_path / "huge.jpg", quality=90)
    face = analyzer.face(tmp_path / "huge.jpg")
    np.testing.assert_allclose(face.box, astronaut_face.box * 6000 / 512, rtol=0.03, atol=30)
    assert face.similarity(astronaut_face) > 0.9


def test_a_generated_picture_of_64_pixels_is_read(analyzer, astronaut, astronaut_face):
    head = Image.fromarray(astronaut[20:224, 120:324]).resize((64, 64), Image.Resampling.BOX)
    face = analyzer.face(head)
    assert face.similarity(astronaut_face) > 0.8
    np.testing.assert_allclose(face.box, (astronaut_face.box - [120, 20, 120, 20]) * 64 / 204, atol=2)


def test_a_blurred_or_small_face_has_less_quality(analyzer, astronaut, astronaut_face):
    blurred = analyzer.face(cv2.GaussianBlur(astronaut, (0, 0), 4))
    small = analyzer.face(cv2.resize(astronaut, (128, 128), interpolation=cv2.INTER_AREA))
    assert 0 < blurred.quality < astronaut_face.quality / 2
    assert 0 < small.quality < astronaut_face.quality / 1.2


def test_faces_come_largest_first(analyzer, two_people):
    large, small = analyzer.faces(two_people)
    assert large.area > small.area
    assert large.box[0] > 512 > small.box[2]


def test_the_largest_face_is_taken_unless_told_otherwise(analyzer, two_people, astronaut, cameraman):
    large, small = analyzer.faces(two_people)
    chosen = {
        "default": analyzer.face(two_people),
        "index": analyzer.face(two_people, index=1),
        "position": analyzer.face(two_people, position=(230, 150)),
        "near": analyzer.face(two_people, position=(5, 5)),
        "reference": analyzer.face(two_people, reference=cameraman),
        "embedding": analyzer.face(two_people, reference=small.id_embedding),
        "large": analyzer.face(two_people, reference=astronaut, strict=True),
        "last": analyzer.face(two_people, index=-1),
    }
    is_large = {way: np.array_equal(face.box, large.box) for way, face in chosen.items()}
    assert is_large == {
        "default": True,
        "index": False,
        "position": False,
        "near": False,
        "reference": False,
        "embedding": False,
        "large": True,
        "last": False,
    }


def test_a_point_in_two_boxes_means_the_one_with_the_nearer_centre(fake_detector, fake_recognizer, new_face):
    boxes = [(0, 0, 100, 100), (60, 0, 110, 60)]
    landmarks = np.array([[30, 30], [70, 30], [50, 50], [35, 70], [65, 70]], np.float32)
    detector = fake_detector(
        lambda _: [Detection(np.array(box, np.float32), landmarks, 0.95) for box in boxes]
    )
    analyzer = FaceAnalyzer(detector, fake_recognizer())
    picture = np.zeros((300, 300, 3), np.uint8)
    assert analyzer.face(picture, position=(90, 30)).box[0] == 60
    assert analyzer.face(picture, position=(62, 55)).box[0] == 0


def test_strict_refuses_several_faces_and_gives_their_boxes(analyzer, two_people, astronaut):
    with pytest.raises(
        SeveralFacesError, match="2 faces where one was expected. Choose one by index"
    ) as caught:
        analyzer.face(two_people, strict=True)
    assert [round(box[0] / 10) for box in caught.value.boxes] == [69, 20]
    assert "Faces as number: (x0, y0, x1, y1): 0: (691, 63, 782, 175), 1: (198," in str(caught.value)
    assert analyzer.face(astronaut, strict=True)


def test_strict_passes_over_faces_too_small_to_use(analyzer, two_people):
    large = analyzer.faces(two_people)[0]
    assert FaceAnalyzer(min_face_px=80).face(two_people, strict=True).area == pytest.approx(large.area)


def test_no_face_says_what_was_tried_and_what_to_do(analyzer, coffee, tmp_path):
    path = tmp_path / "cup.png"
    Image.fromarray(coffee).save(path)
    with pytest.raises(
        NoFaceError, match="no face found in 600x400 pixels.*with a border.*Use a photo"
    ) as caught:
        analyzer.face(path)
    assert str(caught.value).startswith(str(path))
    assert analyzer.faces(path) == []
    with pytest.raises(NoFaceError, match="pixels. Use a photo"):
        FaceAnalyzer(persistent=False).face(path)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (30, 2)])
def test_a_picture_of_a_few_pixels_has_no_face(analyzer, size):
    with pytest.raises(NoFaceError, match=f"{size[0]}x{size[1]} pixels"):
        analyzer.face(Image.new("RGB", size, (200, 150, 120)))


def test_a_face_too_small_says_its_size_and_the_bound(analyzer, astronaut):
    tiny = cv2.resize(astronaut, (84, 84), interpolation=cv2.INTER_AREA)
    with pytest.raises(FaceTooSmallError, match=r"has 1\d pixels, at least 20 are needed.*lower min_face_px"):
        analyzer.face(tiny)
    with pytest.raises(FaceTooSmallError, match="at least 20"):
        analyzer.face(tiny, index=0)
    assert FaceAnalyzer(min_face_px=10).face(tiny)
    with pytest.raises(ConfigError, match="min_face_px=0: give 1 or more"):
        FaceAnalyzer(min_face_px=0)


def test_a_choice_that_does_not_fit_says_what_there_is(analyzer, two_people, coffee, astronaut):
    with pytest.raises(ConfigError, match="no face number 2; the largest is number 0, the last 1.*0: "):
        analyzer.face(two_people, index=2)
    with pytest.raises(ConfigError, match=r"outside of the picture \(1024x512\)"):
        analyzer.face(two_people, position=(2000, 10))
    with pytest.raises(ConfigError, match="give x and y in pixels"):
        analyzer.face(two_people, position=(1, 2, 3))
    with pytest.raises(ConfigError, match="index and reference are given together"):
        analyzer.face(two_people, index=1, reference=astronaut)
    with pytest.raises(NoFaceError, match="no face found"):
        analyzer.face(two_people, reference=coffee)


def test_a_reference_that_is_nobody_in_the_picture_is_an_error(analyzer, astronaut, cameraman):
    with pytest.raises(
        NoFaceError, match=r"no face is like the reference \(the best similarity of 1 is .*0.34"
    ):
        analyzer.face(astronaut, reference=cameraman)


def test_a_ready_embedding_is_taken_as_it_is_but_for_its_length(analyzer, astronaut_face):
    vector = astronaut_face.id_embedding
    for ready in (vector * 7, (vector * 3).astype(np.float64), vector[None], astronaut_face):
        np.testing.assert_allclose(analyzer.face(ready).id_embedding, vector, atol=1e-6)


def test_a_tensor_is_a_ready_embedding(analyzer, astronaut_face):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(astronaut_face.id_embedding)
    np.testing.assert_allclose(analyzer.face(tensor).id_embedding, astronaut_face.id_embedding, atol=1e-6)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.ones(512, np.float32), "of 512 numbers, but the recogniser sface has 128"),
        (np.zeros(128, np.float32), "zero or holds NaN"),
        (np.full(128, np.nan, np.float32), "zero or holds NaN"),
    ],
)
def test_an_embedding_that_cannot_be_is_refused(analyzer, vector, message):
    with pytest.raises(ShapeError, match=message):
        analyzer.face(vector)


def test_an_aligned_crop_is_recognised_without_detection(analyzer, astronaut, astronaut_face, tmp_path):
    crop = align(astronaut, astronaut_face.landmarks)
    Image.fromarray(crop).save(tmp_path / "crop.png")
    for image in (crop, tmp_path / "crop.png", Image.fromarray(crop)):
        face = analyzer.face(AlignedCrop(image))
        np.testing.assert_array_equal(face.id_embedding, astronaut_face.id_embedding)
    large = analyzer.face(AlignedCrop(cv2.resize(crop, (224, 224))))
    assert large.similarity(astronaut_face) > 0.97
    with pytest.raises(ImageError, match="an aligned crop is square, this is 100x112"):
        analyzer.face(AlignedCrop(crop[:, :100]))


def test_any_detector_and_recogniser_that_fulfil_the_protocols_do(fake_detector, fake_recognizer):
    landmarks = np.array([[30, 30], [70, 30], [50, 50], [35, 70], [65, 70]], np.float32)
    box = np.array([10, 10, 90, 90], np.float32)
    analyzer = FaceAnalyzer(fake_detector(lambda _: [Detection(box, landmarks, 0.95)]), fake_recognizer())
    red = np.zeros((300, 300, 3), np.uint8)
    red[..., 0] = 200
    face = analyzer.face(red)
    np.testing.assert_allclose(face.id_embedding, [1, 0, 0], atol=1e-3)
    np.testing.assert_array_equal(face.box, box)


def test_an_arcface_file_serves_on_the_default_detectors_landmarks(
    network, tmp_path, astronaut, astronaut_face
):
    recognizer = OnnxRecognizer(network(tmp_path / "arcface.onnx", dim=512), RecognizerSpec(name="arc"))
    face = FaceAnalyzer(recognizer=recognizer).face(astronaut)
    assert face.id_embedding.shape == (512,)
    np.testing.assert_array_equal(face.box, astronaut_face.box)
    crop = align(astronaut, astronaut_face.landmarks)
    np.testing.assert_array_equal(face.id_embedding, recognizer(crop[None])[0])


def test_broken_pictures_come_out_as_image_errors(analyzer, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match=r"a.jpg: the file is empty"):
        analyzer.face(tmp_path / "a.jpg")
    with pytest.raises(MissingFileError, match="b.jpg: no such file"):
        analyzer.faces(tmp_path / "b.jpg")
    with pytest.raises(ImageError, match="a folder, not a picture"):
        analyzer.face(tmp_path)


def test_a_process_that_analyses_a_face_writes_nothing_to_its_streams():
    code = (
        "from skimage import data; from adaface.face import FaceAnalyzer;"
        "FaceAnalyzer().face(data.astronaut())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_tight_crop_that_the_detector_misses_still_gives_the_person(analyzer, astronaut, astronaut_face):
    crop = cv2.resize(astronaut[88:158, 190:256], None, fx=9, fy=9, interpolation=cv2.INTER_CUBIC)
    assert FaceAnalyzer(persistent=False).faces(crop) == []
    assert analyzer.face(crop).similarity(astronaut_face) > 0.6


def test_a_photo_upside_down_gives_the_person(analyzer, astronaut, astronaut_face):
    assert analyzer.face(astronaut[::-1, ::-1]).similarity(astronaut_face) > 0.9


def test_a_recogniser_needs_no_more_than_a_name_and_a_length(analyzer, astronaut, cameraman):
    class Plain:
        name, dim = "plain", 128

        def __call__(self, crops):
            return analyzer.recognizer(crops)

    found = FaceAnalyzer(recognizer=Plain()).identity([astronaut, cameraman])
    assert len(found.used) == 2
    assert "not compared" in found.notes[0]
