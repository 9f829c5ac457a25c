"""Power laws of learning curves and what they predict, against planted ones."""

import numpy as np
import pytest
from scipy.stats import norm

from efficient_jax.metrics import learning_curve

LABELS = np.array([20, 40, 80, 160])


def planted(n, *, floor, factor, exponent, seed=0):
    """Hits of n images at six numbers of labels: difficult images are so at every number."""
    law, rng = learning_curve.PowerLaw(*map(np.float64, (floor, factor, exponent))), np.random.default_rng(seed)
    labels = np.geomspace(n / 20, 0.8 * n, 6).astype(int)
    difficulty, repeats = rng.normal(size=n), 5
    hits = [
        (np.sqrt(0.6) * difficulty + np.sqrt(0.4) * rng.normal(size=(repeats, n)) < norm.ppf(law.accuracy(k))).mean(0)
        for k in labels
    ]
    return law, labels, np.array(hits)


@pytest.mark.parametrize(("floor", "factor", "exponent"), [(0.1, 2.0, 0.5), (0.0, 1.0, 0.3), (0.3, 4.0, 1.0)])
def test_a_planted_power_law_is_recovered(floor, factor, exponent):
    law = learning_curve.fit(LABELS, 1 - floor - factor * LABELS**-exponent)
    np.testing.assert_allclose([law.floor, law.factor, law.exponent], [floor, factor, exponent], atol=1e-9)
    assert law.accuracy(640) == pytest.approx(1 - floor - factor * 640**-exponent)


def test_several_curves_are_fitted_one_by_one():
    curves = 1 - np.array([[0.1], [0.2]]) - LABELS**-0.5
    together = learning_curve.fit(LABELS, curves)
    for row, curve in enumerate(curves):
        alone = learning_curve.fit(LABELS, curve)
        assert [values[row] for values in together] == list(alone)


def test_the_fit_never_falls_and_never_exceeds_one():
    rng = np.random.default_rng(0)
    law = learning_curve.fit(LABELS, rng.uniform(0.0, 1.0, (200, 4)))
    curves = np.array([law.accuracy(labels) for labels in np.geomspace(10, 1000, 30)])
    assert (np.diff(curves, axis=0) >= 0).all()
    assert (curves <= 1).all()


def test_points_with_more_labels_count_more():
    """No law passes through 0.5, 0.6, 0.6, 0.9: the last point is fitted better than the first."""
    law = learning_curve.fit(LABELS, np.array([0.7, 0.5, 0.5, 0.7]))
    assert abs(law.accuracy(20) - 0.7) > abs(law.accuracy(160) - 0.7)


def test_a_forecast_doubles_the_labels_twice_and_goes_no_further():
    _, labels, hits = planted(100, floor=0.1, factor=2.0, exponent=0.5)
    forecast = learning_curve.forecast(labels, hits)
    assert [(gain.labels, gain.more) for gain in forecast.gains] == [(100, 200), (200, 400)]
    assert forecast.at[0] == labels[0]
    assert forecast.at[-1] == pytest.approx(400)
    assert (np.diff(forecast.curve) >= 0).all()
    assert (forecast.low <= forecast.high).all()
    np.testing.assert_array_equal(forecast.accuracy, hits.mean(1))
    assert learning_curve.forecast(labels, hits).gains == forecast.gains  # the same seed, the same figures
    np.testing.assert_allclose(
        forecast.gains[0].points,
        np.interp(200, forecast.at, forecast.curve) - np.interp(100, forecast.at, forecast.curve),
        atol=2e-3,
    )


def test_intervals_cover_the_planted_gains():
    """Of 2 x 20 intervals of 95%, 36 or more cover."""
    covered = []
    for seed in range(20):
        law, labels, hits = planted(200, floor=0.1, factor=2.0, exponent=0.5, seed=seed)
        for gain in learning_curve.forecast(labels, hits, seed=seed).gains:
            covered.append(gain.low <= law.accuracy(gain.more) - law.accuracy(gain.labels) <= gain.high)
    assert sum(covered) >= 36


def test_a_flat_curve_promises_nothing():
    """The lower end is 0 points, and the whole interval is a few points."""
    _, labels, hits = planted(400, floor=0.3, factor=0.0, exponent=1.0)
    first, second = learning_curve.forecast(labels, hits).gains
    assert first.low < 0.002
    assert second.low < 0.002
    assert first.points < 0.02
