"""What was kept and what was not, and why: rejected.jsonl for programs, report.html with thumbnails for
people.
"""

import base64
import html
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from adaface.data.prepare.judging.judge import Verdict
from adaface.data.prepare.judging.people import PersonSummary
from adaface.data.prepare.settings import shown
from adaface.data.prepare.sources import Found
from adaface.data.prepare.telling.reasons import REASONS
from adaface.data.record import Photo, Rejection
from adaface.errors import AdaFaceError
from adaface.face.images import load_image
from adaface.files import write_atomic

HTML, JSONL = "report.html", "rejected.jsonl"
THUMBNAIL = 112  # pixels
MOST_SHOWN = 200  # rejected photos of each code with a thumbnail; all are in rejected.jsonl
MOST_LISTED = 500  # people, other files


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that the page tells. verdicts: on all photos that were looked at."""

    settings: Mapping[str, object]
    found: Found
    verdicts: Sequence[Verdict]
    people: Mapping[str, PersonSummary]

    @cached_property
    def rejected(self) -> list[Verdict]:
        """Verdicts on all rejected photos: those known without a look, then the others by person."""
        early = [Verdict(photo, rejection=rejection) for photo, rejection in self.found.rejected]
        return [*early, *(verdict for verdict in self.verdicts if not verdict.kept)]

    @property
    def by_code(self) -> Counter[str]:
        """Code -> number of photos."""
        return Counter(verdict.rejection.code for verdict in self.rejected if verdict.rejection)

    @cached_property
    def known(self) -> dict[str, Photo]:
        """A kept photo of each person: the one that is most like the others."""
        best: dict[str, Verdict] = {}
        for verdict in self.verdicts:
            name = verdict.photo.person
            if verdict.kept and not verdict.photo.mixed:
                before = best.setdefault(name, verdict)
                best[name] = max(before, verdict, key=lambda one: one.similarity or 0.0)
        return {name: verdict.photo for name, verdict in best.items()}

    @property
    def photos(self) -> int:
        """All photos that were found."""
        return len(self.verdicts) + sum(r.code != "unreadable_folder" for _, r in self.found.rejected)

    @property
    def kept(self) -> int:
        """Photos in the data set."""
        return sum(verdict.kept for verdict in self.verdicts)


def write_report(out: Path, report: Report) -> None:
    """Write rejected.jsonl and report.html. Raises WriteError."""
    lines = "".join(json.dumps(line) + "\n" for line in _lines(report))
    write_atomic(out / JSONL, lambda beside: beside.write_text(lines, encoding="utf-8"))
    page = "\n".join(_page(report))
    write_atomic(out / HTML, lambda beside: beside.write_text(page, "utf-8", errors="backslashreplace"))


def _lines(report: Report) -> Iterator[dict[str, object]]:
    for verdict in report.rejected:
        photo, rejection, similarity = verdict.photo, verdict.rejection, verdict.similarity
        if rejection is None:
            continue
        line: dict[str, object] = {"root": photo.root, "path": photo.path, "person": photo.person}
        line |= {"code": rejection.code, "reason": rejection.sentence}
        yield line if similarity is None else {**line, "similarity": round(similarity, 4)}


def _page(report: Report) -> Iterator[str]:
    yield _HEAD
    people = sum(person.kept > 0 for person in report.people.values())
    yield "<h1>What was kept, and what was not</h1>"
    yield (
        f"<p class=sum><b>{report.kept}</b> of {report.photos} photos were kept, of {people} "
        f"{_plural(people, 'person', 'people')}; {len(report.rejected)} were left out. Nothing of yours was "
        "moved or changed. All reasons are in <code>rejected.jsonl</code> as well; "
        "<code>contact_sheet.jpg</code> shows what was made.</p>"
    )
    yield from _by_code(report)
    yield from _notes(report)
    yield from _cards(report)
    yield from _people(report)
    yield "<h2>Settings</h2><p class=small>" + ", ".join(
        f"{_text(name)} {_text(shown(value))}" for name, value in report.settings.items()
    )
    yield "</p></body></html>"


def _by_code(report: Report) -> Iterator[str]:
    if not report.by_code:
        return
    yield "<h2>Reasons</h2><table><tr><th>photos<th>code<th>meaning</tr>"
    for code, count in report.by_code.most_common():
        link = f"<a href='#{code}'>{code}</a>"
        yield f"<tr><td class=n>{count}<td>{link}<td>{_text(REASONS[code])}</tr>"
    yield "</table>"


def _notes(report: Report) -> Iterator[str]:
    found = report.found
    if found.empty:
        yield f"<p>Without any photo: {_list(found.empty)}.</p>"
    if found.nested:
        yield (
            f"<p>All photos lie in deeper folders, and were taken for one person's: {_list(found.nested)}. "
            "If each of these folders is a person's, give the folder that they lie in.</p>"
        )
    if found.passed_over:
        why = "for these are no photos by their names, or links to what is found anyway"
        yield f"<p>Not looked at, {why}: {_list(found.passed_over)}.</p>"


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(f"<code>{_text(name)}</code>" for name in names[:MOST_LISTED]) + more


def _cards(report: Report) -> Iterator[str]:
    by_code: dict[str, list[tuple[Verdict, Rejection]]] = {}
    for verdict in report.rejected:
        if verdict.rejection is not None:
            by_code.setdefault(verdict.rejection.code, []).append((verdict, verdict.rejection))
    for code, _ in report.by_code.most_common():
        yield f"<h2 id='{code}'>{_text(REASONS[code])} <code>{code}</code></h2><div class=cards>"
        yield from (_card(report, *one) for one in by_code[code][:MOST_SHOWN])
        yield "</div>"
        rest = [f"{one.photo.root}/{one.photo.path}" for one, _ in by_code[code][MOST_SHOWN:]]
        if rest:
            yield f"<p>Only the first {MOST_SHOWN} are shown. The others: {_list(rest)}.</p>"


def _card(report: Report, verdict: Verdict, rejection: Rejection) -> str:
    photo = verdict.photo
    other = verdict.twin or (report.known.get(photo.person) if rejection.code == "other_person" else None)
    views = _view(photo, "")
    if other is not None:
        views += _view(other, "kept")
    words = f"<b>{_text(f'{photo.root}/{photo.path}')}</b><br>{_text(rejection.sentence)}."
    return f"<figure>{views}<figcaption>{words}</figcaption></figure>"


def _view(photo: Photo, label: str) -> str:
    picture = _thumbnail(photo)
    view = f"<img src='{picture}' alt=''>" if picture else "<div class=none>no picture</div>"
    return f"<div class=view>{view}{label}</div>"


def _thumbnail(photo: Photo) -> str | None:
    """The photo, small, as a data URL; None where it cannot be opened."""
    try:
        if not photo.file.is_file():  # opening a pipe may never end
            return None
        small = Image.fromarray(load_image(photo.file, max_side=4 * THUMBNAIL))
    except (AdaFaceError, OSError):
        return None
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _people(report: Report) -> Iterator[str]:
    yield "<h2>People</h2><table><tr><th>name<th>photos<th>kept<th>class word<th>mean similarity</tr>"
    for person in list(report.people.values())[:MOST_LISTED]:
        likeness = "" if person.info.avg_sim is None else f"{person.info.avg_sim:.2f}"
        name = _text(person.name) + (" (many people)" if person.mixed else "")
        numbers = f"<td class=n>{person.photos}<td class=n>{person.kept}"
        yield f"<tr><td>{name}{numbers}<td>{_text(person.class_word)}<td class=n>{likeness}</tr>"
    yield "</table>"
    if len(report.people) > MOST_LISTED:
        yield f"<p>and {len(report.people) - MOST_LISTED} more.</p>"


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def _text(text: str) -> str:
    return html.escape(text)


_HEAD = """<!doctype html><html lang=en><head><meta charset=utf-8>
<meta name=viewport content='width=device-width,initial-scale=1'><title>adaface prepare</title><style>
body{font:15px/1.45 system-ui,sans-serif;max-width:1060px;margin:24px auto;padding:0 16px;color:#1f2328}
h1{font-size:24px}h2{font-size:17px;margin:30px 0 10px}
.sum{font-size:16px}.small{color:#57606a;font-size:13px}
table{border-collapse:collapse}th{text-align:left;color:#57606a;font-weight:500}
td,th{padding:4px 14px 4px 0;border-bottom:1px solid #d8dee4}.n{text-align:right}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(360px,100%),1fr));gap:10px}
figure{display:flex;gap:12px;margin:0;padding:10px;border:1px solid #d8dee4;border-radius:8px}
.view{width:112px;flex:none;font-size:12px;color:#57606a;text-align:center}
.view img{width:112px;display:block;border-radius:4px}
.none{height:70px;border-radius:4px;background:#f0f2f4;color:#8c959f;font-size:12px;display:flex;align-items:center;
justify-content:center}figcaption{font-size:13px;overflow-wrap:anywhere}code{font-size:12px;color:#57606a}
</style></head><body>"""
