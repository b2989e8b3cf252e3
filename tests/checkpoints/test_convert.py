"""The authors' checkpoints become encoder folders (recorded numbers: tests/golden)."""

import errno
import json

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from adaface.checkpoints import convert as converter
from adaface.checkpoints.convert import convert
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import ConfigError, FormatError, MissingFileError, WriteError, WrongModelError
from adaface.files import sha256
from tiny_cli import error, run
from tiny_text import GOLDEN

CHECKPOINTS = GOLDEN / "checkpoints"
TEXT = "prompt2token_proj.text_model."


def attention(generator, layer):
    return generator.prompt2token_proj.text_model["encoder"]["layers"][layer]["self_attn"]


def test_a_file_with_one_encoder_becomes_the_folder_itself(tmp_path):
    done = convert(CHECKPOINTS / "2024.pt", tmp_path / "out")
    assert [one.folder for one in done.encoders] == [tmp_path / "out"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"config.json", "model.safetensors"}
    assert AdaFaceEncoder.from_pretrained(tmp_path / "out").config == done.encoders[0].config


def test_a_file_with_several_encoders_becomes_a_folder_for_each(tmp_path):
    done = convert(CHECKPOINTS / "2025-joint.pt", tmp_path / "out")
    assert [one.name for one in done.encoders] == ["consistentID", "arc2face"]
    for one in done.encoders:
        assert AdaFaceEncoder.from_pretrained(tmp_path / "out" / one.name).config == one.config
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"arc2face", "consistentID"}


@pytest.mark.parametrize(
    ("file", "multipliers"),
    [
        ("2024", [(4, 4, 4, 2)]),
        ("2024-06", [(4, 2, 1)]),
        ("2025", [(4, 4, 2, 2, 2, 2, 1, 1, 1, 1, 1, 2)]),
        ("2025-joint", [(2,) * 12, (1, 1, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1)]),
    ],
)
def test_multipliers_are_read_from_the_weights(tmp_path, file, multipliers):
    done = convert(CHECKPOINTS / f"{file}.pt", tmp_path / "out")
    assert [one.config.multipliers for one in done.encoders] == multipliers


def test_the_authors_default_scale_comes_along(tmp_path):
    done = convert(CHECKPOINTS / "2025-joint.pt", tmp_path / "out")
    assert [one.config.id_scale for one in done.encoders] == [6.0, 1.0]


def test_the_config_says_where_the_weights_are_from(tmp_path):
    source = CHECKPOINTS / "2025.pt"
    convert(source, tmp_path / "out", licence="MIT", recognizer="arcface")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["licence"], config["recognizer"]) == ("MIT", "arcface")
    assert config["origin"] == {
        "file": "2025.pt", "sha256": sha256(source), "part": "string_to_subj_basis_generator_dict.z"
    }  # fmt: skip


def test_parts_that_are_not_needed_are_named(tmp_path):
    done = convert(CHECKPOINTS / "2024.pt", tmp_path / "out")
    reasons = {part.part.rpartition("dict.")[2]: part.why for part in done.skipped}
    assert reasons["y"].startswith("background tokens")
    assert {"z.obj_proj_in", "z.pos_embs", "string_to_static_embedder", "ca_q_bns"} <= reasons.keys()
    assert "not known here" not in reasons.values()
    assert all(part.tensors > 0 for part in done.skipped)


def test_nothing_but_named_parts_is_left_out(tmp_path):
    """Each tensor of the file is in the encoder, or in a part that the report names and counts."""
    from adaface.checkpoints.names import ORIGINAL
    from adaface.checkpoints.pickles import read_pickle
    from adaface.checkpoints.records import tensors_of

    done = convert(CHECKPOINTS / "2025.pt", tmp_path / "out")
    total = len(tensors_of(read_pickle(CHECKPOINTS / "2025.pt", ORIGINAL)))
    kept = len(AdaFaceEncoder.from_pretrained(tmp_path / "out").state_dict())
    tables = 1  # two tables and the pads (3 tensors) became prefix, positions and pads
    assert kept + sum(part.tensors for part in done.skipped) == total + tables - 1


@pytest.mark.parametrize(
    ("multipliers", "sizes"),
    [
        ((1,), {"width": 4, "heads": 1, "vectors": 1}),
        ((3, 1), {"width": 8, "heads": 4, "vectors": 4}),
        ((1, 1, 2, 5, 1), {"width": 12, "heads": 3, "vectors": 20, "positions": 77}),
    ],
)
def test_other_sizes_depths_and_multipliers_work(tmp_path, original, multipliers, sizes):
    made = original.generator(multipliers, **sizes)
    convert(original.save(tmp_path / "file.pt", {"z": made}), tmp_path / "out")
    encoder = AdaFaceEncoder.from_pretrained(tmp_path / "out")
    state, count = made.state_dict(), sizes["vectors"]
    assert encoder.config.multipliers == multipliers
    for name, value in encoder.state_dict().items():
        if name.startswith("layers."):
            assert_close(value, state[f"{TEXT}encoder.{name}"])
    words, places = (state[f"{TEXT}embeddings.{kind}_embedding.weight"] for kind in ("token", "position"))
    assert_close(encoder.prefix, words[[0, 2, 3, 4]] + places[:4])
    assert_close(encoder.positions, places[4 : 4 + count])
    assert_close(encoder.pad_embeddings, made.pad_embeddings[4 : 4 + count])
    assert encoder(torch.ones(2, count, sizes["width"])).shape == (2, count, sizes["width"])


def test_half_precision_stays_as_it_is(tmp_path, original):
    made = original.generator((2, 1)).half()
    convert(original.save(tmp_path / "file.pt", {"z": made}), tmp_path / "out")
    encoder = AdaFaceEncoder.from_pretrained(tmp_path / "out", dtype=torch.float16)
    assert_close(encoder.layers[0].self_attn.k_proj.weight, attention(made, 0)["k_proj"].weight)


def test_layer_weights_of_older_files_are_averaged(tmp_path, original):
    made = original.generator((1, 1, 1))
    made.hidden_state_layer_weights = nn.Parameter(torch.rand(3, 8))
    convert(original.save(tmp_path / "file.pt", {"z": made}), tmp_path / "out")
    encoder = AdaFaceEncoder.from_pretrained(tmp_path / "out")
    assert_close(encoder.hidden_layer_weights, made.hidden_state_layer_weights.mean(1))


def test_pads_that_were_not_saved_are_made_of_the_tables(tmp_path, original):
    made = original.generator((1, 1))
    made.pad_embeddings = None
    convert(original.save(tmp_path / "file.pt", {"z": made}), tmp_path / "out")
    state = made.state_dict()
    words, places = (state[f"{TEXT}embeddings.{kind}_embedding.weight"] for kind in ("token", "position"))
    assert_close(AdaFaceEncoder.from_pretrained(tmp_path / "out").pad_embeddings, words[1] + places[4:20])


def test_weights_that_share_their_memory_are_written(tmp_path, original):
    made = original.generator((1, 1))
    attention(made, 1)["k_proj"].weight = attention(made, 0)["k_proj"].weight
    convert(original.save(tmp_path / "file.pt", {"z": made}), tmp_path / "out")
    layers = AdaFaceEncoder.from_pretrained(tmp_path / "out").layers
    assert_close(layers[0].self_attn.k_proj.weight, layers[1].self_attn.k_proj.weight)


def test_encoders_that_their_sizes_do_not_tell_apart_are_numbered(tmp_path, original):
    several = nn.ModuleList([original.generator((1,)), original.generator((2,))])
    done = convert(original.save(tmp_path / "file.pt", {"z": several}), tmp_path / "out")
    assert [one.name for one in done.encoders] == ["encoder-0", "encoder-1"]
    assert [one.config.multipliers for one in done.encoders] == [(1,), (2,)]


def test_something_that_is_there_is_not_overwritten(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="out: is there already, and nothing is overwritten"):
        convert(CHECKPOINTS / "2025.pt", out)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_an_empty_folder_may_be_filled(tmp_path):
    convert(CHECKPOINTS / "2025.pt", tmp_path)
    assert AdaFaceEncoder.from_pretrained(tmp_path).config.width == 24


def test_the_folder_that_the_shell_is_in_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in (".", tmp_path):
        with pytest.raises(ConfigError, match="the folder that you are in. Name a new one, such as"):
            convert(CHECKPOINTS / "2025.pt", place)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", [1, 2])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, failing):
    written, calls = converter.write_encoder, []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        written(*arguments)

    monkeypatch.setattr(converter, "write_encoder", full)
    with pytest.raises(WriteError, match="No space left on device"):
        convert(CHECKPOINTS / "2025-joint.pt", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def refused(tmp_path, original, made, kind=FormatError, **more) -> str:
    path = original.save(tmp_path / "file.pt", made, **more)
    with pytest.raises(kind) as caught:
        convert(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_a_checkpoint_without_encoders_is_told(tmp_path, original):
    assert "no encoder under 'string_to_subj_basis_generator_dict'" in refused(
        tmp_path, original, {}, WrongModelError
    )


def test_a_stable_diffusion_checkpoint_is_told(tmp_path):
    torch.save({"state_dict": {"model.diffusion_model.out.2.weight": torch.ones(1)}}, tmp_path / "sd.ckpt")
    with pytest.raises(WrongModelError, match="expected here: a checkpoint that AdaFace's authors published"):
        convert(tmp_path / "sd.ckpt", tmp_path / "out")


def test_a_background_generator_alone_is_no_encoder(tmp_path, original):
    made = original.generator((1,))
    made.placeholder_is_bg = True
    refused(tmp_path, original, {"y": made}, WrongModelError)


def test_a_projection_that_ours_has_not_is_refused(tmp_path, original):
    made = original.generator((1,))
    made.layerwise_proj = nn.Linear(8, 8)
    assert "layerwise_proj" in refused(tmp_path, original, {"z": made})


def test_a_missing_tensor_is_named(tmp_path, original):
    made = original.generator((1,))
    del made.prompt2token_proj.text_model["final_layer_norm"]
    assert f"no tensor {TEXT}final_layer_norm.weight in it" in refused(tmp_path, original, {"z": made})


def test_tensors_that_do_not_fit_are_named(tmp_path, original):
    made = original.generator((1, 2))
    attention(made, 1)["v_proj"] = nn.Linear(8, 24)
    said = refused(tmp_path, original, {"z": made})
    assert "2 tensors do not fit its other ones: layers.1.self_attn.v_proj.bias" in said


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"N_ID": "many"}, "no number of ID vectors (N_ID or num_out_embs_per_layer)"),
        ({"N_ID": 21}, "21 ID vectors in a text of 24"),
        ({"tokenizer": None}, "no tokenizer in it, and not CLIP's vocabulary"),
        ({"hidden_state_layer_weights": nn.Parameter(torch.ones(2, 1))}, "the encoder has 1 layers"),
        ({"hidden_state_layer_weights": nn.Parameter(torch.ones(()))}, "layer weights ()"),
        ({"pad_embeddings": torch.ones(7)}, "pads that do not fit: (6, 8), (24, 8), (7,)"),
    ],
)
def test_an_encoder_of_an_unknown_kind_is_refused(tmp_path, original, change, told):
    made = original.generator((1,))
    for name, value in change.items():
        setattr(made, name, value)
    assert told in refused(tmp_path, original, {"z": made})


def test_an_encoder_of_no_width_is_refused(tmp_path, original):
    made = original.generator((1,))
    for tables in made.prompt2token_proj.text_model["embeddings"].values():
        tables.weight = nn.Parameter(torch.ones(len(tables.weight), 0))
    made.pad_embeddings = None
    assert "no encoder that is known here" in refused(tmp_path, original, {"z": made})


def test_weights_that_are_no_fractions_are_refused(tmp_path, original):
    made = original.generator((1,))
    made.pad_embeddings = made.pad_embeddings.long()
    assert "pad_embeddings holds torch.int64" in refused(tmp_path, original, {"z": made})


def test_a_template_word_that_is_no_token_is_named(tmp_path, original):
    made = original.generator((1,))
    del made.tokenizer.encoder["photo</w>"]
    assert "'photo' is not one token of its tokenizer" in refused(tmp_path, original, {"z": made})


@pytest.mark.parametrize(
    "change", [{"num_attention_heads": 3}, {"hidden_act": "swish"}, {"layer_norm_eps": "x"}]
)
def test_settings_that_are_not_known_are_refused(tmp_path, original, change):
    made = original.generator((1,))
    vars(made.prompt2token_proj.config).update(change)
    assert "no encoder that is known here" in refused(tmp_path, original, {"z": made})


def test_clips_own_ids_are_taken_where_no_tokenizer_was_saved(tmp_path, original):
    made = original.generator((1,))
    made.tokenizer = None
    table = nn.Embedding(49408, 8)
    made.prompt2token_proj.text_model["embeddings"]["token_embedding"] = table
    done = convert(original.save(tmp_path / "file.pt", {"z": made}), tmp_path / "out")
    assert done.encoders[0].config.tokens == {"photo": 1125, "of": 539, "a": 320, ",": 267}
    places = made.state_dict()[f"{TEXT}embeddings.position_embedding.weight"]
    prefix = AdaFaceEncoder.from_pretrained(tmp_path / "out").prefix
    assert_close(prefix, table.weight[[49406, 1125, 539, 320]] + places[:4])


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere.pt: no such file"):
        convert(tmp_path / "nowhere.pt", tmp_path / "out")


def test_the_command_tells_what_it_made_and_left_out(tmp_path):
    out = tmp_path / "out"
    result = run("convert", CHECKPOINTS / "2024.pt", out)
    assert (
        f"{out}: arc2face, 16 vectors of 40, 4 layers with 4 4 4 2 keys and values a token" in result.stdout
    )
    assert "dict.y (18 tensors): background tokens" in result.stdout
    assert "does not say under which licence" in result.stderr


def test_the_command_gives_json(tmp_path):
    arguments = (CHECKPOINTS / "2025-joint.pt", tmp_path / "out", "--licence", "MIT", "--json")
    report = json.loads(run("convert", *arguments).stdout)
    assert [one["name"] for one in report["encoders"]] == ["consistentID", "arc2face"]
    assert {one["licence"] for one in report["encoders"]} == {"MIT"}
    assert {part["part"] for part in report["left_out"]} >= {"unet_lora_modules"}


def test_the_command_refuses_what_would_run_something(tmp_path):
    said = error("convert", GOLDEN / "hostile-pickles" / "os-system.pt", tmp_path / "out")
    assert "it names os.system" in said
    assert "Nothing of it was run" in said
