"""`adaface setup`: fetch and convert all that a full-size stack is made of, and check it by drawing."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaface.cli import options
from adaface.cli.console import mistakes_told, out, print_json, say
from adaface.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

    from adaface.setup.plan import Plan
    from adaface.setup.selfcheck import Check

STATE_IT = "name it here: --licence ROLE=NAME"


@dataclass(frozen=True)
class CheckOptions:
    """How the self-check is to be run. photo: None is the example photo."""

    photo: Path | None = None
    device: str = "auto"
    dtype: str | None = None
    offload: str | None = None
    steps: int | None = None

    @property
    def where(self) -> dict[str, Any]:
        """Where and how the models run."""
        return {"device": self.device, "dtype": self.dtype, "offload": self.offload}

    @property
    def settings(self) -> dict[str, Any]:
        """How the pictures are drawn."""
        return {} if self.steps is None else {"steps": self.steps}


def setup(
    stack: Annotated[str, typer.Argument(metavar="STACK", help="Which one: sd15.")] = "sd15",
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Its folder. Usual: below $ADAFACE_MODELS, else ~/.adaface.",
            show_default=False,
        ),
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="ROLE=PLACE",
            show_default=False,
            help="Another source for a role: hub:owner/name@revision/folder, or a path of your own. "
            "Give it again for more.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="ROLE",
            show_default=False,
            help="Leave a role out: teacher (3.4 GB, for training only), safety_checker (1.2 GB).",
        ),
    ] = None,
    licences: Annotated[
        list[str] | None,
        typer.Option(
            "--licence",
            metavar="ROLE=NAME",
            show_default=False,
            help="What you know of the licence of a role's weights: recognizer=mit. It is written down as "
            "your statement.",
        ),
    ] = None,
    plan_only: Annotated[
        bool,
        typer.Option("--plan", help="Show what would be fetched, with sizes and licences; fetch nothing."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="The licences are read; do not ask.")] = False,
    commercial_safe: options.CommercialSafe = False,
    photo: Annotated[
        Path | None,
        typer.Option(
            "--photo", help="For the self-check; usual is the astronaut of scikit-image.", show_default=False
        ),
    ] = None,
    no_check: Annotated[bool, typer.Option("--no-check", help="Draw no pictures at the end.")] = False,
    steps: Annotated[int | None, options.look("--steps", "Denoising steps of the self-check.")] = None,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    offload: options.Offload = None,
    as_json: options.AsJson = False,
) -> None:
    """Get a full-size stack: Stable Diffusion 1.5, Arc2Face, the authors' AdaFace encoder.

    `adaface setup sd15`

    About 11 GB come from the hub once. A broken run goes on where it stopped: run the same command again. At
    the end four pictures are drawn and compared with the photo; exit code 1 if they are not like it.
    """  # fmt: skip
    with mistakes_told(as_json):
        from adaface.setup.choosing import Wishes, make_plan
        from adaface.setup.plan import read_plan
        from adaface.sources.places import models_folder

        place = (folder or models_folder() / stack).expanduser()
        wishes = Wishes(
            _pairs("--from", "PLACE", sources), tuple(without or ()), _pairs("--licence", "NAME", licences)
        )
        plan = make_plan(stack, wishes, read_plan(place))
        if commercial_safe:
            from adaface.sources.licences import require_commercial

            require_commercial({role.role: role.licence for role in plan.roles}, STATE_IT)
        for line in plan.warnings:
            say(f"Warning: {line}", style="yellow")
        if plan_only:
            _show(plan, as_json, place)
            return
        check = None if no_check else CheckOptions(photo, device, dtype, offload, steps)
        report = carry_out(plan, place, check, yes=yes, quiet=as_json)
        if as_json:
            print_json(report)
    if report["check"] is not None and not report["check"]["passed"]:
        raise typer.Exit(1)


def carry_out(
    plan: "Plan", folder: Path, check: CheckOptions | None, *, yes: bool, quiet: bool
) -> dict[str, Any]:
    """Fetch, convert, write the stack, check it; returns what `--json` prints. Raises an AdaFaceError."""
    from adaface.cli.pictures import check_folder
    from adaface.setup.fetching import fetch_all, leftovers

    def tell(line: str) -> None:
        say(line, quiet=quiet)

    check_folder(folder)
    picture = None if check is None else _ready(check, tell)
    if any(role.local for role in plan.roles):
        from adaface.setup.checking import check_sources

        check_sources(plan)
    plan = _agree(plan, folder, yes=yes, quiet=quiet)
    fetch_all(plan, folder, tell)
    from adaface.setup.building import build  # torch is not waited for before the network

    stack = build(plan, folder, tell)
    left = leftovers(plan, folder)
    for name, size in left.items():
        tell(f"{folder / name} ({size / 1e6:.1f} MB): of an earlier run, not in the plan any more. Delete it "
             "if you do not need it")  # fmt: skip
    tell(f"The stack is in {folder}. Use it: adaface generate --stack {folder} ...")
    if not quiet:
        _print_assumptions(plan.assumptions)
    report: dict[str, Any] = {
        "stack": str(stack.folder),
        "roles": {role.role: {"from": role.origin, "licence": role.licence} for role in plan.roles},
        "assumptions": list(plan.assumptions),
        "warnings": list(plan.warnings),
        "left": left,
        "check": None,
    }
    if check is not None and picture is not None:
        from dataclasses import asdict

        tell("Self-check: four pictures of the person, four of the class prompt")
        found = _check(folder, picture, check, plan.assumptions)
        report["check"] = asdict(found) | {"verdict": found.verdict}
        if not quiet:
            _print_check(found)
    return report


def _pairs(flag: str, what: str, texts: list[str] | None) -> dict[str, str]:
    """ROLE=... of an option that may be given again, each role once."""
    pairs: dict[str, str] = {}
    for text in texts or ():
        role, sign, value = (part.strip() for part in text.partition("="))
        if not sign or not value:
            example = "vae=hub:owner/name or encoder=my.pt" if what == "PLACE" else "recognizer=mit"
            raise ConfigError(f"{flag} {text}: write ROLE={what}, such as {example}")
        if role in pairs:
            raise ConfigError(f"{flag} {text}: {role} is given twice, the other is {pairs[role]}. Keep one")
        pairs[role] = value
    return pairs


def _ready(check: CheckOptions, tell: Callable[[str], None]) -> "Path | Image.Image | None":
    """The photo for the self-check, all its options being sound; None without a photo."""
    from adaface.setup.selfcheck import check_ready, photo_or_none

    picture = photo_or_none(check.photo)
    if picture is None:
        tell("No self-check: give a photo (--photo), or pip install 'adaface[demo]' for an example")
        return None
    check_ready(picture, **check.where, **check.settings)
    return picture


def _agree(plan: "Plan", folder: Path, *, yes: bool, quiet: bool) -> "Plan":
    """Show each licence once, in the life of the folder, and have it agreed to."""
    from dataclasses import replace

    new = {origin: licence for origin, licence in plan.licences.items() if origin not in plan.licences_seen}
    if new:
        from adaface.sources.hub import page

        pages = {role.origin: f" (in full: {page(role.repo)})" for role in plan.roles if role.repo}
        for origin, licence in new.items():
            say(f"Licence of {origin}: {licence}{pages.get(origin, '')}", quiet=quiet)
        if not yes:
            if quiet or not sys.stdin.isatty():
                raise ConfigError(
                    "the licences have to be agreed to. Read them (adaface setup --plan), then give --yes"
                )
            typer.confirm("Go on under these licences?", abort=True, err=True)
    agreed = replace(plan, licences_seen=tuple(dict.fromkeys((*plan.licences_seen, *plan.licences))))
    agreed.save(folder)
    return agreed


def _check(
    folder: Path, picture: "Path | Image.Image", check: CheckOptions, assumptions: Sequence[str]
) -> "Check":
    from adaface.pipelines.personalizer import Personalizer
    from adaface.setup.selfcheck import self_check

    personalizer = Personalizer.from_pretrained(folder, **check.where)
    return self_check(personalizer, picture, folder, assumptions, **check.settings)


def _print_assumptions(lines: Sequence[str]) -> None:
    out.print("What was assumed, and not looked into:", highlight=False)
    for line in lines:
        out.print(f"  - {line}", highlight=False, markup=False, soft_wrap=True)


def _print_check(check: "Check") -> None:
    def in_words(values: tuple[float | None, ...]) -> str:
        return ", ".join("no face" if value is None else f"{value:.2f}" for value in values)

    out.print(f"Judge: {check.judge}. Similarity to the photo:", highlight=False)
    out.print(f"  the person:       {in_words(check.person)}", highlight=False)
    out.print(f"  the class prompt: {in_words(check.class_prompt)}", highlight=False)
    out.print(check.verdict, style="green" if check.passed else "bold red", soft_wrap=True, highlight=False)
    out.print(f"The pictures: {check.folder}", highlight=False, markup=False, soft_wrap=True)


def _show(plan: "Plan", as_json: bool, folder: Path) -> None:
    from dataclasses import asdict

    if as_json:
        more = {"folder": str(folder), "assumptions": plan.assumptions, "warnings": plan.warnings}
        print_json(asdict(plan) | more)
        return
    total = 0
    for role in plan.roles:
        out.print(f"\n[bold]{role.role}[/]: {role.purpose}", soft_wrap=True, highlight=False)
        out.print(f"  from {role.origin}", soft_wrap=True, highlight=False, markup=False)
        out.print(f"  licence: {role.licence}", soft_wrap=True, highlight=False, markup=False)
        for item in role.items:
            total += item.bytes
            kind = "sha256" if item.sha256 else "git-sha1" if item.git_sha1 else "no hash"
            digest = (item.sha256 or item.git_sha1 or "")[:16]
            line = f"  {item.bytes:14,} bytes  {kind} {digest:16}  {item.name}"
            out.print(line, soft_wrap=True, highlight=False, markup=False)
    out.print()
    _print_assumptions(plan.assumptions)
    out.print(f"\n{total / 1e9:.2f} GB in all, into {folder}", soft_wrap=True, highlight=False, markup=False)
