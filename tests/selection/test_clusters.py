"""TypiClust and k-means centroids: one image of each cluster."""

import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.selection import clusters
from efficient_jax.selection.clusters import centroids, typical

BOTH = pytest.mark.parametrize("choose", [typical, centroids])


def planted(seed=0, count=20, d=16):
    """(features, cluster of each image): cluster k has 3 (k + 1) images."""
    rng = np.random.default_rng(seed)
    cluster = rng.permutation(np.repeat(np.arange(count), np.arange(1, count + 1) * 3))
    return 3 * rng.normal(size=(count, d))[cluster] + 0.05 * rng.normal(size=(len(cluster), d)), cluster


@BOTH
def test_each_planted_cluster_gets_one_image_the_largest_first(choose):
    x, cluster = planted()
    np.testing.assert_array_equal(cluster[choose(x, 20)], np.arange(20)[::-1])


@BOTH
def test_clusters_with_a_label_are_covered(choose):
    x, cluster = planted()
    labelled = [int(np.flatnonzero(cluster == k)[0]) for k in (19, 7)]
    chosen = choose(x, 18, labelled)
    assert cluster[chosen].tolist() == [k for k in range(19, -1, -1) if k not in (19, 7)]


def test_the_most_typical_image_has_the_nearest_neighbours():
    """One cluster: a dense group off its centre. The mean is elsewhere, so that the centroid's image is another."""
    rng = np.random.default_rng(0)
    angle = np.concatenate([0.02 * rng.normal(size=30), np.linspace(0.3, 1.2, 30)])
    x = np.stack([np.cos(angle), np.sin(angle)], 1)
    (chosen,), (central,) = typical(x, 1), centroids(x, 1)
    distances = np.sort(np.linalg.norm(x[:, None] - x, axis=-1), axis=1)[:, 1:21].mean(1)
    assert chosen == distances.argmin()
    assert central == np.square(x - x.mean(0)).sum(1).argmin() != chosen


@BOTH
def test_more_images_than_clusters(choose, monkeypatch):
    """With at most 20 clusters each gets a second image before any gets a third; small ones run out."""
    x, cluster = planted()
    monkeypatch.setattr(clusters, "MOST_CLUSTERS", 20)
    chosen = choose(x, 40)
    assert np.bincount(cluster[chosen]).tolist() == [2] * 20
    assert len(set(choose(x, len(x)).tolist())) == len(x)


@BOTH
def test_copies_are_one_cluster(choose):
    x = np.repeat(np.eye(3), [5, 3, 2], axis=0)
    assert choose(x, 3).tolist() == [0, 5, 8]
    assert len(set(choose(x, 6).tolist())) == 6


@BOTH
def test_a_seed_gives_one_choice(choose):
    x = np.random.default_rng(0).normal(size=(300, 5))
    np.testing.assert_array_equal(choose(x, 30, [1, 2], 5), choose(x, 30, [1, 2], 5))
    assert choose(x, 30, [1, 2], 5).tolist() != choose(x, 30, [1, 2], 6).tolist()


@BOTH
def test_bad_input_is_one_line(choose):
    with pytest.raises(UserError, match="count: 4 asked, but 3 images are not labelled"):
        choose(np.eye(4), 4, [0])
    with pytest.raises(UserError, match="features: those of 4 images are not finite"):
        choose(np.full((4, 2), np.inf), 1)
