"""The Vision Transformer (arXiv 2010.11929) with timm's names, and conversion of published JAX checkpoints."""

import math
import re
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Key

from efficient_jax.errors import UserError
from efficient_jax.models.layers import Dropout, StochasticDepth
from efficient_jax.settings import choose

SIZES = {  # (width, depth, heads): arXiv 2106.10270, table 2
    "Ti": (192, 12, 3),
    "S": (384, 12, 6),
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
}

POOLS: dict[str, Callable[[Array], Array]] = {
    "token": lambda x: x[:, 0],  # of the class token, which is in front of the patches
    "mean": lambda x: x.mean(1),  # of all patches, without a class token (big_vision's "gap")
}


class ViT(nn.Module):
    """A pre-norm transformer encoder over the patches of an image (arXiv 2010.11929).

    The sides of the image are multiples of the patch size. The position embedding has the grid of the image at
    initialisation; `resample_pos_embed` converts it to another grid.

    Intermediates: attention1, attention2 ... [b heads n n] and block1, block2 ... [b n d] of each block, features
    [b d], logits [b classes].

    Args:
        classes: number of classes.
        variant: a name in `SIZES` and a patch size in pixels: "S/16".
        pool: "token" takes the features of a class token, "mean" the mean over the patches.
        dropout: rate after the position embedding and after every dense layer but qkv and the head, as in the paper,
            0..1 (1 excluded).
        stochastic_depth: rate of the last block, 0..1 (1 excluded); it grows linearly from 0.0 in the first.
        tanh_gelu: whether GELU is its tanh approximation. Weights that `from_npz` reads were trained with it, torch's
            were not.
        dtype: "float32" or "bfloat16" for the computation; parameters, norm statistics and logits are float32.
        norm_axis: unused, since nothing here depends on the batch.

    Raises: UserError for an unknown variant or pooling, an image that patches do not fill, or a rate outside its range.
    """

    classes: int
    variant: str = "S/16"
    pool: str = "token"
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    tanh_gelu: bool = False
    dtype: str = "float32"
    norm_axis: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, " b"] | None = None
    ) -> tuple[Float[Array, "b classes"], dict[str, Array]]:
        keys = keys if train else None
        (width, depth, heads), patch = parse(self.variant)
        pool = choose(self.pool, POOLS, "model.pool")
        if x.shape[1] % patch or x.shape[2] % patch:
            raise UserError(
                f"ViT {self.variant}: an image of {x.shape[1]}x{x.shape[2]} pixels is not made of {patch}x{patch} "
                f"patches; resize it to multiples of {patch}"
            )
        x = PatchEmbed(width, patch, name="patch_embed")(x.astype(self.dtype))
        if self.pool == "token":
            token = self.param("cls_token", nn.initializers.zeros, (1, 1, width), jnp.float32)
            x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, width)).astype(x.dtype), x], axis=1)
        positions = self.param("pos_embed", nn.initializers.normal(0.02), (1, *x.shape[1:]), jnp.float32)
        x = Dropout(self.dropout, name="pos_drop")(x + positions.astype(x.dtype), keys)
        rates = np.linspace(0.0, self.stochastic_depth, depth)  # linear from 0 to the rate, as in timm and big_vision
        encoder = Encoder(heads, tuple(map(float, rates)), self.dropout, self.tanh_gelu, name="blocks")
        x, intermediates = encoder(x, keys)
        features = intermediates["features"] = pool(layer_norm(x, "norm").astype(jnp.float32))
        intermediates["logits"] = nn.Dense(self.classes, name="head")(features)
        return intermediates["logits"], intermediates

    def layers(self) -> tuple[str, ...]:
        """Returns regular expressions of parameter paths, one per layer from the input to the head.

        A block is one; the last norm belongs to the last block, as in timm.
        """
        depth = parse(self.variant)[0][1]
        *blocks, last = (f"blocks/{i}/.*" for i in range(depth))
        return ("cls_token|pos_embed|patch_embed/.*", *blocks, f"{last}|norm/.*", "head/.*")


def parse(variant: str) -> tuple[tuple[int, int, int], int]:
    """Returns the dimensions of a variant, such as "S/16".

    Args:
        variant: a name in `SIZES`, a slash and the patch size in pixels.

    Returns: ((width, depth, heads), patch size).

    Raises: UserError for an unknown name, or without a patch size.
    """
    size, _, patch = variant.partition("/")
    dimensions = choose(size, SIZES, "model.variant")
    if not patch.isdecimal() or not int(patch):
        raise UserError(f"model.variant: {variant!r} has no patch size; write it in pixels, such as {size + '/16'!r}")
    return dimensions, int(patch)


class PatchEmbed(nn.Module):
    """A linear map from each patch to a token of `width` features."""

    width: int
    patch: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b n d"]:
        sides = (self.patch, self.patch)
        x = nn.Conv(self.width, sides, strides=sides, padding="VALID", dtype=x.dtype, name="proj")(x)
        return x.reshape(x.shape[0], -1, self.width)


class Encoder(nn.Module):
    """Blocks named 0, 1, ..., one for each rate; returns (tokens, outputs and attention of each block)."""

    heads: int
    drop_rates: tuple[float, ...]
    dropout: float
    tanh_gelu: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], keys: Key[Array, " b"] | None
    ) -> tuple[Float[Array, "b n d"], dict[str, Array]]:
        intermediates = {}
        for i, rate in enumerate(self.drop_rates):
            block = Block(self.heads, rate, self.dropout, self.tanh_gelu, name=str(i))
            x, intermediates[f"attention{i + 1}"] = block(x, keys)
            intermediates[f"block{i + 1}"] = x
        return x, intermediates


class Block(nn.Module):
    """Attention and an MLP, each after a layer norm and with a shortcut; returns (tokens, attention)."""

    heads: int
    drop_rate: float
    dropout: float
    tanh_gelu: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], keys: Key[Array, " b"] | None
    ) -> tuple[Float[Array, "b n d"], Float[Array, "b heads n n"]]:
        y, attention = Attention(self.heads, self.dropout, name="attn")(layer_norm(x, "norm1"), keys)
        x += StochasticDepth(self.drop_rate, name="drop_path1")(y, keys)
        y = MLP(self.dropout, self.tanh_gelu, name="mlp")(layer_norm(x, "norm2"), keys)
        return x + StochasticDepth(self.drop_rate, name="drop_path2")(y, keys), attention


class Attention(nn.Module):
    """Multi-head self-attention; also returns the float32 weights of all tokens (columns) for each token (row)."""

    heads: int
    dropout: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], keys: Key[Array, " b"] | None
    ) -> tuple[Float[Array, "b n d"], Float[Array, "b heads n n"]]:
        b, n, d = x.shape
        # Scale 2.0: each of query, key and value gets the Xavier initialisation that it would have alone.
        xavier = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")
        qkv = nn.Dense(3 * d, kernel_init=xavier, dtype=x.dtype, name="qkv")(x)
        q, k, v = jnp.moveaxis(qkv.reshape(b, n, 3, self.heads, d // self.heads), 2, 0)
        scores = jnp.einsum("bqhc,bkhc->bhqk", q, k, preferred_element_type=jnp.float32)
        attention = jax.nn.softmax(scores * (d // self.heads) ** -0.5)
        x = jnp.einsum("bhqk,bkhc->bqhc", attention.astype(x.dtype), v).reshape(b, n, d)
        x = nn.Dense(d, kernel_init=nn.initializers.xavier_uniform(), dtype=x.dtype, name="proj")(x)
        return Dropout(self.dropout, name="proj_drop")(x, keys), attention


class MLP(nn.Module):
    """Two dense layers with GELU between them; the hidden one is four times as wide."""

    dropout: float
    tanh_gelu: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], keys: Key[Array, " b"] | None) -> Float[Array, "b n d"]:
        d, xavier = x.shape[-1], nn.initializers.xavier_uniform()
        x = nn.Dense(4 * d, kernel_init=xavier, dtype=x.dtype, name="fc1")(x)
        x = Dropout(self.dropout, name="drop1")(jax.nn.gelu(x, approximate=self.tanh_gelu), keys)
        x = nn.Dense(d, kernel_init=xavier, dtype=x.dtype, name="fc2")(x)
        return Dropout(self.dropout, name="drop2")(x, keys)


def layer_norm(x: Float[Array, "b n d"], name: str) -> Float[Array, "b n d"]:
    """Applies layer normalisation of eps 1e-6, computed in float32.

    Args:
        x: tokens.
        name: name of the layer, inside the module that calls this.

    Returns: tokens of the same shape and dtype.
    """
    normalised: Array = nn.LayerNorm(epsilon=1e-6, name=name)(x.astype(jnp.float32))
    return normalised.astype(x.dtype)


def resample_pos_embed(
    pos_embed: Float[Array, "1 n d"], grid: tuple[int, int], prefix: int = 1
) -> Float[Array, "1 m d"]:
    """Returns the position embedding of a square grid of patches, resampled to another grid.

    The interpolation is antialiased bicubic, as in timm (Keys' a = -0.5, as in Pillow).

    Args:
        pos_embed: embedding of `prefix` tokens and then of a square grid of patches.
        grid: (rows, columns) of patches.
        prefix: tokens without a position in the grid (the class token), which stay.

    Returns: embedding of `prefix` + rows x columns tokens.

    Raises: UserError for positions that do not form a square grid.
    """
    tokens, table = pos_embed[:, :prefix], pos_embed[:, prefix:]
    side, d = math.isqrt(table.shape[1]), table.shape[2]
    if side * side != table.shape[1]:
        raise UserError(f"pos_embed: {table.shape[1]} positions after {prefix} prefix tokens are not a square grid")
    table = jax.image.resize(table.reshape(1, side, side, d), (1, *grid, d), "cubic")
    return jnp.concatenate([tokens, table.reshape(1, -1, d)], axis=1)


# Modules of the JAX checkpoints -> timm's names; the numbers in them differ between vision_transformer and big_vision.
NPZ_NAMES = {
    r"embedding": "patch_embed.proj",
    r"Transformer/encoder_norm": "norm",
    r"head": "head",
    r"Transformer/encoderblock_(\d+)/LayerNorm_0": r"blocks.\1.norm1",
    r"Transformer/encoderblock_(\d+)/LayerNorm_[12]": r"blocks.\1.norm2",
    r"Transformer/encoderblock_(\d+)/MultiHeadDotProductAttention_[01]/(query|key|value)": r"blocks.\1.attn.\2",
    r"Transformer/encoderblock_(\d+)/MultiHeadDotProductAttention_[01]/out": r"blocks.\1.attn.proj",
    r"Transformer/encoderblock_(\d+)/MlpBlock_[03]/Dense_0": r"blocks.\1.mlp.fc1",
    r"Transformer/encoderblock_(\d+)/MlpBlock_[03]/Dense_1": r"blocks.\1.mlp.fc2",
}
NPZ_POSITIONS = ("pos_embedding", "Transformer/posembed_input/pos_embedding", "Transformer/pos_embedding")


def from_npz(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns a checkpoint of google-research's vision_transformer or big_vision as a timm state dict.

    For token and mean pooling. If a checkpoint adds no position to its class token, that position becomes zero.
    These models compute GELU by its tanh approximation: set `ViT.tanh_gelu`.

    Args:
        arrays: the arrays of the .npz file by name.

    Returns: timm's names -> arrays in torch's layout.

    Raises: UserError for an array that such a model does not have, or without patch or position embeddings.
    """
    prefix = next((p for p in ("", "params/", "opt/target/") if p + "embedding/kernel" in arrays), None)
    if prefix is None:
        raise UserError("npz: no 'embedding/kernel' in it, so this is not a ViT of vision_transformer or big_vision")
    state = {}
    for path, value in arrays.items():
        if path.startswith(prefix):
            name, array = _timm_entry(path.removeprefix(prefix), value)
            state[name] = array
    for query in [name for name in state if ".query." in name]:
        parts = [state.pop(query.replace("query", part)) for part in ("query", "key", "value")]
        state[query.replace("query", "qkv")] = np.concatenate(parts)
    if "pos_embed" not in state:
        raise UserError("npz: no position embedding in it; one that is computed (sincos2d) is not supported")
    positions = state["pos_embed"]
    if "cls_token" in state and math.isqrt(positions.shape[1]) ** 2 == positions.shape[1]:
        state["pos_embed"] = np.pad(positions, ((0, 0), (1, 0), (0, 0)))
    return state


def _timm_entry(path: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    """Returns timm's name and layout of an array; query, key and value are still separate."""
    if path == "cls":
        return "cls_token", value
    if path in NPZ_POSITIONS:
        return "pos_embed", value
    module, _, leaf = path.rpartition("/")
    match = next((m for pattern in NPZ_NAMES if (m := re.fullmatch(pattern, module))), None)
    if match is None:
        raise UserError(f"npz: {path!r} is not a parameter of a ViT with token or mean pooling")
    name = match.expand(NPZ_NAMES[match.re.pattern])
    if leaf == "bias":
        return f"{name}.bias", value.reshape(-1)
    if value.ndim == 4:  # HWIO to OIHW
        return f"{name}.weight", value.transpose(3, 2, 0, 1)
    if value.ndim == 3:  # the heads are inputs of the last product, else outputs
        value = value.reshape(-1, value.shape[-1]) if name.endswith("proj") else value.reshape(len(value), -1)
    return f"{name}.weight", value.T
