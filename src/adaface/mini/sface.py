"""SFace as a differentiable torch module, read from the recogniser's ONNX file. Shapes: B, pictures of 112 pixels.

For training and for scoring in bulk; users' photos go through ONNX Runtime (`adaface.face`). Equal to it to 1e-5.
"""

from typing import Any

import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from torch import Tensor, nn

from adaface.errors import FormatError
from adaface.face.recognize import wheel_model
from adaface.mini.geometry import align

SFACE_FILE = "face_recognition_sface_2021dec_int8bq.onnx"


class SFace(nn.Module):
    """Aligned RGB faces (B, 3, 112, 112) in 0..255 -> unit ID embeddings (B, 128); frozen, gradients to the input."""

    def __init__(self, path: str | None = None) -> None:
        """path: an ONNX file that is a plain chain of convolutions, norms and PReLUs; default: the packaged SFace.

        Raises FormatError: the file holds another operation.
        """
        super().__init__()
        self.chain: list[tuple[str, list[Any]]] = []
        for kind, arguments in _folded(_operations(path or str(wheel_model(SFACE_FILE)))):
            kept = [self._keep(a) if isinstance(a, Tensor) else a for a in arguments]
            self.chain.append((kind, kept))

    def _keep(self, tensor: Tensor) -> str:
        name = f"constant_{len(list(self.buffers()))}"
        self.register_buffer(name, tensor.float().contiguous(), persistent=False)
        return name

    def forward(self, faces: Tensor) -> Tensor:
        """Aligned RGB faces in 0..255 -> unit vectors."""
        x = faces
        for kind, arguments in self.chain:
            values = [getattr(self, a) if isinstance(a, str) else a for a in arguments]
            x = _APPLY[kind](x, *values)
        return F.normalize(x.float(), dim=-1)


def _scale(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    shape = (1, -1, *[1] * (x.ndim - 2))
    return x * scale.view(shape) + shift.view(shape)


_APPLY = {
    "Sub": lambda x, value: x - value,
    "Mul": lambda x, value: x * value,
    "Conv": lambda x, weight, bias, stride, pad, groups: F.conv2d(x, weight, bias, stride, pad, 1, groups),
    "Norm": _scale,
    "PRelu": F.prelu,
    "Flatten": lambda x: x.flatten(1),
    "Gemm": F.linear,
}


def _operations(path: str) -> list[tuple[str, list[Any]]]:
    """The chain as (kind, arguments); quantised weights are expanded on the way."""
    graph = onnx.load(path).graph
    known = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer
    }
    chain: list[tuple[str, list[Any]]] = []
    for node in graph.node:
        options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        values = [known[name] for name in node.input if name in known]
        match node.op_type:
            case "DequantizeLinear":
                known[node.output[0]] = _dequantize(*values, options["block_size"], options["axis"])
            case "Reshape":
                known[node.output[0]] = values[0].reshape(values[1].tolist())
            case "Sub" | "Mul":
                chain.append((node.op_type, [float(values[0])]))
            case "Conv":
                bias = values[1] if len(values) > 1 else values[0].new_zeros(len(values[0]))
                stride, pad = options.get("strides", [1])[0], options.get("pads", [0])[0]
                chain.append(("Conv", [values[0], bias, stride, pad, options.get("group", 1)]))
            case "BatchNormalization":
                gain, bias, mean, variance = values
                scale = gain / torch.sqrt(variance + options["epsilon"])
                chain.append(("Norm", [scale, bias - mean * scale]))
            case "PRelu":
                chain.append(("PRelu", [values[0].flatten()]))
            case "Gemm":
                chain.append(("Gemm", [values[0], values[1].flatten()]))
            case "Flatten":
                chain.append(("Flatten", []))
            case "Constant" | "Dropout":
                pass
            case other:
                raise FormatError(
                    f"{path}: operation {other}; only plain chains such as SFace can be differentiated"
                )
    return chain


def _dequantize(quantized: Tensor, scale: Tensor, zero: Tensor, block: int, axis: int) -> Tensor:
    size = quantized.shape[axis]
    scale, zero = (t.repeat_interleave(block, axis).narrow(axis, 0, size).float() for t in (scale, zero))
    return (quantized.float() - zero) * scale


def _folded(chain: list[tuple[str, list[Any]]]) -> list[tuple[str, list[Any]]]:
    """The same chain with norms folded into the convolution or product before them."""
    result: list[tuple[str, list[Any]]] = []
    for kind, arguments in chain:
        if kind == "Norm" and result and result[-1][0] in ("Conv", "Gemm"):
            scale, shift = arguments
            weight, bias, *rest = result[-1][1]
            shape = (-1, *[1] * (weight.ndim - 1))
            result[-1] = (result[-1][0], [weight * scale.view(shape), bias * scale + shift, *rest])
        else:
            result.append((kind, arguments))
    return result


def embed(recognizer: SFace, pictures: Tensor, landmarks: Tensor) -> Tensor:
    """ID embeddings (B, D_id) of pictures (B, 3, S, S) in -1..1 with known landmarks (B, 5, 2) in pixels."""
    faces: Tensor = recognizer(align((pictures.clamp(-1, 1) + 1) * 127.5, landmarks))
    return faces


def identity_loss(recognizer: SFace, pictures: Tensor, landmarks: Tensor, ids: Tensor) -> Tensor:
    """1 - cosine between the decoded faces and the ID embeddings (B, D_id), mean over the batch; scalar in 0..2."""
    return (1 - (embed(recognizer, pictures, landmarks) * ids).sum(-1)).mean()
