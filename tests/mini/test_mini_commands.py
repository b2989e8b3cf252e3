"""`adaface mini` from the command line, on drawn faces."""

import json
import shutil

import pytest
from PIL import Image
from typer.testing import CliRunner

from adaface.cli.main import app
from adaface.training.state import Progress


def mini(*arguments):
    return CliRunner().invoke(app, ["mini", *map(str, arguments)])


@pytest.fixture(scope="module")
def quick_stack(smoke_build, tmp_path_factory):
    """The smoke stack with two steps a picture."""
    folder = tmp_path_factory.mktemp("stack") / "quick"
    shutil.copytree(smoke_build.out / "stack", folder)
    manifest = json.loads((folder / "stack.json").read_text())
    manifest["settings"]["steps"] = 2
    (folder / "stack.json").write_text(json.dumps(manifest))
    return folder


def test_build_goes_on_with_what_is_done_and_names_the_result(smoke_build):
    result = mini(
        "build", "--data", smoke_build.data, "-o", smoke_build.out, "--preset", "smoke", "--device", "cpu"
    )
    assert result.exit_code == 0, result.output
    assert str(smoke_build.out / "stack") in result.output


def test_build_with_another_preset_in_the_same_folder_says_what_to_do(smoke_build):
    result = mini("build", "--data", smoke_build.data, "-o", smoke_build.out, "--preset", "cpu")
    assert result.exit_code == 1
    assert "choose a new --out" in " ".join(result.output.split())


def test_build_until_an_unknown_step_lists_the_steps(smoke_build):
    result = mini("build", "--data", smoke_build.data, "-o", smoke_build.out, "--until", "nothing")
    assert result.exit_code == 1 and "there are faces, vae" in result.output


def test_a_build_that_a_signal_stopped_says_so_and_exits_with_130(drawn_data, tmp_path, monkeypatch):
    def stopped(recipe, loop, folder, *, seed, hooks):
        hooks.tell(Progress(step=1, share=0.5))  # reaches the bar
        return Progress(step=1)

    monkeypatch.setattr("adaface.mini.build.fit", stopped)
    result = mini("build", "--data", drawn_data, "-o", tmp_path, "--preset", "smoke", "--device", "cpu")
    assert result.exit_code == 130
    assert "faces: stopped and saved; the same command goes on" in result.output


@pytest.mark.parametrize(("preset", "given", "wanted"), [("gpu", [], 7), ("smoke", [], 1), ("gpu", [3], 3)])
def test_a_gpu_build_feeds_from_all_cores(preset, given, wanted, drawn_data, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    monkeypatch.setattr("torch.set_num_threads", asked.append)
    monkeypatch.setattr("adaface.mini.build.run", lambda *_, **__: None)
    threads = [argument for number in given for argument in ("--threads", number)]
    result = mini(
        "build", "--data", drawn_data, "-o", tmp_path, "--preset", preset, "--device", "cpu", *threads
    )
    assert result.exit_code == 0 and asked == [wanted]


def test_gates_are_one_json_object(quick_stack, drawn_data):
    result = mini(
        "gates", "--data", drawn_data, "--stack", quick_stack, "--people", 3, "--json", "--second", "sface"
    )
    assert result.exit_code == 0, result.output
    gates = json.loads(result.stdout)["gates"]
    assert [gate["name"].split(",")[0] for gate in gates[8:]] == [
        f"{role}: margin by sface" for role in ("teacher", "encoder")
    ]
    assert {"name", "value", "low", "high", "aim", "passed"} <= gates[0].keys()


def test_a_second_recogniser_that_is_not_there_is_named_before_anything_is_measured(quick_stack, drawn_data):
    result = mini(
        "gates", "--data", drawn_data, "--stack", quick_stack, "--people", 3, "--second", "other.onnx"
    )
    assert result.exit_code == 1 and "other.onnx" in result.output
    assert "measuring" not in result.output


def test_gates_for_more_people_than_there_are_say_how_many(quick_stack, drawn_data):
    result = mini("gates", "--data", drawn_data, "--stack", quick_stack)
    assert result.exit_code == 1
    assert "has 6 such people" in " ".join(result.output.split())


def test_world_writes_a_sheet_and_its_captions(quick_stack, drawn_data, tmp_path):
    sheet = tmp_path / "world.png"
    result = mini("world", "--data", drawn_data, "--stack", quick_stack, "-o", sheet)
    assert result.exit_code == 0, result.output
    captions = result.stdout.strip().splitlines()
    assert len(captions) == 32, "one for each training photo"
    with Image.open(sheet) as picture:
        assert picture.size == (10 * 128, 4 * 128)


def test_pairs_lists_what_training_never_shows():
    lines = mini("pairs").stdout.strip().splitlines()
    assert "wearing a gold crown + blueprint" not in lines  # 5 + 5
    assert "wearing sunglasses + neon drawing" not in lines and len(lines) == 52  # 1 + 6
    assert "wearing a blue scarf + blueprint" in lines  # 3 + 5
    assert json.loads(mini("pairs", "--json").stdout)["unseen_pairs"][0] == lines[0].split(" + ")


def test_world_takes_the_models_of_a_run_too(smoke_build, drawn_data, tmp_path):
    models = smoke_build.folder("faces")
    assert mini("world", "--data", drawn_data, "--models", models, "-o", tmp_path / "a.png").exit_code == 0
    result = mini("world", "--data", drawn_data, "--models", tmp_path, "-o", tmp_path / "b.png")
    assert result.exit_code == 1 and "segmenter.safetensors" in result.output


def test_pack_writes_below_the_limit(drawn_data, tmp_path):
    file = tmp_path / "faces.zip"
    result = mini("pack", "--data", drawn_data, "-o", file, "--megabytes", 5)
    assert result.exit_code == 0 and file.stat().st_size < 5e6
    assert "MB" in result.stdout
