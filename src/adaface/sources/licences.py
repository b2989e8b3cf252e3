"""What a licence says about commercial use, as far as its name tells."""

from collections.abc import Mapping

from adaface.errors import LicenceError

# Names as the hub and our manifests write them, lower case. OpenRAIL allows commercial use, with restrictions
# of purpose that everybody has to read.
_ALLOWS = (
    "mit", "apache-2.0", "bsd", "cc0", "cc-by-4.0", "cc-by-sa-4.0", "unlicense", "zlib", "openrail",
    "creativeml-openrail-m", "bigscience-openrail-m", "bsl-1.0",
)  # fmt: skip
_FORBIDS = (
    "non-commercial", "noncommercial", "research only", "research-only", "research use", "cc-by-nc", "-nc-",
)  # fmt: skip


def allows_commercial_use(licence: str) -> bool | None:
    """True or False where the licence's name tells; None where it does not (unknown, other, empty)."""
    text = licence.lower()
    if any(word in text for word in _FORBIDS):
        return False
    words = text.replace("(", " ").replace(",", " ").replace(":", " ").split()
    return True if any(word.startswith(_ALLOWS) for word in words) else None


def require_commercial(licences: Mapping[str, str]) -> None:
    """Check licences by what they are of ("base", "recognizer", ...).

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
        "parts; if you know a licence that is not named here, write it into the stack's stack.json"
    )
