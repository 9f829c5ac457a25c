"""What StableHLO and ONNX files compute: probabilities of uint8 images, by one network or several, or boxes by one."""

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

    def __call__(self, variables: Sequence[Tree], images: UInt8[Array, "b h w c"]) -> Float[Array, "b *hw outputs"]:
        """Returns the probabilities of images: those of `predict`, where the temperature is 1. Of detectors, boxes.

        Args:
            variables: of each network.
            images: of the size `spec.image_shape`.

        Returns: float32 [b classes], of segmentation [b h w classes]; of detection rows of boxes [b rows 6], see
            `detection.rows`, in pixels of `images` and by descending score.
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

    Raises: UserError for unknown views, for members with another task, classes or images than the first, and for
        several members where the answers are boxes.
    """
    check_ensemble(members)
    first = members[0].spec
    if not TASKS[first.task].probable and len(members) > 1:
        raise UserError(
            f"--members: boxes of {len(members)} networks have no mean; export them one by one, and fuse their boxes "
            "as `evaluate --fuse=wbf` does"
        )
    for member in members:
        for what in ("image_shape", "framing"):
            if getattr(member.spec, what) != getattr(first, what):
                raise UserError(
                    f"--members: {what} of {member.name!r} is {getattr(member.spec, what)}, that of the first member "
                    f"{getattr(first, what)}; one program has one size of images: export them one by one"
                )
    parsed, vote = tta.parse_views(views, "--tta")
    if vote != "soft" and (TASKS[first.task].probable or vote != "wbf"):
        raise UserError("--tta: a file has the mean over the views, of boxes what wbf makes of them; take soft")
    return Program(
        tuple(member.spec for member in members), tuple(member.variables for member in members), parsed, temperature
    )
