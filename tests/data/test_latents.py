"""Cached latents: fixed coins, the numbers of encoding by hand, taken up again, checked when read."""

import json
import pickle

import numpy as np
import pytest
import torch

from adaface.data.augment import Augment
from adaface.data.dataset import FaceDataset
from adaface.data.latents import LatentCache, encode_latents, fixed_augments, vae_encode
from adaface.errors import ConfigError, DatasetError, MissingFileError, ShapeError, WriteError
from tiny_data import write_tiny_data


@pytest.fixture
def dataset(tmp_path) -> FaceDataset:
    return FaceDataset(write_tiny_data(tmp_path / "data", people=3, photos=3))


class Average:
    """A stand-in for a VAE: 8 x 8 means of the picture; counts its calls, and can break down."""

    def __init__(self, breaks_after: int = 1000) -> None:
        self.pictures, self.left = 0, breaks_after

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        self.pictures += len(images)
        return torch.nn.functional.avg_pool2d(images, 8)


def encode(dataset, encode=None, **given):
    options = {"count": 2, "seed": 0, "vae": "average", "batch_size": 4} | given
    return encode_latents(dataset, encode or Average(), **options)


def test_a_latent_is_that_of_the_augmented_picture(dataset):
    encode(dataset)
    cache = LatentCache(dataset)
    assert (len(cache), cache.count, cache.shape, cache.vae) == (9, 2, (3, 8, 8), "average")
    found = cache[4, 1]
    moved = found.augment.apply(dataset[4])
    by_hand = Average()(moved.image[None].float() / 127.5 - 1)[0]
    assert torch.allclose(found.latent, by_hand, atol=1e-3)
    assert found.augment == fixed_augments(dataset.key(4), 2, seed=0)[1]


def test_masks_come_at_the_size_of_the_latent(dataset):
    encode(dataset)
    found = LatentCache(dataset)[0, 0]
    moved = found.augment.apply(dataset[0])
    cells = moved.valid[0].reshape(8, 8, 8, 8).amin(dim=(1, 3))
    assert torch.equal(found.valid[0], cells)  # only where every pixel is photo
    share = moved.mask[0].float().reshape(8, 8, 8, 8).mean(dim=(1, 3))
    assert torch.equal(found.mask[0].bool(), share >= 0.5)


def test_the_coins_depend_on_the_picture_and_the_seed_alone():
    assert fixed_augments("alice-1", 2, seed=3) == fixed_augments("alice-1", 3, seed=3)[:2]
    assert fixed_augments("alice-1", 2, seed=3) != fixed_augments("alice-2", 2, seed=3)
    assert fixed_augments("alice-1", 2, seed=3) != fixed_augments("alice-1", 2, seed=4)
    assert all(0.7 <= coins.scale <= 1 for coins in fixed_augments("alice-1", 50, seed=3))


def test_pictures_can_be_kept_in_full_size(dataset):
    encode(dataset)
    encode(dataset, scale=(1.0, 1.0))  # other latents than those that are there: encoded anew
    cache = LatentCache(dataset)
    assert {cache[row, k].augment.scale for row in range(len(dataset)) for k in range(2)} == {1.0}


def test_twice_the_same_call_gives_the_same_bytes(dataset, tmp_path):
    first = encode(dataset).read_bytes()
    other = FaceDataset(write_tiny_data(tmp_path / "other", people=3, photos=3))
    assert encode(other, batch_size=1).read_bytes() == first


def test_an_interrupted_call_goes_on_and_ends_the_same(dataset, tmp_path):
    other = FaceDataset(write_tiny_data(tmp_path / "other", people=3, photos=3))
    whole = encode(other).read_bytes()
    with pytest.raises(KeyboardInterrupt):
        encode(dataset, Average(breaks_after=3))
    assert not LatentCache.there(dataset)
    rest = Average()
    assert encode(dataset, rest).read_bytes() == whole
    assert rest.pictures < 18  # not all of it again
    assert sorted(p.name for p in dataset.folder.iterdir() if p.name.startswith(".")) == []


def test_an_interrupted_call_about_something_else_is_not_taken_up(dataset):
    with pytest.raises(KeyboardInterrupt):
        encode(dataset, Average(breaks_after=3))
    encode(dataset, seed=1)
    assert LatentCache(dataset)[0, 0].augment == fixed_augments(dataset.key(0), 2, seed=1)[0]


def test_what_is_there_already_is_not_encoded_again(dataset):
    encode(dataset)
    again = Average()
    encode(dataset, again)
    assert again.pictures <= 4  # the first batch, to see its shape


def test_a_change_of_the_vae_is_encoded_anew(dataset):
    encode(dataset)
    encode(dataset, vae="another")
    assert LatentCache(dataset).vae == "another"


def test_progress_is_told_by_rows(dataset):
    told = []
    encode(dataset, tell=lambda *counts: told.append(counts))
    assert told == [(2, 9), (4, 9), (6, 9), (8, 9), (9, 9)]


@pytest.mark.slow  # the library takes seconds to import
def test_a_real_vae_gives_its_scaled_mean(dataset):
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, scaling_factor=0.5, shift_factor=0.1)
    encode(dataset, vae_encode(vae), count=1)
    found = LatentCache(dataset)[3, 0]
    image = found.augment.apply(dataset[3]).image[None].float() / 127.5 - 1
    with torch.no_grad():
        mean = vae.encode(image.to(vae.dtype)).latent_dist.mean[0]
        mean = (mean - 0.1) * 0.5
    assert torch.allclose(found.latent, mean.float(), atol=2e-3)


def test_a_cache_goes_to_another_process(dataset):
    encode(dataset)
    assert torch.equal(
        pickle.loads(pickle.dumps(LatentCache(dataset)))[2, 1].latent, LatentCache(dataset)[2, 1].latent
    )


def test_no_latents_are_told_with_the_command(dataset):
    assert not LatentCache.there(dataset)
    with pytest.raises(
        MissingFileError, match=r"no latents here\. Encode them: adaface prepare \.\.\. --latents"
    ):
        LatentCache(dataset)


def test_latents_of_another_data_set_are_refused(dataset):
    encode(dataset)
    write_tiny_data(dataset.folder, people=2, photos=3)
    with pytest.raises(DatasetError, match="of another data set than .* holds now. Encode them again"):
        LatentCache(FaceDataset(dataset.folder))


def test_a_damaged_latent_is_named(dataset):
    path = encode(dataset)
    data = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    places = json.loads(bytes(data[8:begin]))["latent"]["data_offsets"]
    data[begin + places[0] + 2 * 192 * 2 * 5 + 7] ^= 1  # row 5, augmentation 0: a latent has 192 halves
    path.write_bytes(data)
    cache = LatentCache(FaceDataset(dataset.folder))
    cache[4, 1], cache[5, 1]
    with pytest.raises(
        DatasetError, match=r"latent of person1-2 \(row 5, augmentation 0\) is not what was written"
    ):
        cache[5, 0]


def test_latents_that_are_cut_off_are_refused(dataset):
    path = encode(dataset)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DatasetError, match="cut off"):
        LatentCache(dataset)


def test_there_is_no_such_augmentation(dataset):
    encode(dataset)
    with pytest.raises(IndexError, match="row 0, augmentation 2 of 9, 2"):
        LatentCache(dataset)[0, 2]


def test_a_full_disk_is_told_before_the_work(dataset, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(
        WriteError,
        match=r"latents.safetensors: .* GB are to be written, 0.00 GB are free. Free space",
    ):
        encode(dataset)
    assert [p.name for p in dataset.folder.iterdir() if "latents" in p.name] == []


def test_settings_that_make_no_sense_are_told(dataset):
    with pytest.raises(ConfigError, match="count=0, batch_size=4: give 1 or more"):
        encode(dataset, count=0)
    with pytest.raises(ShapeError, match=r"encode: \(3, 64, 64\) for 4 pictures\. Give \(B, C, h, w\)"):
        encode(dataset, lambda images: images[0])


def test_equal_coins_have_equal_augmentations(dataset):
    coins = fixed_augments("alice", 1, seed=0)[0]
    assert Augment(**json.loads(json.dumps(vars(coins)))) == coins
    assert np.float32(coins.scale) == coins.scale


def test_latents_of_the_data_set_before_are_none(tmp_path):
    first = FaceDataset(write_tiny_data(tmp_path / "data", people=3, photos=3))
    assert not LatentCache.there(first)
    encode(first)
    assert LatentCache.there(first)
    second = FaceDataset(write_tiny_data(tmp_path / "data", people=3, photos=3, seed=1))
    assert not LatentCache.there(second)
