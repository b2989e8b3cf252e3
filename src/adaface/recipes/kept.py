"""Bytes that autograd's graphs keep for backward passes: now, and the most at once so far."""

from types import TracebackType
from typing import Self

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


class Kept:
    """Counts within a `with`. A storage that several graphs keep counts once, what is let go of no more: a
    step may go back through a part of itself and forget it before the next one begins.
    """

    def __init__(self, known: set[int]) -> None:
        """known: addresses of storages that are there anyway, such as weights."""
        self.known, self.now, self.most = known, 0, 0
        self._uses: dict[int, int] = {}
        self._hooks = saved_tensors_hooks(lambda tensor: _Held(self, tensor), lambda held: held.tensor)

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._hooks.__exit__(kind, error, where)

    def use(self, place: int, size: int) -> None:
        """A graph keeps a storage of `size` bytes at the address `place`."""
        self._uses[place] = self._uses.get(place, 0) + 1
        if self._uses[place] == 1 and place not in self.known:
            self.now += size
            self.most = max(self.most, self.now)

    def leave(self, place: int, size: int) -> None:
        """A graph lets go of it."""
        self._uses[place] -= 1
        if not self._uses[place]:
            del self._uses[place]
            self.now -= 0 if place in self.known else size


class _Held:
    """A tensor in a graph, which tells when the graph lets go of it."""

    def __init__(self, kept: Kept, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self.tensor, self._kept = tensor, kept
        self._place, self._size = storage.data_ptr(), storage.nbytes()
        kept.use(self._place, self._size)

    def __del__(self) -> None:
        self._kept.leave(self._place, self._size)
