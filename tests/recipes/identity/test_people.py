"""Who a step with random people asks for."""

import dataclasses

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from adaface.data.dataset import FaceDataset
from adaface.errors import FormatError
from adaface.identity.strangers import IdDistribution
from adaface.pipelines.manifest import Part
from adaface.pipelines.stack import Stack
from adaface.recipes.identity.people import open_people


def noise(count=200):
    return torch.randn(count, 128, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def with_strangers(tiny_stack, tmp_path):
    """The tiny stack with these strangers."""

    def make(tensors):
        save_file(tensors, tmp_path / "strangers.safetensors")
        stack = Stack.load(tiny_stack)
        part = Part(str(tmp_path / "strangers.safetensors"))
        return dataclasses.replace(stack, roles={**stack.roles, "strangers": part})

    return make


def test_the_sphere_is_all_directions(tiny_stack, faces):
    found = open_people("sphere", FaceDataset(faces), Stack.load(tiny_stack))(noise())
    assert_close(found, IdDistribution.sphere(128)(noise()))


def test_fitted_people_lie_where_the_data_s_people_do_and_the_strangers(with_strangers, faces):
    data = FaceDataset(faces)
    real = torch.from_numpy(data.id_embeddings.copy())
    far = torch.nn.functional.normalize(torch.eye(128)[:40] + torch.eye(128)[100], dim=-1)
    drawn = open_people("fitted", data, with_strangers({"id_embeddings": far}))(noise())
    mean = torch.cat([real, far]).mean(0)
    assert torch.cosine_similarity(drawn.mean(0), mean, dim=0) > 0.9


def test_a_stack_without_strangers_has_its_data_alone(tiny_stack, faces):
    stack = Stack.load(tiny_stack)
    bare = dataclasses.replace(stack, roles={r: p for r, p in stack.roles.items() if r != "strangers"})
    data = FaceDataset(faces)
    alone = IdDistribution.fitted(torch.from_numpy(data.id_embeddings.copy()))
    assert_close(open_people("fitted", data, bare)(noise()), alone(noise()))


def test_strangers_of_another_recogniser_are_refused(with_strangers, faces):
    with pytest.raises(FormatError, match=r"the recogniser makes \(S, 128\)"):
        open_people("fitted", FaceDataset(faces), with_strangers({"id_embeddings": torch.ones(2, 64)}))
