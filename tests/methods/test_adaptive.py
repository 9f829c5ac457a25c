"""FreeMatch, SoftMatch, AdaMatch and DebiasPL against their definitions in float64, over 50 steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.methods import METHODS
from tests.methods.fake import CLASSES, cross_entropies, fake, make, softmax, unchanged
from tests.methods.fake_steps import first_memory, half, stepped

STEPS, MOMENTUM, LABELLED, UNLABELLED = 50, 0.9, 4, 12


def definition(name, batches):
    """Yields the loss of each step: cross-entropies of labelled images, weights and targets of the others."""
    mean = np.full(CLASSES, 1 / CLASSES)  # moving averages: probabilities of weak views,
    labelled_mean, predicted = mean.copy(), mean.copy()  # of labelled images, and the classes of weak views
    confidence, variance = 1 / CLASSES, 1.0

    def average(before, now):
        return MOMENTUM * before + (1 - MOMENTUM) * now

    for batch in batches:
        z = np.asarray(batch["unlabelled"]["image"], np.float64).reshape(-1, CLASSES)
        p, p_labelled = softmax(z), softmax(batch["labelled"]["image"])
        mean, labelled_mean = average(mean, p.mean(0)), average(labelled_mean, p_labelled.mean(0))
        predicted = average(predicted, np.eye(CLASSES)[p.argmax(1)].mean(0))
        strong, extra = z / 2, 0.0
        match name:
            case "freematch":
                confidence = average(confidence, p.max(1).mean())
                weights = p.max(1) >= confidence * (mean / mean.max())[p.argmax(1)]
                targets = np.eye(CLASSES)[p.argmax(1)]
                extra = 0.1 * fairness(softmax(strong)[weights], mean / predicted)
            case "softmatch":
                aligned = p / mean / CLASSES
                aligned /= aligned.sum(1, keepdims=True)
                confidence = average(confidence, aligned.max(1).mean())
                variance = average(variance, aligned.max(1).var(ddof=1))
                below = np.minimum(aligned.max(1) - confidence, 0)
                weights, targets = np.exp(-(below**2) * 4 / (2 * variance)), np.eye(CLASSES)[p.argmax(1)]
            case "adamatch":
                targets = p * labelled_mean / mean
                targets /= targets.sum(1, keepdims=True)
                weights = targets.max(1) >= 0.95 * p_labelled.max(1).mean()
            case "debiaspl":
                debiased = softmax(z - 0.4 * np.log(mean))
                weights, targets = debiased.max(1) >= 0.8, np.eye(CLASSES)[debiased.argmax(1)]
                strong = strong + 0.4 * np.log(mean)
        labelled = cross_entropies(batch["labelled"]["image"], batch["labelled"]["label"]).mean()
        yield labelled + (weights * cross_entropies(strong, targets)).mean() + extra, weights.mean()


def fairness(p, a):
    """Of the strong views that are learned."""
    share = np.bincount(p.argmax(1), minlength=CLASSES) / len(p)
    b = np.divide(p.mean(0), share, out=np.zeros(CLASSES), where=share > 0)
    seen = b > 0
    return (a / a.sum())[seen] @ np.log(b[seen] / b.sum())


SETTINGS = {
    "freematch": {"fairness_weight": 0.1},
    "softmatch": {},
    "adamatch": {},
    "debiaspl": {"threshold": 0.8},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_step_is_the_definition(name):
    """A class that is predicted more often than others, so that every moving average matters."""
    rng = np.random.default_rng(0)
    batch, keys = make(LABELLED, UNLABELLED)
    images = {
        stream: 2 * rng.standard_normal((STEPS, *batch[stream]["image"].shape)).astype(np.float32) + [1.5, 0.0, -1.0]
        for stream in batch
    }
    batches = [
        {stream: batch[stream] | {"image": jnp.asarray(images[stream][i], jnp.float32)} for stream in batch}
        for i in range(STEPS)
    ]
    loss_fn = METHODS[name].loss(fake(), unchanged, half, momentum=MOMENTUM, **SETTINGS[name])

    @jax.jit
    def run(images):
        def step(memory, now):
            loss, _, memory, metrics = stepped(
                loss_fn, memory, {stream: batch[stream] | {"image": now[stream]} for stream in batch}, keys, 2
            )
            first = jax.tree.map(lambda x: x[0], {"memory": memory})
            return first, (loss[0], metrics["taken"][0][0] / UNLABELLED)

        return jax.lax.scan(step, jax.tree.map(jnp.asarray, first_memory(METHODS[name])), images)[1]

    losses, taken = run({stream: jnp.asarray(values, jnp.float32) for stream, values in images.items()})
    expected_losses, expected_taken = np.array(list(definition(name, batches))).T
    np.testing.assert_allclose(taken, expected_taken, rtol=1e-5)
    np.testing.assert_allclose(losses, expected_losses, rtol=2e-5)
    assert 0.05 < expected_taken.mean() < 0.95
