"""Near duplicates across parts are said with both names; what is in one part only is no leak."""

import numpy as np
import pytest

from efficient_jax.data.dataset import Source
from efficient_jax.data.identity import digest
from efficient_jax.errors import UserError
from efficient_jax.experiment import results
from efficient_jax.experiment.leaks import leaks
from efficient_jax.experiment.workdir import keep_split
from efficient_jax.report import page
from tests.data.test_leakage import clouds

IMAGES = clouds(40, 32, seed=1)
IMAGES[20:23] = IMAGES[:3, :, ::-1]  # 20 ~ 0, 21 ~ 1, 22 ~ 2
SOURCE = Source(IMAGES, np.arange(40, dtype=np.int32) % 2, ("a", "b"), names=tuple(f"{i}.png" for i in range(40)))
SPLIT = {
    "labelled": np.array([0, 4, 5, 6, 21, 22]),
    "unlabelled": np.arange(24, 40),
    "validation": np.array([1, 7, 8]),
    "test": np.array([2, 20, 9]),
}


def test_leaks_of_test_and_of_validation_are_said_with_names(tmp_path):
    test, validation = leaks(SOURCE, SPLIT)
    assert {tuple(pair) for pair in test.pairs.tolist()} == {(20, 0), (2, 22)}
    assert validation.pairs.tolist() == [[1, 21]]
    assert test.line.startswith("2 test images nearly equal other images: ")
    assert validation.line == "1 validation image nearly equals labelled images: 1.png = 21.png"
    results.keep_leaks(tmp_path, SOURCE, SPLIT, [test, validation])
    with np.load(tmp_path / "leaks.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], IMAGES[arrays["id"]])
        assert arrays["id"].shape == (3, 2)
        shown = page.leaks(dict(arrays))
    assert min(each.image.width for each in shown) > 2 * 32
    assert shown[2].lines == [
        "b · validation · 1.png",
        "b · labelled · 21.png",
        f"distance {validation.distances[0]:.3f}",
    ]


def test_near_copies_of_held_out_images_among_generated_ones_are_said():
    generated = SPLIT | {"labelled": np.array([4, 5, 6, 0]), "generated": np.array([21, 22])}
    test, validation = leaks(SOURCE, generated)
    assert (2, 22) in {tuple(pair) for pair in test.pairs.tolist()}
    assert validation.pairs.tolist() == [[1, 21]]
    assert validation.line == "1 validation image nearly equals labelled or generated images: 1.png = 21.png"


def test_near_duplicates_within_a_part_are_no_leak(tmp_path):
    inside = {"labelled": np.arange(24), "unlabelled": np.arange(24, 30), "validation": np.arange(0), "test": [30, 31]}
    assert leaks(SOURCE, {name: np.asarray(ids) for name, ids in inside.items()}) == []
    results.keep_leaks(tmp_path, SOURCE, inside, [])
    assert not list(tmp_path.iterdir())


def test_the_split_is_beside_the_run_and_must_stay_as_it_is(tmp_path):
    keep_split(tmp_path, SOURCE, SPLIT)
    lines = (tmp_path / "split.csv").read_text().splitlines()
    assert lines[0] == "part,number,image,content,label"
    assert f"validation,7,7.png,{digest(IMAGES[7]).hex()[:16]},b" in lines
    assert sum(line.startswith("left out,") for line in lines) == 40 - sum(map(len, SPLIT.values()))
    assert len(lines) == 1 + 40
    keep_split(tmp_path, SOURCE, SPLIT)
    with pytest.raises(
        UserError, match=r"split\.csv' puts images into other parts than are drawn now \(4 lines differ"
    ):
        keep_split(tmp_path, SOURCE, SPLIT | {"test": np.array([2, 20, 3])})
