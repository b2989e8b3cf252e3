"""Any picture a user has comes out upright, RGB, 8 bits, bounded; or as an error that says what to do."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from adaface.errors import ImageError, MissingFileError
from adaface.face import images
from adaface.face.images import load_image, open_picture, photos_in


def gradient(height: int = 40, width: int = 60) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 4, y * 6, 255 - x * 4], axis=2).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def close(a: np.ndarray, b: np.ndarray, most: float = 2.0) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(float) - b).mean()) <= most


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_come_out_as_they_were(kind, tmp_path):
    path = tmp_path / f"x.{kind.lower()}"
    Image.fromarray(gradient()).save(path, kind)
    np.testing.assert_array_equal(load_image(path), gradient())
    np.testing.assert_array_equal(load_image(str(path)), gradient())
    np.testing.assert_array_equal(load_image(path.read_bytes()), gradient())


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_other_formats_come_out_nearly_as_they_were(kind):
    assert close(load_image(encoded(Image.fromarray(gradient()), kind)), gradient(), 12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(orientation):
    stored = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }[orientation](gradient())
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    picture = open_picture(data)
    np.testing.assert_array_equal(picture.pixels, gradient())
    assert picture.size == (60, 40)


def test_a_broken_exif_header_means_no_rotation():
    data = encoded(Image.fromarray(gradient()), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage")
    assert load_image(data).shape == (40, 60, 3)


def test_what_lies_under_transparency_does_not_come_back():
    rgba = np.dstack([gradient(), np.zeros((40, 60), np.uint8)])
    rgba[:, :30, 3] = 255
    for source in (rgba, Image.fromarray(rgba), encoded(Image.fromarray(rgba), "PNG")):
        pixels = load_image(source)
        np.testing.assert_array_equal(pixels[:, :30], gradient()[:, :30])
        assert (pixels[:, 30:] == 128).all()


def test_a_transparent_palette_colour_is_laid_on_grey():
    palette = Image.fromarray(np.zeros((4, 4), np.uint8), "L").convert("P")
    assert (load_image(encoded(palette, "PNG", transparency=0)) == 128).all()


def test_grey_with_alpha_is_read():
    image = Image.merge("LA", [Image.new("L", (5, 4), 200), Image.new("L", (5, 4), 255)])
    assert (load_image(encoded(image, "PNG")) == 200).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "I", "F", "RGBX"])
def test_every_mode_becomes_rgb(mode):
    image = Image.new("RGB", (6, 5), (255, 255, 255)).convert(mode)
    pixels = load_image(image)
    assert pixels.shape == (5, 6, 3)
    assert pixels.dtype == np.uint8
    assert (pixels > 250).all()


def test_a_cmyk_jpeg_keeps_its_colours():
    data = encoded(Image.fromarray(gradient()).convert("CMYK"), "JPEG", quality=95)
    assert close(load_image(data), gradient(), 6)


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    grey = np.linspace(0, 65535, 60 * 40).reshape(40, 60).astype(np.uint16)
    expected = np.rint(grey / 257).astype(np.uint8)
    for source in (grey, encoded(Image.fromarray(grey), "PNG"), encoded(Image.fromarray(grey), "TIFF")):
        np.testing.assert_array_equal(load_image(source)[:, :, 1], expected)


def test_a_sixteen_bit_colour_png_is_scaled():
    rows = b"".join(b"\0" + b"\x80\xff\x10\x00\xff\xff" * 8 for _ in range(8))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    assert load_image(png)[0, 0].tolist() == [128, 16, 255]


@pytest.mark.parametrize(
    "array",
    [
        gradient() / 255,
        (gradient() / 255).astype(np.float32),
        gradient().astype(np.uint16) * 257,
        np.asfortranarray(gradient()),
        np.dstack([gradient(), np.full((40, 60), 255, np.uint8)]),
    ],
    ids=["float64", "float32", "uint16", "fortran", "rgba"],
)
def test_arrays_of_other_types_mean_the_same_picture(array):
    np.testing.assert_array_equal(load_image(array), gradient())


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 1)])
def test_a_grey_array_becomes_rgb(shape):
    np.testing.assert_array_equal(
        load_image(gradient()[:, :, 0].reshape(shape))[:, :, 2], gradient()[:, :, 0]
    )


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 40, 60), np.uint8), r"Give \(H, W\), \(H, W, 3\)"),
        (np.zeros((2, 40, 60, 3), np.uint8), "not the shape of a picture"),
        (np.zeros((0, 60, 3), np.uint8), "no pixels"),
        (np.zeros((4, 4, 3), np.int64), "Give uint8"),
        (np.full((4, 4, 3), 255.0), r"values from 255 to 255. Give floats in \[0, 1\]"),
        (np.full((4, 4, 3), np.nan), "values from nan"),
    ],
)
def test_an_array_that_is_no_picture_says_what_to_give(array, message):
    with pytest.raises(ImageError, match=message):
        load_image(array)


def test_the_given_picture_is_not_changed():
    image = Image.fromarray(np.dstack([gradient(), np.full((40, 60), 9, np.uint8)]))
    before = image.tobytes()
    pixels = load_image(image)
    pixels[:] = 0
    assert (image.tobytes(), image.mode) == (before, "RGBA")
    array = gradient()
    load_image(array)[:] = 0
    np.testing.assert_array_equal(array, gradient())


def test_a_huge_jpeg_is_decoded_small(monkeypatch):
    decoded = []
    upright = images.upright
    monkeypatch.setattr(images, "upright", lambda image: (decoded.append(image.size), upright(image))[1])
    picture = open_picture(encoded(Image.new("RGB", (9000, 5000), (9, 200, 9)), "JPEG"), max_side=1024)
    assert decoded == [(1125, 625)]
    assert picture.pixels.shape == (569, 1024, 3)
    assert picture.size == (9000, 5000)
    assert picture.scale == pytest.approx(1024 / 9000)


def test_the_result_is_bounded_whatever_the_format():
    picture = open_picture(encoded(Image.new("L", (5000, 300), 7), "PNG"))
    assert picture.pixels.shape == (246, 4096, 3)
    assert picture.size == (5000, 300)
    assert load_image(np.zeros((300, 200, 3), np.uint8), max_side=30).shape == (30, 20, 3)


@pytest.mark.parametrize("side", [11_000, 14_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side):
    bomb = encoded(Image.new("1", (side, side)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(ImageError, match="more than 100 million pixels. Make it smaller"):
        load_image(bomb)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ImageError, match="million pixels"):
            load_image(bomb)


def test_a_progressive_jpeg_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 10_000)
    data = encoded(Image.new("RGB", (200, 100)), "JPEG", progressive=True)
    with pytest.raises(ImageError, match="Make it smaller"):
        load_image(data)
    assert load_image(encoded(Image.new("RGB", (200, 100)), "JPEG"), max_side=50).shape == (25, 50, 3)


def test_a_strip_is_refused():
    with pytest.raises(ImageError, match="a strip of 1000x3 pixels. Cut the part with the face"):
        load_image(np.zeros((3, 1000, 3), np.uint8))


def test_one_pixel_is_a_picture():
    assert load_image(Image.new("RGB", (1, 1))).shape == (1, 1, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_an_error(kind, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(ImageError, match="broken or cut off .*Save or download it again|not a picture"):
        load_image(data[: int(len(data) * share)])


def test_random_damage_is_an_image_error_or_a_picture():
    rng = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"):
        good = encoded(Image.fromarray(gradient()), kind)
        for _ in range(40):
            bad = bytearray(good)
            for place in rng.integers(0, len(bad), 4):
                bad[place] = rng.integers(256)
            try:
                pixels = load_image(bytes(bad))
            except ImageError:
                continue
            assert pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"plain text, not a photo", "not a picture that can be read. Give JPEG"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"  <!DOCTYPE html><html>", "web page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "vector drawing"),
        (b"%PDF-1.7", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC.*Save it as JPEG"),
        (b"\xff\xd8\xff", "broken or cut off"),
    ],
)
def test_a_file_that_is_no_picture_says_what_it_is(content, message, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as caught:
        load_image(path)
    assert str(path) in str(caught.value)


def test_a_missing_path_names_what_is_missing(tmp_path):
    with pytest.raises(MissingFileError, match="no such file or folder. Check the name"):
        load_image(tmp_path / "nobody.jpg")
    with pytest.raises(MissingFileError, match="no such folder as .*nowhere. Check the name"):
        load_image(tmp_path / "nowhere" / "nobody.jpg")
    with pytest.raises(MissingFileError, match="a web address. Download the picture"):
        load_image("https://example.org/alice.jpg")
    for odd in ("x" * 5000, "alice\0.jpg"):
        with pytest.raises(MissingFileError, match="cannot be reached"):
            load_image(odd)


def test_a_tilde_is_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.fromarray(gradient()).save(tmp_path / "me.png")
    np.testing.assert_array_equal(load_image("~/me.png"), gradient())


def test_a_pipe_or_device_is_not_read():
    with pytest.raises(ImageError, match="not a regular file. Save the picture to a file first"):
        load_image("/dev/zero")


def test_a_folder_is_not_a_picture(tmp_path):
    with pytest.raises(ImageError, match="a folder, not a picture"):
        load_image(tmp_path)


def test_something_else_is_not_a_picture():
    with pytest.raises(ImageError, match="object of type int: not a picture. Give a path"):
        load_image(7)  # type: ignore[arg-type]


def test_a_folder_gives_its_pictures_by_name(tmp_path):
    for name in ("b.JPG", "a.png", ".hidden.png", "Thumbs.db", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "c.png").mkdir()
    assert [path.name for path in photos_in(tmp_path)] == ["a.png", "b.JPG"]


def test_a_folder_without_pictures_says_where_they_may_be(tmp_path):
    with pytest.raises(ImageError, match="no picture in this folder. Name a folder of photos"):
        photos_in(tmp_path)
    (tmp_path / "alice").mkdir()
    with pytest.raises(ImageError, match=r"It holds folders \(alice\): name one of these"):
        photos_in(tmp_path)
