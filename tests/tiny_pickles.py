"""Files of torch.save made by hand: any pickle in any archive, checkpoints laid out as the authors' are."""

import sys
import types
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

WORDS = {"<|startoftext|>": 0, "<|endoftext|>": 1, "photo</w>": 2, "of</w>": 3, "a</w>": 4, ",</w>": 5}


def archive(
    path: Path, pickled: bytes, records: Mapping[str, bytes] | None = None, root: str = "archive"
) -> Path:
    """A stored zip file with `pickled` as ROOT/data.pkl and further records below ROOT."""
    with zipfile.ZipFile(path, "w") as file:
        for name, data in {"data.pkl": pickled, **(records or {})}.items():
            file.writestr(f"{root}/{name}", data)
    return path


def text(value: str) -> bytes:
    """BINUNICODE."""
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def name(module: str, attribute: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{attribute}\n".encode()


def tensor(key: str = "0", count: int = 4, size: Sequence[int] = (4,), stride: Sequence[int] = (1,)) -> bytes:
    """Opcodes that leave a float32 tensor on the stack."""

    def row(values: Sequence[int]) -> bytes:
        return b"(" + b"".join(b"J" + value.to_bytes(4, "little", signed=True) for value in values) + b"t"

    storage = b"(" + text("storage") + name("torch", "FloatStorage") + text(key) + text("cpu")
    storage += b"J" + count.to_bytes(4, "little") + b"tQ"
    rest = b"K\x00" + row(size) + row(stride) + b"\x89}"
    return name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + rest + b"tR"


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes classes under names of the authors' code, which pickle finds as long as the test runs."""

    def make(module: str, class_name: str, base: type = object) -> type:
        for end in range(1, module.count(".") + 2):
            part = ".".join(module.split(".")[:end])
            monkeypatch.setitem(sys.modules, part, sys.modules.get(part) or types.ModuleType(part))
        known = sys.modules[module]
        made = type(class_name, (base,), {"__module__": module})
        monkeypatch.setattr(known, class_name, made, raising=False)
        return made

    return make


class Original:
    """Writes checkpoints laid out as the authors' are, of any size, with random weights."""

    def __init__(self, listed: Any) -> None:
        self.generator_class = listed("adaface.subj_basis_generator", "SubjBasisGenerator", nn.Module)
        self.text_class = listed("adaface.arc2face_models", "CLIPTextModelWrapper", nn.Module)
        self.plain_class = listed("adaface.util", "GradientScaler")  # any listed class holds a state

    def plain(self, **state: Any) -> Any:
        """An object of no importance with a state."""
        made = self.plain_class()
        vars(made).update(state)
        return made

    def generator(
        self,
        multipliers: Sequence[int],
        *,
        width: int = 8,
        heads: int = 2,
        vectors: int = 16,
        positions: int = 24,
    ) -> Any:
        """One encoder: a module with the names and attributes of 2025."""
        made, text_model = self.generator_class(), self.text_class()
        embeddings = {
            "token_embedding": nn.Embedding(6, width),
            "position_embedding": nn.Embedding(positions, width),
        }
        text_model.text_model = nn.ModuleDict(
            {
                "embeddings": nn.ModuleDict(embeddings),
                "encoder": nn.ModuleDict({"layers": nn.ModuleList(_layer(width, m) for m in multipliers)}),
                "final_layer_norm": nn.LayerNorm(width),
            }
        )
        text_model.config = self.plain(
            num_attention_heads=heads, hidden_act="quick_gelu", layer_norm_eps=1e-5
        )
        made.prompt2token_proj = text_model
        made.hidden_state_layer_weights = nn.Parameter(torch.rand(min(3, len(multipliers)), 1))
        made.pad_embeddings = torch.randn(positions, width)
        made.N_ID, made.placeholder_is_bg = vectors, False
        made.tokenizer = self.plain(encoder=dict(WORDS))
        return made

    def save(self, path: Path, generators: Mapping[str, Any], **more: Any) -> Path:
        """Write a checkpoint: placeholder -> generator, or a ModuleList of several; `more` beside them."""
        tree = {"string_to_subj_basis_generator_dict": nn.ModuleDict(generators), **more}
        torch.save(tree, path)
        return path


def _layer(width: int, multiplier: int) -> nn.ModuleDict:
    sizes = {"q_proj": width, "k_proj": width * multiplier, "v_proj": width * multiplier, "out_proj": width}
    return nn.ModuleDict(
        {
            "self_attn": nn.ModuleDict({key: nn.Linear(width, size) for key, size in sizes.items()}),
            "layer_norm1": nn.LayerNorm(width),
            "mlp": nn.ModuleDict({"fc1": nn.Linear(width, 3 * width), "fc2": nn.Linear(3 * width, width)}),
            "layer_norm2": nn.LayerNorm(width),
        }
    )


@pytest.fixture
def original(listed: Any) -> Original:
    """Writes checkpoints laid out as the authors' are."""
    torch.manual_seed(0)
    return Original(listed)
