"""Linear heads on cached features, without a training loop: ridge regression and logistic regression, on the host.

Targets are float [n classes], as a task makes them: one-hot or soft for one class per image, any 0/1 pattern for
several labels, where logistic regression is one against the rest. The task's `Head` has the functions that differ. The
bias is not penalised. A kernel is [d classes] and computes logits = features @ kernel + bias.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from efficient_jax import settings
from efficient_jax.errors import UserError
from efficient_jax.methods.held_out import Data, best_of, held_out
from efficient_jax.tasks import Head
from efficient_jax.tasks.classification import HEAD as CLASSIFICATION_HEAD

Weights = tuple[Float[np.ndarray, "d classes"], Float[np.ndarray, " classes"]]
Path = tuple[Float[np.ndarray, "penalties d classes"], Float[np.ndarray, "penalties classes"]]

SCALES = (0.01, 1000.0)  # range of the scale of ridge's logits
ITERATIONS = 1000
EXACT, ROUGH = (1e-5, np.float64), (1e-3, np.float32)  # (tolerance, dtype); ROUGH is enough to choose a penalty
THREADS = 1  # more are hardly faster on such thin products, and ten times slower on a busy machine


class Choice(NamedTuple):
    """A linear head, and the penalty with which it was fitted."""

    kernel: Float[np.ndarray, "d classes"]
    bias: Float[np.ndarray, " classes"]
    l2: float  # the penalty
    score: float  # on the held-out examples; nan where none could be held out
    error: float = np.nan  # mean squared error of the predictions for them
    scale: float = 1.0  # factor that makes logits of predictions; ridge's is fitted to the held-out examples


def ridge(features: Float[np.ndarray, "n d"], targets: Float[np.ndarray, "n classes"], l2: float) -> Weights:
    """Returns (kernel, bias) that minimise |features @ kernel + bias - targets|^2 + l2 |kernel|^2.

    Args:
        features: of n examples.
        targets: of the same examples.
        l2: penalty, above 0.

    Raises: UserError for shapes that do not fit, and for a penalty that is not above 0.
    """
    kernels, biases = ridge_path(features, targets, (l2,))
    return kernels[0], biases[0]


def ridge_path(
    features: Float[np.ndarray, "n d"], targets: Float[np.ndarray, "n classes"], l2s: tuple[float, ...]
) -> Path:
    """Returns `ridge` for every penalty, from one eigendecomposition: kernels and biases, stacked.

    Args:
        features: of n examples.
        targets: of the same examples.
        l2s: penalties, all above 0.

    Raises: UserError as `ridge`.
    """
    _check(features, targets, l2s)
    mean, mean_target = features.mean(0, dtype=np.float64), targets.mean(0, dtype=np.float64)
    x, y = features - mean, targets - mean_target
    values, directions = _principal(x)
    projected = directions.T @ (x.T @ y)
    kernels = np.stack([directions @ (projected / (values + l2)[:, None]) for l2 in l2s])
    return kernels, mean_target - mean @ kernels


def _principal(
    x: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, " rank"], Float[np.ndarray, "d rank"]]:
    """Returns the eigenvalues of x.T @ x that are not 0 and their eigenvectors, by the smaller Gram matrix.

    A penalised kernel has no other components.
    """
    wide = x.shape[0] < x.shape[1]
    with threadpool_limits(THREADS):
        values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = values > 1e-10 * values[-1]  # eigenvectors of smaller ones are noise
    values, vectors = values[kept], vectors[:, kept]
    return values, x.T @ vectors / np.sqrt(values) if wide else vectors


def logistic(
    features: Float[np.ndarray, "n d"],
    targets: Float[np.ndarray, "n classes"],
    l2: float,
    head: Head = CLASSIFICATION_HEAD,
) -> Weights:
    """Returns (kernel, bias) that minimise the sum of the losses plus l2 / 2 |kernel|^2.

    That is scikit-learn's logistic regression with C = 1 / l2, which does not take soft targets.

    Args:
        features: of n examples.
        targets: of the same examples. With one class per image, an example whose targets sum to w counts w times.
        l2: penalty, above 0.
        head: functions of the task: one softmax, or a sigmoid for each class.

    Raises: UserError for shapes that do not fit, and for a penalty that is not above 0.
    """
    kernels, biases = logistic_path(features, targets, (l2,), head)
    return kernels[0], biases[0]


def logistic_path(
    features: Float[np.ndarray, "n d"],
    targets: Float[np.ndarray, "n classes"],
    l2s: tuple[float, ...],
    head: Head = CLASSIFICATION_HEAD,
    precision: tuple[float, type] = EXACT,
) -> Path:
    """Returns `logistic` for every penalty: kernels and biases, stacked.

    Each penalty starts from the solution of the next stronger one. L-BFGS works on the coordinates of the features
    along their principal directions, each divided by the root of the curvature that the loss has there at the start:
    that takes a third of the iterations or fewer and does not change the optimum.

    Args:
        features: of n examples.
        targets: of the same examples.
        l2s: penalties, all above 0.
        head: functions of the task.
        precision: (tolerance, dtype): iterations end when no entry of the gradient is above the tolerance, t; the loss
            could then fall by about t^2 / 2 per entry. Products are computed in the dtype.

    Raises: UserError as `logistic`.
    """
    _check(features, targets, l2s)
    tolerance, dtype = precision
    y: np.ndarray = targets.astype(dtype)
    mean = features.mean(0, dtype=np.float64)
    values, directions = _principal(features - mean)
    coordinates = np.pad((features - mean) @ directions, ((0, 0), (0, 1)), constant_values=1.0)  # the last: the bias
    values = np.append(values, len(y))
    weights = np.zeros((len(values), y.shape[1]))
    options = {"maxiter": ITERATIONS, "gtol": tolerance, "ftol": 0.0}

    def loss(flat: np.ndarray, x: np.ndarray, penalty: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = flat.reshape(weights.shape)
        entropy, residual = head.loss(x @ scaled.astype(dtype), y)
        return entropy + (penalty * scaled**2).sum() / 2, (x.T @ residual + penalty * scaled).ravel()

    heads = {}
    for l2 in sorted(set(l2s), reverse=True):
        shrinkage = np.append(np.full(len(values) - 1, l2), 0.0)[:, None]
        scale = 1.0 / np.sqrt((y.var() or 1.0) * values[:, None] + shrinkage)
        start, arguments = (weights / scale).ravel(), ((coordinates * scale.T).astype(dtype), shrinkage * scale**2)
        with threadpool_limits(THREADS):
            optimum = scipy.optimize.minimize(loss, start, arguments, "L-BFGS-B", jac=True, options=options).x
        weights = optimum.reshape(weights.shape) * scale
        kernel = directions @ weights[:-1]
        heads[l2] = (kernel, weights[-1] - mean @ kernel)
    return np.stack([heads[l2][0] for l2 in l2s]), np.stack([heads[l2][1] for l2 in l2s])


KINDS: dict[str, Callable[..., Path]] = {"ridge": ridge_path, "logistic": logistic_path}
EXPONENTS = {"ridge": range(-20, 11), "logistic": range(-14, 5, 2)}


def penalties(features: Float[np.ndarray, "n d"], kind: str) -> tuple[float, ...]:
    """Returns the penalties that `choose` tries.

    They are powers of 2 times the mean of the eigenvalues, other than 0, of the features' scatter matrix, so that they
    mean the same for every backbone and number of images.

    Args:
        features: of n examples.
        kind: "ridge" or "logistic".
    """
    unit = float(features.var(0, dtype=np.float64).mean()) * max(features.shape)
    return tuple(2.0**i * (unit or 1.0) for i in EXPONENTS[kind])


def choose(
    features: Float[np.ndarray, "n d"],
    targets: Float[np.ndarray, "n classes"],
    *,
    kind: str,
    seed: int,
    validation: Data | None = None,
    head: Head = CLASSIFICATION_HEAD,
    views: int = 1,
    l2: float = 0.0,
) -> Choice:
    """Returns the linear head on all features with the best of many penalties.

    The best has the highest score of the task; between equal ones the squared error of the predictions decides. The
    only example of a class is not held out. Where most examples are the only ones of their class, none is held out, and
    the middle penalty is taken.

    Args:
        features: of n examples: `views` augmented copies of the dataset, one behind the other. All copies of an example
            are in one fold, so that none is validated on its own copy.
        targets: of the same n examples.
        kind: "ridge" or "logistic".
        seed: seed of the folds.
        validation: (features, targets) of the examples on which the penalty is chosen; None: stratified folds of the
            examples themselves.
        head: functions of the task.
        views: number of copies, 1 or more.
        l2: the penalty; 0.0 chooses one.

    Raises: UserError for an unknown kind, and where no held-out example has a label.
    """
    fit = settings.choose(kind, KINDS, "kind")
    l2s = (l2,) if l2 else penalties(features, kind)
    extra = {"head": head} if kind == "logistic" else {}

    def predict(train: Data, held: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "penalties n classes"]:
        rough = {"precision": ROUGH} if kind == "logistic" else {}
        kernels, biases = fit(*train, l2s, **extra, **rough)
        logits = held @ kernels + biases[:, None]
        return logits if kind == "ridge" else head.probabilities(logits)

    truth, predictions = held_out(predict, (features, targets), seed, validation, head, views)
    fixed_l2, score, error, l2, scale = l2, np.nan, np.nan, l2s[len(l2s) // 2], 1.0
    if len(truth) and (truth.any() or not fixed_l2):
        best, score, error = best_of(predictions, truth, head)
        l2 = l2s[best]
        if kind == "ridge":
            scale = ridge_scale(predictions[best], truth, head)
    (kernel,), (bias,) = fit(features, targets, (l2,), **extra)
    return Choice(kernel, bias, l2, score, error, scale)


def calibrated(
    features: Float[np.ndarray, "n d"],
    targets: Float[np.ndarray, "n classes"],
    seed: int,
    validation: Data | None,
    task_head: Head,
    views: int = 1,
    *,
    kind: str,
    l2: float = 0.0,
) -> Choice:
    """Returns `choose` with a kernel and a bias that compute logits.

    "ridge" predicts 0 to 1: its logits are these predictions, less the threshold of the task, times the factor that
    fits the held-out examples (`ridge_scale`). Where no example could be held out they are not calibrated.

    Args:
        features: of the labelled images; of `views` augmented copies of the dataset, one behind the other.
        targets: of the same images.
        seed: seed of the folds of cross-validation.
        validation: (features, targets) on which the penalty is chosen; None chooses it by cross-validation.
        task_head: functions of the task.
        views: number of copies, 1 or more.
        kind: "ridge" or "logistic".
        l2: penalty of the squared weights, 0.0 or more; 0.0 chooses the best of many.

    Raises: UserError as `choose`.
    """
    choice = choose(features, targets, kind=kind, seed=seed, validation=validation, head=task_head, views=views, l2=l2)
    bias = choice.bias - task_head.threshold if kind == "ridge" else choice.bias
    return choice._replace(kernel=choice.scale * choice.kernel, bias=choice.scale * bias)


def out_of_fold(
    features: Float[np.ndarray, "n d"],
    targets: Float[np.ndarray, "n classes"],
    seed: int,
    head: Head = CLASSIFICATION_HEAD,
) -> Float[np.ndarray, "n classes"]:
    """Returns the probabilities of each example by a ridge head that was fitted to the other folds.

    The penalty and the scale of the logits are those of `calibrated`: the same for all folds, chosen by all of them.

    Args:
        features: of n examples.
        targets: of the same examples; each class has two examples or more, or none.
        seed: seed of the folds, 0 or more.
        head: functions of the task.
    """
    l2s = penalties(features, "ridge")

    def predict(train: Data, held: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "penalties m classes"]:
        kernels, biases = ridge_path(*train, l2s)
        return held @ kernels + biases[:, None]

    truth, predictions = held_out(predict, (features, targets), seed, None, head)
    best, _, _ = best_of(predictions, truth, head)
    scale = ridge_scale(predictions[best], truth, head)
    return head.probabilities(scale * (predictions[best] - head.threshold))


def ridge_scale(
    predicted: Float[np.ndarray, "n classes"], targets: Float[np.ndarray, "n classes"], head: Head
) -> float:
    """Returns the factor that makes logits of ridge's predictions, by maximum likelihood of the targets.

    Ridge predicts values near 0 and 1, whose softmax is nearly uniform. Targets are smoothed as if one more example had
    all classes in equal shares (Platt 1999): otherwise the factor would be infinite where all predictions are right.

    Args:
        predicted: predictions for examples that the head was not fitted to. Their distance from the threshold of the
            task is scaled, so that the threshold stays the same.
        targets: of the same examples.
        head: functions of the task.
    """
    n = len(targets)
    soft = (n * targets + head.prior(targets)) / (n + 1)

    def loss(log_scale: float) -> float:
        return head.mean_loss(np.exp(log_scale) * (predicted - head.threshold), soft)

    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=np.log(SCALES), method="bounded").x))


def _check(features: np.ndarray, targets: np.ndarray, l2s: tuple[float, ...]) -> None:
    if targets.ndim != 2 or len(features) != len(targets) or not len(features):
        raise UserError(
            f"linear head: targets {list(targets.shape)} do not fit features {list(features.shape)}; "
            "want [n classes] and [n d] with n at least 1"
        )
    if not all(l2 > 0.0 for l2 in l2s):
        raise UserError(f"linear head: the penalties {l2s} must be greater than 0")
