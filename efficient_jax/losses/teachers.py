"""Losses between the logits of a student and those of its teachers."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from efficient_jax.losses.labels import check_targets


def distillation(
    student_logits: Float[Array, "*b classes"], teacher_logits: Float[Array, "*b classes"], temperature: float
) -> Float[Array, " *b"]:
    """Returns T^2 KL(teacher || student) of the distributions at temperature T, in nats (arXiv 1503.02531).

    The factor T^2 keeps the size of the gradient when T changes.

    Args:
        student_logits: of any leading shape.
        teacher_logits: for the same images and classes; they get no gradient.
        temperature: T, above 0, the divisor of both logits.

    Returns: one loss per example.

    Raises: UserError if the shapes differ.
    """
    check_targets("distillation", student_logits, teacher_logits)
    student = jax.nn.log_softmax(student_logits / temperature)
    teacher = jax.nn.log_softmax(jax.lax.stop_gradient(teacher_logits) / temperature)
    return temperature**2 * jnp.sum(jnp.exp(teacher) * (teacher - student), axis=-1)


def ensemble(logits: Float[Array, "members *b classes"], temperature: float) -> Float[Array, "*b classes"]:
    """Returns logits whose probabilities at `temperature` are the mean over the members of an ensemble.

    Distilling an ensemble so is section 2 of arXiv 1503.02531.

    Args:
        logits: of each member.
        temperature: above 0, the divisor of all logits.

    Returns: logits of the ensemble. Those of a single member are returned as they are.
    """
    if len(logits) == 1:
        return logits[0]  # log_softmax and logsumexp would round
    log_p = jax.nn.log_softmax(logits / temperature)
    return temperature * (jax.nn.logsumexp(log_p, axis=0) - math.log(len(logits)))


def standardised(logits: Float[Array, "*b classes"]) -> Float[Array, "*b classes"]:
    """Returns logits with mean 0 and standard deviation 1 over the classes (arXiv 2403.01427).

    A student then learns the relations between the teacher's logits and not their size. As in the authors' code, the
    deviation divides by classes - 1.

    Args:
        logits: of any leading shape; two or more classes.
    """
    centered = logits - logits.mean(-1, keepdims=True)
    return centered / (jnp.sqrt(jnp.square(centered).sum(-1, keepdims=True) / (logits.shape[-1] - 1) + 1e-14))


def relation_distances(
    student_logits: Float[Array, "b classes"], teacher_logits: Float[Array, "b classes"], temperature: float
) -> tuple[Float[Array, " b"], Float[Array, " classes"]]:
    """Returns the losses of DIST, T^2 (1 - correlation) of probabilities at temperature T (arXiv 2205.10536).

    Args:
        student_logits: of a batch.
        teacher_logits: for the same images and classes; they get no gradient.
        temperature: T, above 0, the divisor of both logits.

    Returns: (of each image, over its classes; of each class, over the images of the batch).

    Raises: UserError if the shapes differ.
    """
    check_targets("relation_distances", student_logits, teacher_logits)
    student = jax.nn.softmax(student_logits / temperature)
    teacher = jax.nn.softmax(jax.lax.stop_gradient(teacher_logits) / temperature)
    return temperature**2 * _uncorrelated(student, teacher), temperature**2 * _uncorrelated(student.T, teacher.T)


def _uncorrelated(x: Float[Array, "rows n"], y: Float[Array, "rows n"]) -> Float[Array, " rows"]:
    """Returns 1 - Pearson's correlation of each row."""
    x, y = (values - values.mean(-1, keepdims=True) for values in (x, y))
    norms = jnp.sqrt(jnp.square(x).sum(-1) * jnp.square(y).sum(-1) + 1e-24)
    return 1.0 - (x * y).sum(-1) / norms
