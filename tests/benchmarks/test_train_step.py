"""The reference that training steps are measured against does what it says, and operations are counted."""

import sys

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close


@pytest.fixture(scope="module", autouse=True)
def benchmarks(repo):
    """The folder of the benchmarks, as their scripts see it."""
    sys.path.insert(0, str(repo / "benchmarks"))
    yield
    sys.path.remove(str(repo / "benchmarks"))


@pytest.fixture(scope="module")
def unet():
    """SD-1.5's blocks, tiny."""
    from train_steps.shapes import SHAPES, unet

    torch.manual_seed(0)
    return unet(SHAPES["tiny"]).eval().requires_grad_(False)


def test_operations_of_a_product_and_of_its_gradients():
    from train_steps.counting import operations

    a, b = torch.ones(2, 3, requires_grad=True), torch.ones(3, 5, requires_grad=True)
    assert operations(lambda: a @ b) == 2 * 2 * 3 * 5
    assert operations(lambda: (a @ b).sum().backward()) == 3 * 2 * 2 * 3 * 5


def test_operations_of_attention_whichever_kernel_does_it():
    """Two products of (8, 4) and (8, 4): each of 8 x 8 x 4 multiplications, in 2 heads of 3 samples."""
    from train_steps.counting import operations

    rows = torch.ones(3, 2, 8, 4)
    assert operations(lambda: scaled_dot_product_attention(rows, rows, rows)) == 3 * 2 * 2 * 2 * 8 * 8 * 4


@torch.no_grad()
def test_sixteen_like_contexts_say_what_one_says_to_the_stock_unet(unet):
    from train_steps.original import read_one_context_a_layer

    latents, context = torch.randn(2, 4, 16, 16), torch.randn(2, 77, 144)
    level, stock = torch.tensor([500, 3]), dict(unet.attn_processors)
    plain = unet(latents, level, context).sample
    assert read_one_context_a_layer(unet) == 16
    copies = context[:, None].repeat(1, 16, 1, 1)
    same = unet(latents, level, copies).sample
    copies[:, 15] += 1
    other = unet(latents, level, copies).sample
    unet.set_attn_processor(stock)
    assert_close(same, plain, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(other, plain, atol=1e-4)


@pytest.mark.parametrize(("steps", "samples", "asked_at"), [(1, 4, 1), (3, 2, 3), (5, 1, 5), (7, 1, 7)])
def test_several_denoising_steps_leave_the_original_a_part_of_its_four_photos(steps, samples, asked_at):
    from train_steps.original import asked, kept

    assert (kept(4, steps), asked(4, steps)) == (samples, asked_at)


@pytest.mark.slow
def test_both_of_the_original_s_steps_train_the_encoder(tmp_path):
    from train_steps.original import Original
    from train_steps.original_composition import OriginalComposition
    from train_steps.shapes import SHAPES, write_photos, write_stack

    from adaface.data.dataset import FaceDataset
    from adaface.pipelines.stack import Stack
    from adaface.recipes.registry import read_config

    write_stack(tmp_path / "stack", SHAPES["tiny"])
    write_photos(tmp_path / "faces", SHAPES["tiny"], rows=2)
    stack, dataset = Stack.load(tmp_path / "stack"), FaceDataset(tmp_path / "faces")
    loop, device = read_config("sd15/identity").loop, torch.device("cpu")
    one, two = Original(stack, dataset, loop, device), OriginalComposition(stack, dataset, loop, device)
    for way, step in ((one, lambda: one.identity([0, 1], 3)), (two, lambda: two.composition([0, 1]))):
        before = [weight.clone() for weight in way.encoder.parameters()]
        assert step() > 0
        moved = [not torch.equal(a, b) for a, b in zip(before, way.encoder.parameters(), strict=True)]
        assert sum(moved) > 0.8 * len(moved)


@pytest.mark.slow
def test_our_compositional_step_is_computed_from_shapes_alone():
    """With SD-1.5's sizes, and a UNet that is asked for the gradients of every sample."""
    from train_steps.computed import ours_composed, parts

    one, two = (ours_composed(parts(), batch) for batch in (1, 2))
    assert one["tflop_an_image"] == pytest.approx(two["tflop_an_image"], rel=0.02)
    assert one["activations_gb"] < two["activations_gb"]
