"""Features of a network pretrained on ImageNet, to measure a dataset before anything is trained."""

import jax
import numpy as np
from jaxtyping import Float, UInt8

from efficient_jax import augment
from efficient_jax.data.decode import resized
from efficient_jax.models import pretrained
from efficient_jax.models.spec import ModelSpec
from efficient_jax.training import parallel
from efficient_jax.training.labels import Labels
from efficient_jax.training.predict import extract_rows, make_extract

WEIGHTS, SIZE, BATCH = "efficientnet-lite0", 96, 32


def lite0(images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n 1280"]:
    """Returns the pooled features of EfficientNet-Lite0 for images resized to 96 x 96 pixels.

    Args:
        images: of one channel or three.

    Raises:
        UserError: the weights are not installed, or the images have another number of channels.
    """
    published = pretrained.preprocessing_of(WEIGHTS, "efficientnet")
    classes = tuple(map(str, range(1000)))
    spec = ModelSpec("efficientnet", {"variant": "lite0"}, classes, (SIZE, SIZE, 3), published.mean, published.std)
    module, apply = spec.build()
    shapes = jax.eval_shape(
        lambda key: module.init(key, np.zeros((1, SIZE, SIZE, 3), np.float32), train=False, keys=None),
        jax.random.key(0),
    )
    variables, _ = pretrained.load(pretrained.read(WEIGHTS), shapes)
    devices = jax.local_devices()
    extract = make_extract(apply, augment.build((), {}, ""), 1, devices)
    data = {"image": resized(images, SIZE), "label": Labels(np.zeros((len(images), 1), np.int32), None)}
    pooled, _ = extract_rows(
        extract,
        parallel.replicate(variables, devices),
        parallel.replicate(data, devices),
        np.arange(len(images)),
        key=parallel.replicate(jax.random.key(0), devices),
        batch=BATCH * len(devices),
        devices=devices,
    )
    return pooled
