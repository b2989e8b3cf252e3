"""One ONNX Runtime session over an image network: one input (N, 3, S, S), one output (N, D_id)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaface.errors import ConfigError, FormatError
from adaface.sources.heads import AGAIN, need_onnx

CPU = ("CPUExecutionProvider",)


def open_session(path: str | Path, *, threads: int = 1, providers: Sequence[str] = CPU) -> Any:
    """An `onnxruntime.InferenceSession` over the file at `path` whose only input is the picture.

    threads: of one call; 1 also makes sums come out in the same order everywhere. providers: as ONNX Runtime
    names them, e.g. ("CUDAExecutionProvider", "CPUExecutionProvider").
    Raises MissingFileError: no such file. DamagedFileError: empty, a web page, a git-lfs pointer.
    FormatError: not an ONNX network, or one with several inputs.
    ConfigError: a provider that this build of ONNX Runtime has not, or threads below 1.
    """
    import onnxruntime

    path = Path(path)
    need_onnx(path)
    _check(onnxruntime.get_available_providers(), providers, threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: hundreds of lines about unused initialisers otherwise
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        if len(session.get_inputs()) > 1:
            session = onnxruntime.InferenceSession(
                _with_picture_input_only(path), options, providers=list(providers)
            )
    except Exception as error:
        raise FormatError(
            f"{path}: not an ONNX network that can be run ({_first_line(error)}). {AGAIN}"
        ) from error
    if len(session.get_inputs()) != 1:
        names = ", ".join(node.name for node in session.get_inputs())
        raise FormatError(
            f"{path}: inputs {names}, where one picture was expected. Give a face recogniser's ONNX file"
        )
    return session


def _check(available: Sequence[str], providers: Sequence[str], threads: int) -> None:
    missing = [name for name in providers if name not in available]
    if missing or not providers:
        raise ConfigError(f"providers={list(providers)}: this ONNX Runtime has only {', '.join(available)}")
    if threads < 1:
        raise ConfigError(f"threads={threads}: give 1 or more")


def _with_picture_input_only(path: Path) -> bytes:
    """The network without the inputs that are weights, or that no node reads.

    Old exporters list weights as inputs, and the quantised SFace file lists the float names of weights that
    it no longer has; ONNX Runtime then demands a value for each of them.
    """
    import onnx

    model = onnx.load(str(path))
    given = {weight.name for weight in model.graph.initializer}
    given.update(name for node in model.graph.node for name in node.output)
    read = {name for node in model.graph.node for name in node.input}
    kept = [node for node in model.graph.input if node.name in read and node.name not in given]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return bytes(model.SerializeToString())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
