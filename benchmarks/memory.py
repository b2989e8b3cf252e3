"""How much memory does SD-1.5 need, by mode and precision? COMPUTED from shapes, not measured on a device.

    python benchmarks/memory.py

The models of SD-1.5's and CLIP-L's shapes run on the meta device, where tensors have shapes and no numbers;
what is alive at once is counted, operation by operation. Not counted: the CUDA context and its libraries
(about 0.5 to 1 GB), the workspace of convolutions, what the allocator keeps beside, and a safety checker (0.6
GB in half precision). Attention is counted as the flash kernels do it, without its matrix.
"""

import json
import weakref
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adaface.pipelines.quiet import quiet

with quiet():
    from adaface.checkpoints.ldm import SD15, empty
from adaface.encoder.config import AdaFaceEncoderConfig
from adaface.encoder.inverse import AdaFaceEncoder

GB = 1e9
MULTIPLIERS = (4,) * 12  # keys and values a token; the authors' published encoders have up to 4


class Alive(TorchDispatchMode):
    """Counts the bytes of tensors that are made and not yet dropped; `peak` is the most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.add(leaf.untyped_storage())
        return out

    def add(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.drop, key, size)

    def drop(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def flash(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor:
    """Attention as a kernel that never writes its matrix: the output is all that it makes."""
    return q.new_empty((*q.shape[:-1], v.shape[-1]))


def weights(model: nn.Module, size: int) -> float:
    return sum(p.numel() for p in model.parameters()) * size / GB


def peak(model: nn.Module, call: Any) -> float:
    """GB of activations at once in a call on the meta device."""
    with torch.no_grad(), Alive() as alive:
        call(model)
    return alive.peak / GB


def activations(dtype: torch.dtype, pictures: int, side: int = 512) -> dict[str, float]:
    with torch.device("meta"):
        unet, vae = empty("unet", SD15).to(dtype), empty("vae", SD15).to(dtype)
        latents = torch.empty(2 * pictures, 4, side // 8, side // 8, dtype=dtype)  # twice: with guidance
        context = torch.empty(2 * pictures, 77, 768, dtype=dtype)
        time = torch.empty(2 * pictures, dtype=dtype)
        small = torch.empty(pictures, 4, side // 8, side // 8, dtype=dtype)
        return {
            "unet": peak(unet, lambda m: m(latents, time, encoder_hidden_states=context)),
            "vae": peak(vae, lambda m: m.decode(small)),
            "vae, sliced": peak(vae, lambda m: m.decode(small[:1])),
        }


def main() -> None:
    F.scaled_dot_product_attention = flash
    with torch.device("meta"):
        encoder = AdaFaceEncoder(
            AdaFaceEncoderConfig(width=768, layers=12, heads=12, mlp_width=3072, multipliers=MULTIPLIERS)
        )
        unet, vae, text = (empty(role, SD15) for role in ("unet", "vae", "text_encoder"))
    faces = weights(encoder, 4) + weights(text, 4)  # encoder and ID prompter, always float32
    layer = max(sum(p.numel() for p in m.parameters(recurse=False)) for m in unet.modules())
    rows = []
    for name, dtype, size in (("fp16 / bf16", torch.float16, 2), ("fp32", torch.float32, 4)):
        for pictures in (1, 4):
            act = activations(dtype, pictures)
            whole = weights(unet, size) + weights(vae, size) + weights(text, size) + faces
            work, sliced = max(act["unet"], act["vae"]), max(act["unet"], act["vae, sliced"])
            one = max(weights(unet, size) + act["unet"], weights(vae, size) + act["vae, sliced"])
            least = layer * size / GB + sliced
            rows.append(
                {"precision": name, "pictures": pictures, "plain": whole + work, "slicing": whole + sliced,
                 "offload model + slicing": one, "offload sequential + slicing": least}
            )  # fmt: skip
    keys = list(rows[0])
    print("| " + " | ".join(keys) + " |\n|" + "---|" * len(keys))
    for row in rows:
        print("| " + " | ".join(f"{v:.1f}" if isinstance(v, float) else str(v) for v in row.values()) + " |")
    parts = {"unet": weights(unet, 2), "vae": weights(vae, 2), "text_encoder": weights(text, 2),
             "encoder (fp32)": weights(encoder, 4), "id_prompter (fp32)": weights(text, 4)}  # fmt: skip
    round_ = lambda values: {k: round(v, 3) if isinstance(v, float) else v for k, v in values.items()}  # noqa: E731
    print(
        json.dumps(
            {"computed": True, "side": 512, "GB of weights": round_(parts), "GB": [round_(r) for r in rows]}
        )
    )


if __name__ == "__main__":
    with quiet():
        main()
