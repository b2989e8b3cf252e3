"""Named sets of prompts, for evaluations that can be compared with each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from adaface.errors import ConfigError
from adaface.evaluation.records import BroadClass
from adaface.evaluation.run.prompts import PromptLine, from_text, prompt_line
from adaface.pipelines.stack import Stack
from adaface.spec import GUIDANCE_SCALE, STEPS

MINI, MINI_GATES, SHORT, PAIRS, ADAFACE_2024 = "mini", "mini-gates", "short", "pairs", "adaface-2024"


@dataclass(frozen=True)
class Protocol:
    """A named way to evaluate.

    num_images: seeds of each prompt where nothing is said. about: what it is, in a line. clip, dino: models
    that score where the user names none, if they can be had. settings: over the stack's recommended ones.
    """

    name: str
    about: str
    num_images: int = 2
    clip: str | None = None
    dino: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


PROTOCOLS: Mapping[str, Protocol] = {
    one.name: one
    for one in (
        Protocol(MINI, "the stack's own demo prompts, which it is known to understand", 2),
        Protocol(MINI_GATES, "as mini, and the table of gates on held-out people (--data)", 2),
        Protocol(SHORT, "12 prompts of four kinds: scene, clothes, action, style", 2),
        Protocol(PAIRS, "two people in a picture: each subject with the next one", 2),
        Protocol(
            ADAFACE_2024,
            "47 prompts and 4 samples each, the structure and size of the authors'",
            4,
            clip="hub:openai/clip-vit-base-patch32",
            dino="hub:facebook/dino-vits16",
            settings={"steps": STEPS, "guidance_scale": GUIDANCE_SCALE},
        ),
    )
}


def protocol(name: str | None, stack: Stack) -> Protocol:
    """The protocol of that name; None: mini for a stack with demo prompts, else short.

    Raises ConfigError: no such protocol.
    """
    if name is None:
        name = MINI if stack.settings.get("demo_prompts") else SHORT
    if name not in PROTOCOLS:
        listed = "; ".join(f"{one.name} ({one.about})" for one in PROTOCOLS.values())
        raise ConfigError(f"--protocol {name}: unknown. There are {listed}")
    return PROTOCOLS[name]


def protocol_prompts(
    chosen: Protocol, stack: Stack | None, broad_class: BroadClass = "person"
) -> tuple[PromptLine, ...]:
    """The prompts of a protocol for subjects of a kind.

    stack: whose demo prompts are meant; only "mini" needs it. Raises ConfigError: the stack has none.
    """
    if chosen.name in (MINI, MINI_GATES):
        texts = _demo_prompts(stack)
        return tuple(prompt_line(text, _kind(text), "demo_prompts of the stack") for text in texts)
    name = chosen.name if chosen.name != ADAFACE_2024 else f"{chosen.name}-{broad_class}"
    text = files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8")
    return tuple(from_text(text, name))


def _demo_prompts(stack: Stack | None) -> Sequence[str]:
    texts = [] if stack is None else list(stack.settings.get("demo_prompts", ()))
    if not texts or not all(isinstance(text, str) for text in texts):
        named = "no stack" if stack is None else f'stack "{stack.name}"'
        raise ConfigError(
            f"{named}: no demo_prompts, which the protocol mini takes. Give --protocol {SHORT} or "
            "--prompts FILE"
        )
    return texts


def _kind(text: str) -> str:
    """Demo prompts have no sets: what they are about is told from their words."""
    words = text.lower()
    if not words.startswith("a photo of"):
        return "style"
    if "wearing" in words:
        return "clothes"
    return "plain" if words in ("a photo of <person>",) else "scene"
