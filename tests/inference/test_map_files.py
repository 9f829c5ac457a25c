"""Maps of classes as files: written for other programs, and read back."""

import numpy as np
import pytest
from PIL import Image

from efficient_jax.data.sources.mask_folders import masks
from efficient_jax.errors import UserError
from efficient_jax.inference import map_files

CLASSES = np.array([[0, 1, 2], [3, 254, 255]])


def test_maps_are_palette_images_with_the_colors_of_pascal_voc(tmp_path):
    """The colors are those of the devkit's VOClabelcolormap: aeroplane, bicycle, bird, and cream for void (255)."""
    map_files.write(tmp_path / "maps/1.png", CLASSES)
    with Image.open(tmp_path / "maps/1.png") as image:
        assert image.mode == "P"
        colors = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(colors[0], [[0, 0, 0], [128, 0, 0], [0, 128, 0]])
    np.testing.assert_array_equal(colors[1, [0, 2]], [[128, 128, 0], [224, 224, 192]])


def test_maps_return_through_both_readers(tmp_path):
    classes = np.random.default_rng(0).integers(0, 256, (5, 8))
    map_files.write(tmp_path / "maps/1.png", classes)
    np.testing.assert_array_equal(map_files.read(tmp_path / "maps/1.png", "maps"), classes)
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 5)).save(tmp_path / "images/1.jpg")
    names = tuple(map(str, range(255)))
    source = masks(path=str(tmp_path / "images"), masks=str(tmp_path / "maps"), size=0, classes=names)
    np.testing.assert_array_equal(source.labels[0], classes)


@pytest.mark.parametrize("wrong", [-1, 256])
def test_values_that_are_no_class_are_said(tmp_path, wrong):
    with pytest.raises(UserError, match=r"1\.png: classes .*; want 0\.\.254, and 255 for none"):
        map_files.write(tmp_path / "1.png", np.array([[0, wrong]]))
