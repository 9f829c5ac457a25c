"""Heads on cached features that are not linear: cosine, k nearest neighbours, and Tip-Adapter.

They are fitted on the host, like those of `linear_head`, and their parameters are those of `models.heads`. For one
class per image only.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from efficient_jax.methods.held_out import Data, best_of, held_out
from efficient_jax.methods.linear_head import THREADS, ridge_scale
from efficient_jax.models.heads import CLIP_SCALE, NEIGHBOURS, TEMPERATURE
from efficient_jax.selection.pool import unit
from efficient_jax.tasks import Head
from efficient_jax.types import Tree

Features = Float[np.ndarray, "m d"]
Logits = Float[np.ndarray, "m classes"]

BLOCK = 1024  # images whose similarities are in memory together
COSINE_SCALES = (8.0, 16.0, 32.0)  # factors of the cosines while class weights are fitted
COSINE_ITERATIONS = 60
ALPHAS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # Tip-Adapter searches 0 .. 7 to 50 with the dataset
BETAS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


class Fitted(NamedTuple):
    """A head that was fitted to features."""

    name: str  # in `models.heads.HEADS`
    params: Tree  # of that head
    about: str  # what was chosen: "l2 = 0.5"
    score: float  # on the held-out images; nan where none could be held out
    error: float  # mean squared error of the probabilities of the held-out images


def knn(data: Data, seed: int, validation: Data | None, head: Head, views: int = 1) -> Fitted:
    """Returns the head of the nearest neighbours. Its scale is fitted to held-out images.

    Args:
        data: features and targets of the labelled images, `views` copies of them.
        seed: seed of the folds.
        validation: images that are held out in place of folds; None: folds.
        head: functions of the task.
        views: number of copies, 1 or more.
    """
    truth, (predicted,) = held_out(
        lambda train, held: knn_logits(*train, held)[None], data, seed, validation, head, views
    )
    params = {"features": unit(data[0]), "labels": data[1]}
    about = f"{min(NEIGHBOURS, len(data[0]))} neighbours"
    return _scaled("knn", params, about, truth, predicted, head)


def knn_logits(features: Float[np.ndarray, "n d"], targets: Float[np.ndarray, "n classes"], held: Features) -> Logits:
    """Returns the logits of `models.heads.knn` with a scale of 1.

    Args:
        features: of the labelled images.
        targets: of the same images.
        held: features of other images.
    """
    known, count = unit(features), min(NEIGHBOURS, len(features))

    def of_block(block: Features) -> Logits:
        similarity = unit(block) @ known.T
        index = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        weights = np.exp(np.take_along_axis(similarity, index, 1) / TEMPERATURE)
        votes = np.einsum("mk,mkc->mc", weights, targets[index])
        logits: np.ndarray = np.log(votes + 1.0 / targets.shape[1])
        return logits

    return np.concatenate([of_block(held[i : i + BLOCK]) for i in range(0, len(held), BLOCK)])


def cosine(data: Data, seed: int, validation: Data | None, head: Head, views: int = 1) -> Fitted:
    """Returns the head of scaled cosines with the smallest cross-entropy, for the best of a few scales.

    Class weights start as the mean features of the classes. In the end the scale is fitted to held-out images.

    Args:
        data: as for `knn`.
        seed: as for `knn`.
        validation: as for `knn`.
        head: as for `knn`.
        views: as for `knn`.
    """

    def predict(train: Data, held: Features) -> Float[np.ndarray, "scales m classes"]:
        return np.stack([scale * (unit(held) @ kernel) for scale, kernel in _cosine_path(*train, head)])

    truth, predictions = held_out(predict, data, seed, validation, head, views)
    best = best_of(head.probabilities(predictions), truth, head)[0] if len(truth) else 1
    scale, kernel = _cosine_path(*data, head)[best]
    about = f"class weights fitted at a scale of {scale:g}"
    fitted = _scaled("cosine", {"kernel": kernel}, about, truth, predictions[best], head)
    return fitted._replace(params=fitted.params | {"scale": fitted.params["scale"] * scale})


def _cosine_path(features: np.ndarray, targets: np.ndarray, head: Head) -> list[tuple[float, np.ndarray]]:
    """Returns (scale, unit class weights [d classes]) for every scale; each starts from the one before."""
    x = unit(features)
    weights = x.T @ (targets / np.maximum(targets.sum(0), 1e-6))
    path = []

    def loss(flat: np.ndarray, scale: float) -> tuple[float, np.ndarray]:
        free = flat.reshape(weights.shape).astype(np.float32)
        length = np.maximum(np.linalg.norm(free, axis=0), 1e-12)
        directions = free / length
        entropy, residual = head.loss(scale * (x @ directions), targets)
        gradient = scale * (x.T @ residual)
        gradient = (gradient - directions * (gradient * directions).sum(0)) / length
        return entropy, gradient.ravel().astype(np.float64)

    for scale in COSINE_SCALES:
        options = {"maxiter": COSINE_ITERATIONS, "gtol": 1e-3}
        with threadpool_limits(THREADS):
            flat = scipy.optimize.minimize(loss, weights.ravel(), scale, "L-BFGS-B", jac=True, options=options).x
        weights = unit(flat.reshape(weights.shape).T).T
        path.append((scale, weights))
    return path


def tip_adapter(
    embeddings: Float[np.ndarray, "classes d"], alphas: tuple[float, ...] = ALPHAS
) -> Callable[[Data, int, Data | None, Head, int], Fitted]:
    """Returns a function like `knn` that fits Tip-Adapter (arXiv 2111.03930).

    Its alpha and beta are chosen on held-out images. Without labelled images, and where none can be held
    out, alpha is 0: that is zero-shot classification.

    Args:
        embeddings: of the text of each class, in the order of the classes, from the same model as the features.
        alphas: weights of the labelled images to choose from, the first for lack of images; (0.0,) is zero-shot.
    """
    kernel = unit(embeddings).T

    def fit(data: Data, seed: int, validation: Data | None, head: Head, views: int = 1) -> Fitted:
        pairs = [(alpha, beta) for alpha in alphas for beta in (BETAS if alpha else BETAS[:1])]

        def predict(train: Data, held: Features) -> Float[np.ndarray, "pairs m classes"]:
            x = unit(held)
            distance = 1.0 - x @ unit(train[0]).T
            of_beta = {beta: np.exp(-beta * distance) @ train[1] for beta in BETAS}
            return np.stack([CLIP_SCALE * (x @ kernel) + alpha * of_beta[beta] for alpha, beta in pairs])

        params = {"kernel": kernel, "features": np.zeros((1, len(kernel))), "labels": np.zeros((1, kernel.shape[1]))}
        score, error, (alpha, beta) = np.nan, np.nan, pairs[0]
        if len(data[0]):
            truth, predictions = held_out(predict, data, seed, validation, head, views)
            params |= {"features": unit(data[0]), "labels": data[1]}
            if len(truth):
                best, score, error = best_of(head.probabilities(predictions), truth, head)
                alpha, beta = pairs[best]
        params |= {"alpha": np.array(alpha), "beta": np.array(beta), "bias": np.zeros(kernel.shape[1])}
        about = f"alpha = {alpha:g}, beta = {beta:g}" if alpha else "alpha = 0: zero-shot"
        return Fitted("tip_adapter", params, about, score, error)

    return fit


def _scaled(
    name: str, params: Tree, about: str, truth: Float[np.ndarray, "h classes"], predicted: Logits, head: Head
) -> Fitted:
    """Returns a head whose logits are scaled to fit the held-out images, with its score on these."""
    scale, score, error = 1.0, np.nan, np.nan
    if len(truth):
        scale = ridge_scale(predicted, truth, head)
        _, score, error = best_of(head.probabilities(scale * predicted)[None], truth, head)
    params = params | {"scale": np.array(scale), "bias": np.zeros(truth.shape[1])}
    return Fitted(name, params, about, score, error)
