"""Settings of a run: the dataclass's own values < a YAML file's < `key=value`. All faults are told at once.

A config is a frozen dataclass of plain fields (bool, int, float, str, Literal, tuples and mappings of them,
each also `| None`) and of other such dataclasses, whose fields are named with a dot: `loop.steps=100`.
"""

import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from adaface.errors import ConfigError, MissingFileError
from adaface.optional import require

C = TypeVar("C")
_TRUE, _FALSE, _NONE = ("true", "yes", "on"), ("false", "no", "off"), ("none", "null", "")


@dataclass(frozen=True)
class Layer:
    """Values from one place, nested as the config is. origin: how messages call that place."""

    origin: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class _Leaf:
    value: Any
    origin: str


class _Fault(Exception):
    """Why a value does not fit its field."""


def build(kind: type[C], layers: Sequence[Layer]) -> C:
    """A config of class `kind`, its defaults overridden layer by layer, the last one strongest.

    Raises ConfigError: names every unknown key (with the nearest known one) and every value that does not
    fit, each with the layer that it came from.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer.values, layer.origin)
    faults: list[str] = []
    made = _make(kind, merged, "", faults)
    if faults:
        raise ConfigError(faults[0] if len(faults) == 1 else _numbered(faults))
    return made


def read_yaml(path: str | Path) -> Layer:
    """The layer of a YAML file. Raises MissingFileError: no such file; ConfigError: not YAML of keys and
    values.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file. Check the path")
    yaml = require("yaml", extra="train")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise ConfigError(f"{path}: not a YAML file ({reason}). Correct it there") from error
    if not isinstance(values, dict):
        raise ConfigError(f'{path}: holds no keys and values. Write lines like "batch: 8"')
    return Layer(path.name, values)


def read_overrides(texts: Sequence[str]) -> Layer:
    """The layer of `key=value` texts, nested ones as `loop.steps=100`; lists as `[1, 2]`, numbers as `1,2`.

    Raises ConfigError: names every text without a key or a "=".
    """
    values: dict[str, Any] = {}
    bad = [text for text in texts if not text.partition("=")[0].strip() or "=" not in text]
    if bad:
        raise ConfigError(f"{', '.join(map(repr, bad))}: not key=value. Write settings like batch=8")
    for text in texts:
        key, _, value = text.partition("=")
        *groups, name = key.strip().split(".")
        place = values
        for group in groups:
            inner = place.setdefault(group, {})
            place = inner if isinstance(inner, dict) else place
        place[name] = value
    return Layer("key=value", values)


def to_plain(config: Any) -> dict[str, Any]:
    """A config as nested dictionaries of what YAML and JSON hold."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def flat(values: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Nested settings as one a name: {"loop": {"steps": 3}} -> {"loop.steps": 3}."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{within}{key}.") if isinstance(value, Mapping) else {f"{within}{key}": value}
    return found


def to_yaml(config: Any) -> str:
    """A config as YAML, in the order of its fields; `read_yaml` and `build` give the config again."""
    text: str = require("yaml", extra="train").safe_dump(
        to_plain(config), sort_keys=False, allow_unicode=True, width=100
    )
    return text


def nearest(name: str, known: Sequence[str]) -> str:
    """What to say of an unknown name: the nearest known one, or all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_plain(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _merge(into: dict[str, Any], values: Mapping[str, Any], origin: str) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner = into.get(str(key))
            inner = into[str(key)] = inner if isinstance(inner, dict) else {}
            _merge(inner, value, origin)
        else:
            into[str(key)] = _Leaf(value, origin)


def _make(kind: type[Any], given: Mapping[str, Any], within: str, faults: list[str]) -> Any:
    """A dataclass of `given`, or None and more faults."""
    before, hints = len(faults), get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind) if f.init]
    values = {}
    for key, value in given.items():
        if key not in known:
            faults.append(f"{_origin(value)}: {within}{key}: no such setting; {_near(key, known, within)}")
            continue
        values[key] = _field(hints[key], value, f"{within}{key}", faults)
    lacking = [f.name for f in dataclasses.fields(kind) if _needed(f) and f.name not in given]
    faults += [f"{within}{name}: has to be given. Add {within}{name}=..." for name in lacking]
    if len(faults) > before:
        return None
    try:
        return kind(**values)
    except ConfigError as error:
        faults.append(f"{within.rstrip('.')}: {error}" if within else str(error))
        return None


def _needed(f: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return f.init and f.default is missing and f.default_factory is missing


def _near(key: str, known: Sequence[str], within: str) -> str:
    return nearest(f"{within}{key}", [f"{within}{name}" for name in known])


def _field(hint: Any, given: Any, place: str, faults: list[str]) -> Any:
    group = _group(hint)
    if group is not None and isinstance(given, dict):
        return _make(group, given, f"{place}.", faults)
    try:
        if group is not None:
            names = ", ".join(f"{place}.{f.name}" for f in dataclasses.fields(group))
            raise _Fault(f"is a group of settings: {names}. Give one of these")
        return _fit(hint, _bare(given))
    except _Fault as fault:
        faults.append(f"{_origin(given)}: {place}={_shown(_bare(given))}: {fault}")
        return None


def _group(hint: Any) -> type[Any] | None:
    kinds = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type)]
    return next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)


def _fit(hint: Any, value: Any) -> Any:
    """`value` as the type `hint` wants it; texts of key=value are read. Raises _Fault."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return _fit_union(get_args(hint), value)
    if origin is Literal:
        choices = get_args(hint)
        if value not in choices:
            raise _Fault(f"give one of {', '.join(map(str, choices))}")
        return value
    if origin is tuple:
        return _fit_tuple(get_args(hint), value)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise _Fault("give names and values in a YAML file, one a line below it")
        return {str(key): _fit(get_args(hint)[1], item) for key, item in value.items()}
    return _FITS[hint](value)


def _fit_union(kinds: Sequence[Any], value: Any) -> Any:
    empty = value is None or (isinstance(value, str) and value.strip().lower() in _NONE)
    if NoneType in kinds and empty:
        return None
    last = _Fault("does not fit")
    for kind in kinds:
        if kind is not NoneType:
            try:
                return _fit(kind, value)
            except _Fault as fault:
                last = fault
    raise last


def _fit_tuple(kinds: Sequence[Any], value: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = [value] if _one_text(kinds, value) else _read_list(value)
    items = list(value) if isinstance(value, list | tuple) else [value]
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_fit(kinds[0], item) for item in items)
    if len(items) != len(kinds):
        raise _Fault(f"give {len(kinds)} values, like [1, 2]")
    return tuple(_fit(kind, item) for kind, item in zip(kinds, items, strict=True))


def _one_text(kinds: Sequence[Any], value: str) -> bool:
    """A comma belongs to a text; it parts numbers."""
    return kinds[0] is str and bool(value.strip()) and not value.strip().startswith("[")


def _read_list(text: str) -> Any:
    if text.strip().startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            raise _Fault('not a list; write it like [1, 2] or ["a", "b"]') from None
    return [part.strip() for part in text.split(",")] if text.strip() else []


def _fit_bool(value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in _TRUE + _FALSE:
        raise _Fault("give true or false")
    return text in _TRUE


def _fit_int(value: Any) -> int:
    text = str(value).strip()
    if not isinstance(value, bool) and text.lstrip("+-").isdecimal():
        return int(text)  # a float would round a large one
    number = _fit_float(value)
    if not number.is_integer():
        raise _Fault("give a whole number")
    return int(number)


def _fit_float(value: Any) -> float:
    """YAML reads 1e-4 as a text, since it asks for a point in it."""
    try:
        if isinstance(value, bool | list | dict | NoneType):
            raise ValueError
        return float(value)
    except (ValueError, TypeError):
        raise _Fault("give a number") from None


def _fit_str(value: Any) -> str:
    if not isinstance(value, str):
        raise _Fault("give a text; put it in quotes")
    return value


_FITS = {bool: _fit_bool, int: _fit_int, float: _fit_float, str: _fit_str}


def _bare(given: Any) -> Any:
    if isinstance(given, _Leaf):
        return given.value
    return {key: _bare(value) for key, value in given.items()}


def _origin(given: Any) -> str:
    if isinstance(given, _Leaf):
        return given.origin
    return next((_origin(value) for value in given.values()), "settings")


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _numbered(faults: Sequence[str]) -> str:
    listed = "; ".join(f"({number}) {fault}" for number, fault in enumerate(faults, 1))
    return f"{len(faults)} faults in the settings: {listed}"
