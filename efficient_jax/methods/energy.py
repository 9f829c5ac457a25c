"""Energy of logits (arXiv 2010.03759): how strange an image is to a network that was trained on labelled ones."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from efficient_jax.training import parallel


def energy(logits: Float[Array, "b classes"]) -> Float[Array, " b"]:
    """Returns the energy of each image at temperature 1, -log sum over classes of exp(logit); strange images have more.

    Args:
        logits: one row per image.
    """
    return -jax.nn.logsumexp(logits.astype(jnp.float32), axis=-1)


def familiar(
    labelled: Float[Array, "n classes"], unlabelled: Float[Array, "m classes"], share: float
) -> Float[Array, " m"]:
    """Returns 1.0 for each unlabelled image whose energy is at most that of a share of the labelled images, else 0.0.

    The threshold is the quantile of the energies of the labelled images of the step, over all devices: that with which
    the paper calls 95% of the images of its classes familiar. For use within a mapped function.

    Args:
        labelled: logits of the labelled images of this device.
        unlabelled: logits of the unlabelled images of this device.
        share: in 0..1 (0 excluded).
    """
    threshold = jnp.quantile(parallel.gathered(energy(labelled)), jnp.float32(share))
    return (energy(unlabelled) <= threshold).astype(jnp.float32)
