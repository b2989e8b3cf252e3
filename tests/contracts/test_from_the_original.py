"""What docs/from-the-original.md says of this package is so: its commands, options, functions, arguments."""

import importlib
import inspect
import re
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "from-the-original.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| `") or re.match(r"\| [A-Za-z]", line)
]
ROWS = [row for row in ROWS if row[0] != "original"]
SPANS = sorted({span for row in ROWS for span in re.findall(r"`(adaface[^`]*)`", row[1])})
COMMANDS = [span for span in SPANS if span == "adaface" or span.startswith("adaface ")]
FUNCTIONS = [span for span in SPANS if span.startswith("adaface.")]
# What the original offered; a line of its documents that has no row here would be forgotten.
ORIGINAL = """
    main.py --actual_resume --data_roots --mix_subj_data_roots --subject_string --background_string
    --num_vectors_per_subj_token --default_cls_delta_string --subj_init_word_weights --bs --max_steps
    --manual_accumulate_grad_batches --optimizer --lr --scale_lr --warmup_steps --d_coef --zeroshot
    --arc2face_distill_iter_prob --composition_regs_iter_gap --p_gen_arc2face_rand_face
    --max_num_denoising_steps --p_add_noise_to_real_id_embs --embedding_manager_ckpt
    --extend_prompt2token_proj_attention_multiplier --zs_prompt2token_proj_ext_attention_perturb_ratio
    --clip_last_layers_skip_weights --broad_class --randomize_clip_skip_weights
    --do_clip_teacher_filtering --use_fp_trick --rand_scale_range stable_txt2img --embedding_paths
    --ref_images --compare_with --calc_face_sim --face_engine --from_file --class_prompt --n_samples
    --n_repeat --n_rows --ddim_steps --ddim_eta --precision --gpu --use_pre_neg_prompt --neg_prompt
    --outdir --indiv_subdir --scores_csv --zs_out_id_embs_scale_range --zs_adaface_prompt_embs_inf_type
    --apply_arc2face_embs --apply_arc2face_inverse_embs gen_subjects_and_eval --method --subjfile
    --range --prompt_set --gen_prompt_set_only --out_dir_tmpl --dryrun repl_textencoder --te_ckpt
    repl_vae --vae_ckpt avg_models --suffix SubjBasisGenerator create_id2ada_prompt_encoder
    extract_init_id_embeds_from_images get_img_prompt_embs generate_adaface_embeddings
    load_subj_basis_generator update_text_encoder_subj_embs update_prompt encode_prompt forward
    prepare_adaface_embeddings pipeline_name use_840k_vae use_ds_text_encoder use_lcm
    default_scheduler_name max_prompt_length main_unet_filepath adaface-infer adaface-translate app.py
    raw_id_embs clip_features --base_model_path --embman_ckpt --subject --example_image_count
    --out_image_count --noise --randface --id_cfg_scale --in_folder --out_folder --is_mix_subj_folder
    --max_images_per_subject --ref_img_strength --copy_masks
    --load_meta_subj2person_type_cache_path --save_meta_subj2person_type_cache_path AdaFace-Animate
""".split()  # noqa: SIM905 - it reads better


def test_the_tables_are_read_whole():
    assert len(ROWS) > 90
    assert all(len(row) == 3 for row in ROWS), [row for row in ROWS if len(row) != 3]
    assert len(COMMANDS) > 15
    assert len(FUNCTIONS) > 25


@pytest.mark.parametrize("name", ORIGINAL)
def test_nothing_of_the_original_is_forgotten(name: str):
    assert any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", row[0]) for row in ROWS)


def test_what_has_no_counterpart_says_why():
    silent = [row[0] for row in ROWS if row[1] == "-" and not re.match(r"(dropped|not yet)\b", row[2])]
    assert silent == []
    assert all(row[1] == "-" or "`adaface" in row[1] for row in ROWS)


@pytest.mark.parametrize("span", COMMANDS)
def test_a_command_is_there_with_its_options(span: str):
    from adaface.cli.main import app

    words = span.split()[1:]
    command = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options = {flag for parameter in command.params for flag in parameter.opts}
    assert [word for word in words if word.startswith("--") and word not in options] == []
    assert not hasattr(command, "commands"), "a group of commands does nothing by itself"


@pytest.mark.parametrize("span", FUNCTIONS)
def test_a_function_is_there_and_takes_its_arguments(span: str):
    dotted, _, arguments = span.partition("(")
    found = resolve(dotted)
    names = inspect.signature(found).parameters
    assert [name for name in re.findall(r"\w+", arguments) if name not in names] == []


def test_the_python_example_runs(tiny_stack, astronaut, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(astronaut).save("alice.jpg")
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert '"sd15"' in code
    names: dict[str, object] = {}
    exec(code.replace('"sd15"', repr(str(tiny_stack))), names)
    with Image.open("alice.png") as picture:
        assert picture.size == (64, 64)
    assert names["prompt"].shape == (1, 64, 128)


def test_the_commands_of_the_example_run(tiny_stack, astronaut, tmp_path, monkeypatch):
    """The first converts a checkpoint as the authors' code writes them."""
    import shlex
    import shutil

    from adaface.cli.main import app
    from adaface.encoder.inverse import AdaFaceEncoder

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAFACE_STACK", str(tiny_stack))
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    for name, picture in (("alice", astronaut), ("bob", astronaut[:, ::-1]), ("scene", astronaut)):
        Image.fromarray(picture).save(f"{name}.jpg")
    (block,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line, comments=True)[1:] for line in block.splitlines()]
    assert [line[0] for line in lines] == ["convert", "generate", "embed", "generate"]
    shutil.copy(REPO / "tests" / "golden" / "checkpoints" / "2024.pt", lines[0][1])
    for line in lines:
        quick = ["--steps", "2", "-n", "1"] if line[0] == "generate" else []
        result = CliRunner().invoke(app, [*line, *quick])
        assert result.exit_code == 0, result.output
    assert AdaFaceEncoder.from_pretrained(lines[0][2]).config.num_id_vectors == 16


def resolve(dotted: str) -> object:
    """The object of a dotted name: modules as far as they go, attributes behind them."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise AssertionError(dotted)
