"""Heat maps of the evidence for a class (Grad-CAM, attention), and tests of whether they can be trusted."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from efficient_jax.explain import attention
from efficient_jax.explain.evidence import Evidence, class_logit
from efficient_jax.explain.gradcam import Images, Network, grad_cam


def heat_maps(
    network: Network,
    images: Images,
    classes: Int[Array, " b"],
    layer: str = "",
    evidence: Evidence = class_logit,
    deepest: int = 0,
) -> dict[str, Float[Array, "b _rows _columns"]]:
    """Returns the heat maps that fit the network, by name.

    Args:
        network: images -> (logits, intermediates), in evaluation mode and not jitted.
        images: [b h w c], as the network takes them.
        classes: the class index that each map is for, 0 .. classes - 1; attention maps do not depend on it.
        layer: name of the intermediate for Grad-CAM, e.g. "stage3"; "" is the last one. Transformers ignore it.
        evidence: what Grad-CAM explains; of masks and boxes see `evidence.PARTS`.
        deepest: without `layer`, the number of the stage for Grad-CAM, or the last one before it; 0: the last.

    Returns:
        {"Grad-CAM": maps} for a convolutional network. For a transformer {"last attention": maps, "rollout": maps}:
        the attention of the last layer, averaged over heads, and the rollout over all layers.

    Raises:
        UserError: the network has neither feature maps nor attention, or `layer` does not exist.
    """
    if "attention1" not in jax.eval_shape(network, images)[1]:
        return {"Grad-CAM": grad_cam(network, images, classes, layer, evidence, deepest)}
    layers = attention.weights(network(images)[1])
    tokens = {"last attention": layers[-1].astype(jnp.float32).mean(1), "rollout": attention.rollout(layers)}
    return {name: attention.over_patches(rows, images.shape[1:3]) for name, rows in tokens.items()}
