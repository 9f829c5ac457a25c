"""Where a network looks: heat maps of what speaks for a class, and whether they can be trusted."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from efficient_jax.explain import attention
from efficient_jax.explain.gradcam import Images, Network, grad_cam


def heat_maps(
    network: Network, images: Images, classes: Int[Array, " b"], layer: str = ""
) -> dict[str, Float[Array, "b _rows _columns"]]:
    """The maps that there are for the network, by name: Grad-CAM for a convolutional one; for a transformer the
    attention of its last layer, the mean of the heads, and the rollout of all, whatever the `classes`.

    Raises: UserError for a network that has neither, and a `layer` that does not exist.
    """
    if "attention1" not in jax.eval_shape(network, images)[1]:
        return {"Grad-CAM": grad_cam(network, images, classes, layer)}
    layers = attention.weights(network(images)[1])
    tokens = {"last attention": layers[-1].astype(jnp.float32).mean(1), "rollout": attention.rollout(layers)}
    return {name: attention.over_patches(each, images.shape[1:3]) for name, each in tokens.items()}
