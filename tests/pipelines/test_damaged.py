"""A stack with one damaged file: which file, what it is, what to do; whichever part it belongs to."""

import io
import shutil

import pytest
import torch

from adaface.errors import AdaFaceError, FormatError
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.stack import USUAL_FILES
from adaface.text.folder import load_tokenizer

WEIGHTS = {
    "unet": "base/unet/diffusion_pytorch_model.safetensors",
    "vae": "base/vae/diffusion_pytorch_model.safetensors",
    "text_encoder": "base/text_encoder/model.safetensors",
    "safety_checker": "base/safety_checker/model.safetensors",
    "encoder": "encoder/model.safetensors",
    "id_prompter": "id_prompter/text_encoder/model.safetensors",
    "recognizer": "arcface.onnx",
}


def pickled(whole):
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, buffer)
    return buffer.getvalue()


DAMAGES = {
    "a web page": lambda whole: b"<!doctype html><title>404</title>",
    "a git-lfs pointer": lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "empty": lambda whole: b"",
    "cut off": lambda whole: whole[: len(whole) // 2],
    "a zip file": pickled,
}


CASES = [(role, damage) for role in WEIGHTS for damage in DAMAGES]
CASES.remove(("recognizer", "cut off"))  # half an ONNX file has no sign of being one: it has its own test


@pytest.mark.parametrize(("role", "damage"), CASES)
def test_a_damaged_file_is_named_with_what_it_is_and_what_to_do(tiny_stack, tmp_path, role, damage):
    copy = shutil.copytree(tiny_stack, tmp_path / "copy")
    path = copy / WEIGHTS[role]
    path.parent.mkdir(exist_ok=True)
    whole = (copy / WEIGHTS["unet"]).read_bytes() if not path.exists() else path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    given = {"recognizer": path} if role == "recognizer" else {}
    with pytest.raises(AdaFaceError) as caught:
        Personalizer.from_pretrained(copy, device="cpu", verify=False, **given)
    message = str(caught.value)
    assert f"{path}: {damage}" in message
    assert "expected here: " in message or "Copy or download it again" in message


def test_half_an_onnx_file_is_told(tiny_stack, tmp_path):
    from adaface.face.recognize import OnnxRecognizer, wheel_model

    whole = wheel_model("face_recognition_sface_2021dec_int8bq.onnx").read_bytes()
    (tmp_path / "half.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=r"half.onnx: not an ONNX network .*Copy or download it again"):
        OnnxRecognizer(tmp_path / "half.onnx")


def test_a_damaged_tokenizer_is_told(tiny_stack, tmp_path):
    copy = shutil.copytree(tiny_stack / "base" / "tokenizer", tmp_path / "tokenizer")
    for name in ("vocab.json", "tokenizer.json"):  # whichever of the two is read
        (copy / name).write_text("{")
    with pytest.raises(FormatError, match="tokenizer: not the files of a CLIP tokenizer"):
        load_tokenizer(copy)


# What repositories of Stable Diffusion and Arc2Face hold, in the main
LISTED = (
    "README.md", "model_index.json", "v1-5-pruned.ckpt", "v1-5-pruned.safetensors", "unet/config.json",
    "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors", "vae/config.json", "vae/diffusion_pytorch_model.bin",
    "vae/diffusion_pytorch_model.safetensors", "text_encoder/config.json", "text_encoder/model.safetensors",
    "text_encoder/model.fp16.safetensors", "tokenizer/vocab.json", "tokenizer/merges.txt",
    "arc2face/diffusion_pytorch_model.safetensors", "arcface.onnx",
)  # fmt: skip


@pytest.mark.parametrize(
    ("role", "files"),
    [
        ("vae", {"vae/config.json", "vae/diffusion_pytorch_model.safetensors"}),
        ("text_encoder", {"text_encoder/config.json", "text_encoder/model.safetensors"}),
    ],
)
def test_of_a_whole_repository_only_the_parts_own_files_are_fetched(role, files):
    from huggingface_hub.utils import filter_repo_objects

    assert set(filter_repo_objects(LISTED, allow_patterns=list(USUAL_FILES[role]))) == files


def test_of_a_repository_that_brings_a_recogniser_only_networks_and_settings_are_fetched():
    from huggingface_hub.utils import filter_repo_objects

    fetched = set(filter_repo_objects(LISTED, allow_patterns=list(USUAL_FILES["recognizer"])))
    assert "arcface.onnx" in fetched
    assert not any(name.endswith((".safetensors", ".bin", ".ckpt")) for name in fetched)
