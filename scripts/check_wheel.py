"""Does a wheel hold what it must? `python scripts/check_wheel.py dist/adaface-*.whl`; 0 if it does."""

import sys
import zipfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
WEIGHTS = "adaface/mini/weights/"
MAX_WEIGHTS_MB = 60


def problems(wheel: Path) -> list[str]:
    """What is wrong with the wheel, a sentence each."""
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    found = [f"{name}: missing" for name in ("adaface/__init__.py", "adaface/py.typed") if name not in sizes]
    for notice in ("LICENSE", "LICENSE-WEIGHTS"):
        if not any(name.endswith(f".dist-info/licenses/{notice}") for name in sizes):
            found.append(f"{notice}: missing")
    source = REPO / "src" / WEIGHTS
    expected = {
        path.relative_to(REPO / "src").as_posix(): path.stat().st_size
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found += [
        f"{name}: {sizes.get(name)} bytes, {size} in src"
        for name, size in expected.items()
        if sizes.get(name) != size
    ]
    weights_mb = sum(size for name, size in sizes.items() if name.startswith(WEIGHTS)) / 1e6
    if weights_mb > MAX_WEIGHTS_MB:
        found.append(f"{WEIGHTS}: {weights_mb:.1f} MB, at most {MAX_WEIGHTS_MB}")
    found += [f"{name}: does not belong in a wheel" for name in sizes if name.startswith(("tests/", "docs/"))]
    wheel_mb = wheel.stat().st_size / 1e6
    print(f"{wheel.name}: {wheel_mb:.1f} MB, of them weights {weights_mb:.1f} MB in {len(expected)} files")
    return found


if __name__ == "__main__":
    wrong = problems(Path(sys.argv[1]))
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    sys.exit(bool(wrong))
