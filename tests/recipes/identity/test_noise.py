"""Noise on faces and on their rows, relative to them, from each sample's own seed."""

import torch
from torch.testing import assert_close

from adaface.recipes.identity.noise import noisy_faces, noisy_rows

SEEDS = (5, 6, 7, 8)


def rows(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_a_sample_s_noise_does_not_depend_on_the_others():
    faces = rows(4, 64)
    part = noisy_faces(faces[2:], (0.1, 0.2), 0.5, SEEDS[2:])
    assert_close(noisy_faces(faces, (0.1, 0.2), 0.5, SEEDS)[2:], part, rtol=0, atol=0)


def test_noise_on_faces_is_relative_and_keeps_their_length():
    faces = 3 * torch.nn.functional.normalize(rows(4, 4096), dim=-1)
    moved = noisy_faces(faces, (0.05, 0.05), 1.0, SEEDS)
    assert_close(moved.norm(dim=-1), torch.full((4,), 3.0))
    assert_close((moved - faces).norm(dim=-1) / 3, torch.full((4,), 0.05), rtol=0.05, atol=0)


def test_each_face_has_a_strength_within_the_spread():
    faces = torch.nn.functional.normalize(rows(1, 4096), dim=-1).expand(40, -1)
    moved = (noisy_faces(faces, (0.1, 0.3), 1.0, range(40)) - faces).norm(dim=-1)
    assert 0.09 < moved.min() < 0.15 and 0.25 < moved.max() < 0.31


def test_a_share_of_the_faces_is_left_alone():
    faces = rows(400, 16)
    still = (noisy_faces(faces, (0.1, 0.1), 0.25, range(400)) - faces).norm(dim=-1) < 1e-5
    assert 0.65 < still.float().mean() < 0.85
    assert_close(noisy_faces(faces, (0.1, 0.1), 0.0, range(400)), faces)


def test_noise_on_rows_falls_on_some_of_a_person_s_rows():
    given = rows(20, 8, 256)
    moved = (noisy_rows(given, (0.04, 0.04), 0.6, range(20)) - given).norm(dim=-1)
    noised = moved > 0
    assert 0.5 < noised.float().mean() < 0.7
    assert ((noised.any(-1)) & (~noised).any(-1)).float().mean() > 0.8
    strength = moved[noised] / given[noised].std(-1) / 16
    assert strength.min() > 0.03 and strength.max() < 0.05


def test_gradients_pass_noise_on_rows_as_if_there_were_none():
    given = rows(2, 3, 8).requires_grad_()
    noisy_rows(given, (0.5, 0.5), 1.0, (1, 2)).sum().backward()
    assert_close(given.grad, torch.ones_like(given))
