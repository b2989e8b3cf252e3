"""From captured layers to terms: what of the attention is the person's, and how layers are summed."""

import pytest
import torch
from torch.testing import assert_close

from adaface.recipes.composition.capture import Layer
from adaface.recipes.composition.terms import eased, layer_terms, over_layers, seen, spared


def layer(seed, side=4, count=2):
    generator = torch.Generator().manual_seed(seed)
    return Layer(
        torch.randn(count, 2, side * side, 3, generator=generator),
        torch.randn(count, 2, 5, 3, generator=generator),
        torch.randn(count, 6, side, side, generator=generator),
    )


PLACES = torch.tensor([[False, True, True, False, False], [False, False, False, True, False]])


def test_scores_are_means_over_the_person_s_places_and_shares_are_sums():
    one = layer(0)
    made = seen(one, PLACES)
    assert_close(made.scores[0], one.scores[0, :, :, 1:3].mean(-1))
    assert_close(made.shares[0], one.scores.softmax(-1)[0, :, :, 1:3].sum(-1))
    assert_close(made.scores[1], one.scores[1, :, :, 3])


def test_a_batch_of_several_prompts_comes_apart():
    both = seen(layer(0, count=4), PLACES.repeat(2, 1))
    first, second = both.parts(2)
    assert_close(torch.cat([first.queries, second.queries]), both.queries)
    assert len(second.features) == 2


def four(side=4):
    return [seen(layer(seed, side), PLACES) for seed in range(4)]


def face(side=4):
    mask = torch.zeros(2, 1, side, side)
    mask[:, :, 1:3, 1:3] = 1
    return mask


@pytest.mark.parametrize("side", [1, 4, 16])
def test_each_term_is_a_number_a_sample_at_any_size(side):
    terms = layer_terms(*four(side), face(8))
    assert set(terms) == {
        "features", "attention", "norm", "outside", "matches", "face", "background", "leak"
    }  # fmt: skip
    assert all(
        value.shape == (2,) and value.isfinite().all() and (value >= 0).all() for value in terms.values()
    )


def test_samples_stay_apart():
    together = layer_terms(*four(), face())
    first = [one.parts(2)[0] for one in four()]
    alone = layer_terms(*first, face()[:1])
    for name, value in alone.items():
        assert_close(together[name][:1], value, atol=1e-5, rtol=1e-4)


def test_a_composed_picture_that_is_the_single_one_keeps_the_face():
    single, _, common, _ = four()
    same = layer_terms(single, single, common, common, face())
    other = layer_terms(*four(), face())
    for name in ("features", "attention"):
        assert (same[name] < 0.2 * other[name] + 1e-4).all(), name  # a powered cosine with itself is not 1
    assert (same["face"] < other["face"]).all()


def test_layers_are_summed_by_their_weights():
    terms = {
        "a": {"x": torch.tensor([1.0]), "y": torch.tensor([0.0])},
        "b": {"x": torch.tensor([3.0]), "y": torch.tensor([4.0])},
    }
    summed = over_layers(terms, {"a": 0.25, "b": 0.75})
    assert (float(summed["x"]), float(summed["y"])) == (2.5, 3.0)


def test_where_the_person_is_counts_less():
    scores = torch.zeros(1, 1, 4)
    scores[..., 0] = 4
    weights = spared(scores, scores)
    assert_close(weights.mean(), torch.tensor(1.0))
    assert weights[0, 0] < 0.3 * weights[0, 1]
    assert_close(weights[0, 1:], weights[0, 1].expand(3))


def test_large_layers_are_averaged_in_windows():
    assert eased(torch.randn(1, 3, 16, 16)).shape == (1, 49, 3)
    assert eased(torch.randn(1, 3, 8, 8)).shape == (1, 64, 3)
    ones = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    assert_close(eased(ones, even=False)[0, :7, 0], torch.arange(1.5, 14, 2))
