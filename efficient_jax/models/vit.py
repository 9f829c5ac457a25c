"""The Vision Transformer (arXiv 2010.11929) with timm's names, and what its descendants add to it.

Those are DeiT (2012.12877), DeiT III (2204.07118), CLIP (2103.00020), SigLIP (2303.15343), DINOv2 (2304.07193) with and
without registers (2309.16588), and DINOv3 (2508.10104).
"""

import re
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from efficient_jax.errors import UserError
from efficient_jax.models.attention import MLP, Attention, AttentionPool
from efficient_jax.models.layers import Dropout, LayerScale, StochasticDepth, layer_norm, linear_head
from efficient_jax.models.positions import Angles, resample_pos_embed, rotary_angles
from efficient_jax.settings import choose
from efficient_jax.types import Tree

SIZES = {  # (width, depth, heads): arXiv 2106.10270, table 2; M is DeiT III's (2204.07118, table 1)
    "Ti": (192, 12, 3),
    "S": (384, 12, 6),
    "M": (512, 12, 8),
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
    "H": (1280, 32, 16),
    "H+": (1280, 32, 20),  # DINOv3 (2508.10104)
    "So400m": (1152, 27, 16),  # arXiv 2305.13035
    "g": (1408, 40, 16),  # arXiv 2106.04560, as G
    "G": (1664, 48, 16),
    "giant": (1536, 40, 24),  # DINOv2 (2304.07193)
}

POOLS: dict[str, Callable[[Array, int], Array]] = {
    "token": lambda x, _: x[:, 0],  # of the class token, which comes first
    "mean": lambda x, prefix: x[:, prefix:].mean(1),  # of all patches
    "map": lambda x, prefix: x[:, prefix:],  # attention pooling follows
}
POSITIONS = dict.fromkeys(("learned", "rope"))


class ViT(nn.Module):
    """A pre-norm transformer encoder over the patches of an image (arXiv 2010.11929).

    The sides of the image are multiples of the patch size. The position embedding has the grid of the image at
    initialisation; for images of another size, such as local crops, `positions.resample_pos_embed` converts it.

    With `kept`, the indices of some patches of each image, the blocks see these only, with their own positions, behind
    the tokens that precede patches (arXiv 2111.06377).

    Intermediates: patches [b rows columns pixels], the image in patches; attention1, attention2 ... [b heads n n] and
    block1, block2 ... [b n d] of each block, tokens [b n d] (after the last of these norms, `prefix_tokens` first),
    features [b d], logits [b classes].

    Args:
        classes: number of classes; 0: no head.
        variant: a name in `SIZES` and a patch size in pixels: "S/16"; or width, depth and heads in place of the name:
            "384x12x6/16".
        pool: "token" takes the features of the class token, "mean" the mean over the patches, "map" a learned query
            that attends to them (SigLIP).
        class_token: whether a class token precedes the patches.
        registers: number of register tokens between class token and patches (arXiv 2309.16588).
        distilled: whether a distillation token follows the class token; features are both, side by side. The mean of
            two heads, as timm has it, is one head on these.
        positions: "learned" is a position embedding, "rope" rotates queries and keys (DINOv3).
        prefix_positions: whether the position embedding has entries for the tokens before the patches.
        qkv_bias: "qkv" gives queries, keys and values a bias, "qv" not the keys (DINOv3), "none" none of them.
        layer_scale: initial gain of each block's branches, such as 1e-5; 0.0: they have no gains.
        pre_norm: whether tokens are normalised before the first block, and patches have no bias (CLIP).
        fc_norm: whether the last norm follows the pooling instead of the blocks.
        gelu: "exact", its "tanh" approximation (which the weights of .npz files were trained with), or "quick" (CLIP).
        norm_eps: added to the variance in every norm.
        projection: width to which features are projected, as CLIP's are into the space of its texts; 0: none.
        mlp_width: features between the layers of each MLP; 0: four times the width.
        swiglu: whether MLPs are gated by SiLU, as those of DINOv2's giant and DINOv3's S+ and H+ are.
        dropout: rate after the position embedding and after every dense layer but qkv and the head, as in the paper,
            0..1 (1 excluded).
        stochastic_depth: rate of the last block, 0..1 (1 excluded); it grows linearly from 0.0 in the first.
        dtype: "float32" or "bfloat16" for the computation; parameters, norm statistics and logits are float32.
        remat: whether the backward pass computes each block again and keeps no activations of it: less memory, more
            time, the same gradients (arXiv 1604.06174).
        norm_axis: unused, since nothing here depends on the batch.

    Raises: UserError for an unknown name, an image that patches do not fill, a rate outside its range, or a token that
        is pooled but not there.
    """

    classes: int
    variant: str = "S/16"
    pool: str = "token"
    class_token: bool = True
    registers: int = 0
    distilled: bool = False
    positions: str = "learned"
    prefix_positions: bool = True
    qkv_bias: str = "qkv"
    layer_scale: float = 0.0
    pre_norm: bool = False
    fc_norm: bool = False
    gelu: str = "exact"
    norm_eps: float = 1e-6
    projection: int = 0
    mlp_width: int = 0
    swiglu: bool = False
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    dtype: str = "float32"
    remat: bool = False
    norm_axis: str | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        train: bool,
        keys: Key[Array, " b"] | None = None,
        kept: Int[Array, "b k"] | None = None,
    ) -> tuple[Float[Array, "b classes"], dict[str, Array]]:
        keys = keys if train else None
        (width, depth, heads), patch = parse(self.variant)
        if self.mlp_width < 0:
            raise UserError(f"model.mlp_width: {self.mlp_width} is negative; 0 is four times the width")
        hidden = self.mlp_width or 4 * width
        pool = choose(self.pool, POOLS, "model.pool")
        choose(self.positions, POSITIONS, "model.positions")
        if not self.class_token and self.pool == "token":
            raise UserError("model.class_token: pool='token' needs the class token")
        if self.distilled and (self.pool != "token" or self.fc_norm or self.projection):
            raise UserError(
                "model.distilled: the head takes tokens as they are: pool='token', no fc_norm or projection"
            )
        if x.shape[1] % patch or x.shape[2] % patch:
            raise UserError(
                f"ViT {self.variant}: an image of {x.shape[1]}x{x.shape[2]} pixels is not made of {patch}x{patch} "
                f"patches; resize it to multiples of {patch}"
            )
        grid = x.shape[1] // patch, x.shape[2] // patch
        patches = x.reshape(x.shape[0], grid[0], patch, grid[1], -1).swapaxes(2, 3).reshape(x.shape[0], *grid, -1)
        x = PatchEmbed(width, patch, not self.pre_norm, name="patch_embed")(x.astype(self.dtype))
        x = self._with_positions(x, grid)
        angles: Angles | None = rotary_angles(grid, width // heads) if self.positions == "rope" else None
        if kept is not None:
            own = jnp.take_along_axis(x[:, self.prefix_tokens :], kept[:, :, None], axis=1)
            x = jnp.concatenate([x[:, : self.prefix_tokens], own], axis=1)
            angles = None if angles is None else jnp.asarray(angles)[kept]
        x = Dropout(self.dropout, name="pos_drop")(x, keys)
        if self.pre_norm:
            x = layer_norm(x, "norm_pre", self.norm_eps)

        rates = np.linspace(0.0, self.stochastic_depth, depth)  # linear from 0 to the rate, as in timm and big_vision
        mlp = self.gelu, hidden, self.swiglu
        settings = self.dropout, *mlp, self.qkv_bias, self.layer_scale, self.norm_eps
        x, intermediates = Encoder(heads, tuple(map(float, rates)), *settings, self.remat, name="blocks")(
            x, keys, angles
        )
        x = x if self.fc_norm else layer_norm(x, "norm", self.norm_eps)
        tokens = intermediates["tokens"] = x.astype(jnp.float32)

        features = pool(tokens, self.prefix_tokens)
        if self.pool == "map":
            features = AttentionPool(heads, self.gelu, hidden, self.norm_eps, name="attn_pool")(features)
        if self.fc_norm:
            features = layer_norm(features, "fc_norm", self.norm_eps)
        if self.projection:
            features = nn.Dense(self.projection, use_bias=False, name="projection")(features)
        if self.distilled:
            features = jnp.concatenate([features, tokens[:, 1]], axis=1)
        logits = linear_head(features, self.classes)
        return logits, intermediates | {"patches": patches, "features": features, "logits": logits}

    def _with_positions(self, x: Float[Array, "b n d"], grid: tuple[int, int]) -> Float[Array, "b m d"]:
        """Returns patches with the tokens that precede them and, where it is learned, the position embedding."""
        width = x.shape[-1]
        counts = {"cls_token": int(self.class_token), "dist_token": int(self.distilled), "reg_token": self.registers}
        tokens = [
            self.param(name, nn.initializers.normal(1e-6), (1, count, width), jnp.float32)
            for name, count in counts.items()
            if count
        ]
        prefix = [jnp.broadcast_to(token, (x.shape[0], *token.shape[1:])).astype(x.dtype) for token in tokens]
        if self.prefix_positions:
            x, prefix = jnp.concatenate([*prefix, x], axis=1), []
        if self.positions == "learned":
            shape = 1, *x.shape[1:]
            if self.has_variable("params", "pos_embed"):
                shape = self.get_variable("params", "pos_embed").shape
            positions = self.param("pos_embed", nn.initializers.normal(0.02), shape, jnp.float32)
            if positions.shape[1] != x.shape[1]:
                positions = resample_pos_embed(positions, grid, x.shape[1] - grid[0] * grid[1])
            x = x + positions.astype(x.dtype)
        return jnp.concatenate([*prefix, x], axis=1)

    @property
    def prefix_tokens(self) -> int:
        """The number of tokens in front of the patches; a class token is the first."""
        return int(self.class_token) + int(self.distilled) + self.registers

    def strides(self) -> dict[str, int]:
        """Returns the intermediates that a pyramid is made of, and how many pixels apart their entries are."""
        return {"tokens": parse(self.variant)[1]}

    def layers(self) -> tuple[str, ...]:
        """Returns regular expressions of parameter paths, one per layer from the input to the head.

        A block is one; what follows the blocks belongs to the last of them, as in timm.
        """
        depth = parse(self.variant)[0][1]
        *blocks, last = (f"blocks/{i}/.*" for i in range(depth))
        tokens = "(cls|dist|reg)_token|pos_embed|(patch_embed|norm_pre)/.*"
        return (tokens, *blocks, f"{last}|(norm|fc_norm|attn_pool|projection)/.*", "head/.*")


def parse(variant: str) -> tuple[tuple[int, int, int], int]:
    """Returns the dimensions of a variant, such as "S/16".

    Args:
        variant: a name in `SIZES` or "WIDTHxDEPTHxHEADS", a slash and the patch size in pixels.

    Returns: ((width, depth, heads), patch size).

    Raises: UserError for an unknown name, a width that heads do not divide, or without a patch size.
    """
    size, _, patch = variant.partition("/")
    if numbers := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", size):
        width, depth, heads = map(int, numbers.groups())
        if width % heads:
            raise UserError(f"model.variant: {variant!r} wants a width, {width}, that its {heads} heads divide")
        dimensions = width, depth, heads
    else:
        dimensions = choose(size, SIZES, "model.variant")
    if not patch.isdecimal() or not int(patch):
        raise UserError(f"model.variant: {variant!r} has no patch size; write it in pixels, such as {size + '/16'!r}")
    return dimensions, int(patch)


def patch_size(params: Tree) -> int:
    """Returns the height and width of the patches of a network, in pixels.

    Args:
        params: its parameters.
    """
    size: int = params["patch_embed"]["proj"]["kernel"].shape[0]
    return size


class PatchEmbed(nn.Module):
    """A linear map from each patch to a token of `width` features."""

    width: int
    patch: int
    bias: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b n d"]:
        sides = (self.patch, self.patch)
        conv = nn.Conv(
            self.width, sides, strides=sides, padding="VALID", use_bias=self.bias, dtype=x.dtype, name="proj"
        )
        return conv(x).reshape(x.shape[0], -1, self.width)


class Encoder(nn.Module):
    """Blocks named 0, 1, ..., one for each rate; returns (tokens, outputs and attention of each block)."""

    heads: int
    drop_rates: tuple[float, ...]
    dropout: float
    gelu: str
    hidden: int
    swiglu: bool
    qkv_bias: str
    layer_scale: float
    eps: float
    remat: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], keys: Key[Array, " b"] | None, angles: Angles | None
    ) -> tuple[Float[Array, "b n d"], dict[str, Array]]:
        intermediates = {}
        settings = self.dropout, self.gelu, self.hidden, self.swiglu, self.qkv_bias, self.layer_scale, self.eps
        make_block = nn.remat(Block) if self.remat else Block
        for i, rate in enumerate(self.drop_rates):
            block = make_block(self.heads, rate, *settings, name=str(i))
            x, intermediates[f"attention{i + 1}"] = block(x, keys, angles)
            intermediates[f"block{i + 1}"] = x
        return x, intermediates


class Block(nn.Module):
    """Attention and an MLP, each after a layer norm and with a shortcut; returns (tokens, attention)."""

    heads: int
    drop_rate: float
    dropout: float
    gelu: str
    hidden: int
    swiglu: bool
    qkv_bias: str
    layer_scale: float
    eps: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], keys: Key[Array, " b"] | None, angles: Angles | None
    ) -> tuple[Float[Array, "b n d"], Float[Array, "b heads n n"]]:
        attention = Attention(self.heads, self.dropout, self.qkv_bias, name="attn")
        y, weights = attention(layer_norm(x, "norm1", self.eps), keys, angles)
        x += StochasticDepth(self.drop_rate, name="drop_path1")(self._scaled(y, "ls1"), keys)
        y = MLP(self.dropout, self.gelu, self.hidden, self.swiglu, name="mlp")(layer_norm(x, "norm2", self.eps), keys)
        return x + StochasticDepth(self.drop_rate, name="drop_path2")(self._scaled(y, "ls2"), keys), weights

    def _scaled(self, x: Float[Array, "b n d"], name: str) -> Float[Array, "b n d"]:
        return LayerScale(self.layer_scale, name=name)(x) if self.layer_scale else x
