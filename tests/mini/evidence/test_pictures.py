"""Sheets of pictures: drawn once, known again, drawn anew where anything beneath has changed."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from adaface.mini.evidence import pictures
from adaface.mini.evidence.design import Design, cells_of
from adaface.mini.evidence.pictures import Sheets, grid
from adaface.mini.evidence.rows import CLASS_PROMPT, TEACHER, RowSource
from adaface.pipelines.settings import Settings

CELLS = cells_of(Design(people=2, plain=1, seen=1, unseen=1)).cells
IDS = torch.eye(2)


class Prompter:
    """ID embeddings as they are."""

    def __call__(self, ids):
        return ids

    def context(self, ids):
        return ids


class Painter:
    """Stands in for a personalizer: its embeddings are the words and whose rows stand in them."""

    settings = Settings(steps=3)
    pipe = SimpleNamespace(device="cpu")
    id_prompter = Prompter()

    def encoder(self, prompts, id_scale):
        return prompts

    def prompt_embeds(self, words, subjects):
        return SimpleNamespace(prompt_embeds=(words, {n: rows.tolist() for n, rows in subjects.items()}))


@pytest.fixture
def drawn(monkeypatch):
    """Each drawing that was asked for; pictures have the colour of their seed."""
    plans = []

    def draw(pipe, plan, on_pictures):
        plans.append(plan)
        images = [Image.new("RGB", (4, 4), (seed % 256, 7, 9)) for seed in plan.seeds]
        on_pictures(0, images)
        return tuple(images), []

    monkeypatch.setattr(pictures, "draw", draw)
    return plans


def row(name="stage 1", identity="a"):
    place = "" if name in (CLASS_PROMPT, TEACHER) else "somewhere"
    return RowSource(name, identity, Painter(), place)


def sheets(folder, **values):
    return Sheets(**{"folder": folder, "cells": CELLS, "ids": IDS, "same": "models", "steps": None} | values)


def test_each_cell_has_the_picture_of_its_seed_also_when_it_is_read_again(tmp_path, drawn):
    first, again = (sheets(tmp_path).get(row()) for _ in range(2))
    assert len(drawn) == 1
    for pictures_ in (first, again):
        assert [one.getpixel((2, 2))[0] for one in pictures_] == [cell.seed % 256 for cell in CELLS]
        assert {one.size for one in pictures_} == {(4, 4)}


@pytest.mark.parametrize("which", ["weights", "models", "steps", "people", "words", "damaged"])
def test_a_sheet_of_something_else_is_drawn_anew(which, tmp_path, drawn):
    before = sheets(tmp_path)
    before.get(row())
    after = {
        "models": sheets(tmp_path, same="others"),
        "steps": sheets(tmp_path, steps=5),
        "people": sheets(tmp_path, ids=IDS.flip(0)),
        "words": sheets(tmp_path, cells=[replace(cell, prompt="<person>") for cell in CELLS]),
    }.get(which, before)
    if which == "damaged":
        before.path(row()).write_bytes(before.path(row()).read_bytes()[:70])
    after.get(row(identity="b" if which == "weights" else "a"))
    assert len(drawn) == 2
    assert drawn[1].settings.steps == (5 if which == "steps" else 3)


def test_the_teacher_draws_plain_pictures_alone(tmp_path, drawn):
    got = sheets(tmp_path).get(row(TEACHER))
    assert [one is not None for one in got] == [cell.kind == "plain" for cell in CELLS]
    assert len(drawn[0].seeds) == 2


def test_prompts_hold_the_person_and_the_class_prompt_nobody(tmp_path, drawn):
    sheets(tmp_path).get(row())
    sheets(tmp_path).get(row(CLASS_PROMPT))
    for (words, subjects), cell in zip(drawn[0].prompt_embeds, CELLS, strict=True):
        assert words == cell.prompt and subjects == {"person": IDS[cell.person].tolist()}
    assert drawn[1].prompt_embeds == [(cell.caption, {}) for cell in CELLS]
    assert drawn[0].seeds == drawn[1].seeds == [cell.seed for cell in CELLS]


def test_a_grid_has_a_line_a_row_and_blanks_where_there_is_no_picture():
    red = Image.new("RGB", (4, 4), "red")
    sheet = grid(["a", "b"], {"one": [red, None], "two": [red, red]}, side=16)
    assert sheet.width == 150 + 2 * 20
    assert sheet.getpixel((158, sheet.height - 10)) == (255, 0, 0)
    assert sheet.getpixel((178, sheet.height - 30)) == (255, 255, 255)
