"""Every hostile or broken file is refused by a typed error that names what is wrong; nothing of it runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from adaface.checkpoints.convert import convert
from adaface.checkpoints.names import LIGHTNING, ORIGINAL, TENSORS_ONLY
from adaface.checkpoints.pickles import read_pickle
from adaface.errors import DamagedFileError, FormatError, UnsafeFileError
from tiny_text import GOLDEN

FOLDER = GOLDEN / "hostile-pickles"
PAYLOAD = Path("/tmp/should-not-exist-adaface")  # what the files would make, if any of them ran
LISTS = {"tensors": TENSORS_ONLY, "lightning": LIGHTNING, "original": ORIGINAL}

UNSAFE = {
    "os-system": "os.system", "posix-system-stack-global": "posix.system", "builtins-eval": "builtins.eval",
    "py2-builtin-eval": "__builtin__.eval", "builtins-exec-stack-global": "builtins.exec",
    "getattr-chain": "builtins.getattr", "dotted-name-under-torch": "torch.serialization.os.system",
    "dotted-name-under-collections": "collections._sys.modules.__getitem__",
    "dotted-name-under-original-module": "adaface.util.os.system",
    "numpy-runstring": "numpy.testing._private.utils.runstring", "operator-attrgetter": "operator.attrgetter",
    "functools-partial": "functools.partial", "inst-opcode": "os.system", "obj-opcode": "os.system",
    "newobj-subprocess": "subprocess.Popen", "reduce-subprocess": "subprocess.Popen",
    "second-pickle-after-stop": "trailing bytes after STOP", "payload-after-valid-tensor": "os.system",
    "build-state-with-payload": "os.system",
    "module-class-outside-the-list": "adaface.subj_basis_generator.NotAClassOfTheOriginal",
    "codecs-decode": "_codecs.decode", "codecs-encode-other-codec": "_codecs.encode",
    "ext-opcode": "EXT1 code 1",
    "storage-key-path-traversal": "storage '../../../../etc/hostname'", "storage-missing": "storage '7'",
    "storage-type-not-a-storage": "os.system", "storage-shorter-than-declared": "storage '0'",
    "tensor-outside-its-storage": "torch._utils._rebuild_tensor_v2",
    "tensor-negative-offset": "torch._utils._rebuild_tensor_v2",
    "tensor-zero-stride-huge": "torch._utils._rebuild_tensor_v2",
    "persistent-id-not-a-tuple": "persistent id 'storage'",
    "memo-doubling": "opcode POP", "memo-index": "LONG_BINPUT 40000000", "deep-nesting": "nested too deep",
    "long-string-claim": "BINUNICODE8", "huge-long": "LONG4", "plain-pickle": "os.system",
}  # fmt: skip
DAMAGED = {
    "truncated-pickle": "data.pkl", "truncated-zip": "truncated-zip.pt: a zip file without a readable end",
    "bad-crc-storage": "record archive/data/0", "bad-crc-pickle": "record archive/data.pkl",
    "git-lfs-pointer": "git lfs pull", "html-page": "html-page.pt: a web page", "empty": "empty.pt: empty",
}  # fmt: skip
OTHER = {
    "deflated-bomb": "archive/data/0", "duplicate-data-pkl": "record archive/data.pkl is there twice",
    "two-roots": "ambiguous archive", "no-data-pkl": "data.pkl",
    "zip-slip-name": "record ../../../tmp/should-not-exist-adaface",
    "legacy-benign": "legacy format", "legacy-os-system": "legacy format", "legacy-tar": "legacy tar format",
}  # fmt: skip
EXPECTED = {
    **dict.fromkeys(UNSAFE, UnsafeFileError),
    **dict.fromkeys(DAMAGED, DamagedFileError),
    **dict.fromkeys(OTHER, FormatError),
}
NAMED = {**UNSAFE, **DAMAGED, **OTHER}
# Under the narrowest list a name before the call is refused already.
EARLIER = {
    "build-state-with-payload": "names", "codecs-encode-other-codec": "_codecs.encode",
    "getattr-chain": "builtins.", "module-class-outside-the-list": "names",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_runs():
    PAYLOAD.unlink(missing_ok=True)
    yield
    assert not PAYLOAD.exists()


def test_every_file_is_tested():
    assert {path.stem for path in FOLDER.glob("*.pt")} == NAMED.keys()


@pytest.mark.parametrize("names", LISTS)
@pytest.mark.parametrize("file", NAMED)
def test_a_hostile_file_is_refused_and_names_what_is_wrong(file, names):
    path = FOLDER / f"{file}.pt"
    with pytest.raises(EXPECTED[file]) as caught:
        read_pickle(path, LISTS[names])
    assert type(caught.value) is EXPECTED[file]
    assert str(caught.value).startswith(str(path))
    expected = EARLIER.get(file, NAMED[file]) if names != "original" else NAMED[file]
    assert expected in str(caught.value)


@pytest.mark.parametrize("file", NAMED)
def test_a_hostile_file_is_not_converted_and_leaves_no_folder(file, tmp_path):
    with pytest.raises(EXPECTED[file]):
        convert(FOLDER / f"{file}.pt", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


BOUNDED = """
import json, resource, sys
import torch
from adaface.checkpoints.names import ORIGINAL
from adaface.checkpoints.pickles import read_pickle
from adaface.errors import FormatError

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
told = {}
for path in sys.argv[1:]:
    try:
        read_pickle(path, ORIGINAL)
    except FormatError as error:
        told[path] = type(error.__cause__).__name__
print(json.dumps(told))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
def test_hostile_files_are_refused_within_256_megabytes():
    paths = [str(path) for path in sorted(FOLDER.glob("*.pt"))]
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, *paths], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    causes = json.loads(done.stdout)
    assert sorted(causes) == paths
    assert "MemoryError" not in causes.values()
