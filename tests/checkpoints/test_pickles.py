"""What the safe reader of pickles reads, and what it refuses beyond the recorded hostile files."""

import io
import random
import zipfile
from collections import OrderedDict

import pytest
import torch
from torch.testing import assert_close

from adaface.checkpoints.names import LIGHTNING, ORIGINAL
from adaface.checkpoints.pickles import read_pickle
from adaface.checkpoints.records import Record, tensors_of
from adaface.errors import AdaFaceError, DamagedFileError, FormatError, MissingFileError, UnsafeFileError
from tiny_pickles import archive, name, tensor, text
from tiny_text import GOLDEN

FOUR = {"data/0": b"\0" * 16}  # one storage of four float32
PROTOCOL = b"\x80\x02"
DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file.pt"


def refused(file, pickled, names=ORIGINAL, records=FOUR, error=UnsafeFileError) -> str:
    archive(file, PROTOCOL + pickled, records)
    with pytest.raises(error) as caught:
        read_pickle(file, names)
    return str(caught.value)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_every_type_come_back(file, dtype):
    tree = {"a": torch.arange(6).reshape(2, 3).to(dtype), "b": [torch.ones((), dtype=dtype)]}
    torch.save(tree, file)
    back = read_pickle(file)
    assert_close(back["a"], tree["a"])
    assert_close(back["b"][0], tree["b"][0])


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_state_dict_comes_back_as_plain_dicts(file, protocol):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save({"state_dict": model.state_dict(), "step": 7, "lr": 0.5}, file, pickle_protocol=protocol)
    back = read_pickle(file)
    assert type(back["state_dict"]) is dict
    assert (back["step"], back["lr"]) == (7, 0.5)
    for key, value in model.state_dict().items():
        assert_close(back["state_dict"][key], value)


def test_views_keep_their_strides_and_share_their_storage(file):
    whole = torch.arange(12.0).reshape(3, 4)
    torch.save({"whole": whole, "turned": whole.T, "row": whole[1]}, file)
    back = read_pickle(file)
    assert_close(back["turned"], whole.T)
    assert_close(back["row"], whole[1])
    assert back["row"].untyped_storage().data_ptr() == back["whole"].untyped_storage().data_ptr()


def test_empty_tensors_and_parameters_come_back(file):
    torch.save({"none": torch.empty(0, 5), "own": torch.nn.Parameter(torch.ones(2))}, file)
    back = read_pickle(file)
    assert back["none"].shape == (0, 5)
    assert type(back["own"]) is torch.Tensor
    assert_close(back["own"], torch.ones(2))


def test_writing_to_a_tensor_leaves_the_file_as_it_is(file):
    torch.save({"a": torch.ones(1000)}, file)
    before = file.read_bytes()
    read_pickle(file)["a"].zero_()
    assert file.read_bytes() == before
    assert_close(read_pickle(file)["a"], torch.ones(1000))


def test_tensors_that_are_not_aligned_come_back(file, tmp_path):
    torch.save({"a": torch.arange(4.0)}, file)
    with zipfile.ZipFile(file) as old:
        records = {record.split("/", 1)[1]: old.read(record) for record in old.namelist()}
    for shift in range(1, 5):
        moved = archive(tmp_path / "moved.pt", records["data.pkl"], {"x" * shift: b"", **records}, "m")
        assert_close(read_pickle(moved)["a"], torch.arange(4.0))


def test_what_a_training_leaves_beside_the_weights_becomes_inert_records(file, listed):
    callback = listed("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    torch.save({"state_dict": {"a": torch.ones(2)}, "callbacks": {callback: {"best": 1.0}}}, file)
    back = read_pickle(file, LIGHTNING)
    assert_close(back["state_dict"]["a"], torch.ones(2))
    (kept,) = back["callbacks"]
    assert issubclass(kept, Record)
    assert kept.name == ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")


def test_a_module_becomes_a_record_of_its_state(file):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    torch.save(model, file)
    back = read_pickle(file, ORIGINAL)
    assert isinstance(back, Record)
    assert repr(back) == "<record of torch.nn.modules.container.Sequential>"
    assert back.get("0").get("weight").shape == (2, 3)
    assert back.get("nothing") is None
    assert tensors_of(back).keys() == {"0.weight", "0.bias"}


def test_an_ordered_dict_with_attributes_is_read_without_them(file):
    ordered = OrderedDict(a=torch.ones(1))
    ordered._metadata = {"version": 1}
    torch.save(ordered, file)
    back = read_pickle(file)
    assert type(back) is dict
    assert list(back) == ["a"]


def test_a_name_is_compared_as_a_pair(file):
    said = refused(file, name("torch", "_utils._rebuild_tensor_v2") + b".")
    assert "it names torch._utils._rebuild_tensor_v2, which is not among" in said
    assert "Nothing of it was run" in said


def test_a_checkpoint_of_the_authors_in_the_place_of_weights_tells_of_convert():
    with pytest.raises(UnsafeFileError, match="run `adaface convert` first"):
        read_pickle(GOLDEN / "checkpoints" / "2025.pt")


def test_the_state_of_a_tensor_cannot_be_set(file):
    assert "_View" in refused(file, tensor() + b"}b.")


def test_our_own_functions_cannot_be_changed(file):
    said = refused(file, name("collections", "OrderedDict") + b"N}" + text("_run") + b"K\x01s\x86b.")
    assert "it sets the state of collections.OrderedDict, which has none" in said
    torch.save(OrderedDict(a=1), file)
    assert read_pickle(file) == {"a": 1}


def test_the_class_of_a_record_cannot_be_changed(file):
    refused(
        file, name("torch.nn.modules.linear", "Linear") + b"}" + text("get") + b"K\x01sb.", error=FormatError
    )
    torch.save(torch.nn.Linear(2, 2), file)
    assert read_pickle(file, ORIGINAL).get("weight").shape == (2, 2)


def test_a_record_cannot_be_called(file):
    refused(file, name("torch.nn.modules.linear", "Linear") + b")\x81)R.", error=FormatError)


def test_a_storage_is_no_tensor(file):
    storage = b"(" + text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu") + b"K\x04tQ."
    assert "_Storage where a tensor is expected" in refused(file, storage)


def test_a_storage_cannot_be_described_in_two_ways(file):
    other = tensor().replace(b"FloatStorage", b"IntStorage")
    assert "storage '0' is described in two ways" in refused(file, b"]" + tensor() + b"a" + other + b"a.")


def test_tensors_cannot_claim_more_than_the_file_holds(file):
    many = b"]" + (tensor() + b"a") * 2000 + b"."
    records = {"data/0": b"\0" * 400_000}
    pickled = many.replace(tensor(), tensor(count=100_000, size=[100_000]))
    assert "claim more than 4 times the size of the file" in refused(file, pickled, records=records)


def test_an_object_inside_of_itself_is_refused(file):
    assert "inside of itself" in refused(file, b"]q\x00h\x00a.")


def test_a_list_that_doubles_itself_is_refused(file):
    doubling = b"]q\x00" + b"".join(
        b"]q" + bytes([n]) + b"(h" + bytes([n - 1]) + b"h" + bytes([n - 1]) + b"e" for n in range(1, 45)
    )
    # what was left on the stack goes into one list, so that no POP is needed
    assert "too many references" in refused(file, b"](" + doubling + b"e.")


def test_a_key_that_doubles_itself_is_refused_before_it_is_hashed(file):
    doubling = b")q\x00" + b"".join(
        b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86q" + bytes([n + 1]) for n in range(45)
    )
    assert "tuples nested too deep" in refused(file, b"]" + doubling + b"a.")


def test_a_tuple_that_hides_behind_an_opcode_without_effect_is_counted(file):
    """BUILD with None and APPENDS of nothing let any object pass as it is."""
    hidden = b")" + b"\x85Nb(e" * 20_000
    assert "tuples nested too deep" in refused(file, b"}" + hidden + b"Ns.")


@pytest.mark.parametrize("pickled", [b"\x85.", b"(\x85.", b"h\x00.", b"u.", b".", b"](a.", b"q\x00."])
def test_a_pickle_that_takes_what_is_not_there_is_damaged(file, pickled):
    assert "takes what is not there" in refused(file, pickled, error=DamagedFileError)


def test_names_of_a_file_cannot_steer_the_terminal(file):
    said = refused(file, name("\x1b[2Jos", "system" + "m" * 10_000) + b".")
    assert "it names ?[2Jos.system" in said
    assert "\x1b" not in said
    assert len(said) < 1000
    with pytest.raises(FormatError, match="has a name that no record has"):
        read_pickle(archive(file, PROTOCOL + b"}.", {"\x1b[2J": b""}))


def test_long_integers_are_refused(file):
    assert "LONG1 of more than 64 bits" in refused(file, b"\x8a\x20" + b"\x7f" * 32 + b".")


def test_arguments_that_torch_never_writes_are_refused(file):
    call = name("torch._utils", "_rebuild_parameter") + b"(K\x01K\x02tR."
    assert "torch._utils._rebuild_parameter with arguments that no checkpoint has" in refused(file, call)


def test_another_byte_order_is_told(file):
    records = {**FOUR, "byteorder": b"big"}
    assert "another byte order" in refused(file, tensor() + b".", records=records, error=FormatError)


def test_a_pickle_that_is_too_long_is_not_read(file, monkeypatch):
    monkeypatch.setattr("adaface.checkpoints.pickles.MAX_PICKLE", 100)
    said = refused(file, b"]" + b"Na" * 100 + b".", error=DamagedFileError)
    assert "record archive/data.pkl: 204 bytes, more than the 100 that are read" in said


def test_too_many_opcodes_are_refused(file, monkeypatch):
    monkeypatch.setattr("adaface.checkpoints.scan.MAX_OPCODES", 100)
    assert "more than 100 opcodes" in refused(file, b"]" + b"Na" * 100 + b".")


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere.pt: no such file"):
        read_pickle(tmp_path / "nowhere.pt")
    with pytest.raises(FormatError, match="a folder; a file is expected here"):
        read_pickle(tmp_path)


def test_an_encrypted_record_is_refused(file):
    archive(file, PROTOCOL + b"}.", {})
    data = bytearray(file.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    file.write_bytes(data)
    with pytest.raises(FormatError, match="is encrypted, which torch.save never does"):
        read_pickle(file)


def test_overlapping_records_are_refused(file):
    archive(file, PROTOCOL + b"}.", {"data/0": b"\0" * 64})
    data = bytearray(file.read_bytes())
    for at in range(len(data) - 4):  # the table of contents gives one record more bytes than the file has
        if data[at : at + 4] == b"PK\x01\x02" and data[at + 46 :].startswith(b"archive/data/0"):
            data[at + 20 : at + 28] = (10_000).to_bytes(4, "little") * 2
    file.write_bytes(data)
    with pytest.raises(FormatError, match="its records overlap"):
        read_pickle(file)


def test_a_damaged_pickle_gives_a_typed_error_or_a_result_whatever_byte_is_wrong(tmp_path):
    buffer = io.BytesIO()
    torch.save(
        {"a": torch.nn.Linear(3, 2), "b": torch.ones(2, 3), "c": (1, 2.5, "text", None, b"xy")}, buffer
    )
    with zipfile.ZipFile(buffer) as old:
        records = {record.split("/", 1)[1]: old.read(record) for record in old.namelist()}
    pickled = records.pop("data.pkl")
    chance = random.Random(0)
    results = 0
    for _ in range(400):
        wrong = bytearray(pickled)
        for _ in range(chance.randint(1, 4)):
            wrong[chance.randrange(len(wrong))] = chance.choice(
                (*b".0(}]NRbQtq\x85\x81\x93c", chance.randrange(256))
            )
        try:
            read_pickle(archive(tmp_path / "wrong.pt", bytes(wrong), records), ORIGINAL)
            results += 1
        except AdaFaceError:
            continue
    assert 0 < results < 400
