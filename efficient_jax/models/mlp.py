"""Fully connected layers on pixels: what distillation was first shown with (arXiv 1503.02531)."""

from flax import linen as nn
from jax import nn as jnn
from jaxtyping import Array, Float, Key

from efficient_jax.models.layers import Dropout
from efficient_jax.types import UserError


class MLP(nn.Module):
    """`depth` hidden layers of `width` ReLUs with `dropout` after each, and a linear head.

    `seen`: hidden1, ..., the last of them also as features [b width], logits [b classes]; each as it is before the
    dropout. `norm_axis` is unused: nothing here depends on the batch.
    """

    classes: int
    width: int = 800
    depth: int = 2
    dropout: float = 0.0
    norm_axis: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, "b"] | None = None
    ) -> tuple[Float[Array, "b classes"], dict[str, Array]]:
        if self.depth < 1:
            raise UserError(f"model.depth: {self.depth} is less than 1")
        seen = {}
        x = x.reshape(len(x), -1)
        for i in range(1, self.depth + 1):
            x = jnn.relu(nn.Dense(self.width, kernel_init=nn.initializers.he_normal(), name=f"hidden{i}")(x))
            seen[f"hidden{i}"] = seen["features"] = x
            x = Dropout(self.dropout, name=f"dropout{i}")(x, keys if train else None)
        seen["logits"] = nn.Dense(self.classes, name="head")(x)
        return seen["logits"], seen

    def layers(self) -> tuple[str, ...]:
        """Regular expressions of parameter paths, from the input to the head."""
        return (*(f"hidden{i}/.*" for i in range(1, self.depth + 1)), "head/.*")
