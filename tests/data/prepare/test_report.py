"""What people and programs are told: every rejected photo has its code and its sentence, and can be seen."""

import html.parser
import json
import re

import pytest
from PIL import Image, ImageFont

from adaface.data.prepare.telling import report as report_module
from adaface.data.prepare.telling.reasons import REASONS
from adaface.data.prepare.telling.sheet import SIDE, fitting
from tiny_photos import RED, YELLOW, photo, save


class Page(html.parser.HTMLParser):
    """Collects the sources of pictures and links, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.links, self.open, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.sources += [named["src"]] if "src" in named else []
        self.links += [named["href"]] if "href" in named else []
        self.open += [tag] if tag in ("figure", "div", "table", "h2") else []

    def handle_endtag(self, tag):
        if tag in ("figure", "div", "table", "h2"):
            assert self.open.pop() == tag

    def handle_data(self, text):
        self.text += text


@pytest.fixture
def page(make, raw, out) -> Page:
    save(photo(YELLOW, 40), raw / "ann" / "stranger <b>.png")
    save(photo(RED, 41, side=30), raw / "ann" / "small.png")
    (raw / "bob" / "broken.jpg").write_bytes(b"hello")
    (raw / "bob" / "film.mov").write_bytes(b"x")
    (raw / "nobody").mkdir()
    make()
    return Page((out / "report.html").read_text(encoding="utf-8"))


def test_every_rejected_photo_has_a_known_code_and_a_sentence(page, out):
    lines = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    for line in lines:
        assert line["code"] in REASONS
        assert (
            line["path"] in page.text and line["reason"] in page.text and REASONS[line["code"]] in page.text
        )
        assert {"root", "path", "person", "code", "reason"} <= line.keys()


def test_the_page_shows_the_pictures_and_needs_no_other_file(page, out):
    assert (
        len(page.sources) == 3
    )  # a small face, a stranger with a kept photo beside; the third is no picture
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert all(link.startswith("#") for link in page.links)
    assert page.open == []
    assert not re.search(r"https?://", (out / "report.html").read_text())


def test_a_copy_is_shown_beside_what_it_is_a_copy_of(make, raw, out):
    (raw / "bob" / "copy.png").write_bytes((raw / "bob" / "1.png").read_bytes())
    make()
    page = Page((out / "report.html").read_text())
    assert len(page.sources) == 2 and page.sources[0] == page.sources[1]
    assert "The same file as bob/1.png, byte for byte" in page.text


def test_the_page_counts_and_names_people_without_photos_and_other_files(page):
    assert "6 of 9 photos were kept, of 2 people; 3 were left out" in page.text
    assert "Without any photo: nobody." in page.text
    assert "bob/film.mov" in page.text


def test_names_cannot_put_tags_into_the_page(page, out):
    assert "stranger <b>.png" in page.text
    assert "stranger <b>" not in (out / "report.html").read_text()


def test_a_page_of_very_many_photos_stays_small(make, raw, out, monkeypatch):
    monkeypatch.setattr(report_module, "MOST_SHOWN", 2)
    for k in range(4):
        save(photo(RED, 50 + k, side=30), raw / "ann" / f"small{k}.png")
    make()
    shown = Page((out / "report.html").read_text())
    assert len(shown.sources) == 2
    assert "Only the first 2 are shown" in shown.text
    assert len((out / "rejected.jsonl").read_text().splitlines()) == 4


def test_the_sheet_shows_some_of_everybody(make, out):
    make()
    with Image.open(out / "contact_sheet.jpg") as sheet:
        assert sheet.width > 6 * SIDE
        assert sheet.getpixel((6 + SIDE // 2 + 4, 6 + SIDE // 2))[0] > 120  # Ann's red face


def test_a_long_name_is_cut_where_its_tile_ends():
    font = ImageFont.load_default(11)
    assert fitting("Ann", font) == "Ann"
    for name in (
        "WWWWWWWWWWWWWWWWWWWW",
        "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii",
        "Zoë \u4e2d" * 9,
    ):
        cut = fitting(name, font)
        assert cut.endswith("..") and SIDE - 20 < font.getlength(cut) <= SIDE


def test_a_rarer_reason_keeps_its_place_beside_a_common_one(make, raw, out, monkeypatch):
    monkeypatch.setattr(report_module, "MOST_SHOWN", 2)
    for k in range(4):
        save(photo(RED, 50 + k, side=30), raw / "ann" / f"small{k}.png")
    (raw / "bob" / "broken.jpg").write_bytes(b"hello")
    make()
    text = (out / "report.html").read_text()
    page = Page(text)
    assert all(f"id='{link[1:]}'" in text for link in page.links) and len(page.links) == 2
    assert "The others: raw/ann/small2.png, raw/ann/small3.png." in page.text


def test_the_figures_of_the_identity_filter_are_written_down(make, out):
    make(settings={"same_person": 0.7})
    figures = {"pair": 0.7, "mean": 0.7, "source": "given"}
    assert json.loads((out / "prepare.json").read_text())["settings"]["least_similarity"] == figures
    assert (
        "least_similarity (pair 0.7, mean 0.7, source given)" in Page((out / "report.html").read_text()).text
    )
