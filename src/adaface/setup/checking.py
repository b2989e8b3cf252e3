"""Are the files what their roles need? Weights that are whole, and of the shapes that their config has."""

from pathlib import Path

from adaface.checkpoints.kinds import read_json
from adaface.checkpoints.ldm import empty, fit, named_as_in_files
from adaface.checkpoints.parts import open_part
from adaface.face.recognize import OnnxRecognizer
from adaface.setup.choosing import WEIGHTS
from adaface.setup.plan import Plan, RolePlan
from adaface.sources.heads import need_whole

MODELS = {"base": "unet", "text_encoder": "text_encoder", "vae": "vae", "teacher": "unet"}


def check_sources(plan: Plan) -> None:
    """Look at the user's own files before anything is fetched. Raises as `check_files`, by their names."""
    for role in plan.roles:
        for item in role.items if role.local else ():
            _check(role, role.local_file(item))


def check_files(plan: Plan, folder: Path) -> None:
    """Look at all that was fetched; what was converted already is not there any more and is passed over.

    Only headers and configs are read, except for the recogniser, which is run once. Raises DamagedFileError:
    no weights, or cut off ones. WrongModelError, FormatError: another kind of model than its role needs, or
    one that does not fit its config.
    """
    for role in plan.roles:
        if plan.is_built(folder, role):
            continue
        for item in role.items:
            _check(role, folder / item.to)
        if role.role in MODELS:
            _fit(role, folder)


def _check(role: RolePlan, path: Path) -> None:
    if role.role == "recognizer":
        OnnxRecognizer(path)
    elif path.suffix == ".json":
        read_json(path)
    elif path.suffix in WEIGHTS or role.role == "encoder":
        need_whole(path)


def _fit(role: RolePlan, folder: Path) -> None:
    """Raises WrongModelError, FormatError: the model in the role's folder is not what its config says."""
    kind = MODELS[role.role]
    to = next(item.to for item in role.items if item.to.endswith(".safetensors"))
    part = open_part(folder / to, kind)
    place = (folder / to).parent
    fit(part, named_as_in_files(kind, empty(kind, place)), place)
