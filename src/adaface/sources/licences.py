"""What a licence says about commercial use, as far as its name tells."""

import re
from collections.abc import Mapping

from adaface.errors import LicenceError

# Names as the hub and our manifests write them, lower case. OpenRAIL allows commercial use, with restrictions
# of purpose that everybody has to read.
_ALLOWS = re.compile(
    r"mit|apache(-2\.0)?|bsd(-[0-9]-clause)?|cc0(-1\.0)?|cc-by(-sa)?-4\.0|unlicense|zlib|bsl-1\.0|"
    r"((creativeml|bigscience)-)?openrail(-m)?"
)
_FORBIDS = re.compile(r"non[\s-]*commercial|\bnot?\b.*\bcommercial|\bnc\b|research|academic|\bpersonal\b")
IN_STACK = "write it into the stack's stack.json"
_BETWEEN = re.compile(r"[,;+&/]|\band\b")  # several licences in one text: each has to allow it


def allows_commercial_use(licence: str) -> bool | None:
    """True or False where the licence's name tells; None where it does not (unknown, other, empty)."""
    text = licence.lower().replace("_", "-")
    if _FORBIDS.search(text):
        return False
    plain = re.sub(r"\(.*?\)", " ", text)
    names = [clause.split()[0] if clause.split() else "" for clause in _BETWEEN.split(plain)]
    return True if all(_ALLOWS.fullmatch(name) for name in names) else None


def require_commercial(licences: Mapping[str, str], stated_in: str = IN_STACK) -> None:
    """Check licences by what they are of ("base", "recognizer", ...).

    stated_in: what to do about a licence that one knows and that is not named, for the error's end.
    Raises LicenceError: one of them forbids commercial use, or does not tell; all such are named.
    """
    bad = {what: text for what, text in licences.items() if not allows_commercial_use(text)}
    if not bad:
        return
    listed = "; ".join(
        f"{what}: {text or 'no licence named'}"
        + (" (forbids it)" if allows_commercial_use(text) is False else " (not known to allow it)")
        for what, text in bad.items()
    )
    raise LicenceError(
        f"commercial use was asked for, but not all weights allow it. {listed}. Use other weights for these "
        f"parts; if you know a licence that is not named here, {stated_in}"
    )
