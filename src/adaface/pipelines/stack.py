"""A stack: one folder with all the models that work together, a manifest of what they are, and recommended
settings.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from adaface import files
from adaface.errors import ConfigError, FormatError, HubError, MissingFileError, StackError
from adaface.face.detect import YUNET_FILE
from adaface.face.recognize import SFACE as SFACE_SPEC, SFACE_FILE, wheel_model
from adaface.pipelines import manifest
from adaface.pipelines.manifest import Part
from adaface.pipelines.settings import Settings
from adaface.sources.licences import require_commercial
from adaface.sources.places import HubPlace, find_local, models_folder, parse_place

BUILTIN = ("mini",)  # stacks that come with the package
SFACE = "sface"  # the builtin recogniser, and the files of an installed package that it is made of
BUILTIN_FILES = {SFACE: (YUNET_FILE, SFACE_FILE)}
EXTRA_SETTINGS = {"demo_prompts", "num_id_vectors", "compositions"}  # of a stack, beside those of `Settings`
UNKNOWN = "unknown"  # the licence of what a user names
# What is fetched of a repository that is named for a role: not its other models, nor their other copies
# (.bin, .ckpt, half precision)
USUAL_FILES = {
    "base": (
        "model_index.json", "*/*.json", "*/*.txt", "*/model.safetensors",
        "*/diffusion_pytorch_model.safetensors",
    ),
    "text_encoder": tuple(f"{place}{name}" for place in ("", "text_encoder/")
                          for name in ("config.json", "model.safetensors")),
    "vae": tuple(f"{place}{name}" for place in ("", "vae/")
                 for name in ("config.json", "diffusion_pytorch_model.safetensors")),
    "recognizer": ("*.onnx", "*.json"),
    "controlnet": ("config.json", "diffusion_pytorch_model*.safetensors"),
}  # fmt: skip
FITS = {"base": ("text_encoder", "vae"), "recognizer": ("strangers",)}  # a role, and roles made for it alone


@dataclass(frozen=True)
class FileCheck:
    """One file of a stack, as listed and as found; `found` is None when the file is missing or has another
    size.
    """

    role: str
    name: str  # below the part's path
    path: Path
    bytes: int
    expected: str
    found: str | None

    @property
    def ok(self) -> bool:
        """True if the file is what the manifest says."""
        return self.expected == self.found


@dataclass(frozen=True)
class Stack:
    """A stack on disk: which model plays which role, under which licence, and how it is best used.

    folder: where it lies. roles: name of the role (`manifest.ROLES`) -> Part. settings: recommended values by
    the names of `Settings`, plus `demo_prompts` (list of texts), `num_id_vectors`, and `compositions` (for
    training: see `adaface.recipes.composition.grammar`).
    """

    folder: Path
    name: str
    roles: Mapping[str, Part]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, stack: str | Path) -> "Stack":
        """Read the manifest of `stack`: "mini", or a folder that holds a `stack.json`. Opens no model.

        Raises MissingFileError: no such stack. StackError: the manifest is broken or of a later version.
        """
        folder = find(stack)
        path = folder / manifest.MANIFEST
        data = manifest.read(path)
        entries = data.get("roles")
        if not isinstance(entries, dict) or not isinstance(data.get("settings", {}), dict):
            raise StackError(
                f'{path}: "roles" and "settings" must be JSON objects. Correct them, or copy the stack again'
            )
        missing = [role for role in manifest.REQUIRED if role not in entries]
        if missing:
            raise StackError(
                f"{path}: a stack needs the roles {', '.join(manifest.REQUIRED)}; missing: "
                f"{', '.join(missing)}. Add them, or copy the stack again"
            )
        roles = {role: manifest.parse_part(role, entry, path) for role, entry in entries.items()}
        loaded = cls(folder, str(data.get("name", folder.name)), roles, data.get("settings", {}))
        loaded.recommended()  # a bad setting is found here, not in the middle of a run
        return loaded

    def recommended(self) -> Settings:
        """The built-in defaults, overridden by this stack's settings. Raises StackError: an unknown or bad
        one.
        """
        chosen = {key: value for key, value in self.settings.items() if key not in EXTRA_SETTINGS}
        try:
            return Settings.from_mapping(chosen)
        except ConfigError as error:
            raise StackError(f"{self.folder / manifest.MANIFEST}: settings: {error}") from error

    def part(self, role: str) -> Part:
        """The part that plays `role`. Raises StackError: this stack has none."""
        if role not in self.roles:
            purpose = manifest.ROLES.get(role, "unknown to this package")
            raise StackError(
                f'stack "{self.name}" ({self.folder}) has no role "{role}": {purpose}. Use a stack that has '
                f"one, or add the files and write its {manifest.MANIFEST} anew (write_manifest)"
            )
        return self.roles[role]

    def with_parts(self, names: Mapping[str, str | Path | None]) -> "Stack":
        """The stack with other models in some roles: a path, or "hub:owner/name@revision"; None changes
        nothing.

        A base brings its own text encoder and VAE, so the stack's separate ones go, unless they are named
        too. Raises MissingFileError: a path that is not there; the hub is not asked then. FormatError: a
        checkpoint of the original as the encoder.
        """
        given = {role: name for role, name in names.items() if name is not None}
        gone = {other for role in given for other in FITS.get(role, ())}
        kept = {role: part for role, part in self.roles.items() if role not in gone}
        return replace(self, roles={**kept, **{role: _named(role, name) for role, name in given.items()}})

    def require_commercial(self, *roles: str) -> None:
        """Raises LicenceError: weights of `roles` (none given: of all) do not allow commercial use."""
        asked = roles or tuple(self.roles)
        require_commercial({role: self._licence(role) for role in asked if role in self.roles})

    def _licence(self, role: str) -> str:
        part = self.roles[role]
        if role == "encoder" and part.licence == UNKNOWN:  # the folder itself says it
            from adaface.checkpoints.kinds import read_json  # with torch, which no other check needs

            return str(read_json(self.path(role) / "config.json").get("licence", UNKNOWN))
        if part.hub is None or part.licence != UNKNOWN:
            return part.licence
        from adaface.sources.hub import list_files

        try:
            return list_files(part.hub, part.revision).licence
        except HubError as error:  # whether the files are cached or not: their licence is not
            return f"could not be asked for ({str(error).split('. ')[0]})"

    def path(self, role: str) -> Path:
        """File or folder of `role`; a part of the hub is fetched into the hub's cache first, if need be.

        Raises StackError: no such role, or a builtin without a file. HubError: it cannot be fetched.
        """
        part = self.part(role)
        if part.hub is not None:
            from adaface.sources.hub import folder_of

            return folder_of(_place(part), tuple(part.files) or USUAL_FILES.get(role, ("*",)))
        if part.path is None:
            raise StackError(
                f'stack "{self.name}": role "{role}" is the builtin "{part.builtin}", which has no path '
                "here. Open it with pipelines.recognition.stack_analyzer"
            )
        return self.folder / part.path

    def tokenizer_folder(self) -> Path:
        """Folder of the base's tokenizer; one LDM file has none, so that the shipped one of SD-1.x counts."""
        base = self.path("base")
        if base.is_file():
            return Path(str(resources("adaface"))) / "checkpoints" / "sd15" / "tokenizer"
        return base / "tokenizer"

    def check_files(self, *roles: str) -> list[FileCheck]:
        """Compare the files of `roles` (none given: of all) with the manifest; raises nothing."""
        checks = []
        for role in roles or tuple(self.roles):
            part = self.part(role)
            for name, record in part.files.items():
                path = self._file(part, name)
                same_size = path.is_file() and path.stat().st_size == record.bytes
                found = files.sha256(path) if same_size else None
                checks.append(FileCheck(role, name or path.name, path, record.bytes, record.sha256, found))
        return checks

    def _file(self, part: Part, name: str) -> Path:
        if part.hub is not None:
            from adaface.sources.hub import cached

            return cached(_place(part), name) or Path(part.hub, part.path or "", name)
        if part.path is not None:
            return self.folder / part.path / name
        try:
            return wheel_model(name)
        except MissingFileError:
            return Path(name)  # not there: found so by the checks

    def verify(self, *roles: str) -> None:
        """Raises StackError: a file of `roles` (none given: of all) is missing or changed; names each such
        file. Parts of the hub are fetched first.
        """
        for role in roles or tuple(self.roles):
            if self.part(role).hub is not None:
                self.path(role)
        bad = [check for check in self.check_files(*roles) if not check.ok]
        if bad:
            listed = "; ".join(f"{check.path}: {_fault(check)}" for check in bad)
            raise StackError(
                f'stack "{self.name}" is damaged. {listed}. Copy it again, or reinstall the package'
            )


def find(stack: str | Path) -> Path:
    """Folder of the stack called `stack`: a builtin, a folder with a manifest, or one below the folder of
    models.

    Raises MissingFileError: neither.
    """
    path = Path(stack).expanduser()
    if str(stack) in BUILTIN:
        path = Path(str(resources("adaface"))) / "mini" / "weights"
        advice = f'The stack "{stack}" comes with the package: install it again'
    else:  # a folder here that only has the same name does not hide the stack
        places = [path, models_folder() / path]
        path = next((place for place in places if (place / manifest.MANIFEST).is_file()), path)
        advice = (
            f"Give a folder that holds a {manifest.MANIFEST}, or one of: {', '.join(BUILTIN)}. The full size "
            f"is fetched by: adaface setup sd15 (it goes to {models_folder()})"
        )
    if not (path / manifest.MANIFEST).is_file():
        problem = f"no {manifest.MANIFEST} in it" if path.is_dir() else "no such stack"
        raise MissingFileError(f"{path}: {problem}. {advice}")
    return path.resolve()


def write_manifest(
    folder: str | Path, *, name: str, roles: Mapping[str, Part], settings: Mapping[str, Any]
) -> Path:
    """Measure the files of each role and write `folder/stack.json`; its path.

    roles: parts with path or builtin, licence and options; their `files` are measured here. settings: see
    `Stack`. Raises MissingFileError: a part is not in the folder. StackError: an unknown role or setting.
    """
    folder = Path(folder)
    unknown = sorted(set(roles) - set(manifest.ROLES))
    if unknown:
        raise StackError(f"unknown roles: {', '.join(unknown)}. Known: {', '.join(manifest.ROLES)}")
    measured = {role: _measure(folder, role, part, roles) for role, part in roles.items()}
    Stack(folder, name, measured, settings).recommended()
    data = {
        "format": manifest.FORMAT,
        "version": manifest.version_of(measured),
        "name": name,
        "roles": {role: part.to_json() for role, part in measured.items()},
        "settings": dict(settings),
    }
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    return files.write_atomic(
        folder / manifest.MANIFEST, lambda path: path.write_text(text, encoding="utf-8")
    )


def _measure(folder: Path, role: str, part: Part, roles: Mapping[str, Part]) -> Part:
    if part.hub is not None:
        measured = dict(part.files)
    elif part.path is not None:
        measured = manifest.record_files(folder / part.path)
        others = [f"{roles[r].path}/" for r in manifest.NEW & roles.keys() if r != role]  # listed there
        own = f"{part.path}/" if "" not in measured else part.path
        measured = {n: r for n, r in measured.items() if not f"{own}{n}".startswith(tuple(others))}
    else:
        names = BUILTIN_FILES.get(part.builtin or "", ())
        measured = {name: manifest.record_files(wheel_model(name))[""] for name in names}
    return replace(part, files=measured, purpose=part.purpose or manifest.ROLES[role])


def _named(role: str, name: str | Path) -> Part:
    purpose = manifest.ROLES[role]
    if role == "recognizer" and str(name) == SFACE:
        return Part(builtin=SFACE, licence=SFACE_SPEC.licence, purpose=purpose)
    place = parse_place(name)
    if isinstance(place, HubPlace):
        return Part(place.inside or None, hub=place.repo, revision=place.revision, purpose=purpose)
    path = find_local(place)
    if role == "encoder" and path.is_file():
        raise FormatError(
            f"{path}: a file, but an encoder is a folder with config.json and model.safetensors. If it is a "
            f"checkpoint of the original, run: adaface convert {path} FOLDER"
        )
    return Part(str(path), purpose=purpose)


def _place(part: Part) -> HubPlace:
    return HubPlace(part.hub or "", part.revision, part.path or "")


def _fault(check: FileCheck) -> str:
    if not check.path.is_file():
        return "missing"
    if check.found is None:
        return f"{check.path.stat().st_size} bytes, expected {check.bytes}"
    return f"sha256 {check.found[:12]}..., expected {check.expected[:12]}..."
