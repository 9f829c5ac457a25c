"""MaxHerding and UHerding: the greedy choice, what it guarantees, and what large pools approximate."""

import itertools

import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.selection import coverage, pool
from efficient_jax.selection.coverage import shares, uncertainty_coverage, width

POOLS = range(5)


def features(seed, n=200, d=10):
    return np.random.default_rng(seed).normal(size=(n, d))


def predictions(seed, n=200, classes=4):
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), n)


def kernel(x, labelled=()):
    """k(i, j) in float64, by its definition."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return np.exp(-np.square(unit[:, None] - unit).sum(-1) / width(pool.points(x, 0), labelled) ** 2)


def greedy(k, weights, candidates, count, labelled=()):
    """The plain greedy choice: every gain anew in every step."""
    covered, chosen = k[list(labelled)].max(0, initial=0.0), []
    for _ in range(count):
        gains = (np.maximum(k - covered, 0) * weights).sum(1)
        chosen.append(max(set(candidates) - set(chosen), key=lambda i: (gains[i], -i)))
        covered = np.maximum(covered, k[chosen[-1]])
    return chosen


@pytest.mark.parametrize("seed", POOLS)
def test_coverage_is_the_plain_greedy_choice(seed):
    x, labelled = features(seed), range(0, 3 * seed, 3)
    free = np.setdiff1d(np.arange(200), labelled)
    expected = greedy(kernel(x, labelled), np.isin(np.arange(200), free), free.tolist(), 50, labelled)
    assert coverage.coverage(x, 50, labelled).tolist() == expected


@pytest.mark.parametrize("seed", POOLS)
def test_uncertainty_weighs_the_pool_and_sure_images_come_last(seed):
    x, p, labelled = features(seed), predictions(seed), range(0, 3 * seed, 3)
    first, second = np.sort(p, axis=1)[:, :-3:-1].T
    uncertainty = 1 - (first - second)
    free = np.setdiff1d(np.arange(200), labelled)
    unsure = [i for i in free.tolist() if uncertainty[i] >= uncertainty[free].mean() / 2]
    weights = np.where(np.isin(np.arange(200), free), uncertainty, 0)
    assert len(unsure) > 50
    expected = greedy(kernel(x, labelled), weights, unsure, 50, labelled)
    assert uncertainty_coverage(x, p, 50, labelled).tolist() == expected
    every = uncertainty_coverage(x, p, len(free), labelled)
    assert set(every[: len(unsure)].tolist()) == set(unsure)


@pytest.mark.parametrize("seed", POOLS)
def test_the_choice_covers_at_least_1_minus_1_over_e_of_the_optimum(seed):
    x = features(seed, 12, 3)
    k = kernel(x)
    best = max(k[list(subset)].max(0).sum() for subset in itertools.combinations(range(12), 4))
    chosen = k[coverage.coverage(x, 4)].max(0).sum()
    assert best + 1e-5 >= chosen >= (1 - 1 / np.e) * best


@pytest.mark.parametrize("seed", POOLS)
def test_scikit_activeml_chooses_the_same_images(seed):
    """`MaxHerding` of scikit-activeml 1.0.1 with the same width of its kernel."""
    herding = pytest.importorskip("skactiveml.pool").MaxHerding
    x, labelled = features(seed), list(range(0, 3 * seed, 3))
    y = np.full(200, np.nan)
    y[labelled] = 0
    other = herding(metric_dict={"gamma": 1 / width(pool.points(x, 0), labelled) ** 2}, random_state=0)
    assert coverage.coverage(x, 30, labelled).tolist() == other.query(x, y, batch_size=30).tolist()


def test_a_pool_without_labels_has_the_choice_of_scikit_activeml():
    """Stored: its `MaxHerding` (1.0.1) on 60 points in 5 dimensions, with gamma = 1 / median distance squared."""
    expected = [21, 45, 23, 56, 59, 20, 48, 9, 36, 41, 12, 37]
    assert coverage.coverage(features(7, 60, 5), 12).tolist() == expected


def test_a_smaller_count_is_a_prefix():
    x, p = features(0), predictions(0)
    assert coverage.coverage(x, 40, [3])[:15].tolist() == coverage.coverage(x, 15, [3]).tolist()
    every = uncertainty_coverage(x, p, 40, [3])
    assert every[:15].tolist() == uncertainty_coverage(x, p, 15, [3]).tolist()
    assert every.dtype == np.int32


def test_each_of_20_planted_clusters_gets_one_image():
    rng = np.random.default_rng(0)
    cluster = rng.permutation(np.repeat(np.arange(20), np.arange(1, 21) * 3))
    x = rng.normal(size=(20, 16))[cluster] + 0.05 * rng.normal(size=(len(cluster), 16))
    assert len(set(cluster[coverage.coverage(x, 20)])) == 20
    labelled = [int(np.flatnonzero(cluster == k)[0]) for k in range(5)]
    assert set(cluster[coverage.coverage(x, 15, labelled)]) == set(range(5, 20))


def test_labelled_images_are_not_chosen_and_what_they_cover_is_chosen_last():
    x = np.repeat(np.eye(3), 4, axis=0)
    assert coverage.coverage(x, 2, [0]).tolist() == [4, 8]
    assert sorted(coverage.coverage(x, 11, [0]).tolist()) == list(range(1, 12))


def test_of_equal_images_the_first_is_chosen():
    x = np.repeat(features(0, 5), 8, axis=0)
    assert (coverage.coverage(x, 5) % 8 == 0).all()


@pytest.mark.parametrize(("block", "part"), [(1, 1), (7, 3), (4096, 64)])
def test_the_size_of_blocks_changes_nothing(block, part, monkeypatch):
    x = features(1, 500)
    expected = coverage.coverage(x, 60, [5, 6])
    monkeypatch.setattr(coverage, "BLOCK", block)
    monkeypatch.setattr(coverage, "PART", part)
    np.testing.assert_array_equal(coverage.coverage(x, 60, [5, 6]), expected)


def test_a_large_pool_is_covered_nearly_as_well_as_by_the_exact_choice(monkeypatch):
    """Of 1,500 images, 300 stand for the pool and 8 of 40 dimensions are compared; the seed draws the 300."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 6))[rng.integers(0, 30, 1500)] @ rng.normal(size=(6, 40)) + 0.3 * rng.normal(
        size=(1500, 40)
    )
    k = kernel(x)
    exact = k[coverage.coverage(x, 30)].max(0).mean()
    random = k[rng.choice(1500, 30, replace=False)].max(0).mean()
    monkeypatch.setattr(pool, "EXACT", 300)
    monkeypatch.setattr(pool, "DIMENSIONS", 8)
    chosen = coverage.coverage(x, 30)
    approximate = k[chosen].max(0).mean()
    assert exact >= approximate > exact - 0.2 * (exact - random)
    np.testing.assert_array_equal(coverage.coverage(x, 30), chosen)
    assert coverage.coverage(x, 30, seed=1).tolist() != chosen.tolist()


def test_the_width_is_the_median_distance_until_there_are_labels():
    x = pool.points(features(0, 50), 0)
    distances = np.array([np.linalg.norm(a - b) for a, b in itertools.combinations(x, 2)])
    np.testing.assert_allclose(width(x), np.median(distances), rtol=1e-5)
    np.testing.assert_allclose(width(x, [4]), np.median(distances), rtol=1e-5)
    pairs = [np.linalg.norm(x[a] - x[b]) for a, b in itertools.combinations([4, 9, 17], 2)]
    np.testing.assert_allclose(width(x, [4, 9, 17]), min(pairs), rtol=1e-5)


def test_labelled_copies_do_not_make_the_kernel_narrow():
    x = features(0, 50)
    x[1] = x[0] * 2  # the same direction
    x[2] = x[0] + 1e-4
    assert width(pool.points(x, 0), [0, 1, 2]) == pytest.approx(0.1 * width(pool.points(x, 0)))
    assert width(np.ones((5, 2), np.float32)) == 1.0


def test_models_that_are_sure_of_everything_leave_the_features_to_choose():
    x = features(0)
    np.testing.assert_array_equal(uncertainty_coverage(x, np.eye(4)[np.arange(200) % 4], 9), coverage.coverage(x, 9))


def test_shares_are_those_of_the_nearest():
    x = np.repeat(np.eye(3), [6, 3, 1], axis=0)
    np.testing.assert_allclose(shares(x, [0, 6]), [0.7, 0.3])  # the last image is as far from both
    np.testing.assert_allclose(shares(x, [6], labelled=[0, 9]), [3 / 8])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((features(0), 0), "count: 0 is too small"),
        ((features(0), 200, [3]), "count: 200 asked, but 199 images are not labelled; ask for fewer"),
        ((features(0), 5, [200]), "labelled: index 200 of 200 images; want 0 to 199"),
        (
            (np.where(np.arange(200)[:, None] == 7, np.nan, features(0)), 5),
            "features: .* 1 image .* such as of index 7",
        ),
    ],
)
def test_bad_input_is_one_line(arguments, message):
    with pytest.raises(UserError, match=message):
        coverage.coverage(*arguments)


def test_probabilities_fit_the_features():
    with pytest.raises(UserError, match="probabilities: of 100 images, but features of 200"):
        uncertainty_coverage(features(0), predictions(0, 100), 5)
    with pytest.raises(UserError, match="probabilities: those of 200 images are not finite"):
        uncertainty_coverage(features(0), np.full((200, 4), np.nan), 5)
