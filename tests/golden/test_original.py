"""Ours against numbers recorded from the original code (README.md beside this file)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from adaface.encoder.id_prompter import Arc2FacePrompter
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.prompt.embedding import embed_prompt
from adaface.text.clip import TextEncoder
from adaface.text.folder import load_text_encoder, load_tokenizer

GOLDEN = Path(__file__).parent
EXACT = {"rtol": 0, "atol": 1e-5}
MIXES = {"mix1": (1,), "mix1_1": (1, 1), "mix1_2_2": (1, 2, 2)}
SCALES = {
    "encoder-2024": (0.0, 0.8, 1.0, 1.5),
    "encoder-2024-06": (1.0, 1.5),
    "encoder-2025": (0.8, 1.0, 1.5),
    "encoder-2025-joint-arc2face": (0.8, 1.0, 1.5),
    "encoder-2025-joint-consistentid": (0.8, 1.0, 1.5, 6.0),
}


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def text_encoder():
    return TextEncoder(load_text_encoder(GOLDEN / "text-encoder" / "text_encoder"))


@pytest.fixture(scope="module")
def prompter():
    return Arc2FacePrompter.from_pretrained(GOLDEN / "arc2face-prompter")


@pytest.fixture(scope="module")
def faces():
    return load_file(GOLDEN / "arc2face-prompter" / "expected.safetensors")


@pytest.mark.parametrize(
    ("mix", "batch"), [("mix1_2_2", "b1"), ("mix1_2_2", "b3"), ("mix1_1", "b3"), ("mix1", "b3")]
)
def test_text_features_from_ids_equal_the_original(text_encoder, mix, batch):
    recorded = load_file(GOLDEN / "text-encoder" / "expected.safetensors")
    ids = recorded["input_ids"][: int(batch[1])]
    features = text_encoder(text_encoder.embed_tokens(ids), layer_weights=MIXES[mix])
    assert_close(features, recorded[f"{mix}.from_ids.{batch}"], **EXACT)


@pytest.mark.parametrize("mix", MIXES)
def test_text_features_from_free_vectors_equal_the_original(text_encoder, mix):
    recorded = load_file(GOLDEN / "text-encoder" / "expected.safetensors")
    features = text_encoder(recorded["inputs_embeds"], layer_weights=MIXES[mix])
    assert_close(features, recorded[f"{mix}.from_embeds.b3"], **EXACT)


@pytest.mark.parametrize("length", [22, 77])
@pytest.mark.parametrize("batch", ["b1", "b3"])
def test_id_prompt_embeddings_equal_the_original(prompter, faces, batch, length):
    assert_close(prompter(faces[f"id_embs.{batch}"]), faces[f"core16.max_length{length}.{batch}"], **EXACT)


def test_the_whole_context_equals_the_original(prompter, faces):
    assert_close(prompter.context(faces["id_embs.b3"]), faces["full77.b3"], **EXACT)


def test_a_shorter_context_is_the_beginning_of_the_original(prompter, faces):
    assert_close(prompter.context(faces["id_embs.b3"], 21), faces["full77.b3"][:, :21], **EXACT)


def test_nobody_gives_the_original_negative_id_prompt(prompter, faces):
    nobody = torch.zeros_like(faces["id_embs.b3"])
    assert_close(prompter(nobody), faces["neg.core16.max_length77.b3"], **EXACT)


def test_id_prompt_embeddings_in_half_precision_are_near_the_original(faces):
    half = Arc2FacePrompter.from_pretrained(GOLDEN / "arc2face-prompter", dtype=torch.float16)
    expected = faces["fp16.core16.max_length22.b3"]
    assert_close(half(faces["id_embs.b3"]), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("folder", "scale"), [(folder, scale) for folder, scales in SCALES.items() for scale in scales]
)
def test_subject_embeddings_equal_the_original_at_every_scale(folder, scale):
    recorded = load_file(GOLDEN / folder / "expected.safetensors")
    encoder = AdaFaceEncoder.from_pretrained(GOLDEN / folder)
    subject = encoder(recorded["id_prompt_embeds"], id_scale=scale)
    assert_close(subject, recorded[f"subject_embeds.scale{scale}"], **EXACT)


def test_every_recorded_scale_is_tested():
    for folder, scales in SCALES.items():
        recorded = load_file(GOLDEN / folder / "expected.safetensors")
        assert set(recorded) == {"id_prompt_embeds"} | {f"subject_embeds.scale{scale}" for scale in scales}


@pytest.mark.parametrize("scale", [0.8, 1.0])
@pytest.mark.parametrize("face", ["face0", "face1"])
def test_the_chain_from_face_to_subject_equals_the_original(prompter, face, scale):
    recorded = load_file(GOLDEN / "chain-2024" / "expected.safetensors")
    id_prompt = prompter(recorded[f"{face}.id_emb_normalised"])
    assert_close(id_prompt, recorded[f"{face}.id_prompt_embs"], **EXACT)
    encoder = AdaFaceEncoder.from_pretrained(GOLDEN / "encoder-2024")
    assert_close(encoder(id_prompt, scale)[0], recorded[f"{face}.scale{scale}.subject_embs"], **EXACT)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("face", ["face0", "face1"])
def test_the_chain_from_face_to_prompt_equals_the_original(text_encoder, prompter, face, number):
    recorded = load_file(GOLDEN / "chain-2024" / "expected.safetensors")
    prompts = json.loads((GOLDEN / "chain-2024" / "prompts.json").read_text(encoding="utf-8"))
    tokenizer = load_tokenizer(GOLDEN / "text-encoder" / "tokenizer")
    encoder = AdaFaceEncoder.from_pretrained(GOLDEN / "encoder-2024")
    subject = encoder(prompter(recorded[f"{face}.id_emb_normalised"]))[0]
    expanded = prompts[f"prompt{number}"]["expanded"]
    prompt = expanded.replace(" ".join(f"z_{k}" for k in range(16)), "<z>")
    result = embed_prompt(text_encoder, tokenizer, prompt, {"z": subject})
    assert_close(result.prompt_embeds, recorded[f"{face}.scale1.0.prompt{number}.prompt_embeds"], **EXACT)


def test_a_prompt_without_subjects_equals_the_original(text_encoder):
    recorded = load_file(GOLDEN / "chain-2024" / "expected.safetensors")
    prompts = json.loads((GOLDEN / "chain-2024" / "prompts.json").read_text(encoding="utf-8"))
    tokenizer = load_tokenizer(GOLDEN / "text-encoder" / "tokenizer")
    result = embed_prompt(text_encoder, tokenizer, prompts["negative_prompt"], {})
    assert_close(result.prompt_embeds, recorded["negative_prompt_embeds"], **EXACT)
