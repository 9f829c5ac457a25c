"""Which images become pseudo-labels, counted once for all classes and in parts."""

import numpy as np
import pytest

from efficient_jax.data import sampling
from efficient_jax.tasks import selected_images
from efficient_jax.tasks.selected_images import selected


def balanced_copies(confidence, predicted, classes, seed, threshold, per_class):
    """The rule class by class, as it is written in `classification.pseudo_labels`."""
    copies = (confidence >= threshold).astype(np.int32)
    wanted = per_class or max(1, round(copies.sum() / classes))
    coins = np.random.default_rng(seed).random(len(copies))
    levels = np.float32([threshold, *(np.arange(np.floor(threshold * 100) + 1, 100) / 100)])
    for number in range(classes):
        members = predicted == number
        reached = [np.sum(members & (confidence >= level)) for level in levels]
        best = max((i for i, count in enumerate(reached) if count >= wanted), default=0)
        drawn = sampling.copies(np.full(len(coins), wanted / max(reached[best], 1)), coins)
        copies[members] = np.where(confidence >= levels[best], drawn, 0)[members]
        if reached[0] and not copies[members].any():
            copies[np.where(members, confidence, -1.0).argmax()] = 1
    return copies


@pytest.mark.parametrize("seed", range(30))
def test_balanced_copies_are_those_of_the_rule(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(selected_images, "CHUNK", 1 + seed)
    images, classes = rng.integers(1, 200), rng.integers(1, 40)
    confidence = rng.random(images).astype(np.float32)
    if seed % 2:
        confidence = np.float32(np.round(confidence, 2))  # many are equal, or at a level
    predicted = rng.integers(0, max(1, classes // 2), images)
    threshold, per_class = min(float(confidence.max()), rng.choice([0.0, 0.29, 0.575])), rng.choice([0, 1, 3])
    settings = {"threshold": threshold, "per_class": per_class, "balance": True}
    found = selected(confidence, predicted, classes, seed, **settings, soft=True, shuffled=False)
    expected = balanced_copies(confidence, predicted, classes, seed, threshold, per_class)
    np.testing.assert_array_equal(found.copies, expected)
    np.testing.assert_array_equal(found.kept, np.flatnonzero(expected))
    assert found.sources is found.kept
    dealt = selected(confidence, predicted, classes, seed, **settings, soft=True, shuffled=True)
    np.testing.assert_array_equal(np.sort(dealt.sources), found.kept)
    np.testing.assert_array_equal(dealt.kept, found.kept)
    np.testing.assert_array_equal(dealt.copies[dealt.kept], expected[dealt.sources])
