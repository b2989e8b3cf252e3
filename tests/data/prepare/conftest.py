"""Preparing with drawn photos: no network is opened, so that whole data sets are made in milliseconds."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from adaface.data.executors import run_chunks
from adaface.data.prepare.run import Prepared, Request, prepare
from adaface.data.prepare.settings import PrepareSettings
from tiny_photos import Analyzer, write_people

Lines = dict[str, tuple[str, str]]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Ann and Bob, three photos each."""
    return write_people(tmp_path / "raw")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def make(raw: Path, out: Path) -> Callable[..., Prepared]:
    """Prepare `raw` into `out`, or what is given instead; settings by their names."""

    def run(
        *roots: Path, to: Path = out, runner=run_chunks, settings=None, tell=lambda words: None, **request
    ) -> Prepared:
        sized = PrepareSettings(**{"size": 64, **(settings or {})})
        roots = roots or (() if request.get("mixed_roots") else (raw,))
        wanted = {"analyzer": Analyzer(), **request}
        return prepare(Request(out=to, data_roots=roots, settings=sized, **wanted), runner, tell)

    return run


def rejected(folder: Path) -> Lines:
    """path -> (code, sentence), of rejected.jsonl."""
    lines = [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]
    return {line["path"]: (line["code"], line["reason"]) for line in lines}


@pytest.fixture(scope="session")
def reasons() -> Callable[[Path], Lines]:
    return rejected
