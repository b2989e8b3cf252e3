"""A person as one file."""

import base64
import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from adaface.errors import FormatError, MissingFileError, PromptError, ShapeError, WriteError
from adaface.identity.files import Identity
from adaface.identity.names import check_name, slot

PROVENANCE = {
    "encoder": "sha256:12",
    "base_text_encoder": "sha256:34",
    "recognizer": "sface",
    "photos": "3",
    "version": "0.1.0",
    "licence": "research only",
}


@pytest.fixture
def alice():
    generator = torch.Generator().manual_seed(0)
    face = torch.nn.functional.normalize(torch.randn(128, generator=generator), dim=0)
    return Identity("alice", torch.randn(16, 40, generator=generator), face, PROVENANCE)


def header_of(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["adaface"])


def rewrite(path, **changes):
    header = {**header_of(path), **changes}
    save_file(load_file(path), path, metadata={"adaface": json.dumps(header)})


def test_a_saved_identity_comes_back(alice, tmp_path):
    loaded = Identity.load(alice.save(tmp_path / "alice.safetensors"))
    assert loaded.name == "alice"
    assert torch.equal(loaded.subject_embeds, alice.subject_embeds)
    assert torch.equal(loaded.id_embedding, alice.id_embedding)
    assert loaded.provenance == PROVENANCE


def test_the_file_holds_one_float32_tensor_under_the_name_in_brackets(alice, tmp_path):
    tensors = load_file(alice.save(tmp_path / "a.safetensors"))
    assert list(tensors) == ["<alice>"]
    assert (tensors["<alice>"].shape, tensors["<alice>"].dtype) == ((16, 40), torch.float32)


def test_all_else_is_in_the_header(alice, tmp_path):
    header = header_of(alice.save(tmp_path / "a.safetensors"))
    assert (header["kind"], header["name"], header["provenance"]) == ("adaface-identity", "alice", PROVENANCE)
    face = np.frombuffer(base64.b64decode(header["id_embedding"]), "<f4")
    assert np.array_equal(face, alice.id_embedding.numpy())


def test_saving_what_was_loaded_gives_equal_bytes(alice, tmp_path):
    first = alice.save(tmp_path / "a.safetensors")
    second = Identity.load(first).save(tmp_path / "b.safetensors")
    assert first.read_bytes() == second.read_bytes()


def test_an_identity_needs_no_face(tmp_path):
    path = Identity("x", torch.ones(2, 3)).save(tmp_path / "x.safetensors")
    assert Identity.load(path).id_embedding is None
    assert "id_embedding" not in header_of(path)


def test_a_textual_inversion_loader_takes_the_file(alice, tmp_path):
    from transformers import CLIPTextConfig, CLIPTextModel

    try:
        from diffusers.loaders import TextualInversionLoaderMixin
    except ImportError:
        pytest.skip("needs diffusers")
    path = alice.save(tmp_path / "a.safetensors")
    model = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=40, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=608
        )
    )

    class Pipeline(TextualInversionLoaderMixin):
        components = {}  # noqa: RUF012
        hf_device_map = None

        def __init__(self, tokenizer, text_encoder):
            self.tokenizer, self.text_encoder = tokenizer, text_encoder

    from pathlib import Path

    from adaface.text.folder import load_tokenizer

    tokenizer = load_tokenizer(Path(__file__).parents[1] / "golden" / "text-encoder" / "tokenizer")
    pipeline = Pipeline(tokenizer, model)
    pipeline.load_textual_inversion(str(path))
    prompt = pipeline.maybe_convert_prompt("a photo of <alice>", tokenizer)
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert torch.equal(model.get_input_embeddings().weight[ids[3:]], alice.subject_embeds)


def test_an_identity_cannot_be_changed(alice):
    with pytest.raises(dataclasses.FrozenInstanceError):
        alice.name = "bob"
    with pytest.raises(TypeError):
        alice.provenance["photos"] = "4"


def test_an_identity_shares_no_tensor_and_keeps_no_gradient():
    rows = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    identity = Identity("x", rows)
    with torch.no_grad():
        rows.add_(1)
    assert (identity.subject_embeds == 0).all()
    assert (identity.subject_embeds.dtype, identity.subject_embeds.requires_grad) == (torch.float32, False)


@pytest.mark.parametrize("name", ["", "two words", "<alice>", "a/b"])
def test_a_bad_name_is_refused(name):
    with pytest.raises(PromptError, match=r"give 1 to 64 letters, digits, or _ . ' -"):
        Identity(name, torch.zeros(2, 3))


@pytest.mark.parametrize(
    "rows", [torch.zeros(3), torch.zeros(1, 2, 3), torch.zeros(0, 3), torch.zeros(2, 3).int()]
)
def test_rows_that_are_none_are_refused(rows):
    with pytest.raises(ShapeError, match=r"subject_embeds is .*: give \(K, D\) of a floating type"):
        Identity("x", rows)


def test_a_face_that_is_no_vector_is_refused():
    with pytest.raises(ShapeError, match=r"id_embedding is \(1, 4\)"):
        Identity("x", torch.zeros(2, 3), torch.zeros(1, 4))


def test_a_missing_file_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(MissingFileError, match=r"adaface embed PHOTO -o alice.safetensors"):
        Identity.load(tmp_path / "alice.safetensors")


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}"])
def test_something_else_is_refused(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"a.safetensors: "):
        Identity.load(path)


def test_a_cut_off_file_is_refused(alice, tmp_path):
    path = alice.save(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(FormatError, match="not a whole safetensors file"):
        Identity.load(path)


def test_foreign_tensors_are_no_identity(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"<alice>": torch.zeros(16, 40)}, path)
    with pytest.raises(FormatError, match=r"no identity of adaface. Make one with `adaface embed`"):
        Identity.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2, this version reads 1"),
        ({"name": "bob"}, "header and tensor do not fit"),
        ({"id_embedding": "***"}, "header and tensor do not fit"),
        ({"id_embedding": "AAA="}, "header and tensor do not fit"),
        ({"provenance": 3}, "header and tensor do not fit"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(alice, tmp_path, changes, message):
    path = alice.save(tmp_path / "a.safetensors")
    rewrite(path, **changes)
    with pytest.raises(FormatError, match=message):
        Identity.load(path)


def test_a_second_tensor_is_refused(alice, tmp_path):
    path = alice.save(tmp_path / "a.safetensors")
    header = json.dumps(header_of(path))
    save_file({**load_file(path), "more": torch.zeros(1)}, path, metadata={"adaface": header})
    with pytest.raises(FormatError, match="2 tensors, an identity has one"):
        Identity.load(path)


def test_a_place_that_cannot_be_written_is_an_error(alice, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="not written"):
        alice.save(tmp_path / "file" / "a.safetensors")


def test_names_and_slots():
    assert check_name("zoë") == "zoë"
    assert slot("zoë") == "<zoë>"


@settings(max_examples=30)
@given(
    name=st.from_regex(r"\w[\w.'-]{0,20}", fullmatch=True),
    k=st.integers(1, 20),
    d=st.integers(1, 20),
    provenance=st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=4),
)
def test_any_identity_survives_a_file(tmp_path_factory, name, k, d, provenance):
    path = tmp_path_factory.mktemp("identity") / "x.safetensors"
    loaded = Identity.load(Identity(name, torch.rand(k, d), torch.rand(d), provenance).save(path))
    assert (loaded.name, dict(loaded.provenance)) == (name, provenance)
    assert loaded.subject_embeds.shape == (k, d)
