"""A look at a pickle's opcodes before they are obeyed: only those that torch.save writes, within bounds."""

import io
import pickletools
from typing import Any

from adaface.checkpoints.names import Names
from adaface.errors import FormatError, UnsafeFileError

MAX_OPCODES = 4_000_000  # a checkpoint with two whole tokenizers in it has some 1.6 million
MAX_INT_BYTES = 8  # of LONG1: sizes and counts
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
DISTRUST = (
    "No checkpoint that is read here has that: do not open it with other programs, and get it elsewhere"
)
_OPCODES = {op.code.encode("latin-1"): op for op in pickletools.opcodes}


def scan(data: bytes, where: str, names: Names) -> None:
    """Read a pickle's opcodes without obeying them.

    where: file and record, for messages. Names given as strings on the stack (STACK_GLOBAL) are left to the
    unpickler. Raises UnsafeFileError: an opcode or name outside of the lists, a memo index out of bounds, or
    bytes after the end. FormatError: it is cut off or damaged.
    """
    stream = io.BytesIO(data)
    for count in range(MAX_OPCODES):
        op, arg = _next(stream, where)
        if op.name == "GLOBAL":
            check_name(*arg.split(" ", 1), where=where, names=names)
        elif op.name in ("BINPUT", "LONG_BINPUT") and arg > count + 0xFF:
            # CPython reserves room for as many entries as the largest index says
            raise UnsafeFileError(f"{where}: {op.name} {arg}: a memo index out of bounds. {DISTRUST}")
        elif op.name == "LONG1" and arg.bit_length() > 8 * MAX_INT_BYTES:
            raise UnsafeFileError(f"{where}: LONG1 of more than {MAX_INT_BYTES} bytes. {DISTRUST}")
        elif op.name == "STOP":
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


def _next(stream: io.BytesIO, where: str) -> tuple[pickletools.OpcodeInfo, Any]:
    code = stream.read(1)
    op = _OPCODES.get(code)
    if op is None:
        raise FormatError(f"{where}: {'cut off' if not code else 'damaged'}. Download or copy it again")
    if op.name not in ALLOWED and not op.name.startswith(("EXT", "INST", "PERSID")):
        raise UnsafeFileError(f"{where}: opcode {op.name}. {DISTRUST}")
    try:
        arg = op.arg.reader(stream) if op.arg else None
    except (ValueError, IndexError) as error:
        raise FormatError(
            f"{where}: cut off or damaged in {op.name} ({error}). Download or copy it again"
        ) from error
    if op.name not in ALLOWED:  # their arguments say what was meant to happen
        what = str(arg).replace(" ", ".") if op.name == "INST" else f"code {arg}"
        raise UnsafeFileError(f"{where}: opcode {op.name} {what}. {DISTRUST}")
    return op, arg
