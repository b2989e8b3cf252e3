"""Ours against numbers recorded from the original code (README.md beside this file)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from adaface.checkpoints.convert import convert
from adaface.encoder.id_prompter import Arc2FacePrompter
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.prompt.embedding import embed_prompt
from adaface.text.clip import TextEncoder
from adaface.text.folder import load_text_encoder, load_tokenizer

GOLDEN = Path(__file__).parent
EXACT = {"rtol": 0, "atol": 1e-5}
EXACTER = torch.float64
MIXES = {"mix1": (1,), "mix1_1": (1, 1), "mix1_2_2": (1, 2, 2)}
SCALES = {
    "encoder-2024": (0.0, 0.8, 1.0, 1.5),
    "encoder-2024-06": (1.0,),
    "encoder-2025": (0.8, 1.0, 1.5),
    "encoder-2025-joint-arc2face": (0.8, 1.0, 1.5),
    "encoder-2025-joint-consistentid": (0.8, 1.0, 1.5, 6.0),
}


ENCODERS = {  # recorded numbers -> checkpoint, and folder in what it becomes
    "encoder-2024": ("2024.pt", ""),
    "encoder-2024-06": ("2024-06.pt", ""),
    "encoder-2025": ("2025.pt", ""),
    "encoder-2025-joint-arc2face": ("2025-joint.pt", "arc2face"),
    "encoder-2025-joint-consistentid": ("2025-joint.pt", "consistentID"),
}


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    """Folder of an encoder, converted from its checkpoint when it is first asked for."""
    out = tmp_path_factory.mktemp("converted")

    def folder(name):
        file, part = ENCODERS[name]
        if not (out / file).exists():
            convert(GOLDEN / "checkpoints" / file, out / file)
        return out / file / part

    return folder


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
def test_subject_embeddings_equal_the_original_at_every_scale(encoder_folder, folder, scale):
    recorded = load_file(GOLDEN / folder / "expected.safetensors")
    # scale 6 makes float32's rounding of 2e-6 six times as large, too near to the tolerance for any machine
    encoder = AdaFaceEncoder.from_pretrained(encoder_folder(folder), EXACTER if scale > 2 else torch.float32)
    subject = encoder(recorded["id_prompt_embeds"], id_scale=scale)
    assert_close(subject.float(), recorded[f"subject_embeds.scale{scale}"], **EXACT)


def test_every_recorded_scale_is_tested():
    for folder, scales in SCALES.items():
        recorded = load_file(GOLDEN / folder / "expected.safetensors")
        assert set(recorded) == {"id_prompt_embeds"} | {f"subject_embeds.scale{scale}" for scale in scales}


@pytest.mark.parametrize("scale", [0.8, 1.0])
@pytest.mark.parametrize("face", ["face0", "face1"])
def test_the_chain_from_face_to_subject_equals_the_original(encoder_folder, prompter, face, scale):
    recorded = load_file(GOLDEN / "chain-2024" / "expected.safetensors")
    id_prompt = prompter(recorded[f"{face}.id_emb_normalised"])
    assert_close(id_prompt, recorded[f"{face}.id_prompt_embs"], **EXACT)
    encoder = AdaFaceEncoder.from_pretrained(encoder_folder("encoder-2024"))
    assert_close(encoder(id_prompt, scale)[0], recorded[f"{face}.scale{scale}.subject_embs"], **EXACT)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("face", ["face0", "face1"])
def test_the_chain_from_face_to_prompt_equals_the_original(
    encoder_folder, text_encoder, prompter, face, number
):
    recorded = load_file(GOLDEN / "chain-2024" / "expected.safetensors")
    prompts = json.loads((GOLDEN / "chain-2024" / "prompts.json").read_text(encoding="utf-8"))
    tokenizer = load_tokenizer(GOLDEN / "text-encoder" / "tokenizer")
    encoder = AdaFaceEncoder.from_pretrained(encoder_folder("encoder-2024"))
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


@pytest.fixture(scope="module")
def two_encoders():
    """Text encoder, tokenizer, recorded numbers and prompts of the chain with two encoders for one person."""
    folder = GOLDEN / "chain-2025"
    return (
        TextEncoder(load_text_encoder(folder / "text_encoder")),
        load_tokenizer(GOLDEN / "text-encoder" / "tokenizer"),
        load_file(folder / "expected.safetensors"),
        json.loads((folder / "prompts.json").read_text(encoding="utf-8")),
    )


def as_ours(expanded):
    """A prompt with the original's placeholder tokens -> the same with <b> (4 rows) and <a> (16 rows)."""
    for subject, (first, count) in {"<b>": (0, 4), "<a>": (1, 16)}.items():
        expanded = expanded.replace(" ".join(f"z_{first}_{k}" for k in range(count)), subject)
    return expanded


def rows_in(prompt, recorded):
    rows = recorded["placeholder_rows"]
    return {name: part for name, part in {"b": rows[:4], "a": rows[4:]}.items() if f"<{name}>" in prompt}


@pytest.mark.parametrize(
    ("name", "part", "scale", "rows"),
    [
        ("encoder-2025-joint-consistentid", "consistentID", 0.8, slice(0, 4)),
        ("encoder-2025-joint-arc2face", "arc2face", 1.5, slice(4, 20)),
    ],
)
def test_two_encoders_of_one_file_give_the_rows_of_the_original(
    encoder_folder, two_encoders, name, part, scale, rows
):
    recorded = two_encoders[2]
    subject = AdaFaceEncoder.from_pretrained(encoder_folder(name))(
        recorded[f"{part}.id_prompt_embeds"], scale
    )
    assert_close(subject[0], recorded["placeholder_rows"][rows], **EXACT)


@pytest.mark.parametrize("number", [0, 1])
def test_prompts_with_the_rows_of_two_encoders_equal_the_original(two_encoders, number):
    text_encoder, tokenizer, recorded, prompts = two_encoders
    prompt = as_ours(prompts["prompts"][f"encoders_all.prompt{number}.repeat.append"]["expanded"])
    result = embed_prompt(text_encoder, tokenizer, prompt, rows_in(prompt, recorded))
    assert_close(result.prompt_embeds, recorded[f"prompt{number}.prompt_embeds"], **EXACT)


def test_a_negative_prompt_of_2025_equals_the_original(two_encoders):
    text_encoder, tokenizer, recorded, prompts = two_encoders
    result = embed_prompt(text_encoder, tokenizer, prompts["negative_prompt"], {})
    assert_close(result.prompt_embeds, recorded["negative_prompt_embeds"], **EXACT)


def test_rows_stand_where_the_original_has_its_placeholders(two_encoders):
    text_encoder, tokenizer, recorded, prompts = two_encoders
    assert len(prompts["prompts"]) == 48
    for key, expected in prompts["prompts"].items():
        prompt = as_ours(expected["expanded"])
        result = embed_prompt(text_encoder, tokenizer, prompt, rows_in(prompt, recorded))
        ours = {k for spans in result.places.values() for span in spans for k in range(span.start, span.stop)}
        assert ours == {k for k, token in enumerate(expected["input_ids"]) if token >= 608}, key
