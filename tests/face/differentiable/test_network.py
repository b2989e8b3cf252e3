"""The recogniser with gradients, and the alignment before it, against hand-made points."""

import pytest
import torch
from torch.testing import assert_close

from adaface.face.differentiable import warp
from adaface.face.differentiable.network import SFace, embed


def test_a_similarity_takes_its_points_to_their_targets():
    points = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]])
    turned = points @ torch.tensor([[0.0, 3.0], [-3.0, 0.0]]) + torch.tensor([5.0, -1.0])
    maps = warp.similarity(points, turned)
    assert_close(points @ maps[0, :, :2].T + maps[0, :, 2], turned)


def test_the_differentiable_recogniser_equals_the_packaged_one():
    from adaface.face.recognize import default_recognizer

    crops = (torch.rand(2, 112, 112, 3, generator=torch.Generator().manual_seed(0)) * 255).byte()
    ours = SFace()(crops.permute(0, 3, 1, 2).float())
    assert_close(ours, torch.from_numpy(default_recognizer()(crops.numpy())), atol=1e-5, rtol=0)


def test_the_recogniser_gives_gradients_to_the_picture():
    picture = torch.rand(1, 3, 64, 64, requires_grad=True)
    marks = torch.tensor([[[22.0, 28.0], [42.0, 28.0], [32.0, 36.0], [25.0, 45.0], [39.0, 45.0]]])
    embed(SFace(), picture, marks)[0, 0].backward()
    assert picture.grad is not None and picture.grad.abs().sum() > 0


def test_reading_the_recogniser_needs_onnx_only_when_one_is_made(monkeypatch):
    import importlib.util
    import sys

    from adaface.face.differentiable import network

    monkeypatch.setitem(sys.modules, "onnx", None)  # as if it were not installed
    spec = importlib.util.spec_from_file_location("network_again", network.__file__)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    with pytest.raises(ImportError):
        again.SFace()
