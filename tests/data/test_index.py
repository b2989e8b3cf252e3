"""Columns in a mapped safetensors file: others can read it, and what is damaged is told."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from adaface.data.index import ColumnSpool, open_columns, read_strings
from adaface.errors import DatasetError, MissingFileError


@pytest.fixture
def path(tmp_path):
    """Three rows of numbers, and a table of texts."""
    (tmp_path / "spool").mkdir()
    spool = ColumnSpool(tmp_path / "spool")
    for row in range(3):
        spool.append("small", np.array([row], np.uint8))
        spool.append("points", np.full((1, 5, 2), row, np.float32))
        spool.append("big", np.array([row * 10**12], np.int64))
    spool.append_text("names", ["Zoë", ""])
    spool.append_text("names", ["a name with spaces"])
    spool.write(tmp_path / "columns.safetensors", {"kind": "test"})
    spool.close()
    return tmp_path / "columns.safetensors"


def rewritten(path, change):
    """The same file with another header."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    head = json.loads(data[8:begin])
    change(head)
    text = json.dumps(head).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[begin:])


def test_columns_come_back_as_they_were_written(path):
    columns, metadata = open_columns(path)
    assert metadata == {"kind": "test"}
    assert columns["small"].tolist() == [0, 1, 2]
    assert columns["big"].tolist() == [0, 10**12, 2 * 10**12]
    assert columns["points"].shape == (3, 5, 2) and columns["points"][2].tolist() == [[2.0, 2.0]] * 5


def test_the_library_of_the_format_reads_the_same(path):
    columns, _ = open_columns(path)
    for name, values in load_file(path).items():
        assert np.array_equal(values, columns[name]), name


def test_texts_are_a_sequence(path):
    names = read_strings(open_columns(path)[0], "names")
    assert list(names) == ["Zoë", "", "a name with spaces"]
    assert (len(names), names[-1], names[:2]) == (3, "a name with spaces", ["Zoë", ""])
    with pytest.raises(IndexError, match="3 of 3 texts"):
        names[3]


def test_what_is_mapped_cannot_be_changed_by_mistake(path):
    columns, _ = open_columns(path)
    with pytest.raises(ValueError, match="read-only"):
        columns["big"][0] = 1


def test_wide_numbers_begin_where_they_may(path):
    columns, _ = open_columns(path)
    assert all(values.flags.aligned for values in columns.values())


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(MissingFileError, match=r"none.safetensors: no such file. Copy the data set again"):
        open_columns(tmp_path / "none.safetensors")


@pytest.mark.parametrize("length", [0, 5, 8, 40])
def test_a_file_that_ends_in_its_header_is_told(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DatasetError, match="not a file of columns"):
        open_columns(path)


def test_a_file_that_ends_in_its_numbers_is_told(path):
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"cut off: \d+ bytes where column \S+ ends at \d+"):
        open_columns(path)


def test_a_header_that_is_no_json_is_told(path):
    data = bytearray(path.read_bytes())
    data[8] = ord("?")
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="its header is damaged"):
        open_columns(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "PICKLE", "shape": [3], "data_offsets": [0, 24]},
        {"dtype": "I64", "shape": [4], "data_offsets": [0, 24]},
        {"dtype": "I64", "shape": [-3], "data_offsets": [0, -24]},
        {"dtype": "I64", "shape": [3], "data_offsets": [-24, 0]},
        {"dtype": "I64", "shape": "three", "data_offsets": [0, 24]},
        {"dtype": "I64"},
        "nothing",
    ],
)
def test_a_header_that_lies_is_told(path, entry):
    rewritten(path, lambda head: head.update(big=entry))
    with pytest.raises(DatasetError, match=r"its header is damaged \(column big"):
        open_columns(path)
