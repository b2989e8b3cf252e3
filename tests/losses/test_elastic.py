"""Elastic matching, on pictures of a few places whose matches are known."""

import torch
from torch.testing import assert_close

from adaface.losses.elastic import FREE, background, found_again, matches, preserved


def certain(order):
    """Queries (1, 4, 4) that match the picture `order` describes for sure."""
    return torch.eye(4)[order].repeat(1, 16)[None]


def test_each_place_is_found_where_it_went():
    match = matches(certain([2, 0, 1, 3]), certain([0, 1, 2, 3]))  # place 0 went to 1, 1 to 2, 2 to 0
    assert_close(match.sum(1), torch.ones(1, 4))
    assert match[0].argmax(0).tolist() == [1, 2, 0, 3]


def test_queries_of_any_scale_match_alike():
    one, other = torch.randn(2, 1, 5, 3, generator=torch.Generator().manual_seed(0))
    assert_close(matches(one * 40, other * 3), matches(one, other), atol=1e-3, rtol=1e-3)


def test_background_is_what_matches_the_face_with_little():
    match = torch.tensor([[[0.9, 0.2], [0.05, 0.3], [0.05, 0.5]]])  # three places, two of the other picture
    face = torch.tensor([[1.0, 0.0]])
    assert_close(background(match, face), torch.tensor([[0.0, 0.8, 0.8]]), atol=1e-6, rtol=0)
    assert_close(background(match, torch.zeros(1, 2)), torch.ones(1, 3))
    assert FREE == 0.25


def test_a_face_that_moved_is_found_again_and_another_is_not():
    wanted = torch.eye(4)[None]
    moved = wanted[:, [2, 0, 1, 3]]
    match = torch.eye(4)[[2, 0, 1, 3]][None]
    face = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    assert_close(found_again(moved, match, wanted, face), torch.zeros(1), atol=1e-5, rtol=0)
    assert_close(found_again(wanted, match, wanted, face), torch.ones(1), atol=1e-5, rtol=0)
    changed = moved.clone()
    changed[:, 3] = 7  # beside the face
    assert_close(found_again(changed, match, wanted, face), torch.zeros(1), atol=1e-5, rtol=0)


def layer(composed_order, class_order, features=None):
    """The terms where the composed picture's places are in some order, and the class's in another."""
    here = certain([0, 1, 2, 3])
    eye = torch.eye(4)[None]
    composed = eye[:, composed_order] if features is None else features
    return preserved(
        (eye, composed, eye[:, class_order]),
        (here, certain(composed_order), certain(class_order), here),
        torch.tensor([[0.1, 0.2, 0.3, 0.4]]),
        torch.tensor([[1.0, 1.0, 0.0, 0.0]]),
    )


def test_a_picture_that_moves_as_the_class_s_does_costs_nothing_but_the_leak():
    terms = layer([1, 0, 2, 3], [1, 0, 2, 3])
    for value in (terms.matches, terms.face, terms.background):
        assert_close(value, torch.zeros(1), atol=1e-4, rtol=0)
    assert_close(terms.leak, torch.tensor([0.35]), atol=1e-3, rtol=0)  # of places 2 and 3


def test_a_face_that_moves_otherwise_than_the_class_s_is_told():
    terms = layer([0, 1, 2, 3], [1, 0, 2, 3])
    assert float(terms.matches) > 0.5
    assert_close(terms.face, torch.zeros(1), atol=1e-4, rtol=0)


def test_another_background_than_the_class_s_is_told_and_the_face_is_free():
    features = torch.eye(4)[None].clone()
    features[:, 2:] = torch.tensor([[0.0, 0, 0, 1], [0, 0, 1, 0]])
    other_background = layer([0, 1, 2, 3], [0, 1, 2, 3], features)
    assert_close(other_background.background, torch.ones(1), atol=1e-3, rtol=0)
    assert_close(other_background.face, torch.zeros(1), atol=1e-4, rtol=0)
    features = torch.eye(4)[None].clone()
    features[:, 0] = torch.tensor([0.0, 0, 1, 0])
    other_face = layer([0, 1, 2, 3], [0, 1, 2, 3], features)
    assert_close(other_face.background, torch.zeros(1), atol=1e-3, rtol=0)
    assert_close(other_face.face, torch.tensor([0.5]), atol=1e-3, rtol=0)


def test_without_a_face_nothing_of_it_is_asked():
    here = certain([0, 1, 2, 3])
    eye = torch.eye(4)[None]
    terms = preserved((eye, eye.flip(1), eye), (here, here, here, here), torch.ones(1, 4), torch.zeros(1, 4))
    assert float(terms.matches) == 0 and float(terms.face) == 0
    assert float(terms.background) > 0


def test_a_leak_is_mended_by_less_attention_and_not_by_looking_like_the_face():
    eye, face = torch.eye(4)[None], torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    queries, shares = eye.clone().requires_grad_(), torch.tensor([[0.1, 0.2, 0.3, 0.4]]).requires_grad_()
    terms = preserved((eye, eye, eye), (eye, queries, eye, eye), shares, face)
    terms.leak.sum().backward()
    assert queries.grad is None
    assert_close(shares.grad, torch.tensor([[0.0, 0.0, 0.5, 0.5]]))
