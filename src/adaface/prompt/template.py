"""A prompt in which people stand as <alice> -> words and slots; where nobody is named, the sole subject finds
a place.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from adaface.errors import PromptError
from adaface.identity.names import check_name, slot
from adaface.spec import DEFAULT_SUBJECT

CLASS_NOUNS = (
    *("person", "man", "woman", "boy", "girl", "child", "kid", "baby", "toddler", "teenager"),
    *("guy", "lady", "gentleman", "adult", "human"),
)
_SLOT = re.compile(r"<([^\s<>]+)>")
_NOUN = re.compile(rf"(?<![\w-])(?:{'|'.join(CLASS_NOUNS)})(?![\w-])", re.IGNORECASE)


@dataclass(frozen=True)
class Slot:
    """The place of a subject's rows in a prompt; name without brackets."""

    name: str


@dataclass(frozen=True)
class Template:
    """A prompt as it is used: its text, the same as words and slots in order, and what was done to it, if
    anything.
    """

    prompt: str
    parts: tuple[str | Slot, ...]
    note: str | None = None


def parse(prompt: str, names: Collection[str], tokens: Collection[str] = ()) -> Template:
    """Find the subjects `names` (without brackets) in a prompt; the sole subject is placed if it is not
    named.

    <person> is the sole subject whatever its name. Unnamed, it follows the first class noun, or stands in
    "a photo of <name>, " in front. tokens: words with brackets that a tokenizer knows; they stay words.
    Raises PromptError: a bad name, an unknown <name>, or several subjects none of which is named.
    """
    for name in names:
        check_name(name)
    prompt, note = _place(prompt, list(names), tokens)
    parts: list[str | Slot] = []
    end = 0
    for match in _slots(prompt, names, tokens):
        if words := prompt[end : match.start()].strip():
            parts.append(words)
        parts.append(Slot(match[1]))
        end = match.end()
    if words := prompt[end:].strip():
        parts.append(words)
    return Template(prompt, tuple(parts), note)


def _place(prompt: str, names: list[str], tokens: Collection[str]) -> tuple[str, str | None]:
    """The prompt with the sole subject in it under its own name, and a note if something was done."""
    if len(names) == 1 and DEFAULT_SUBJECT not in names and slot(DEFAULT_SUBJECT) not in tokens:
        prompt = prompt.replace(slot(DEFAULT_SUBJECT), slot(names[0]))
    named = {match[1] for match in _slots(prompt, names, tokens)}
    if not named and len(names) == 1:
        return _place_sole(prompt, slot(names[0]))
    if not named and names:
        raise PromptError(
            f"prompt {prompt!r} names none of {_list(names)}: write each where that person should stand, "
            f"for example '{slot(names[0])} and {slot(names[1])} in a park'"
        )
    left = [name for name in names if name not in named]
    return prompt, f"{_list(left)}: not in the prompt, so not in the picture" if left else None


def _place_sole(prompt: str, subject: str) -> tuple[str, str]:
    if noun := _NOUN.search(prompt):
        return f"{prompt[: noun.end()]} {subject}{prompt[noun.end() :]}", f"{subject} put behind {noun[0]!r}"
    placed = f"a photo of {subject}, {prompt.strip()}" if prompt.strip() else f"a photo of {subject}"
    return placed, f"{subject} put in front"


def _slots(prompt: str, names: Collection[str], tokens: Collection[str]) -> list[re.Match[str]]:
    found = []
    for match in _SLOT.finditer(prompt):
        if match[1] in names:
            found.append(match)
        elif match[0] not in tokens:
            raise PromptError(
                f"prompt {prompt!r}: no subject {match[0]}. Known here: {_list(names) or 'none'}. "
                "Write one of them, or leave the angle brackets out"
            )
    return found


def _list(names: Collection[str]) -> str:
    return ", ".join(slot(name) for name in names)
