"""Types of the values that augmentation, models, methods and the train step exchange."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Key, PRNGKeyArray, UInt32

Tree = Any
"""A nested dict of arrays."""

Example = dict[str, Array]
"""One image and what belongs to it:

image             [h w c], uint8 in 0..255 or float32 in 0..1; bfloat16 and float16 are computed in float32 and
                  returned in their dtype. Float images outside 0..1 are an error where an operation is called with
                  concrete values; inside `jit` and `vmap` they are unknown, and operations on levels clip them
label             float32 [classes], a distribution over classes (one-hot for a label by a person); where an
                  image can have several labels, 0 or 1 for each
mask              integer [h w], the class of each pixel; 0 is the background, and what lies outside the image
boxes             float32 [n 4], (left, top, right, bottom) in pixels from the upper left corner: the whole image
                  is (0, 0, w, h)
box_visible       float32 [n], the share of the object that is still in the image; 0.0 also where there is no object,
                  since arrays keep their size. Comes with `boxes`
box_mask          bool [n h w], the pixels of each object
object_map        integer [h w], the object that each pixel shows: its row in `boxes` plus 1, or any number above 0
                  where there are no boxes; 0 is none. It takes less memory than box_mask; objects do not overlap
box_*             [n ...], anything else that belongs to an object (such as its class) and does not change
keypoints         float32 [k 2], (x, y) in pixels from the center of the upper left pixel
keypoint_visible  bool [k]. Comes with `keypoints`

Every operation checks sizes, shapes and dtypes (`augment.entries.check`) and returns these dtypes; `object_map` becomes
int32. Visibilities that come as booleans, integers (COCO's 0, 1 and 2) or floats mean visible above 0. n and k may be
0.
"""

Batch = dict[str, Array]
"""Examples with a leading axis."""

BatchKeys = Key[Array, " b"] | UInt32[Array, "b 2"]
"""A random key for each example of a batch: typed ones, or the raw ones of `jax.random.PRNGKey`."""

Augmentation = Callable[[PRNGKeyArray, Example], Example]
"""Pure: the same key and example give the same result, in a batch of any size, on any number of devices."""

Saliency = Callable[[Batch], Float[Array, "b h w"]]
"""Returns how much each pixel of a batch matters to a network, 0 or more."""

Augment = Callable[..., Batch]
"""`augment(keys, batch) -> batch`: an augmentation of a whole batch, one key for each example. With a third
parameter `saliency` it also gets a `Saliency` function, or None: see `augment.augmented`."""

Apply = Callable[..., tuple[tuple[Float[Array, "b *hw classes"], dict[str, Array]], Tree]]
"""`apply(variables, images, train, keys) -> ((logits, intermediates), state)`: the forward pass of a model.
`images` are uint8 or float32 as in `Example`; `keys` holds one key per image (dropout, stochastic depth);
`state` are the variables that a forward pass steps (batch statistics). Networks of patches take a fifth argument,
`kept` [b k]: the indices of the patches of each image that they see; None: of all."""

Metrics = dict[str, tuple[Array, Array | float]]
"""Name of a metric -> (sum, count)."""


class Aux(NamedTuple):
    """What a method's loss function returns beside the sum of its losses."""

    weight: Float[Array, ""] | float  # what the summed loss (and its gradient) is divided by, after psum
    model_state: Tree  # the variables that the forward pass updated
    metrics: Metrics


INTERVAL = "interval"
"""The `form` of a share that is shown with its 95% interval."""


class Column(NamedTuple):
    """How tables and pages show a figure of a task."""

    name: str  # of the figure; "correct" is shown as its share of "n", and one that is given by class in columns of it
    header: str
    form: str = ".2f"  # format specification, or `INTERVAL`
    factor: float = 100.0  # the figure is multiplied by it
