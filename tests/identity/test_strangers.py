"""Files of other people, and people who do not exist: they lie where real people's ID embeddings do."""

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch.testing import assert_close

from adaface.errors import FormatError, MissingFileError
from adaface.identity.strangers import IdDistribution, load_strangers


@pytest.fixture
def real():
    """Rows about one direction, with much spread along one axis and none along the last."""
    noise = torch.randn(4000, 6, generator=torch.Generator().manual_seed(0))
    return torch.tensor([3.0, 0, 0, 0, 0, 0]) + noise * torch.tensor([0.1, 2.0, 0.5, 0.5, 0.1, 0.0])


def noise(count, width=6, seed=1):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_all_of_them_are_unit_vectors(real):
    for distribution in (IdDistribution.sphere(6), IdDistribution.fitted(real)):
        assert_close(distribution(noise(50)).norm(dim=-1), torch.ones(50))


def test_the_sphere_has_no_favourite_direction():
    assert IdDistribution.sphere(6)(noise(4000)).mean(0).norm() < 0.05


def test_fitted_people_have_the_mean_and_the_spread_of_the_rows(real):
    drawn = IdDistribution.fitted(real)(noise(4000))
    unit = torch.nn.functional.normalize(real, dim=-1)
    assert_close(drawn.mean(0), unit.mean(0), rtol=0, atol=0.05)
    assert_close(torch.cov(drawn.T), torch.cov(unit.T), rtol=0, atol=0.05)


def test_few_rows_keep_people_within_what_they_span(real):
    rows = real[:3]
    basis = torch.linalg.qr(rows.T).Q
    drawn = IdDistribution.fitted(rows)(noise(20))
    assert_close(drawn @ basis @ basis.T, drawn, rtol=1e-4, atol=1e-4)
    assert (drawn[0] - drawn[1]).norm() > 0.01


def test_one_row_tells_of_no_distribution(real):
    assert_close(IdDistribution.fitted(real[:1])(noise(4)), IdDistribution.sphere(6)(noise(4)))


def test_a_person_follows_from_the_noise_alone(real):
    distribution = IdDistribution.fitted(real)
    assert_close(distribution(noise(5))[2:3], distribution(noise(5)[2:3]))


def test_strangers_are_read_as_unit_vectors(tmp_path):
    save_file({"id_embeddings": np.full((3, 4), 2, np.float32)}, tmp_path / "s.safetensors")
    assert np.allclose(np.linalg.norm(load_strangers(tmp_path / "s.safetensors", 4), axis=1), 1)


def test_strangers_of_another_recogniser_are_refused(tmp_path):
    save_file({"id_embeddings": np.ones((3, 4), np.float32)}, tmp_path / "s.safetensors")
    with pytest.raises(FormatError, match=r"\(3, 4\), the recogniser makes \(S, 128\)"):
        load_strangers(tmp_path / "s.safetensors", 128)


def test_a_file_without_strangers_is_refused(tmp_path):
    save_file({"x": np.ones(3, np.float32)}, tmp_path / "s.safetensors")
    with pytest.raises(FormatError, match='no tensor "id_embeddings"'):
        load_strangers(tmp_path / "s.safetensors", 128)
    with pytest.raises(MissingFileError, match="it should hold ID embeddings of strangers"):
        load_strangers(tmp_path / "t.safetensors", 128)
