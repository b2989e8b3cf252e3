"""Objects whose classes are not here, as inert records of their state; a whole tree of them, checked.

While a pickle is read there are only plain Python values and the classes of this file: whatever it asks for,
nothing else can be reached, and no method of these does anything but keep what it is given.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from functools import cache
from typing import Any, ClassVar, NamedTuple, Self

from torch import Tensor

from adaface.errors import UnsafeFileError

MAX_HEIGHT = 200  # containers in each other; the authors' checkpoints have some 40
MAX_LEAVES = 50_000_000  # of a walk that follows each reference anew


class Record:
    """An object of a class that is not here: what it was made of, and the state that it was given."""

    __slots__ = ("args", "state")
    name: ClassVar[tuple[str, str]] = ("", "")  # module and class, as the file has them
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: object) -> Self:
        """Keep the arguments; no constructor is run."""
        record = super().__new__(cls)
        record.args, record.state = args, None
        return record

    def __setstate__(self, state: object) -> None:
        """Keep the state; a file that sets it twice keeps the last one."""
        self.state = state

    def __repr__(self) -> str:
        return f"<record of {'.'.join(self.name)}>"

    def get(self, name: str) -> Any:
        """An attribute as the class would have it: of the state, or a module's parameter, buffer or child.

        None: there is none.
        """
        if not isinstance(self.state, dict):
            return None
        for kept in (self.state, *(self.state.get(kind) for kind in _MODULE_DICTS)):
            if isinstance(kept, dict) and name in kept:
                return kept[name]
        return None


class Frozen:
    """Something that a pickle may call or hold, and that it cannot change."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Refuse. Raises UnsafeFileError: always."""
        raise UnsafeFileError(f"it sets the state of {self!r}, which has none")


class Call(Frozen):
    """One of our own functions, under the name that a pickle has for it."""

    __slots__ = ("_name", "_run")

    def __init__(self, name: tuple[str, str], run: Callable[..., Any]) -> None:
        self._name, self._run = name, run

    def __call__(self, *args: object) -> Any:
        """Run it. Raises UnsafeFileError: arguments that no checkpoint has."""
        try:
            return self._run(*args)
        except (TypeError, ValueError, AttributeError) as error:
            raise UnsafeFileError(
                f"it calls {self!r} with arguments that no checkpoint has ({error})"
            ) from error

    def __repr__(self) -> str:
        return ".".join(self._name)


class OrderedDict(dict[Any, Any]):
    """A dict that takes attributes (`_metadata`) and drops them."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Drop it."""


_MODULE_DICTS = ("_parameters", "_buffers", "_modules")  # where a torch module keeps these
_PLAIN = frozenset((dict, list, tuple, set))
_LEAVES = frozenset((str, int, float, bool, bytes, type(None)))  # tried first: nearly everything is one


@cache
def record_class(module: str, name: str) -> type[Record]:
    """The class of records that stands for a class of that name."""
    return type(name, (Record,), {"__slots__": (), "name": (module, name)})


def tensors_of(node: object, skip: Container[str] = ()) -> dict[str, Tensor]:
    """All tensors of a settled tree by dotted names, as a module's state dict has them, and plain attributes.

    skip: names of attributes that are not looked into. A container that is there twice is told once.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()

    def walk(value: object, name: str) -> None:
        if isinstance(value, Tensor):
            found[name] = value
            return
        if id(value) in seen or type(value) in _LEAVES:
            return
        seen.add(id(value))
        for key, child in _named(value):
            if key not in skip:
                walk(child, f"{name}.{key}" if name else key)

    walk(node, "")
    return found


def _named(node: object) -> Iterator[tuple[str, Any]]:
    """What is directly in a node, by name; a module's parameters, buffers and children count as its own."""
    if isinstance(node, Record):
        state = node.state if isinstance(node.state, dict) else {}
        for kind in _MODULE_DICTS:
            yield from _named(state.get(kind))
        yield from ((str(key), value) for key, value in state.items() if key not in _MODULE_DICTS)
    elif isinstance(node, dict):
        yield from ((str(key), value) for key, value in node.items())
    elif isinstance(node, list | tuple):
        yield from ((str(key), value) for key, value in enumerate(node))


def settle(root: object, finish: Callable[[Frozen], Any], where: str) -> Any:
    """A tree with each Frozen leaf replaced by `finish` of it, once, and plain dicts for ordered ones.

    Raises UnsafeFileError: a tree that a plain walk could not visit, since it holds itself, is nested too
    deep, or refers to its parts too often.
    """
    done: dict[int, _Settled] = {}  # by the id of the old node
    entered: dict[int, list[Any]] = {}  # ... and the inner nodes below it
    stack = [root]
    while stack:
        node = stack[-1]
        if id(node) in done:
            stack.pop()
        elif id(node) not in entered:
            inner = entered[id(node)] = _inner(node)
            waiting = [child for child in inner if id(child) not in done]
            if any(id(child) in entered for child in waiting):
                raise UnsafeFileError(f"{where}: it holds an object that is inside of itself")
            stack += waiting
        else:
            stack.pop()
            done[id(node)] = _settled(node, entered[id(node)], done, finish, where)
    return done[id(root)].node if id(root) in done else root


class _Settled(NamedTuple):
    node: Any
    height: int
    leaves: int  # of a walk that follows each reference anew


def _settled(
    node: Any, inner: list[Any], done: dict[int, _Settled], finish: Callable[[Frozen], Any], where: str
) -> _Settled:
    below = [done[id(child)] for child in inner]
    height = 1 + max((item.height for item in below), default=0)
    leaves = len(inner) + 1 + sum(item.leaves for item in below)
    if height > MAX_HEIGHT or leaves > MAX_LEAVES:
        raise UnsafeFileError(
            f"{where}: nested too deep, or too many references to the same parts (height {height}, "
            f"{leaves} leaves; at most {MAX_HEIGHT}, {MAX_LEAVES})"
        )
    if isinstance(node, Frozen):
        return _Settled(finish(node), height, leaves)
    if not inner and type(node) is not OrderedDict:
        return _Settled(node, height, leaves)

    def new(child: Any) -> Any:
        return done[id(child)].node if id(child) in done else child

    return _Settled(_rebuilt(node, new), height, leaves)


def _inner(node: object) -> list[Any]:
    """What is in a node and may hold something itself, or has to be replaced."""
    if isinstance(node, dict):
        children: Iterable[Any] = (*node.keys(), *node.values())
    elif isinstance(node, Record):
        children = (*node.args, node.state)
    else:
        children = node if isinstance(node, list | tuple | set) else ()
    return [
        child
        for child in children
        if type(child) not in _LEAVES
        and not isinstance(child, type)
        and not (type(child) in _PLAIN and not child)
    ]


def _rebuilt(node: Any, new: Callable[[Any], Any]) -> Any:
    if isinstance(node, dict):
        return {new(key): new(value) for key, value in node.items()}
    if isinstance(node, Record):
        node.args, node.state = tuple(map(new, node.args)), new(node.state)
        return node
    return type(node)(map(new, node))
