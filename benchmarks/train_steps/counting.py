"""Floating-point operations of what is done: matrix products, convolutions, attention; two a product."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count


class Operations(TorchDispatchMode):
    """Counts while it is entered. torch's own counter lacks attention on the CPU, and cannot look at a
    gradient that is asked for within a step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._overloadpacket.__name__
        if name == "_scaled_dot_product_flash_attention_for_cpu":
            self.count += sdpa_flop_count(*(tensor.shape for tensor in args[:3]))
        elif name == "_scaled_dot_product_flash_attention_for_cpu_backward":
            self.count += sdpa_backward_flop_count(*(tensor.shape for tensor in args[:4]))
        elif func._overloadpacket in flop_registry:
            self.count += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def operations(run: Any) -> int:
    """Those of one call."""
    with Operations() as counter:
        run()
    return int(counter.count)
