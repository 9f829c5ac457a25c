"""A multilayer perceptron on pixels, the network of the first distillation experiments (arXiv 1503.02531)."""

from flax import linen as nn
from jax import nn as jnn
from jaxtyping import Array, Float, Key

from efficient_jax.errors import UserError
from efficient_jax.models.layers import Dropout, linear_head


class MLP(nn.Module):
    """A multilayer perceptron: hidden layers of ReLUs with dropout after each, and a linear head.

    Intermediates: hidden1, hidden2 ... [b width] before the dropout, the last of them also as features, and logits
    [b classes].

    Args:
        classes: number of classes; 0: no head.
        width: units of a hidden layer.
        depth: number of hidden layers, at least 1.
        dropout: rate after each hidden layer, 0..1 (1 excluded).
        norm_axis: unused, since nothing here depends on the batch.

    Raises: UserError for a depth below 1, or a rate outside its range.
    """

    classes: int
    width: int = 800
    depth: int = 2
    dropout: float = 0.0
    norm_axis: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, " b"] | None = None
    ) -> tuple[Float[Array, "b classes"], dict[str, Array]]:
        if self.depth < 1:
            raise UserError(f"model.depth: {self.depth} is less than 1")
        intermediates = {}
        x = x.reshape(x.shape[0], -1)
        for i in range(1, self.depth + 1):
            x = jnn.relu(nn.Dense(self.width, kernel_init=nn.initializers.he_normal(), name=f"hidden{i}")(x))
            intermediates[f"hidden{i}"] = intermediates["features"] = x
            x = Dropout(self.dropout, name=f"dropout{i}")(x, keys if train else None)
        intermediates["logits"] = linear_head(x, self.classes)
        return intermediates["logits"], intermediates

    def layers(self) -> tuple[str, ...]:
        """Returns regular expressions of parameter paths, one per layer from the input to the head."""
        return (*(f"hidden{i}/.*" for i in range(1, self.depth + 1)), "head/.*")
