"""`adaface prepare`: folders of photos -> a data set for training, and a page that says why what was left
out.
"""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from adaface.cli import options
from adaface.cli.console import mistakes_told, out as stdout, print_json, progress, say
from adaface.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from adaface.data.prepare.looking.stage import NamedAnalyzer, Stage
    from adaface.data.prepare.run import Prepared, Request, Runner
    from adaface.data.record import Chunk
    from adaface.face.traits.age_gender import AgeGenderBackend
    from adaface.face.traits.parse import FaceParser

STOPPED = 130
LOCAL = "local"  # --ray without an address
ADDRESS = re.compile(r"auto|local|ray://.+|[\w.\-]+:\d+")
FOLDERS, CUT, KEEP, RUN = "Where the photos are", "How they are cut", "What is kept", options.RUN_PANEL


class RayWithoutAddress(TyperCommand):
    """`--ray` may stand alone: an address follows it only where something that looks like one does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the address of a cluster that is started here behind a bare --ray."""
        followed = [*args, ""][1:]
        bare = [
            arg == "--ray" and not ADDRESS.fullmatch(next) for arg, next in zip(args, followed, strict=True)
        ]
        given = [f"--ray={LOCAL}" if alone else arg for arg, alone in zip(args, bare, strict=True)]
        return super().parse_args(ctx, given)


def _shown(flag: str, text: str, panel: str, metavar: str | None = None) -> Any:
    return typer.Option(flag, help=text, rich_help_panel=panel, metavar=metavar)


def _option(flag: str, text: str, panel: str, metavar: str | None = None) -> Any:
    return typer.Option(flag, help=text, rich_help_panel=panel, metavar=metavar, show_default=False)


def prepare(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="[PHOTOS]... OUT",
            help="Folders with a subfolder of photos for each person, or one person's folder; then the "
            "folder for the data set.",
            show_default=False,
        ),
    ],
    data_roots: Annotated[
        list[Path] | None, _option("--data-roots", "As PHOTOS; may be given again.", FOLDERS, "DIR")
    ] = None,
    mix_subject_roots: Annotated[
        list[Path] | None,
        _option("--mix-subject-roots", "A folder in which every photo shows somebody else, such as FFHQ; "
                "may be given again.", FOLDERS, "DIR"),
    ] = None,
    person_types: Annotated[
        Path | None,
        _option("--person-types", "A JSON file, folder name: woman, young man, ... (the original's "
                "meta_subj2person_type.json).", FOLDERS, "FILE"),
    ] = None,
    size: Annotated[
        int, _shown("--size", "Side of the crops in pixels; the mini stack takes 64.", CUT)
    ] = 512,
    crop: Annotated[
        str, _shown("--crop", "align: turned upright, framed as FFHQ. square: not turned, never beyond "
                    "the photo.", CUT)
    ] = "align",
    margin: Annotated[float, _shown("--margin", "How wide the frame is; 1 is FFHQ's.", CUT)] = 1.0,
    image_type: Annotated[str, _shown("--image-type", "jpg, webp or png.", CUT)] = "jpg",
    parser: Annotated[
        str, _shown("--parser", "What makes masks where none is given (X_mask.png beside X): the mini "
                    "stack's segmenter, nothing, or a BiSeNet with 19 classes.", CUT, "mini|none|FILE.onnx")
    ] = "mini",
    recognizer: Annotated[
        str | None,
        _option("--recognizer", "sface, or an ONNX file; without it, the one of --stack.", CUT, "NAME"),
    ] = None,
    age_gender: Annotated[
        Path | None,
        _option("--age-gender", "genderage.onnx of an InsightFace pack, for class words such as young "
                "woman; without it, everybody is a person.", CUT, "FILE"),
    ] = None,
    original_layout: Annotated[
        bool, _shown("--original-layout", "Write OUT/original as well: X.png, X_mask.png, metainfo.json, "
                     "as the original's code reads them.", CUT)
    ] = False,
    min_face: Annotated[float, _shown("--min-face", "Smallest face.", KEEP, "PIXELS")] = 40,
    min_quality: Annotated[float, _shown("--min-quality", "Least quality of a face, 0 to 1.", KEEP)] = 0.2,
    min_inside: Annotated[
        float, _shown("--min-inside", "Least share of the crop that the photo covers.", KEEP)
    ] = 0.75,
    same_person: Annotated[
        float | None,
        _option("--same-person", "Least similarity of a photo to the person's others; without it the "
                "recogniser's own figure, if it was measured.", KEEP, "COSINE"),
    ] = None,
    keep_all: Annotated[bool, _shown("--keep-all", "Do not compare a person's photos.", KEEP)] = False,
    keep_duplicates: Annotated[
        bool, _shown("--keep-duplicates", "Keep pictures that are nearly the same.", KEEP)
    ] = False,
    latents: Annotated[
        int, _shown("--latents", "Encode so many fixed augmentations of every picture by the VAE of --stack: "
                    "faster training. 0: while training.", RUN, "K")
    ] = 0,
    stack: options.StackName = "mini",
    seed: Annotated[int, _shown("--seed", "Draws the augmentations.", RUN)] = 0,
    device: options.Device = "auto",
    workers: Annotated[
        int | None, _option("--workers", "Processes; usual is one for each core.", RUN, "N")
    ] = None,
    ray: Annotated[
        str | None,
        _option("--ray", "On a Ray cluster: at the address (auto: the one that this machine belongs to), "
                "or one that is started here.", RUN, "[ADDRESS]"),
    ] = None,
    restart: Annotated[bool, _shown("--restart", "Make anew what is in OUT.", RUN)] = False,
    keep_looks: Annotated[
        bool, _shown("--keep-looks", "Keep what was seen (the same disk space again): --restart with another "
                     "--same-person then takes seconds, not hours.", RUN)
    ] = False,
    as_json: options.AsJson = False,
) -> None:  # fmt: skip
    """Make a data set for training out of folders of photos.

    `adaface prepare photos/ faces/`, where photos/ holds a folder a person

    Photos that are broken, show nobody or somebody else, or are there twice are left out; faces/report.html
    says why of each. Nothing of yours is moved or changed. Stop it whenever you like: the same command goes
    on.
    """
    with mistakes_told(as_json):
        from adaface.data.prepare.run import Request
        from adaface.data.prepare.settings import PrepareSettings

        request = Request(
            out=folders[-1],
            data_roots=[*folders[:-1], *(data_roots or ())],
            mixed_roots=mix_subject_roots or (),
            settings=PrepareSettings(
                size=size, crop=crop, margin=margin, image_type=image_type, min_face_px=min_face,
                min_quality=min_quality, min_inside=min_inside, same_person=same_person,
                filter_people=not keep_all, drop_near_duplicates=not keep_duplicates,
            ),
            analyzer=_analyzer(recognizer, stack),
            parser=_parser(parser),
            traits=_traits(age_gender),
            person_types=person_types,
            original_layout=original_layout,
            restart=restart,
            keep_looks=keep_looks,
        )  # fmt: skip
        try:
            _run(request, _Options(workers, ray, latents, stack, seed, device, as_json))
        except KeyboardInterrupt:
            say("Stopped. The same command goes on where it was.")
            raise typer.Exit(STOPPED) from None


@dataclass(frozen=True)
class _Options:
    """What does not change the data set: where and how the work is done, and what is done with it after."""

    workers: int | None
    ray: str | None
    latents: int
    stack: str
    seed: int
    device: str
    as_json: bool


def _run(request: "Request", given: _Options) -> None:
    from adaface.data.prepare.run import prepare as make

    started = time.perf_counter()
    _check_runner(given)
    with progress("Looking at the photos") as bar:
        done = make(request, _runner(given, bar), say)
    result = _result(done, round(time.perf_counter() - started, 1))
    if given.latents:
        result["latents"] = str(_encode(done.out, given))
    else:
        _tell_old_latents(done.out)
    if given.as_json:
        print_json(result)
    else:
        _tell(done, result)


def _runner(given: _Options, bar: Callable[[int, int], None]) -> "Runner":
    def run(chunks: "Sequence[Chunk]", stage: "Stage") -> None:
        photos = sum(len(chunk.photos) for chunk in chunks)

        def tell(count: int, total: int) -> None:
            bar(round(photos * count / max(total, 1)), photos)

        if given.ray is None:
            from adaface.data.executors import run_chunks
            from adaface.data.executors.local import cores

            workers = given.workers or cores()
            say(f"Looking at {photos} photos, {_processes(min(workers, len(chunks)))}")
            run_chunks(chunks, stage, workers=workers, tell=tell)
            return
        from adaface.data.executors.on_ray import run_chunks_on_ray

        say(f"Looking at {photos} photos on a Ray cluster ({given.ray})")
        run_chunks_on_ray(chunks, stage, address=_address(given.ray), workers=given.workers, tell=tell)

    return run


def _check_runner(given: _Options) -> None:
    """See that the work can be done before OUT is begun. Raises what the runner would raise."""
    from adaface.data.executors.local import check_workers

    check_workers(given.workers)
    if given.ray is not None:
        from adaface.data.executors.on_ray import check_cluster

        check_cluster(_address(given.ray))


def _address(ray: str) -> str | None:
    return None if ray == LOCAL else ray


def _processes(count: int) -> str:
    return "in this process" if count == 1 else f"in {count} processes"


def _analyzer(recognizer: str | None, stack: str) -> "NamedAnalyzer":
    """What opens detector and recogniser in each worker; the stack itself stays here, since it needs torch.

    Raises what opening the stack's recogniser raises.
    """
    from adaface.data.prepare.looking.stage import NamedAnalyzer

    if recognizer is None:
        from adaface.pipelines.recognition import stack_analyzer
        from adaface.pipelines.stack import Stack

        opened = stack_analyzer(Stack.load(stack)).recognizer
        path, spec = getattr(opened, "path", None), getattr(opened, "spec", None)
        if path is None or opened.name == NamedAnalyzer.recognizer:
            return NamedAnalyzer()
        return NamedAnalyzer(str(Path(path).resolve()), spec)
    named = Path(recognizer).expanduser()
    return NamedAnalyzer(str(named.resolve()) if named.exists() else recognizer)


def _parser(name: str) -> "Callable[[], FaceParser] | None":
    """What makes the parser in each worker. Raises ConfigError: an unknown name."""
    if name == "none":
        return None
    if name == "mini":
        from adaface.mini.parser import ShippedParser

        return ShippedParser()
    if not name.lower().endswith(".onnx"):
        raise ConfigError(f"--parser {name}: give mini, none, or the path of a BiSeNet as an .onnx file")
    from adaface.face.traits.parse import BiSeNetParser

    return partial(BiSeNetParser, Path(name).expanduser().resolve())


def _traits(path: Path | None) -> "Callable[[], AgeGenderBackend] | None":
    if path is None:
        return None
    from adaface.face.traits.age_gender import GenderAgeOnnx

    return partial(GenderAgeOnnx, path.expanduser().resolve())


def _encode(folder: Path, given: _Options) -> Path:
    from adaface.recipes.base.latents import encode_dataset

    with progress("Encoding latents") as bar:
        return encode_dataset(
            folder, given.stack, count=given.latents, seed=given.seed, device=given.device, tell=bar
        )


def _tell_old_latents(folder: Path) -> None:
    """Say that latents which lie there are of no use any more; they are large, and nothing else tells."""
    if (folder / "latents.safetensors").exists():
        from adaface.data.dataset import FaceDataset
        from adaface.data.latents import LATENTS, LatentCache

        of_this = False
        with suppress(DatasetError):  # they are damaged
            of_this = LatentCache.there(FaceDataset(folder))
        if not of_this:
            say(f"{folder / LATENTS}: of the data set that lay here before. Give --latents K, or delete it")


def _result(done: "Prepared", seconds: float) -> dict[str, Any]:
    return {
        "out": str(done.out), "photos": done.photos, "kept": done.kept, "people": done.people,
        "rejected": dict(done.rejected), "people_without_photos": list(done.empty),
        "files_passed_over": done.passed_over, "hash": done.hash, "fresh": done.fresh, "seconds": seconds,
        "report": str(done.out / "report.html"),
    }  # fmt: skip


def _tell(done: "Prepared", result: dict[str, Any]) -> None:
    from adaface.data.prepare.telling.reasons import REASONS

    def line(text: str) -> None:
        stdout.print(text, highlight=False, markup=False, soft_wrap=True)

    if not done.fresh:
        line(f"{done.out}: finished before; nothing was left to do.")
    who = "1 person" if done.people == 1 else f"{done.people} people"
    line(f"{done.kept} of {done.photos} photos kept, of {who}")
    for code, count in sorted(done.rejected.items(), key=lambda item: -item[1]):
        line(f"  {count:6d}  {code:18s} {REASONS[code]}")
    if done.empty:
        line(f"Without any photo: {', '.join(done.empty[:8])}{' ...' if len(done.empty) > 8 else ''}")
    if done.passed_over:
        what = "1 file or link was" if done.passed_over == 1 else f"{done.passed_over} files or links were"
        line(f"{what} passed over; the report names them.")
    line(f"Why of each photo, with pictures: {result['report']}")
    line(f"What was made: {done.out / 'contact_sheet.jpg'}")
    line(f"Next: adaface train smoke --data {done.out}")
