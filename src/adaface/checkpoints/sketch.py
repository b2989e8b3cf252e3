"""How large the tuples of a pickle would become, told from its opcodes without building anything.

A tuple that is a key of a dict is hashed whole, by C code that neither stops nor counts. One in which each
part is the one before twice, 45 times over, never ends, and one that is nested deep enough ends the process.
So they are counted first. The other containers cannot be keys.
"""

MAX_PARTS = 10_000  # of a tuple with the tuples in it; the authors' checkpoints have some 50
_TAKES = {  # opcodes that take values and leave or make one
    "APPEND": 1, "SETITEM": 2, "BUILD": 1,
    "REDUCE": 2, "NEWOBJ": 2, "STACK_GLOBAL": 2, "BINPERSID": 1,
    "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3,
}  # fmt: skip
_LEAVES_OBJECT = frozenset(("APPEND", "SETITEM", "BUILD", "APPENDS", "SETITEMS"))
_NOTHING = frozenset(("PROTO", "FRAME"))


class Sketch:
    """The unpickler's stack and memo, with a number of parts in the place of each value."""

    def __init__(self) -> None:
        self._stack: list[int] = []
        self._marks: list[int] = []
        self._memo: dict[int, int] = {}

    def step(self, opcode: str, arg: int | None = None) -> int:
        """Follow one opcode; the parts of what is on top now. arg: a memo's index.

        Raises IndexError or KeyError: the pickle takes what is not there.
        """
        if opcode == "MARK":
            self._marks.append(len(self._stack))
        elif opcode in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if arg is None else arg] = self._top()
        elif opcode in ("BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[arg or 0])
        elif opcode in _TAKES or opcode in ("TUPLE", "APPENDS", "SETITEMS", "STOP"):
            self._take(opcode)
        elif opcode not in _NOTHING:
            self._stack.append(1)
        return self._stack[-1] if self._stack else 0

    def _take(self, opcode: str) -> None:
        if opcode == "STOP":
            self._top()
            return
        parts = self._pop(_TAKES[opcode]) if opcode in _TAKES else self._pop_to_mark()
        if opcode in _LEAVES_OBJECT:
            self._top()  # it stays what it is, even if it is no list at all: the unpickler may let that pass
        else:
            self._stack.append(1 + sum(parts) if opcode.startswith("TUPLE") else 1)

    def _fence(self) -> int:
        return self._marks[-1] if self._marks else 0

    def _top(self) -> int:
        if len(self._stack) <= self._fence():
            raise IndexError("nothing on the stack")
        return self._stack[-1]

    def _pop(self, count: int) -> list[int]:
        if len(self._stack) - count < self._fence():
            raise IndexError("not enough on the stack")
        parts = self._stack[-count:]
        del self._stack[-count:]
        return parts

    def _pop_to_mark(self) -> list[int]:
        start = self._marks.pop()
        parts = self._stack[start:]
        del self._stack[start:]
        return parts
