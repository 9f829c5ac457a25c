"""The temperature of exported probabilities."""

from collections.abc import Sequence

import numpy as np

from efficient_jax.inference import predictions
from efficient_jax.metrics import calibration
from efficient_jax.tasks import TASKS
from efficient_jax.training import checkpoint
from efficient_jax.training.trained import Trained


def fitted(members: Sequence[Trained], views: str) -> tuple[float, str]:
    """Returns the temperature that fits the validation images best, by the predictions that training has stored.

    Args:
        members: trained networks; of several, the mean of their probabilities is calibrated.
        views: test-time augmentation.

    Returns: (divisor of the logits, what to say of it); 1.0 where nothing is stored to which one could be fitted.
    """
    if TASKS[members[0].spec.task].calibrated is None:
        return 1.0, "1, since there is none for this task"
    if views != "none":
        return 1.0, "1: no predictions of validation images through views are stored"
    stored = []
    for member in members:
        path = member.folder / predictions.FILES["validation"] if member.folder else None
        if path is None or not path.is_file():
            return 1.0, f"1: {member.name} has no validation images"
        if member.folder and member.step != checkpoint.chosen(member.folder):
            return 1.0, f"1: the validation predictions of {member.name} are those of another step"
        stored.append(predictions.read(path, "--members"))
    first = stored[0]
    if any(not np.array_equal(other.ids, first.ids) for other in stored):
        return 1.0, "1: the members have other validation images"
    known = TASKS[first.task].known(first.labels)
    mean = np.mean([one.probabilities[known] for one in stored], axis=0)
    temperature = calibration.temperature(mean, first.labels[known])
    return temperature, f"{temperature:.3g}, fitted to {known.sum():,} validation images"
