"""A look at a pickle's opcodes before they are obeyed: only those that torch.save writes, within bounds."""

import io
import pickletools
from typing import Any

from adaface.checkpoints.names import Names
from adaface.errors import DamagedFileError, FormatError, UnsafeFileError

MAX_OPCODES = 4_000_000  # a checkpoint with two whole tokenizers in it has some 1.6 million
MAX_INT_BITS = 64  # of LONG1: sizes and counts
DISTRUST = "Nothing of it was run. Other programs may run it: get the weights elsewhere, best as safetensors"
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
    unpickler. Raises UnsafeFileError: an opcode or name outside of the lists, a memo index out of bounds, or
    bytes after the end. FormatError: it is cut off or damaged.
    """
    stream = io.BytesIO(data)
    for count in range(MAX_OPCODES):
        code = stream.read(1)
        op = _ALLOWED.get(code)
        if op is None:
            raise _refusal(code, stream, where)
        if op.arg is not None:
            _check(op.name, _argument(op, stream, where), count, where, names)
        elif code == b".":
            if stream.tell() != len(data):
                raise UnsafeFileError(f"{where}: trailing bytes after STOP. {DISTRUST}")
            return
    raise UnsafeFileError(f"{where}: more than {MAX_OPCODES} opcodes. {DISTRUST}")


def check_name(module: str, name: str = "", *, where: str, names: Names) -> None:
    """Raises UnsafeFileError: the exact pair is not on the list."""
    if (module, name) not in names:
        raise UnsafeFileError(
            f"{where}: it names {module}.{name}, which is not among the {len(names)} names that may occur. "
            f"{DISTRUST}"
        )


def _check(name: str, arg: Any, count: int, where: str, names: Names) -> None:
    if name == "GLOBAL":
        check_name(*arg.split(" ", 1), where=where, names=names)
    elif name in ("BINPUT", "LONG_BINPUT") and arg > count + 0xFF:
        # CPython reserves room for as many entries as the largest index says
        raise UnsafeFileError(f"{where}: {name} {arg}: a memo index out of bounds. {DISTRUST}")
    elif name == "LONG1" and arg.bit_length() > MAX_INT_BITS:
        raise UnsafeFileError(f"{where}: LONG1 of more than {MAX_INT_BITS} bits. {DISTRUST}")


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
        told = " " + str(_argument(op, stream, where)).replace(" ", ".")
    elif op.name.startswith("EXT"):
        told = f" code {_argument(op, stream, where)}"
    return UnsafeFileError(f"{where}: opcode {op.name}{told}. {DISTRUST}")
