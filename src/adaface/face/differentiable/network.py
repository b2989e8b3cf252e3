"""SFace as a differentiable torch module, read from the recogniser's ONNX file. Shapes: B, D_id=128.

For training and for scoring in bulk; users' photos go through ONNX Runtime (`adaface.face`), equal to 1e-5.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaface.errors import FormatError
from adaface.face.differentiable.warp import align
from adaface.face.recognize import SFACE_FILE, wheel_model

Step = tuple[str, list[Any]]  # what to do, and with which constants
Options = dict[str, Any]  # attributes of an ONNX node


class SFace(nn.Module):
    """Aligned RGB faces (B, 3, 112, 112) in 0..255 -> unit ID embeddings (B, D_id).

    Frozen: it has no parameters, but gives gradients to its input.
    """

    def __init__(self, path: str | None = None) -> None:
        """path: an ONNX file, a plain chain of convolutions, norms and PReLUs; default: the packaged SFace.

        Raises FormatError: the file holds another operation.
        """
        super().__init__()
        self.chain: list[Step] = []
        for kind, arguments in _folded(_operations(path or str(wheel_model(SFACE_FILE)))):
            kept = [self._keep(a) if isinstance(a, Tensor) else a for a in arguments]
            self.chain.append((kind, kept))

    def _keep(self, tensor: Tensor) -> str:
        name = f"constant_{len(list(self.buffers()))}"
        self.register_buffer(name, tensor.float().contiguous(), persistent=False)
        return name

    def forward(self, faces: Tensor) -> Tensor:
        """Aligned RGB faces (B, 3, 112, 112) in 0..255 -> unit vectors (B, D_id)."""
        x = faces
        for kind, arguments in self.chain:
            values = [getattr(self, a) if isinstance(a, str) else a for a in arguments]
            x = _APPLY[kind](x, *values)
        return F.normalize(x.float(), dim=-1)


def _scale(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    shape = (1, -1, *[1] * (x.ndim - 2))
    return x * scale.view(shape) + shift.view(shape)


_APPLY: dict[str, Callable[..., Tensor]] = {
    "Sub": lambda x, value: x - value,
    "Mul": lambda x, value: x * value,
    "Conv": lambda x, weight, bias, stride, pad, groups: F.conv2d(x, weight, bias, stride, pad, 1, groups),
    "Norm": _scale,
    "PRelu": F.prelu,
    "Flatten": lambda x: x.flatten(1),
    "Gemm": F.linear,
}


def _operations(path: str) -> list[Step]:
    """The chain of steps; quantised weights are expanded on the way."""
    import onnx
    from onnx import helper, numpy_helper

    graph = onnx.load(path).graph
    known = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    chain: list[Step] = []
    for node in graph.node:
        options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        values = [known[name] for name in node.input if name in known]
        if node.op_type in _CONSTANTS:
            known[node.output[0]] = _CONSTANTS[node.op_type](values, options)
        elif node.op_type in _STEPS:
            chain.append(_STEPS[node.op_type](values, options))
        elif node.op_type not in _IGNORED:
            raise FormatError(
                f"{path}: operation {node.op_type}; only plain chains such as SFace can be differentiated"
            )
    return chain


def _dequantize(values: list[Tensor], options: Options) -> Tensor:
    quantized, scale, zero = values
    block, axis = options["block_size"], options["axis"]
    size = quantized.shape[axis]
    scale, zero = (t.repeat_interleave(block, axis).narrow(axis, 0, size).float() for t in (scale, zero))
    return (quantized.float() - zero) * scale


def _convolution(values: list[Tensor], options: Options) -> Step:
    weight = values[0]
    bias = values[1] if len(values) > 1 else weight.new_zeros(len(weight))
    stride, pad = options.get("strides", [1])[0], options.get("pads", [0])[0]
    return "Conv", [weight, bias, stride, pad, options.get("group", 1)]


def _norm(values: list[Tensor], options: Options) -> Step:
    gain, bias, mean, variance = values
    scale = gain / torch.sqrt(variance + options["epsilon"])
    return "Norm", [scale, bias - mean * scale]


_CONSTANTS: dict[str, Callable[[list[Tensor], Options], Tensor]] = {  # nodes that only prepare weights
    "DequantizeLinear": _dequantize,
    "Reshape": lambda values, _: values[0].reshape(values[1].tolist()),
}
_STEPS: dict[str, Callable[[list[Tensor], Options], Step]] = {
    "Sub": lambda values, _: ("Sub", [float(values[0])]),
    "Mul": lambda values, _: ("Mul", [float(values[0])]),
    "Conv": _convolution,
    "BatchNormalization": _norm,
    "PRelu": lambda values, _: ("PRelu", [values[0].flatten()]),
    "Gemm": lambda values, _: ("Gemm", [values[0], values[1].flatten()]),
    "Flatten": lambda values, _: ("Flatten", []),
}
_IGNORED = ("Constant", "Dropout")


def _folded(chain: list[Step]) -> list[Step]:
    """The same chain with norms folded into the convolution or product before them."""
    result: list[Step] = []
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
    """1 - cosine of the faces in pictures to the ID embeddings (B, D_id), mean over the batch; in 0..2.

    pictures, landmarks: as for `embed`.
    """
    return (1 - (embed(recognizer, pictures, landmarks) * ids).sum(-1)).mean()
