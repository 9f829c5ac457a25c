"""The hash by which a set of images is known again."""

import numpy as np

from efficient_jax.data.dataset import Source, fingerprint

IMAGES = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)
LABELS = np.array([0, 1, -1, 1], np.int64)


def test_the_fingerprint_sees_every_pixel_and_label():
    def of(images, labels, given=()):
        return fingerprint(Source(images, labels, (), {"test": np.array(given)} if given else {}))

    images, labels = IMAGES[..., None], LABELS.astype(np.int32)
    pixel, label = images.copy(), labels.copy()
    pixel[-1, -1, -1] += 1
    label[-1] = 0
    assert of(images, labels) == of(images.copy(), labels.copy())
    given = of(images, labels, [0]), of(images, labels, [1])
    plain = Source(images, labels, ())
    groups = [fingerprint(plain._replace(groups=np.full(4, value, np.int32))) for value in (0, 1)]
    boxes = [fingerprint(plain._replace(objects={"boxes": np.full((4, 1, 4), value)})) for value in (0.0, 1.0)]
    assert len({of(images, labels), of(pixel, labels), of(images, label), *given, *groups, *boxes}) == 9
