"""The layers of a transformer block: attention, the MLP, and attention pooling."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Key

from efficient_jax.models.layers import Dropout, layer_norm
from efficient_jax.models.positions import Angles, rotate
from efficient_jax.settings import choose

GELUS: dict[str, Callable[[Array], Array]] = {
    "exact": lambda x: jax.nn.gelu(x, approximate=False),
    "tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "quick": lambda x: x * jax.nn.sigmoid(1.702 * x),  # OpenAI's CLIP
}
QKV_BIASES = {"qkv": (1.0, 1.0, 1.0), "qv": (1.0, 0.0, 1.0), "none": ()}
"""Which of queries, keys and values have a bias."""
XAVIER = nn.initializers.xavier_uniform()


class Attention(nn.Module):
    """Multi-head self-attention; also returns the float32 weights of all tokens (columns) for each token (row)."""

    heads: int
    dropout: float
    qkv_bias: str = "qkv"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], keys: Key[Array, " b"] | None, angles: Angles | None = None
    ) -> tuple[Float[Array, "b n d"], Float[Array, "b heads n n"]]:
        b, n, d = x.shape
        mask = choose(self.qkv_bias, QKV_BIASES, "model.qkv_bias")
        # Scale 2.0: each of query, key and value gets the Xavier initialisation that it would have alone.
        xavier = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")
        qkv = MaskedDense(3 * d, mask, xavier, name="qkv")(x)
        q, k, v = jnp.moveaxis(qkv.reshape(b, n, 3, self.heads, d // self.heads), 2, 0)
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        x, attention = attend(q, k, v)
        x = nn.Dense(d, kernel_init=XAVIER, dtype=x.dtype, name="proj")(x)
        return Dropout(self.dropout, name="proj_drop")(x, keys), attention


class MaskedDense(nn.Module):
    """A dense layer whose bias is multiplied by `mask`, one factor for each equal part of the outputs; (): no bias."""

    features: int
    mask: tuple[float, ...]
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n f"]:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        y = x @ kernel.astype(x.dtype)
        if not self.mask:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        if 0.0 in self.mask:
            bias = bias * np.repeat(np.array(self.mask, np.float32), self.features // len(self.mask))
        return y + bias.astype(x.dtype)


def attend(
    q: Float[Array, "b m heads c"], k: Float[Array, "b n heads c"], v: Float[Array, "b n heads c"]
) -> tuple[Float[Array, "b m d"], Float[Array, "b heads m n"]]:
    """Returns (the values that each query attends to, heads side by side; float32 attention weights).

    Args:
        q: queries.
        k: keys.
        v: values.
    """
    scores = jnp.einsum("bqhc,bkhc->bhqk", q, k, preferred_element_type=jnp.float32)
    attention = jax.nn.softmax(scores * q.shape[-1] ** -0.5)
    x = jnp.einsum("bhqk,bkhc->bqhc", attention.astype(v.dtype), v)
    return x.reshape(*x.shape[:2], -1), attention


class MLP(nn.Module):
    """Two dense layers with GELU between them.

    With `swiglu` half of the first layer's outputs are gates instead: silu(gate) * value (arXiv 2002.05202).
    """

    dropout: float
    gelu: str
    hidden: int  # features between the layers
    swiglu: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], keys: Key[Array, " b"] | None) -> Float[Array, "b n d"]:
        d, activation = x.shape[-1], choose(self.gelu, GELUS, "model.gelu")
        x = nn.Dense((1 + self.swiglu) * self.hidden, kernel_init=XAVIER, dtype=x.dtype, name="fc1")(x)
        x = jax.nn.silu(x[..., : self.hidden]) * x[..., self.hidden :] if self.swiglu else activation(x)
        x = Dropout(self.dropout, name="drop1")(x, keys)
        x = nn.Dense(d, kernel_init=XAVIER, dtype=x.dtype, name="fc2")(x)
        return Dropout(self.dropout, name="drop2")(x, keys)


class AttentionPool(nn.Module):
    """One learned query attends to all tokens, an MLP follows: big_vision's "map" head (arXiv 2106.04560)."""

    heads: int
    gelu: str
    hidden: int  # features between the layers of the MLP
    eps: float

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b d"]:
        b, n, d = x.shape
        split = (self.heads, d // self.heads)
        latent = self.param("latent", nn.initializers.truncated_normal(d**-0.5), (1, 1, d), jnp.float32)
        q = nn.Dense(d, kernel_init=XAVIER, dtype=x.dtype, name="q")(latent.astype(x.dtype))
        kv = nn.Dense(2 * d, kernel_init=XAVIER, dtype=x.dtype, name="kv")(x)
        k, v = jnp.moveaxis(kv.reshape(b, n, 2, *split), 2, 0)
        x, _ = attend(jnp.broadcast_to(q.reshape(1, 1, *split), (b, 1, *split)), k, v)
        x = nn.Dense(d, kernel_init=XAVIER, dtype=x.dtype, name="proj")(x)
        x = x + MLP(0.0, self.gelu, self.hidden, name="mlp")(layer_norm(x, "norm", self.eps), None)
        return x[:, 0]
