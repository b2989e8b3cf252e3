"""A look at a pickle's opcodes before they are obeyed: only those that torch.save writes, within bounds."""

import io
import pickletools
from typing import Any

from adaface.checkpoints.names import ORIGINAL, Names
from adaface.checkpoints.sketch import MAX_PARTS, Sketch
from adaface.errors import DamagedFileError, FormatError, UnsafeFileError

STOP = b"."
MAX_OPCODES = 4_000_000  # a checkpoint with two whole tokenizers in it has some 1.6 million
MAX_INT_BITS = 64  # of LONG1: sizes and counts
DISTRUST = "Nothing of it was run. Other programs may run it: get the weights elsewhere, best as safetensors"
CONVERT = "If it is a checkpoint of AdaFace's authors, run `adaface convert` first, and give what that makes"
ALLOWED = frozenset(
    (
        *("PROTO", "FRAME", "STOP", "MARK"),
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"),
        *("EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE", "EMPTY_LIST", "APPEND", "APPENDS"),
        *("EMPTY_DICT", "SETITEM", "SETITEMS"),
        *("BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET"),
        *("GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID"),
    )
)
_OPCODES = {op.code.encode("latin-1"): op for op in pickletools.opcodes}
_ALLOWED = {code: op for code, op in _OPCODES.items() if op.name in ALLOWED}


def scan(data: bytes, where: str, names: Names) -> None:
    """Read a pickle's opcodes without obeying them.

    where: file and record, for messages. Names given as strings on the stack (STACK_GLOBAL) are left to the
    unpickler. Raises UnsafeFileError: an opcode or name outside of the lists, a number or a tuple out of
    bounds, or bytes after the end. DamagedFileError: it is cut off or damaged.
    """
    stream, sketch = io.BytesIO(data), Sketch()
    for count in range(MAX_OPCODES):
        code = stream.read(1)
        op = _ALLOWED.get(code)
        if op is None:
            raise _refusal(code, stream, where)
        arg = None
        if op.arg is not None:
            arg = _argument(op, stream, where)
            _check(op.name, arg, count, where, names)
        _follow(sketch, op.name, arg, where)
        if code == STOP:
            if stream.tell() != len(data):
                raise UnsafeFileError(f"{where}: trailing bytes after STOP. {DISTRUST}")
            return
    raise UnsafeFileError(f"{where}: more than {MAX_OPCODES} opcodes. {DISTRUST}")


def shown(text: str) -> str:
    """Text of a file for a message: not too long, and nothing in it that a terminal would obey."""
    return "".join(sign if sign.isprintable() else "?" for sign in text[:200])


def check_name(module: str, name: str = "", *, where: str, names: Names) -> None:
    """Raises UnsafeFileError: the exact pair is not on the list."""
    if (module, name) not in names:
        known = (module, name) in ORIGINAL
        raise UnsafeFileError(
            f"{where}: it names {shown(f'{module}.{name}')}, which is not among the {len(names)} names "
            f"that may occur here. {CONVERT if known else DISTRUST}"
        )


def _check(name: str, arg: Any, count: int, where: str, names: Names) -> None:
    if name == "GLOBAL":
        check_name(*arg.split(" ", 1), where=where, names=names)
    elif name in ("BINPUT", "LONG_BINPUT") and arg > count + 0xFF:
        # CPython reserves room for as many entries as the largest index says
        raise UnsafeFileError(f"{where}: {name} {arg}: a memo index out of bounds. {DISTRUST}")
    elif name == "LONG1" and arg.bit_length() > MAX_INT_BITS:
        raise UnsafeFileError(f"{where}: LONG1 of more than {MAX_INT_BITS} bits. {DISTRUST}")


def _follow(sketch: Sketch, opcode: str, arg: Any, where: str) -> None:
    try:
        parts = sketch.step(opcode, arg)
    except (IndexError, KeyError) as error:
        raise DamagedFileError(
            f"{where}: damaged: {opcode} takes what is not there. Download or copy it again"
        ) from error
    if parts > MAX_PARTS:
        raise UnsafeFileError(
            f"{where}: tuples nested too deep, or of more than {MAX_PARTS} parts together. {DISTRUST}"
        )


def _argument(op: pickletools.OpcodeInfo, stream: io.BytesIO, where: str) -> Any:
    try:
        return op.arg.reader(stream) if op.arg else None
    except (ValueError, IndexError) as error:
        raise DamagedFileError(
            f"{where}: cut off or damaged in {op.name} ({error}). Download or copy it again"
        ) from error


def _refusal(code: bytes, stream: io.BytesIO, where: str) -> FormatError:
    op = _OPCODES.get(code)
    if op is None:
        what = "damaged" if code else "cut off"
        return DamagedFileError(f"{where}: {what}: no whole pickle. Download or copy it again")
    told = ""
    if op.name == "INST":
        told = " " + shown(str(_argument(op, stream, where)).replace(" ", "."))
    elif op.name.startswith("EXT"):
        told = f" code {_argument(op, stream, where)}"
    return UnsafeFileError(f"{where}: opcode {op.name}{told}. {DISTRUST}")
