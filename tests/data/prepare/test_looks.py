"""One photo, looked at by the real detector and recogniser: every fault has its own code and sentence."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from skimage import data

from adaface.data.dataset import FaceDataset
from adaface.data.prepare.looking import look
from adaface.data.prepare.looking.look import Tools, Unusable, look_at
from adaface.data.prepare.looking.stage import NamedAnalyzer
from adaface.data.prepare.settings import PrepareSettings
from adaface.data.prepare.telling.reasons import REASONS
from adaface.data.record import Photo
from adaface.face.analyzer import FaceAnalyzer
from tiny_photos import Always, encoded

SETTINGS = PrepareSettings(size=64)


@pytest.fixture(scope="module")
def woman() -> Image.Image:
    """The astronaut's head and shoulders: (320, 320)."""
    return Image.fromarray(data.astronaut()[:320, 60:380])


@pytest.fixture(scope="module")
def man() -> Image.Image:
    return Image.fromarray(data.camera()[20:280, 100:360]).convert("RGB")


@pytest.fixture(scope="module")
def tools() -> Tools:
    return Tools(FaceAnalyzer())


@pytest.fixture
def seen(tools, tmp_path):
    """Bytes of a photo -> "kept", or the code; the sentence is checked on the way."""

    def run(content, settings=SETTINGS, **photo):
        try:
            look_at(Photo(tmp_path, "r", "x.jpg", "ann", **photo), content, tools, settings)
        except Unusable as finding:
            code, sentence = finding.rejection.code, finding.rejection.sentence
            assert code in REASONS and sentence[0].isupper() and len(sentence) > 20
            return code
        return "kept"

    return run


def sixteen(picture):
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


def part(name, content):
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def turned(picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)


def test_photos_of_every_kind_are_kept(seen, woman):
    kinds = {
        "cmyk": encoded(woman.convert("CMYK"), "JPEG"),
        "grey": encoded(woman.convert("L"), "JPEG"),
        "16 bits": encoded(sixteen(woman), "PNG"),
        "palette": encoded(woman.quantize(64), "PNG"),
        "transparent": encoded(woman.convert("RGBA"), "PNG"),
        "turned by EXIF": turned(woman),
        "large": encoded(woman.resize((4000, 4000)), "JPEG"),
        "upside down": encoded(woman.rotate(180), "JPEG"),
    }
    assert {kind: seen(content) for kind, content in kinds.items()} == dict.fromkeys(kinds, "kept")


def test_every_fault_has_its_code(seen, woman):
    whole = encoded(woman, "JPEG")
    huge = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0))
    huge += part(b"IDAT", zlib.compress(b"")) + part(b"IEND", b"")
    faults = {
        whole[: len(whole) // 2]: "broken_file",
        b"Dear diary, this is no picture": "not_a_picture",
        b"\0\0\0\x18ftypheic" + b"\0" * 40: "not_a_picture",
        huge: "too_large",
        encoded(Image.fromarray(data.rocket()), "JPEG"): "no_face",
        encoded(woman.resize((60, 60)), "PNG"): "face_too_small",
        encoded(woman.resize((40, 40)).resize((320, 320)), "PNG"): "poor_quality",
        encoded(woman.crop((100, 50, 230, 190)), "PNG"): "cut_off",
    }
    assert [seen(content) for content in faults] == list(faults.values())


def test_a_file_that_cannot_be_read_or_is_empty_says_so(tmp_path, monkeypatch):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    codes = {}
    for name in ("empty.jpg", "gone.jpg"):
        with pytest.raises(Unusable) as found:
            look.read(Photo(tmp_path, "r", name, "ann"))
        codes[name] = found.value.rejection
    assert {name: found.code for name, found in codes.items()} == {
        "empty.jpg": "empty_file", "gone.jpg": "unreadable_file",
    }  # fmt: skip
    assert codes["gone.jpg"].sentence == (
        "The file cannot be read (No such file or directory). Check its permissions"
    )
    monkeypatch.setattr(look, "MAX_BYTES", 3)
    (tmp_path / "big.jpg").write_bytes(b"1234")
    with pytest.raises(Unusable, match="Save it smaller"):
        look.read(Photo(tmp_path, "r", "big.jpg", "ann"))


def test_an_upside_down_photo_gives_an_upright_crop(tools, woman, tmp_path):
    photo = Photo(tmp_path, "r", "x.jpg", "ann")
    crops = [look_at(photo, encoded(p, "PNG"), tools, SETTINGS)[1][0] for p in (woman, woman.rotate(180))]
    assert crops[0].face.similarity(crops[1].face) > 0.9
    assert np.abs(crops[0].landmarks - crops[1].landmarks).max() < 2


def test_the_square_crop_is_not_turned_and_stays_inside(tools, woman, tmp_path):
    settings = PrepareSettings(size=64, crop="square", margin=2.0)
    crop = look_at(Photo(tmp_path, "r", "x.jpg", "ann"), encoded(woman, "PNG"), tools, settings)[1][0]
    assert crop.corners is None and crop.inside == 1


def test_only_255_of_a_given_mask_counts_and_it_goes_with_the_crop(tools, woman, tmp_path):
    mask = np.full((320, 320), 254, np.uint8)
    mask[:, 160:] = 255
    Image.fromarray(mask).save(tmp_path / "x_mask.png")
    photo = Photo(tmp_path, "r", "x.jpg", "ann", mask="x_mask.png")
    crop = look_at(photo, encoded(woman, "PNG"), tools, SETTINGS)[1][0]
    cut = np.asarray(Image.open(BytesIO(crop.mask)))
    face_x = crop.face.landmarks[2, 0]
    edge = np.flatnonzero(cut[32] == 255)[0]
    assert set(np.unique(cut)) == {0, 255}
    expected = crop.landmarks[2, 0] + (160 - face_x) * np.ptp(crop.landmarks[:2, 0]) / np.ptp(
        crop.face.landmarks[:2, 0]
    )
    assert edge == pytest.approx(expected, abs=2)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((320, 200), 255, np.uint8), "Its mask has 200x320 pixels, the photo 320x320"),
        (np.ones((320, 320), np.uint8), r"nowhere 255 \(at most 1\), and only 255 counts"),
        (None, r"Its mask x_mask.png cannot be read \(cannot identify image file it\)\. Save it as"),
    ],
)
def test_a_mask_that_does_not_fit_is_a_reason(tools, woman, tmp_path, values, words):
    if values is None:
        (tmp_path / "x_mask.png").write_bytes(b"no")
    else:
        Image.fromarray(values).save(tmp_path / "x_mask.png")
    photo = Photo(tmp_path, "r", "x.jpg", "ann", mask="x_mask.png")
    with pytest.raises(Unusable, match=words) as found:
        look_at(photo, encoded(woman, "PNG"), tools, SETTINGS)
    assert found.value.rejection.code == "mask_does_not_fit"


def test_a_smaller_mask_of_the_same_shape_fits(tools, woman, tmp_path):
    Image.fromarray(np.full((160, 160), 255, np.uint8)).save(tmp_path / "x_mask.png")
    photo = Photo(tmp_path, "r", "x.jpg", "ann", mask="x_mask.png")
    assert look_at(photo, encoded(woman, "PNG"), tools, SETTINGS)[1][0].mask is not None


def test_a_small_folder_of_real_photos_with_faults(make, tmp_path, out, reasons, woman, man, tools):
    """Copies are dropped, strangers are found, in a photo of two people the folder's is taken."""
    folder = tmp_path / "photos" / "eileen"
    folder.mkdir(parents=True)
    both = Image.new("RGB", (640, 320), "grey")
    both.paste(man.resize((320, 320)), (0, 0))
    both.paste(woman.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (320, 0))
    files = {
        "a.png": encoded(woman, "PNG"),
        "b.png": encoded(woman, "PNG"),
        "c.jpg": encoded(woman.resize((280, 280)), "JPEG", quality=60),
        "d.png": encoded(both, "PNG"),
        "e.png": encoded(man, "PNG"),
        "f.jpg": b"",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    make(tmp_path / "photos", analyzer=Always(tools.analyzer), settings={"min_inside": 0.6})
    codes = {path.rpartition("/")[2]: code for path, (code, _) in reasons(out).items()}
    assert codes == {
        "b.png": "duplicate", "c.jpg": "near_duplicate", "e.png": "other_person", "f.jpg": "empty_file",
    }  # fmt: skip
    assert [FaceDataset(out).facts(row)["source"] for row in range(2)] == ["eileen/a.png", "eileen/d.png"]


def test_the_default_analyser_is_named_by_its_recogniser():
    assert NamedAnalyzer()().recognizer.name == "sface"
