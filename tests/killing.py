"""Children that save at each step, and a parent that kills them in the middle; for tests of long runs."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator

import torch
import torch._dynamo  # each child would import it with its first update

from adaface.training import metrics


def killed(
    child: Callable[[Callable[[], object]], object], kills: int, saves: tuple[int, int], wait: float
) -> Iterator[None]:
    """Fork and kill so many children, and come back behind each.

    child: told what to call when a save begins. saves: least and most that begin before the kill, which
    comes at most `wait` seconds after.
    """
    torch.set_num_threads(1)
    metrics.git_state = lambda: None  # asking git takes longer than all the rest
    dice = random.Random(0)
    for _ in range(kills):
        saving, begins = os.pipe()  # a byte for each save that begins
        process = os.fork()
        if process == 0:
            child(lambda begins=begins: os.write(begins, b"."))
            os._exit(0)
        for _ in range(dice.randint(*saves)):
            os.read(saving, 1)
        time.sleep(dice.uniform(0, wait))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(saving)
        os.close(begins)
        yield
