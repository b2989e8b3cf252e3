"""What is shown of a training as it goes."""

import io
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from adaface.cli.training.bar import Lines, bar, clock, left, words


@dataclass
class Step:
    step: int = 10
    steps: int = 40
    share: float = 0.25
    seconds: float = 60.0
    terms: dict = field(default_factory=lambda: {"reconstruct": 0.73012})


@dataclass
class Pace:
    images: float = 25.12
    waiting: float = 0.0123


def test_losses_and_pace_stand_together():
    assert words(Step(), Pace()) == "reconstruct 0.7301, 25.1 images/s, waiting 1.2%"


def test_the_first_step_has_no_pace_yet():
    assert words(Step(), Pace(images=0.0)) == "reconstruct 0.7301"


def test_the_time_that_is_left_follows_from_the_share_that_is_done():
    assert left(Step()) == 180
    assert left(Step(share=0.0)) is None


@pytest.mark.parametrize(("seconds", "text"), [(None, "?"), (59.6, "0:01:00"), (3723, "1:02:03")])
def test_seconds_are_told_as_a_clock(seconds, text):
    assert clock(seconds) == text


def test_lines_come_now_and_then_and_at_the_end():
    said = []
    show = Lines(said.append)
    for step in (1, 2, 3, 40):
        show(Step(step=step, share=step / 40), Pace())
    assert [line.split(":")[0] for line in said] == ["step 1/40", "step 40/40"]


def test_nobody_to_tell_is_told_nothing():
    Lines(None)(Step(share=1.0), Pace())


def test_the_bar_shows_steps_losses_and_the_time_left():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    with bar(console) as show:
        show(Step(), Pace())
    told = screen.getvalue()
    for part in ("10/40", "reconstruct 0.7301", "25.1 images/s", "0:03:00", "left"):
        assert part in told
