"""What is drawn for the evidence: the same people, prompts and seeds in every row. P people, N cells."""

from dataclasses import dataclass

import torch

from adaface.errors import ConfigError
from adaface.mini.gates import some_facts
from adaface.mini.world.captions import describe, plain_caption
from adaface.mini.world.data import HELD_OUT, VALIDATION
from adaface.mini.world.facts import Facts, seen_combinations
from adaface.spec import DEFAULT_SUBJECT

PLAIN, SEEN, UNSEEN = "plain", "seen", "unseen"
SCENES = (SEEN, UNSEEN)  # kinds of prompts that say more than who it is
SPLITS = {"validation": VALIDATION, "held_out": HELD_OUT}
PERSON = f"<{DEFAULT_SUBJECT}>"
SEEDS = 100_000  # of a design; another one's begin behind them
CLASS = "a person"  # what stands in the person's place in captions


@dataclass(frozen=True, kw_only=True)
class Design:
    """Who is drawn, and with what.

    people: of the split. plain: pictures of each under "a photo of <person>". seen, unseen: scenes for each,
    all different; unseen ones hold a pair of words that training never showed together. split: "validation"
    while decisions are made, "held_out" once at the end. steps: of drawing; None is the stack's own.
    Raises ConfigError: a value out of range.
    """

    people: int = 48
    plain: int = 2
    seen: int = 3
    unseen: int = 3
    seed: int = 0
    split: str = "validation"
    steps: int | None = None

    def __post_init__(self) -> None:
        """Check each value."""
        if self.people < 2 or min(self.plain, self.seen, self.unseen) < 1:
            raise ConfigError(
                f"people={self.people}, plain={self.plain}, seen={self.seen}, unseen={self.unseen}: give two "
                "people or more, and at least one picture of each kind"
            )
        if self.split not in SPLITS:
            raise ConfigError(f'split="{self.split}": give one of {", ".join(SPLITS)}')
        some = int(seen_combinations().sum())
        for kind, most in ((SEEN, some), (UNSEEN, seen_combinations().numel() - some)):
            if self.people * getattr(self, kind) > most:
                raise ConfigError(
                    f"{kind}={getattr(self, kind)} scenes for each of {self.people} people: there are {most} "
                    "different ones in all. Give fewer, or fewer people"
                )


@dataclass(frozen=True)
class Cell:
    """One picture of each row. person: which of P. prompt: with <person> in it. caption: with "a person"."""

    person: int
    kind: str
    prompt: str
    caption: str
    seed: int


@dataclass(frozen=True, eq=False)
class Cells:
    """All pictures of a row, person by person, and the facts of the scenes.

    scenes: by kind, the facts of its cells in their order.
    """

    cells: tuple[Cell, ...]
    scenes: dict[str, Facts]

    def of(self, *kinds: str) -> list[int]:
        """Indices of the cells of some kinds."""
        return [n for n, cell in enumerate(self.cells) if cell.kind in kinds]


def cells_of(design: Design) -> Cells:
    """The pictures of a row; the design alone says which, so that rows are paired."""
    return some_cells(design.people, design.plain, design.seen, design.unseen, design.seed)


def some_cells(people: int, plain: int, seen: int, unseen: int, seed: int) -> Cells:
    """As `cells_of`, of any number of people."""
    generator = torch.Generator().manual_seed(seed)
    counts = {SEEN: seen, UNSEEN: unseen}
    scenes = {
        kind: some_facts(generator, people * count, seen=kind == SEEN) for kind, count in counts.items()
    }
    words = {kind: [_words(facts, row) for row in range(len(facts))] for kind, facts in scenes.items()}
    cells: list[Cell] = []
    for person in range(people):
        own = [(PLAIN, f"a photo of {PERSON}", f"a photo of {CLASS}")] * plain
        for kind, count in counts.items():
            own += [(kind, *pair) for pair in words[kind][person * count : (person + 1) * count]]
        for kind, prompt, caption in own:
            cells.append(Cell(person, kind, prompt, caption, seed * SEEDS + len(cells)))
    return Cells(tuple(cells), scenes)


def _words(facts: Facts, row: int) -> tuple[str, str]:
    return describe(facts, row, PERSON), plain_caption(facts, row)
