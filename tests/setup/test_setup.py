"""`adaface setup sd15` for real, in a process of its own, against a look-alike of the hub on localhost."""

import json
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from adaface.encoder.inverse import AdaFaceEncoder
from adaface.pipelines.base import base_parts
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.stack import Stack
from look_alike import LookAlike

from .conftest import ARC2FACE, AUTHORS, BASE, DREAM, LICENCES, NEWEST, VAE

UNET = f"{BASE}/unet/diffusion_pytorch_model.safetensors"


def setup(out, *arguments, code=0) -> subprocess.CompletedProcess:
    """Run the command; its output."""
    command = [sys.executable, "-m", "adaface", "setup", "sd15", "-o", str(out), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == code, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="session")
def photo(tmp_path_factory, astronaut):
    path = tmp_path_factory.mktemp("photo") / "me.png"
    Image.fromarray(astronaut).save(path)
    return path


@pytest.mark.slow
def test_one_command_makes_a_stack_that_opens_and_is_checked(hub, tmp_path, photo):
    """The whole way: plan, fetch, convert, write, draw, judge; a random stack cannot be like anybody."""
    out = tmp_path / "stack"
    done = setup(out, "--yes", "--photo", photo, "--device", "cpu", "--steps", "2", "--json", code=1)
    report = json.loads(done.stdout)

    assert report["check"]["passed"] is False
    assert report["check"]["verdict"].startswith("FAIL: in ")
    assert len(report["check"]["person"]) == len(report["check"]["class_prompt"]) == 4
    assert any("newest of 2 by its name" in line for line in report["check"]["assumptions"])
    assert len(list((out / "self-check").glob("*.png"))) == 8

    stack = Stack.load(out)
    stack.verify()
    assert set(stack.roles) == {
        "base", "text_encoder", "vae", "id_prompter", "teacher", "recognizer", "encoder"
    }  # fmt: skip
    assert stack.part("vae").origin.startswith(f"hub:{VAE}@")
    assert (
        stack.part("recognizer").licence
        == "mit; ArcFace networks of InsightFace: non-commercial research only"
    )
    config = AdaFaceEncoder.from_pretrained(out / "encoder").config
    assert config.recognizer == stack.part("recognizer").options["name"]
    assert config.base_text_encoder.startswith("sha256:")
    assert not (out / "downloads").exists()
    assert "safety_checker/model.safetensors" in stack.part("base").files
    assert base_parts(stack).safety_checker
    assert not list(out.rglob("*.part")) + list(out.rglob("*.bin")) + list(out.rglob("*.pt"))

    fetched = [path for path, _ in hub.log]
    assert sorted(fetched) == sorted(set(fetched))
    assert f"{AUTHORS}/models/adaface/{NEWEST}" in fetched
    assert not [
        path for path in fetched if "fp16" in path or "v1-5" in path.rsplit("/", 1)[1] or "rv51" in path
    ]

    again = setup(out, "--yes", "--no-check")  # nothing is fetched twice
    assert "Licence of" not in again.stderr
    assert len(hub.log) == len(fetched)


@pytest.mark.slow
def test_a_run_that_was_broken_off_goes_on(hub, tmp_path):
    """First a file that is gone, then other bytes, then a broken connection; the fourth run ends well."""
    out = tmp_path / "stack"
    hub.gone.add(f"{VAE}/config.json")
    assert (
        f"{VAE}@0123456789ab/config.json: the repository has no such file" in setup(out, "-y", code=1).stderr
    )
    assert not (out / "stack.json").exists()
    hub.gone.clear()

    hub.wrong.add(f"{ARC2FACE}/arcface.onnx")
    assert "what came is not what the hub lists" in setup(out, "-y", code=1).stderr
    assert not (out / "recognizer" / "arcface.onnx").exists()
    hub.wrong.clear()

    hub.breaks[f"{ARC2FACE}/arcface.onnx"] = 1000
    done = setup(out, "-y", "--no-check")
    assert [path for path, _ in hub.log].count(UNET) == 1
    assert [path for path, _ in hub.log].count(f"{ARC2FACE}/arcface.onnx") > 2
    assert "Licence of" not in done.stderr  # each is shown once
    Stack.load(out).verify()


@pytest.mark.slow
def test_what_is_left_out_is_not_fetched_and_a_base_of_the_hub_opens_in_its_place(hub, tmp_path):
    out = tmp_path / "stack"
    setup(out, "-y", "--no-check", "--without", "teacher", "--without", "safety_checker")
    stack = Stack.load(out)
    assert "teacher" not in stack.roles
    assert not base_parts(stack).safety_checker
    assert Personalizer.from_pretrained(out, device="cpu").pipe.safety_checker is None

    code = (
        "import sys; from adaface import Personalizer; stack, *names = sys.argv[1:]; "
        "parts = dict(zip(('base', 'text_encoder', 'vae'), names)); "
        "made = Personalizer.from_pretrained(stack, device='cpu', **parts); "
        "print(made.pipe.safety_checker is not None, made.stack._licence('base')); "
        "Personalizer.from_pretrained(stack, commercial_safe=True, **parts)"
    )
    places = [f"hub:{BASE}@main", f"hub:{DREAM}/text_encoder", f"hub:{VAE}"]
    command = [sys.executable, "-c", code, str(out), *places]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "True creativeml-openrail-m\n", done.stderr[
        -2000:
    ]  # fetched: the base's own checker is there again
    assert "LicenceError" in done.stderr
    assert "recognizer: mit; ArcFace networks" in done.stderr.splitlines()[-1]
    assert "base:" not in done.stderr.splitlines()[-1]


def test_the_plan_is_shown_with_sizes_hashes_and_licences_and_nothing_is_fetched(hub, tmp_path):
    done = setup(tmp_path / "stack", "--plan")
    for text in (
        BASE,
        DREAM,
        VAE,
        ARC2FACE,
        "creativeml-openrail-m",
        "sha256",
        "git-sha1",
        NEWEST,
        "GB in all",
    ):
        assert text in done.stdout
    assert "v1-5-pruned" not in done.stdout
    assert hub.log == []
    assert not (tmp_path / "stack").exists()


def test_licences_have_to_be_agreed_to(hub, tmp_path):
    done = setup(tmp_path / "stack", code=1)
    assert f"Licence of hub:{VAE}@" in done.stderr
    assert "the licences have to be agreed to" in done.stderr
    assert hub.log == []


def test_commercial_use_is_refused_with_the_recognisers_licence(hub, tmp_path):
    done = setup(tmp_path / "stack", "--commercial-safe", "-y", code=1)
    assert (
        "recognizer: mit; ArcFace networks of InsightFace: non-commercial research only (forbids it)"
        in done.stderr
    )
    assert hub.log == []


def test_too_little_room_is_told_before_anything_is_fetched(hub, tmp_path, monkeypatch):
    code = (
        "import shutil, collections; "
        "shutil.disk_usage = lambda _: collections.namedtuple('U', 'total used free')(9, 9, 0); "
        "from adaface.cli.main import app; app()"
    )
    command = [sys.executable, "-c", code, "setup", "sd15", "-y", "-o", str(tmp_path / "stack")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "GB are to be written, 0.00 GB are free. Free space, or choose another folder" in done.stderr
    assert hub.log == []


def test_a_disk_that_fills_up_in_the_middle_is_told_and_the_next_run_goes_on(hub, tmp_path):
    out = tmp_path / "stack"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
    command = [sys.executable, "-c", limit + "from adaface.cli.main import app; app()", "setup", "sd15", "-y",
               "-o", str(out)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not written (File too large). Free space" in done.stderr
    assert next(out.rglob("*.part")).stat().st_size == 100_000


def test_an_unreachable_hub_is_told_in_one_line(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = setup(tmp_path / "stack", "-y", code=1)
    assert f"Error: {BASE}: not on this machine, and the hub cannot be asked" in done.stderr


def test_files_of_your_own_take_the_place_of_the_hubs(hub, served, tmp_path):
    mine = shutil.copytree(served / VAE, tmp_path / "my-vae")
    checkpoint = shutil.copy(served / AUTHORS / "models" / "adaface" / NEWEST, tmp_path / "mine.pt")
    done = setup(
        tmp_path / "stack", "--plan", "--json", "--from", f"vae={mine}", "--from", f"encoder={checkpoint}",
        "--from", f"recognizer=hub:{ARC2FACE}@main/arcface.onnx", "--without", "teacher",
    )  # fmt: skip
    roles = {role["role"]: role for role in json.loads(done.stdout)["roles"]}
    assert "teacher" not in roles
    assert roles["vae"]["local"] == str(mine)
    assert [item["name"] for item in roles["encoder"]["items"]] == ["mine.pt"]
    assert [item["to"] for item in roles["recognizer"]["items"]] == ["recognizer/arcface.onnx"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("vae", "write ROLE=PLACE"),
        ("vea=hub:a/b", "unknown role vea. Known: base, safety_checker, text_encoder, vae"),
        ("vae=hub:owner/nobody", "owner/nobody: no such repository"),
        ("vae=/no/such/folder", "no such file or folder"),
        (f"vae=hub:{DREAM}", "none of config.json is there; it holds text_encoder/config.json"),
    ],
)
def test_a_source_that_cannot_be_is_told(hub, tmp_path, source, message):
    assert message in setup(tmp_path / "stack", "--plan", "--from", source, code=1).stderr


@pytest.mark.slow
def test_copies_in_the_folder_of_models_are_enough_without_a_network(hub, served, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("ADAFACE_MODELS", str(served))
    out = tmp_path / "stack"
    setup(out, "-y", "--no-check", "--without", "teacher")
    assert hub.log == []
    stack = Stack.load(out)
    stack.verify()
    assert stack.part("vae").origin == str((served / VAE).resolve())
    assert "your own copy" in stack.part("vae").licence


def test_commercial_use_passes_with_a_recogniser_whose_licence_one_states(hub, served, tmp_path):
    """What the hub tells of the others is enough; what is known of Arc2Face's recogniser is not told here."""
    mine = shutil.copy(served / ARC2FACE / "arcface.onnx", tmp_path / "mine.onnx")
    wished = ("--plan", "--json", "--commercial-safe", "--from", f"recognizer={mine}")
    done = setup(tmp_path / "stack", *wished, "--licence", "recognizer=mit")
    licences = {role["role"]: role["licence"] for role in json.loads(done.stdout)["roles"]}
    assert licences["recognizer"] == "mit (as you state)"
    assert "creativeml-openrail-m" in licences["base"]
    refused = setup(tmp_path / "stack", *wished, code=1).stderr
    assert "recognizer: your own copy; its licence is not known here" in refused
    assert "base:" not in refused


@pytest.mark.slow
def test_what_the_hub_itself_holds_in_the_place_of_weights_makes_no_stack(served, tmp_path, monkeypatch):
    """A pointer that was committed as a file: size and hash are right, and it is no network."""
    root = shutil.copytree(served, tmp_path / "hub")
    (root / ARC2FACE / "arcface.onnx").write_text("version https://git-lfs.github.com/spec/v1")
    out = tmp_path / "stack"
    with LookAlike(root, LICENCES) as running:
        for name, value in {"HF_ENDPOINT": running.url, "HF_HUB_OFFLINE": "0"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ADAFACE_MODELS", str(tmp_path / "models"))
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        done = setup(out, "-y", "--no-check", "--without", "teacher", code=1)
    assert f"{out}/recognizer/arcface.onnx: a git-lfs pointer" in done.stderr
    assert "git lfs pull" in done.stderr
    assert not (out / "stack.json").exists()
