"""What rebuilds a network and prepares its images: built once per stage, saved as JSON with its weights."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flax import linen as nn

from efficient_jax.data.framing import Framing
from efficient_jax.errors import UserError
from efficient_jax.models import MODELS, heads, make_apply
from efficient_jax.models.dense import DECODERS
from efficient_jax.types import Apply, Tree


@dataclass(frozen=True)
class ModelSpec:
    """A network without its weights: architecture, classes, preprocessing and task.

    Args:
        name: a name in `MODELS`.
        settings: keyword arguments of that model, without `classes` and `norm_axis`.
        classes: names of the classes, in the order of the logits.
        image_shape: (height, width, channels) in pixels of the images that the network is given.
        mean: mean of each channel, of pixels in 0..1. Gray images are repeated to as many channels.
        std: standard deviation of each channel, above 0.
        framing: `fit`, `crop` and `interpolation` of `data.framing.Framing`, with which images of any size became
            images; empty if the source had arrays.
        task: what the labels are, a name of `tasks.TASKS`.
        thresholds: of "multi_label", for each class the probability from which on it is present; else empty.
        head: `name` in `heads.HEADS`, and `pool`, the features that it takes, see `heads.features`.
        decoder: `name` in `dense.DECODERS` and its settings; empty: the head of the model answers, once for each image.
    """

    name: str
    settings: Mapping[str, Any]
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    framing: Mapping[str, Any] = field(default_factory=dict)
    task: str = "classification"
    thresholds: tuple[float, ...] = ()
    head: Mapping[str, str] = field(default_factory=heads.LINEAR.copy)
    decoder: Mapping[str, Any] = field(default_factory=dict)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) behind the normalisation: gray images have the channels of the weights there."""
        return *self.image_shape[:2], len(self.mean)

    def image_framing(self) -> Framing:
        """Returns how images of any size are prepared for the network.

        Raises: UserError if its images are not square.
        """
        h, w, channels = self.image_shape
        if h != w:
            raise UserError(f"the model knows images of {h} x {w} pixels; images of any size become squares only")
        return Framing(size=h, channels=channels, **self.framing)

    def build(self, norm_axis: str | None = None, frozen: Tree = None) -> tuple[nn.Module, Apply]:
        """Returns the network.

        Args:
            norm_axis: device axis over which training averages batch statistics; None: each device has its own.
                Evaluation does not read it.
            frozen: as for `models.make_apply`.

        Returns: (flax module, its function of `types.Apply`).
        """
        classes = 0 if self.decoder else len(self.classes)
        module = MODELS[self.name](classes=classes, norm_axis=norm_axis, **self.settings)
        if self.decoder:
            settings = dict(self.decoder)
            module = DECODERS[settings.pop("name")](module, len(self.classes), **settings)
        if frozen:
            return module, make_apply(module, self.mean, self.std, frozen, self.head)
        return module, _apply(module, self.mean, self.std, tuple(sorted(self.head.items())))

    def to_json(self) -> dict[str, Any]:
        """Returns the record that is saved with the weights; `from_json` reads it."""
        return {
            "model": self.name,
            "settings": dict(self.settings),
            "classes": list(self.classes),
            "image_shape": list(self.image_shape),
            "mean": list(self.mean),
            "std": list(self.std),
            "framing": dict(self.framing),
            "task": self.task,
            "thresholds": list(self.thresholds),
            "head": dict(self.head),
            "decoder": {key: list(x) if isinstance(x, tuple) else x for key, x in self.decoder.items()},
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "ModelSpec":
        """Returns the specification that `to_json` wrote.

        Args:
            record: its result, also after a way through JSON.

        Raises: KeyError for a record without one of its keys.
        """
        height, width, channels = record["image_shape"]
        return cls(
            record["model"],
            record["settings"],
            tuple(record["classes"]),
            (height, width, channels),
            tuple(record["mean"]),
            tuple(record["std"]),
            record["framing"],
            record["task"],
            tuple(record["thresholds"]),
            record["head"],
            {key: tuple(x) if isinstance(x, list) else x for key, x in record["decoder"].items()},
        )


@functools.lru_cache(maxsize=64)
def _apply(
    module: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], head: tuple[tuple[str, str], ...]
) -> Apply:
    """Returns the same function for equal networks: what jax compiled of it serves all of them."""
    return make_apply(module, mean, std, head=dict(head))
