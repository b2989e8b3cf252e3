"""Which scores a run has."""

import shutil

import pytest

import tiny_scores as tiny
from adaface.errors import (
    ConfigError,
    FormatError,
    HubError,
    MissingExtra,
    MissingFileError,
    WrongModelError,
)
from adaface.evaluation.scores import dlib_resnet
from adaface.evaluation.scores.choose import scorers
from adaface.face.recognize import SFACE_FILE, wheel_model
from adaface.files import sha256
from adaface.pipelines.recognition import stack_analyzer
from adaface.pipelines.stack import Stack
from look_alike import LookAlike, ask


@pytest.fixture(scope="module")
def stack(tiny_stack):
    return Stack.load(tiny_stack)


@pytest.fixture(scope="module")
def analyzer(stack):
    return stack_analyzer(stack)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No hub, and a folder of models of one's own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ADAFACE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def names(found):
    return [column.name for scorer in found for column in scorer.columns]


def notes(found):
    return [note for scorer in found for note in scorer.begin(tiny.world())]


def test_every_score_has_a_name_of_its_own_and_its_models_are_told(stack, analyzer):
    pytest.importorskip("dlib")
    found = scorers(stack, analyzer=analyzer)
    assert len(set(names(found))) == len(names(found))
    assert {"similarity", "similarity_dlib", "clip_t", "clip_i", "retrieval"} <= set(names(found))
    told = {key: value for scorer in found for key, value in scorer.provenance.items()}
    for model in (
        "face recogniser sface",
        "face detector YuNet",
        "second recogniser dlib",
        "strangers",
        "CLIP",
    ):
        assert "sha256 " in told[model]
    assert notes(found) == []


def test_a_row_has_every_column_of_its_scorer(stack, analyzer):
    found = scorers(stack, analyzer=analyzer)
    for scorer in found:
        scorer.begin(tiny.world(tiny.person("a")))
        (row,) = scorer([tiny.case(tiny.picture(), "a")])
        assert list(row) == [column.name for column in scorer.columns]


def test_without_a_second_recogniser_its_columns_are_not_there(stack, analyzer):
    assert not [n for n in names(scorers(stack, analyzer=analyzer, second="none")) if "dlib" in n]


def test_dlib_that_is_not_installed_is_a_note_unless_it_was_asked_for(stack, analyzer, monkeypatch):
    monkeypatch.setattr(dlib_resnet, "find_spec", lambda name: None)
    (note,) = notes(scorers(stack, analyzer=analyzer))
    assert note.startswith("no second recogniser: ") and "adaface[eval]" in note
    with pytest.raises(MissingExtra, match=r"adaface\[eval\]"):
        scorers(stack, analyzer=analyzer, second="dlib")


def test_the_first_recogniser_is_no_second_opinion(stack, analyzer):
    with pytest.raises(ConfigError, match="the second recogniser is the first one, sface"):
        scorers(stack, analyzer=analyzer, second="sface")


def test_the_first_recognisers_file_under_another_name_is_no_second_opinion(stack, analyzer, tmp_path):
    path = shutil.copy(wheel_model(SFACE_FILE), tmp_path / "other.onnx")
    with pytest.raises(ConfigError, match="the second recogniser is the first one, sface"):
        scorers(stack, analyzer=analyzer, second=path)


def test_a_second_recogniser_that_is_no_network_is_told(stack, analyzer, tmp_path):
    with pytest.raises(MissingFileError, match="none.onnx: no such file"):
        scorers(stack, analyzer=analyzer, second=tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(FormatError, match="not an ONNX network"):
        scorers(stack, analyzer=analyzer, second=tmp_path / "text.onnx")


def test_a_folder_that_holds_no_clip_is_told(stack, analyzer, tiny_stack, tmp_path):
    with pytest.raises(MissingFileError, match="no config.json; give the folder of a CLIPModel"):
        scorers(stack, analyzer=analyzer, second="none", clip=tmp_path)
    with pytest.raises(WrongModelError, match="is of a clip, where a ViTModel was expected"):
        scorers(stack, analyzer=analyzer, second="none", dino=tiny_stack / "clip")


def test_an_onnx_file_is_a_second_recogniser_under_its_own_name(stack, analyzer, tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(wheel_model(SFACE_FILE).read_bytes() + b"\x32\x01x")  # a doc string: not the same file
    (tmp_path / "other.json").write_text('{"name": "other-net", "mean": 0, "std": 1}')
    found = scorers(stack, analyzer=analyzer, second=path)
    assert "similarity_other_net" in names(found)
    assert "sha256 " in found[0].provenance["second recogniser other_net"]


def test_a_stack_without_a_clip_model_says_so(stack, analyzer):
    bare = Stack(
        stack.folder, "bare", {k: p for k, p in stack.roles.items() if k not in ("clip", "strangers")}
    )
    found = scorers(bare, analyzer=analyzer, second="none")
    assert "clip_t" not in names(found) and "percentile" not in names(found)
    told = " ".join(notes(found))
    assert 'the stack "bare" has no CLIP model. Name one with --clip' in told
    assert 'no percentile: the stack "bare" has no role "strangers"' in told


def test_a_folder_of_clip_scores_instead_of_the_stacks(stack, analyzer, tiny_stack, tmp_path):
    folder = shutil.copytree(tiny_stack / "clip", tmp_path / "clip")
    assert "clip_t" in names(scorers(stack, analyzer=analyzer, second="none", clip=folder))
    (folder / "model.safetensors").write_bytes(b"x")
    with pytest.raises(FormatError, match="not a readable CLIPModel"):
        scorers(stack, analyzer=analyzer, second="none", clip=folder)


def test_models_that_cannot_be_had_are_errors_where_the_user_named_them(stack, analyzer, offline):
    with pytest.raises(HubError, match="openai/clip-vit-base-patch32: not on this machine"):
        scorers(stack, analyzer=analyzer, second="none", clip="hub:openai/clip-vit-base-patch32")
    with pytest.raises(MissingFileError, match="dino"):
        scorers(stack, analyzer=analyzer, second="none", dino="dino-vits16")


def test_models_that_a_protocol_names_are_notes_where_they_cannot_be_had(stack, analyzer, offline):
    found = scorers(
        stack,
        analyzer=analyzer,
        second="none",
        offered={"clip": "hub:openai/clip-vit-base-patch32", "dino": "hub:facebook/dino-vits16"},
    )
    assert "clip_t" in names(found) and "dino" not in names(found)
    told = notes(found)
    assert told[0].startswith(
        "CLIP is the stack's own, because hub:openai/clip-vit-base-patch32 cannot be had"
    )
    assert told[1].startswith("DINO is not told: ") and "facebook/dino-vits16" in told[1]


def test_a_model_of_the_user_is_needed_beside_one_of_the_protocol(stack, analyzer, tiny_stack, offline):
    offered = {"clip": "hub:openai/clip-vit-base-patch32", "dino": "hub:facebook/dino-vits16"}
    given = {"analyzer": analyzer, "second": "none", "offered": offered}
    found = scorers(stack, clip=tiny_stack / "clip", **given)
    assert "clip_t" in names(found) and notes(found)[0].startswith("DINO is not told: ")
    with pytest.raises(HubError, match="facebook/dino-vits16"):
        scorers(stack, dino="hub:facebook/dino-vits16", **given)


def test_a_model_of_a_protocol_is_fetched_from_the_hub(
    stack, analyzer, tiny_stack, offline, tmp_path, monkeypatch
):
    name = "openai/clip-vit-base-patch32"
    shutil.copytree(tiny_stack / "clip", tmp_path / "served" / name)
    (tmp_path / "served" / name / "notes.bin").write_bytes(b"not asked for")
    with LookAlike(tmp_path / "served") as hub:
        ask(monkeypatch, hub, tmp_path / "cache")
        found = scorers(stack, analyzer=analyzer, second="none", offered={"clip": f"hub:{name}"})
    assert notes(found) == [] and "clip_t" in names(found)
    assert found[1].provenance["CLIP"] == f"sha256 {sha256(tiny_stack / 'clip' / 'model.safetensors')}"
    assert {path.rpartition("/")[2] for path, _ in hub.log} >= {"model.safetensors", "config.json"}
    assert not any("notes.bin" in path for path, _ in hub.log)


def test_a_copy_of_a_repository_below_the_folder_of_models_is_found(stack, analyzer, tiny_stack, offline):
    shutil.copytree(tiny_stack / "clip", offline / "openai" / "clip-vit-base-patch32")
    found = scorers(stack, analyzer=analyzer, second="none", clip="hub:openai/clip-vit-base-patch32")
    assert "clip_t" in names(found)
