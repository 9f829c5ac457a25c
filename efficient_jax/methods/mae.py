"""MAE (arXiv 2111.06377): a ViT sees a quarter of the patches of an image, and a decoder predicts the others."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from efficient_jax import keys as random_keys
from efficient_jax.errors import UserError
from efficient_jax.methods.views import Keys, one_view
from efficient_jax.models.masked_decoder import HEAD_WIDTH, MaskedDecoder
from efficient_jax.models.vit import patch_size
from efficient_jax.training.loss import LossContext, LossFn
from efficient_jax.types import Apply, Augment, Aux, Batch, Tree

DECODER = "decoder"
"""Name of the parameters that the method trains beside the network."""
EPS = 1e-6  # added to the variance of a patch, as in the paper's code


def parameters(
    key: PRNGKeyArray,
    intermediates: Mapping[str, jax.ShapeDtypeStruct],
    *,
    decoder_width: int,
    decoder_depth: int,
) -> Tree:
    """Returns the parameters of the decoder, with the token that stands for hidden patches.

    Args:
        key: random key of the initial weights.
        intermediates: shape of each intermediate of the network.
        decoder_width: channels of the decoder.
        decoder_depth: blocks of the decoder.

    Raises: UserError for a decoder that cannot be.
    """
    if decoder_width < 1 or decoder_width % HEAD_WIDTH:
        raise UserError(f"method.decoder_width: {decoder_width} is not a multiple of {HEAD_WIDTH}")
    if decoder_depth < 1:
        raise UserError(f"method.decoder_depth: {decoder_depth} is less than 1")
    decoder = MaskedDecoder(intermediates["patches"].shape[-1], decoder_width, decoder_depth)
    token = jnp.zeros((1, 1, intermediates["tokens"].shape[-1]))
    kept = jnp.zeros((1, 1), jnp.int32)
    return {DECODER: jax.jit(lambda key: decoder.init(key, token, kept, (1, 1)))(key)["params"]}


def split_patches(
    keys: Key[Array, " b"], patches: int, hidden: int
) -> tuple[Int[Array, "b kept"], Int[Array, "b hidden"]]:
    """Returns which patches of each image are kept and which are hidden, drawn uniformly.

    Args:
        keys: one random key for each image.
        patches: number of patches of an image.
        hidden: how many of them are hidden.

    Returns: (indices of the kept patches, indices of the hidden ones).
    """
    order = jnp.argsort(jax.vmap(lambda key: jax.random.uniform(key, (patches,)))(keys), axis=1)
    return order[:, hidden:], order[:, :hidden]


def normalised(patches: Float[Array, "b n pixels"]) -> Float[Array, "b n pixels"]:
    """Returns patches with mean 0 and variance 1; the variance is the unbiased one, as in the paper's code.

    Args:
        patches: values of the pixels of each patch.
    """
    centered = patches - patches.mean(-1, keepdims=True)
    result: Array = centered / jnp.sqrt(patches.var(-1, ddof=1, keepdims=True) + EPS)
    return result


def hidden_errors(
    predicted: Float[Array, "b n pixels"], targets: Float[Array, "b n pixels"], hidden: Int[Array, "b hidden"]
) -> Float[Array, " b"]:
    """Returns the mean squared error of the hidden patches of each image.

    Args:
        predicted: of all patches.
        targets: of all patches.
        hidden: indices of the hidden ones.
    """
    errors: Array = jnp.take_along_axis(jnp.square(predicted - targets).mean(-1), hidden, axis=1)
    return errors.mean(1)


def mae(
    encode: Apply,
    augment: Augment,
    *,
    mask_ratio: float = 0.75,
    norm_pixels: bool = True,
    decoder_width: int = 256,
    decoder_depth: int = 4,
) -> LossFn:
    """Returns the loss of MAE: the mean squared error of the pixels of hidden patches. No label is read.

    The network computes the kept patches only. The decoder is dropped after the stage.

    Args:
        encode: the network, which is given the indices of the kept patches.
        augment: the stage's augmentation.
        mask_ratio: share of the patches that are hidden, above 0.0 and below 1.0; rounded to whole patches.
        norm_pixels: whether the pixels of each patch are normalised before they are compared.
        decoder_width: channels of the decoder, a multiple of 32; the paper has 512.
        decoder_depth: blocks of the decoder, 1 or more; the paper has 8.

    Returns: a loss function without metrics of its own.

    Raises: UserError for a share that is out of range, or that leaves no patch to see or to predict, and for patches of
        one value that would be normalised.
    """
    if not 0.0 < mask_ratio < 1.0:
        raise UserError(f"method.mask_ratio: {mask_ratio} is not between 0.0 and 1.0")

    def loss_fn(
        params: Tree, model_state: Tree, context: LossContext, batch: dict[str, Batch], keys: Keys
    ) -> tuple[Array, Aux]:
        del context
        view, model_keys, _ = one_view(augment, batch, keys)
        _, height, width, _ = view["image"].shape
        side = patch_size(params)
        count = (height // side) * (width // side)
        hidden_count = round(mask_ratio * count)
        if not 0 < hidden_count < count:
            raise UserError(
                f"method.mask_ratio: {mask_ratio} hides {hidden_count} of {count} patches; take another share, smaller "
                "patches or larger images"
            )
        kept, hidden = split_patches(random_keys.view(model_keys, "patches"), count, hidden_count)
        variables = {"params": params, **model_state}
        (_, seen), model_state = encode(variables, view["image"], True, model_keys, kept)
        patches, tokens = seen["patches"], seen["tokens"].astype(seen["block1"].dtype)
        if norm_pixels and patches.shape[-1] == 1:
            raise UserError("method.norm_pixels: a patch of one value has no deviation; set it to False")
        decoder = MaskedDecoder(patches.shape[-1], decoder_width, decoder_depth)
        predicted: Any = decoder.apply({"params": params[DECODER]}, tokens, kept, patches.shape[1:3])
        targets = patches.reshape(predicted.shape)
        targets = normalised(targets) if norm_pixels else targets
        losses = hidden_errors(predicted, targets, hidden)
        return losses.sum(), Aux(float(len(losses)), model_state, {})

    return loss_fn
