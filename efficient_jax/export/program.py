"""What StableHLO and ONNX files compute: probabilities of uint8 images, by one network or several."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from efficient_jax.errors import UserError
from efficient_jax.inference import tta
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import TASKS
from efficient_jax.training.predict import through_views
from efficient_jax.training.trained import Trained, check_ensemble
from efficient_jax.types import Tree


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity, for jax.jit
class Program:
    """A function of images, with the weights that it needs.

    Args:
        specs: of its networks, which have the same task, classes and images.
        variables: of each network.
        views: transformations of each image whose probabilities are averaged.
        temperature: divisor of the logits, above 0.
    """

    specs: tuple[ModelSpec, ...]
    variables: tuple[Tree, ...]
    views: tuple[tta.View, ...]
    temperature: float

    @property
    def spec(self) -> ModelSpec:
        """What the networks have in common: classes, task, images and thresholds."""
        return self.specs[0]

    def __call__(self, variables: Sequence[Tree], images: UInt8[Array, "b h w c"]) -> Float[Array, "b *hw classes"]:
        """Returns the probabilities of images: those of `predict`, where the temperature is 1.

        Args:
            variables: of each network.
            images: of the size `spec.image_shape`.
        """
        task = TASKS[self.spec.task]
        logits = []
        for spec, weights in zip(self.specs, variables, strict=True):
            _, apply = spec.build()
            apply = through_views(apply, self.views, task) if len(self.views) > 1 else apply
            (of_network, _), _ = apply(weights, images, False, None)
            logits.append(of_network.astype(jnp.float32))
        if len(logits) == 1:
            return task.probabilities(logits[0] if self.temperature == 1.0 else logits[0] / self.temperature)
        mean = jnp.stack([task.probabilities(of_network) for of_network in logits]).mean(0)
        return mean if self.temperature == 1.0 else task.probabilities(task.logits(mean) / self.temperature)

    def images(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of any number of images, and their dtype."""
        (batch,) = jax.export.symbolic_shape("b")
        return jax.ShapeDtypeStruct((batch, *self.spec.image_shape), jnp.uint8)


def program(members: Sequence[Trained], views: str, temperature: float) -> Program:
    """Returns the function of images that trained networks are together.

    Args:
        members: the networks.
        views: test-time augmentation, a name of `tta.VIEWS`.
        temperature: divisor of the logits.

    Raises: UserError for unknown views, and for members with another task, classes or images than the first.
    """
    check_ensemble(members)
    first = members[0].spec
    for member in members:
        for what in ("image_shape", "framing"):
            if getattr(member.spec, what) != getattr(first, what):
                raise UserError(
                    f"--members: {what} of {member.name!r} is {getattr(member.spec, what)}, that of the first member "
                    f"{getattr(first, what)}; one program has one size of images: export them one by one"
                )
    parsed, vote = tta.parse_views(views, "--tta")
    if vote != "soft":
        raise UserError("--tta: a file has the mean over the views; take soft")
    return Program(
        tuple(member.spec for member in members), tuple(member.variables for member in members), parsed, temperature
    )
