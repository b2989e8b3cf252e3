"""Files of weights as lazy mappings: safetensors and pickled ones."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from adaface.checkpoints.tensors import open_tensors
from adaface.errors import DamagedFileError, FormatError, MissingFileError, UnsafeFileError
from tiny_ldm import assert_same

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 4265380512\n"


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "matrix": torch.randn(5, 7, generator=generator),
        "half": torch.randn(3, 2, 2, generator=generator).half(),
        "brain": torch.randn(9, generator=generator).bfloat16(),
        "double": torch.randn(2, generator=generator).double(),
        "ids": torch.arange(77)[None],
        "flags": torch.tensor([True, False, True]),
        "scalar": torch.tensor(2.5),
        "nothing": torch.zeros(0, 4),
    }


@pytest.fixture
def file(tensors, tmp_path):
    save_file(tensors, tmp_path / "weights.safetensors", metadata={"from": "a test"})
    return tmp_path / "weights.safetensors"


@pytest.fixture
def pickled(tensors, tmp_path):
    """As trainings leave them: the tensors under `state_dict`, other things beside them."""
    torch.save({"state_dict": tensors, "global_step": 7, "epoch": 1}, tmp_path / "weights.ckpt")
    return tmp_path / "weights.ckpt"


def test_a_safetensors_file_holds_what_was_saved(file, tensors):
    assert_same(dict(open_tensors(file)), tensors)


def test_a_pickled_file_holds_what_was_saved(pickled, tensors):
    assert_same(dict(open_tensors(pickled)), tensors)


@pytest.mark.parametrize("kind", ["file", "pickled"])
def test_shapes_and_dtypes_are_told_without_reading(kind, request, tensors):
    weights = open_tensors(request.getfixturevalue(kind))
    assert {name: (weights.shape(name), weights.dtype(name)) for name in weights} == {
        name: (tuple(value.shape), value.dtype) for name, value in tensors.items()
    }


@pytest.mark.parametrize("kind", ["file", "pickled"])
def test_blocks_are_the_tensor_in_pieces(kind, request, tensors):
    weights = open_tensors(request.getfixturevalue(kind))
    pieces = list(weights.blocks("matrix", 8))
    assert [len(piece) for piece in pieces] == [8, 8, 8, 8, 3]
    assert torch.equal(torch.cat(pieces).reshape(5, 7), tensors["matrix"])
    assert list(weights.blocks("nothing")) == []


@pytest.mark.parametrize("kind", ["file", "pickled"])
def test_a_tensor_can_be_written_to_without_changing_the_file(kind, request, tensors):
    path = request.getfixturevalue(kind)
    weights, before = open_tensors(path), path.read_bytes()
    weights["matrix"].zero_()
    assert torch.equal(weights["matrix"], tensors["matrix"])
    assert path.read_bytes() == before


def test_a_transposed_tensor_comes_back_from_a_pickle(tmp_path):
    value = torch.arange(12.0).reshape(3, 4).T
    torch.save({"turned": value}, tmp_path / "turned.pt")
    weights = open_tensors(tmp_path / "turned.pt")
    assert torch.equal(weights["turned"], value)
    assert torch.equal(torch.cat(list(weights.blocks("turned", 5))), value.reshape(-1))


def test_deeper_dicts_become_names_with_dots(tmp_path):
    torch.save({"string_to_param": {"*": torch.ones(2, 3)}, "step": 5}, tmp_path / "word.pt")
    assert list(open_tensors(tmp_path / "word.pt")) == ["string_to_param.*"]


def test_the_header_tells_the_metadata(file, pickled):
    assert open_tensors(file).metadata == {"from": "a test"}
    assert open_tensors(pickled).metadata == {}


def test_the_name_does_not_decide_that_a_file_is_safetensors(file, tensors):
    assert_same(dict(open_tensors(file.rename(file.with_suffix(".ckpt")))), tensors)


def test_a_file_that_is_replaced_meanwhile_stays_the_one_that_was_opened(file, tensors, tmp_path):
    weights = open_tensors(file)
    save_file({"other": torch.zeros(1)}, tmp_path / "new")
    (tmp_path / "new").replace(file)
    assert_same(dict(weights), tensors)


def test_a_file_that_is_cut_meanwhile_is_an_error(file):
    weights = open_tensors(file)
    file.write_bytes(file.read_bytes()[:-400])
    with pytest.raises(FormatError, match="became shorter while it was read. Copy or download it again"):
        dict(weights)


def test_an_unknown_name_is_a_key_error(file, pickled):
    for weights in (open_tensors(file), open_tensors(pickled)):
        with pytest.raises(KeyError):
            weights["nobody"]


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(MissingFileError, match=r"none.safetensors: no such file. Check the path"):
        open_tensors(tmp_path / "none.safetensors")


def test_a_folder_is_an_error(tmp_path):
    with pytest.raises(FormatError, match="a folder; a file is expected here"):
        open_tensors(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (POINTER.encode(), "a git-lfs pointer.*Run `git lfs pull`"),
        (b"<!DOCTYPE html><html>log in</html>", "a web page.*Download it again"),
        (b"Entry not found", "no weights file that is known here"),
        (b"\0" * 4096, "no weights file that is known here"),
    ],
    ids=["empty", "lfs", "html", "text", "zeros"],
)
@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
def test_a_file_without_weights_says_what_it_is_and_what_to_do(content, words, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DamagedFileError, match=rf"(?s){name}: {words}") as caught:
        open_tensors(tmp_path / name)
    assert "expected here: weights" in str(caught.value)


@pytest.mark.parametrize("kept", [-1, -1000, 200, 20], ids=["a byte", "a tensor", "half header", "head"])
def test_a_safetensors_file_that_is_cut_off_says_so(kept, file):
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DamagedFileError, match=r"cut off \(\d+ .*\). Copy or download it again"):
        open_tensors(file)


def test_a_pickled_file_that_is_cut_off_says_so(pickled):
    pickled.write_bytes(pickled.read_bytes()[:-100])
    with pytest.raises(DamagedFileError, match=r"cut off \(a zip file without its end\)"):
        open_tensors(pickled)


def test_a_pickle_called_safetensors_is_not_opened(pickled):
    with pytest.raises(DamagedFileError, match=r"a zip file, called .safetensors; .*rename this to .ckpt"):
        open_tensors(pickled.rename(pickled.with_suffix(".safetensors")))


def test_a_header_that_contradicts_itself_is_an_error(file):
    raw = file.read_bytes()
    file.write_bytes(raw.replace(b'"shape":[5,7]', b'"shape":[7,7]'))
    with pytest.raises(DamagedFileError, match="not a whole safetensors file"):
        open_tensors(file)


@pytest.mark.parametrize("header", [b"{not json}", b'{"a":1}     ', b'{"a":{"x":[0,1]}}'])
def test_a_header_that_is_none_is_an_error(header, tmp_path):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    with pytest.raises(DamagedFileError, match=r"not the header of a safetensors file"):
        open_tensors(path)


def test_a_checkpoint_without_tensors_is_an_error(tmp_path):
    torch.save({"epoch": 3, "names": ["a"]}, tmp_path / "empty.pt")
    with pytest.raises(FormatError, match="holds no tensors by name"):
        open_tensors(tmp_path / "empty.pt")


@pytest.mark.parametrize("name", ["__metadata__", "half a \ud83d letter"])
def test_a_name_that_no_safetensors_file_can_hold_is_refused(name, tmp_path):
    torch.save({name: torch.zeros(1)}, tmp_path / "odd.ckpt")
    with pytest.raises(UnsafeFileError, match="as no checkpoint has it. Nothing of it was run"):
        open_tensors(tmp_path / "odd.ckpt")


def test_a_name_that_is_too_long_is_an_error(tmp_path):
    with pytest.raises(MissingFileError, match=r"cannot be reached \(File name too long\). Check the name"):
        open_tensors(tmp_path / ("x" * 300))


def test_reading_leaves_no_file_open(file):
    weights = open_tensors(file)
    handle = weights._handle
    del weights
    assert handle.closed


def test_the_library_reads_the_same(file):
    assert_same(dict(open_tensors(file)), load_file(file))
