"""`adaface setup`: fetch and convert all that a full-size stack is made of, and check it by drawing."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaface.cli import options
from adaface.cli.console import mistakes_told, out, print_json, say
from adaface.errors import ConfigError

if TYPE_CHECKING:
    from adaface.setup.plan import Plan
    from adaface.setup.selfcheck import Check


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
    as_json: options.AsJson = False,
) -> None:
    """Get a full-size stack: Stable Diffusion 1.5, Arc2Face, the authors' AdaFace encoder.

    `adaface setup sd15`

    About 11 GB come from the hub once. A broken run goes on where it stopped: run the same command again. At
    the end four pictures are drawn and compared with the photo; exit code 1 if they are not like it.
    """  # fmt: skip
    with mistakes_told(as_json):
        from adaface.sources.places import models_folder

        place = (folder or models_folder() / stack).expanduser()
        plan = _plan(stack, place, sources or [], without or [])
        if commercial_safe:
            from adaface.sources.licences import require_commercial

            require_commercial({role.role: role.licence for role in plan.roles})
        if plan_only:
            _show(plan, as_json, place)
            return
        report = carry_out(plan, place, yes=yes, quiet=as_json, photo=photo, check=not no_check,
                           device=device, settings={} if steps is None else {"steps": steps})  # fmt: skip
        if as_json:
            print_json(report)
    if report["check"] is not None and not report["check"]["passed"]:
        raise typer.Exit(1)


def carry_out(
    plan: "Plan", folder: Path, *, yes: bool, quiet: bool, photo: Path | None, check: bool, device: str,
    settings: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Fetch, convert, write the stack, check it; returns what `--json` prints. Raises an AdaFaceError."""
    from adaface.cli.pictures import check_folder
    from adaface.setup.fetching import fetch_all

    check_folder(folder)
    plan = _agree(plan, folder, yes=yes, quiet=quiet)

    def tell(line: str) -> None:
        say(line, quiet=quiet)

    fetch_all(plan, folder, tell)
    from adaface.setup.building import build  # torch is not waited for before the network

    stack = build(plan, folder, tell)
    tell(f"The stack is in {folder}. Use it: adaface generate --stack {folder} ...")
    found = _check(folder, photo, device, settings, plan, tell) if check else None
    report: dict[str, Any] = {
        "stack": str(stack.folder),
        "roles": {role.role: {"from": role.origin, "licence": role.licence} for role in plan.roles},
        "check": None,
    }
    if found is not None:
        from dataclasses import asdict

        report["check"] = asdict(found) | {"verdict": found.verdict}
        if not quiet:
            _print_check(found)
    return report


def _plan(stack: str, folder: Path, sources: list[str], without: list[str]) -> "Plan":
    """The plan of an earlier run for the same wishes, so that it goes on with its files; or a new one."""
    from adaface.setup.plan import make_plan, read_plan

    chosen = dict(_pair(text) for text in sources)
    known = read_plan(folder)
    if (
        known is not None
        and known.stack == stack
        and known.asked == {**chosen, **dict.fromkeys(without, "-")}
    ):
        return known
    return make_plan(stack, chosen, without)


def _pair(text: str) -> tuple[str, str]:
    role, sign, place = text.partition("=")
    if not sign or not place:
        raise ConfigError(f"--from {text}: write ROLE=PLACE, such as vae=hub:owner/name or encoder=my.pt")
    return role.strip(), place.strip()


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
    agreed = replace(plan, licences_seen=tuple(plan.licences))
    agreed.save(folder)
    return agreed


def _check(
    folder: Path, photo: Path | None, device: str, settings: dict[str, Any], plan: "Plan", tell: Any
) -> "Check | None":
    from adaface.pipelines.personalizer import Personalizer
    from adaface.setup.recipe import ASSUMPTIONS
    from adaface.setup.selfcheck import photo_or_none, self_check

    picture = photo_or_none(photo)
    if picture is None:
        tell("No self-check: give a photo (--photo), or pip install 'adaface[demo]' for an example")
        return None
    tell("Self-check: four pictures of the person, four of the class prompt")
    notes = [role.chosen for role in plan.roles if role.chosen]
    personalizer = Personalizer.from_pretrained(folder, device=device)
    return self_check(personalizer, picture, folder, [*ASSUMPTIONS, *notes], **settings)


def _print_check(check: "Check") -> None:
    def in_words(values: tuple[float | None, ...]) -> str:
        return ", ".join("no face" if value is None else f"{value:.2f}" for value in values)

    out.print(f"Judge: {check.judge}. Similarity to the photo:", highlight=False)
    out.print(f"  the person:       {in_words(check.person)}", highlight=False)
    out.print(f"  the class prompt: {in_words(check.class_prompt)}", highlight=False)
    out.print("What was assumed, and not looked into:", highlight=False)
    for line in check.assumptions:
        out.print(f"  - {line}", highlight=False, markup=False, soft_wrap=True)
    out.print(check.verdict, style="green" if check.passed else "bold red", soft_wrap=True, highlight=False)
    out.print(f"The pictures: {check.folder}", highlight=False, markup=False, soft_wrap=True)


def _show(plan: "Plan", as_json: bool, folder: Path) -> None:
    from dataclasses import asdict

    if as_json:
        print_json(asdict(plan) | {"folder": str(folder)})
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
    out.print(f"\n{total / 1e9:.2f} GB in all, into {folder}", soft_wrap=True, highlight=False, markup=False)
