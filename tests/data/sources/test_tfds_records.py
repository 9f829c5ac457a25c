"""Prepared data sets of tensorflow_datasets, without TensorFlow; what is not there is said at once."""

import io
import time

import numpy as np
import pytest
import tensorflow_datasets
from PIL import Image

from efficient_jax.data.sources.tfds_records import tfds
from efficient_jax.errors import UserError

CYAN = (0, 255, 255)


class EfficientPets(tensorflow_datasets.core.GeneratorBasedBuilder):
    """Cyan images of different sizes, some of them stored as palettes or inks, in the colour that they have."""

    VERSION = tensorflow_datasets.core.Version("1.0.0")

    def _info(self):
        features = {
            "name": tensorflow_datasets.features.Text(),
            "image": tensorflow_datasets.features.Image(shape=(None, None, 3)),
            "label": tensorflow_datasets.features.ClassLabel(names=["cat", "dog"]),
        }
        return tensorflow_datasets.core.DatasetInfo(
            builder=self,
            features=tensorflow_datasets.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, _):
        return {"train": self._generate_examples(6, CYAN), "test": self._generate_examples(3, (255, 0, 0))}

    def _generate_examples(self, count, colour):
        for number in range(count):
            image = Image.new("RGB", (10 + number, 12), colour)
            mode = ("RGB", "CMYK", "P")[number % 3]
            image.convert(mode).save(content := io.BytesIO(), "PNG" if mode == "P" else "JPEG", quality=100)
            content.seek(0)
            yield number, {"name": str(number), "image": content, "label": number % 2}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tfds"))
    EfficientPets(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def test_a_prepared_data_set(prepared):
    source = tfds(dataset="efficient_pets", data_dir=prepared, size=8)
    assert source.images.shape == (9, 8, 8, 3)
    assert np.abs(source.images[:6].astype(int) - CYAN).max() <= 2  # JPEG
    np.testing.assert_array_equal(source.labels, [0, 1, 0, 1, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(source.fixed["test"], [6, 7, 8])
    assert source.classes == ("cat", "dog")
    assert source.notes == ("3 of 9 images were CMYK: converted to RGB",)


def test_slices_and_no_test_images(prepared):
    source = tfds(
        dataset="efficient_pets:1.0.0", data_dir=prepared, size=8, split="train[:4]", test_split="", channels=1
    )
    assert source.images.shape == (4, 8, 8, 1)
    np.testing.assert_array_equal(source.labels, [0, 1, 0, 1])
    assert source.fixed == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "valid"}, "split: Unknown split 'valid'. Should be one of ['train', 'test']."),
        ({"test_split": "tests"}, "test_split: Unknown split 'tests'. Should be one of ['train', 'test']."),
        ({"split": "train["}, "split: Error parsing split 'train['."),
        ({"size": 0}, "dataset: 'efficient_pets' has 7 unreadable images: row 1 (11 x 12 pixels, but the first has 10"),
    ],
)
def test_what_a_prepared_data_set_lacks_is_said(prepared, settings, message):
    with pytest.raises(UserError) as error:
        tfds(**{"dataset": "efficient_pets", "data_dir": prepared, "size": 8} | settings)
    assert str(error.value).startswith(f"config.data.source.{message}")
    assert "\n" not in str(error.value)


def test_a_public_data_set_as_mock_data():
    with tensorflow_datasets.testing.mock_data(num_examples=4):
        source = tfds(dataset="oxford_flowers102", size=16)
    assert source.images.shape == (8, 16, 16, 3)
    assert len(source.classes) == 102
    assert 0 <= source.labels.min() <= source.labels.max() < 102
    np.testing.assert_array_equal(source.fixed["test"], [4, 5, 6, 7])


def test_absent_data_are_said_at_once_with_two_ways_to_get_them(tmp_path):
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        tfds(dataset="oxford_flowers102", data_dir=str(tmp_path), size=8)
    assert time.monotonic() - start < 5
    text = str(error.value)
    assert text.startswith("config.data.source.dataset: 'oxford_flowers102' is not there as array_record (looked in ")
    assert f"`tfds build oxford_flowers102 --file_format=array_record --data_dir={tmp_path}`" in text
    assert text.endswith("say config.data.source.name=folder")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("oxford_flower102", "tfds has no dataset 'oxford_flower102'; did you mean 'oxford_flowers102'?"),
        ("huggingface:mnist", "'huggingface:mnist' is a community collection"),
        ("mnist/no_such", "'mnist/no_such': Failed to construct dataset"),
        ("mnist:9.9.9", "'mnist:9.9.9': Failed to construct dataset"),
        ("celeb_a", "'celeb_a' does not pair images with classes; it has image, landmarks, attributes"),
        ("eurosat/no such", "'eurosat/no such': Parsing builder name string eurosat/no such failed."),
    ],
)
def test_a_data_set_that_cannot_be_is_said(tmp_path, name, message):
    with pytest.raises(UserError) as error:
        tfds(dataset=name, data_dir=str(tmp_path), size=8)
    assert str(error.value).startswith(f"config.data.source.dataset: {message}")
    assert "\n" not in str(error.value)
