"""Run lengths are those of pycocotools."""

from pathlib import Path

import numpy as np
import pytest

from efficient_jax.detection import run_lengths
from tests.detection import cases

DISC = (  # of pycocotools 2.0.11, like the text below
    "]`2?V36J6L2M4M2M4M2N2N2N2O0O2N2O0O2N2O000O2O000O2O00000000000000"
    "00000000000001N10001N10001N2N101N2N101N2N2N2N3L3N3L3N4J6JnS1"
)


@pytest.mark.parametrize(
    ("counts", "mask"),
    [
        ([1, 3, 2, 1, 4, 1], [[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 1]]),
        ([0, 12], np.ones((3, 4))),
        ("11110O0010", [[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1]]),
        (DISC, np.hypot(*(np.indices((120, 90)) - np.array([60, 50])[:, None, None])) < 30),
    ],
    ids=["numbers", "all", "text", "text of a disc"],
)
def test_run_lengths_go_down_the_columns(counts, mask):
    np.testing.assert_array_equal(run_lengths.decode(counts, *np.shape(mask)), mask)


@pytest.mark.parametrize("counts", [[3, 4], [20, -8], "11110O001"])
def test_run_lengths_of_another_size_are_refused(counts):
    with pytest.raises(ValueError, match=r"^run lengths of .* pixels for 4 x 3$"):
        run_lengths.decode(counts, 3, 4)


@pytest.mark.parametrize(
    ("mask", "lengths", "text"),
    [
        (np.eye(3), [0, 1, 3, 1, 3, 1], "013000"),
        (np.zeros((2, 3)), [6], "6"),
        (np.ones((2, 3)), [0, 6], "06"),
        (np.arange(5000).reshape(50, 100) >= 4990, [4549, 1, 49, 1, 49, 1, 49, 1, 49, 1], "U^41a100000000000000000"),
    ],
    ids=["diagonal", "none", "all", "last row"],
)
def test_masks_are_encoded_as_pycocotools_does(mask, lengths, text):
    encoded = run_lengths.encode(mask > 0)
    assert encoded[: len(lengths)] == lengths
    assert run_lengths.text(encoded) == text


def test_text_of_a_disc_is_that_of_pycocotools():
    mask = run_lengths.decode(DISC, 120, 90)
    assert run_lengths.text(run_lengths.encode(mask)) == DISC


def test_texts_of_forty_masks_are_those_of_pycocotools():
    with np.load(Path(__file__).parent / "coco.npz") as goldens:  # tests/benchmarks/peers/make_coco_goldens.py
        texts = goldens["texts"].tolist()
    for seed, text in enumerate(texts):
        mask = cases.mask(seed)
        assert run_lengths.text(run_lengths.encode(mask)) == text
        np.testing.assert_array_equal(run_lengths.decode(text, *mask.shape), mask)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_masks_return_from_their_run_lengths(share):
    rng = np.random.default_rng(0)
    for h, w in ((1, 1), (1, 7), (7, 1), (33, 60), (300, 200)):
        mask = rng.random((h, w)) < share
        lengths = run_lengths.encode(mask)
        np.testing.assert_array_equal(run_lengths.decode(lengths, h, w), mask)
        np.testing.assert_array_equal(run_lengths.decode(run_lengths.text(lengths), h, w), mask)
        drawn = np.zeros(h * w, int)
        for start, end in run_lengths.spans(lengths, h, w):
            drawn[start:end] += 1
        np.testing.assert_array_equal(drawn.reshape(w, h).T, mask)
