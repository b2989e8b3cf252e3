"""What each process does in the tests of several processes; torchrun starts it with a folder for results."""

import faulthandler
import json
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from adaface.errors import NonFiniteError, WriteError
from adaface.training import run
from adaface.training.distributed import joined
from adaface.training.loop import fit
from adaface.training.plan import step_generator
from adaface.training.step import Stepper
from tiny_training import Line, config


class Lopsided(Line):
    """The second half of a batch alone uses its own weights, as a term does that not every picture has."""

    def __init__(self, **rest):
        super().__init__(**rest)
        self.modules["extra"] = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.ones_(self.modules["extra"].weight)

    def loss(self, plan, part):
        terms = super().loss(plan, part)
        places = part.take(range(len(plan.rows)))
        late = [place for place in places if place >= 4]
        if late:
            x = torch.tensor([[float(place)] for place in late])
            terms["extra"] = self.modules["extra"](x).square().sum() / len(places)
        return terms


def gradients(ranks, *, accumulate=1):
    """Of the first plan of a batch of 8, by weight."""
    recipe = Lopsided()
    stepper = Stepper(recipe, config(1, accumulate=accumulate, max_grad_norm=1e9), ranks)
    outcome = stepper.gradients(recipe.draw(1, step_generator(0, 1), 0.0))
    grads = {name: weight.grad.flatten().tolist() for name, weight in stepper.weights.trained.items()}
    return {"grads": grads, "rows": recipe.seen[0][2], "norm": outcome.norm}


def raised(kind, call):
    try:
        call()
    except kind as error:
        return str(error)
    return ""


def stopped(ranks, folder):
    """The second process alone is told to stop."""
    recipe = Line(signal_at=3 if ranks.rank == 1 else None)
    progress = fit(recipe, config(50), folder, ranks=ranks)
    return {"step": progress.step, "finished": progress.finished}


def spoilt(ranks, folder):
    """A sample that the last process reads is no picture."""
    recipe = Line(rows=100)
    row = recipe.draw(3, step_generator(0, 3), 0.0).rows[4]  # the last process reads it
    recipe.spoilt = row
    said = raised(NonFiniteError, lambda: fit(recipe, config(10, save_steps=1), folder, ranks=ranks))
    return {"said": said, "row": row}


def no_room(ranks, folder):
    """The first process alone finds no room for the second checkpoint."""
    fit(Line(), config(1), folder, ranks=ranks)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    if ranks.first:
        run.save_file = full
    return raised(WriteError, lambda: fit(Line(), config(2), folder, ranks=ranks))


def main(out: Path) -> None:
    with joined("cpu") as ranks:
        told = {"world": ranks.world, "rank": ranks.rank, "gathered": ranks.gather({"rank": ranks.rank})}
        told["gradients"] = gradients(ranks)
        told["gradients_in_parts"] = gradients(ranks, accumulate=2)
        whole, halves = Line(), Line()
        fit(whole, config(4), out / "whole", ranks=ranks)
        fit(halves, config(2), out / "halves", ranks=ranks)
        fit(Line(), config(2), out / "other", ranks=ranks)
        fit(halves, config(4), out / "halves", ranks=ranks)
        told["seen"] = whole.seen
        told["stopped"] = stopped(ranks, out / "stopped")
        told["spoilt"] = spoilt(ranks, out / "spoilt")
        told["no_room"] = no_room(ranks, out / "no_room")
        (out / f"rank-{ranks.rank}.json").write_text(json.dumps(told))


def endless(out: Path) -> None:
    """A run that ends by a signal only."""
    signal.signal(signal.SIGINT, lambda *_: None)  # torchrun sends it again, maybe after the run has ended
    with joined("cpu") as ranks:
        progress = fit(Line(), config(10**6, save_steps=0), out / "endless", ranks=ranks)
        (out / f"ended-{ranks.rank}.json").write_text(json.dumps([progress.step, progress.finished]))


if __name__ == "__main__":
    faulthandler.enable()  # a process that dies says where it was
    torch.set_num_threads(1)
    {"all": main, "endless": endless}[sys.argv[1]](Path(sys.argv[2]))
