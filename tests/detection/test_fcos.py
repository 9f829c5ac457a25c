import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from efficient_jax import models
from efficient_jax.detection import fcos
from efficient_jax.detection.mean_average_precision import mean_average_precision
from efficient_jax.detection.targets import locations, targets
from efficient_jax.errors import UserError
from efficient_jax.models.dense import dense_boxes
from tests.detection import cases

SIDE, CLASSES = 64, 3
PLACES = locations((SIDE, SIDE), (4, 8))
FEW = {"most": 20, "candidates": 300}
decode = jax.jit(lambda outputs: fcos.decode(outputs, **FEW))
loss = jax.jit(fcos.losses)


def with_places(answers):
    """Outputs of a network: its answers, and where its locations are."""
    where = np.concatenate([PLACES.centers, PLACES.strides[:, None]], -1)
    return jnp.concatenate([answers, jnp.broadcast_to(where, (len(answers), *where.shape))], -1)


def truth(seed, images=6, rows=5):
    """Boxes of at least two strides, which overlap little; rows with 0 are padding."""
    rng = np.random.default_rng(seed)
    arrays = {
        "boxes": np.zeros((images, rows, 4), np.float32),
        "visible": np.zeros((images, rows), np.float32),
        "labels": np.full((images, rows), -1, np.int32),
    }
    for i in range(images):
        kept = []
        for _ in range(40):
            corner, size = rng.uniform(0, SIDE - 30, 2), rng.uniform(9, 30, 2)
            box = np.concatenate([corner, corner + size]).astype(np.float32)
            if len(kept) < rows - i % 3 and (not kept or cases.overlap(box, np.array(kept)).max() < 0.05):
                kept.append(box)
        n = len(kept)
        arrays["boxes"][i, :n], arrays["visible"][i, :n] = kept, 1.0
        arrays["labels"][i, :n] = rng.integers(0, CLASSES, n)
    return arrays


def encode(arrays):
    """Outputs that say the targets."""
    wanted = targets(PLACES, *map(jnp.asarray, arrays.values()))
    logits = 20.0 * jax.nn.one_hot(wanted.labels, CLASSES) - 10.0
    centerness = jax.scipy.special.logit(jnp.clip(wanted.centerness, 1e-4, 1.0 - 1e-4))
    return with_places(jnp.concatenate([logits, centerness[..., None], wanted.distances], -1))


def of_images(detections):
    """The arrays of each image, without padding."""
    valid = np.asarray(detections["valid"])
    names = ("boxes", "scores", "labels")
    return [{name: np.asarray(detections[name])[i, valid[i]] for name in names} for i in range(len(valid))]


def true_boxes(arrays):
    return [
        {"boxes": boxes[visible > 0], "labels": labels[visible > 0]}
        for boxes, visible, labels in zip(*arrays.values(), strict=True)
    ]


def test_decoded_targets_are_the_true_boxes():
    arrays = truth(0)
    assert mean_average_precision(of_images(decode(encode(arrays))), true_boxes(arrays))["ap"] == 1.0


def test_targets_have_no_loss_but_the_entropy_of_their_centerness():
    arrays = truth(1)
    outputs = encode(arrays)
    found = loss(outputs, *arrays.values())
    np.testing.assert_allclose(found.classes, 0.0, atol=1e-4)
    np.testing.assert_allclose(found.boxes, 0.0, atol=1e-3)
    c = np.asarray(targets(PLACES, *map(jnp.asarray, arrays.values())).centerness, np.float64)
    inner = np.where((c > 0) & (c < 1), c, 0.5)
    entropy = np.where((c > 0) & (c < 1), -inner * np.log(inner) - (1 - inner) * np.log(1 - inner), 0.0)
    np.testing.assert_allclose(found.centerness, entropy.sum(1), rtol=1e-2, atol=1e-2)
    np.testing.assert_array_equal(found.weight, (c > 0).sum(1))


def area(distances):
    return (distances[0] + distances[2]) * (distances[1] + distances[3])


def reference(outputs, wanted):
    """The losses of one image, location by location in float64."""
    sums = np.zeros(3)
    for output, label, distances, centerness in zip(outputs, *wanted, strict=True):
        p = 1 / (1 + np.exp(-output[:CLASSES]))
        y = np.arange(CLASSES) == label
        p_t = np.where(y, p, 1 - p)
        sums[0] += (-np.where(y, 0.25, 0.75) * (1 - p_t) ** 2 * np.log(p_t)).sum()
        if label >= 0:
            a, b = (
                output[CLASSES + 1 : CLASSES + 5],
                distances,
            )  # of one location: the inner box has the smaller, the hull the larger ones
            inner, hull = area(np.minimum(a, b)), area(np.maximum(a, b))
            union = area(a) + area(b) - inner
            sums[1] += centerness * (1 - inner / union + (hull - union) / hull)
            q = 1 / (1 + np.exp(-output[CLASSES]))
            sums[2] -= centerness * np.log(q) + (1 - centerness) * np.log(1 - q)
    return sums


def test_losses_are_their_definition(key):
    arrays = truth(2, images=2)
    outputs = jax.random.normal(key, (2, len(PLACES.strides), CLASSES + 5))
    outputs = with_places(outputs.at[..., -4:].set(10.0 * jnp.exp(outputs[..., -4:])))
    wanted = targets(PLACES, *map(jnp.asarray, arrays.values()))
    found = loss(outputs, *arrays.values())
    for i in range(2):
        expected = reference(np.asarray(outputs[i], np.float64), [np.asarray(x[i], np.float64) for x in wanted])
        np.testing.assert_allclose([found.classes[i], found.boxes[i], found.centerness[i]], expected, rtol=1e-4)


def test_images_without_boxes_learn_that_there_are_none(key):
    arrays = truth(3, images=2)
    arrays["visible"][:] = 0.0
    outputs = with_places(jax.random.normal(key, (2, len(PLACES.strides), CLASSES + 5)))
    found, gradient = jax.value_and_grad(lambda z: sum(map(jnp.sum, loss(z, *arrays.values())[:3])))(outputs)
    assert found > 0.0
    assert (gradient[..., :CLASSES] > 0.0).all()  # towards lower class logits
    assert not gradient[..., CLASSES:].any()
    np.testing.assert_array_equal(loss(outputs, *arrays.values()).weight, 1.0)


def test_decoded_boxes_are_clipped_sorted_and_padded(key):
    outputs = jax.random.normal(key, (2, len(PLACES.strides), CLASSES + 5))
    outputs = with_places(outputs.at[..., -4:].set(30.0 * jnp.abs(outputs[..., -4:])))
    found = decode(outputs)
    assert found["boxes"].shape == (2, 20, 4)
    assert (found["scores"].dtype, found["labels"].dtype) == (jnp.float32, jnp.int32)
    assert found["boxes"].min() >= 0.0
    assert found["boxes"].max() <= SIDE
    assert (jnp.diff(found["scores"]) <= 0.0).all()
    nothing = decode(outputs.at[..., :CLASSES].set(-20.0))
    assert not nothing["valid"].any()
    assert not any(values.any() for values in nothing.values())


def test_suppression_is_its_definition_on_decoded_boxes(key):
    """The candidates, one by one, by the definition of `cases.nms`."""
    outputs = jax.random.normal(key, (1, len(PLACES.strides), CLASSES + 5))
    outputs = with_places(outputs.at[..., -4:].set(8.0 + outputs[..., -4:]))
    found = of_images(decode(outputs))[0]
    logits, centerness, distances = (np.asarray(x[0], np.float64) for x in fcos.split(outputs)[:3])
    scores = np.sqrt(1 / (1 + np.exp(-logits)) / (1 + np.exp(-centerness[:, None])))
    best = np.argsort(-scores.ravel(), kind="stable")[: FEW["candidates"]]
    x, y = PLACES.centers.T
    left, top, right, bottom = distances.T
    boxes = np.stack([x - left, y - top, x + right, y + bottom], 1).clip(0, SIDE)[best // CLASSES]
    kept = cases.nms(boxes, scores.ravel()[best], best % CLASSES, 0.6)[: FEW["most"]]
    np.testing.assert_allclose(found["boxes"], boxes[kept], atol=1e-4)
    np.testing.assert_allclose(found["scores"], scores.ravel()[best][kept], rtol=1e-5)
    np.testing.assert_array_equal(found["labels"], (best % CLASSES)[kept])


def test_outputs_say_where_their_locations_are():
    outputs = dense_boxes(models.CNN(classes=0, width=4), CLASSES, strides=(4, 8), tower=1, width=8)
    variables = models.init(outputs, jax.random.key(0), (SIDE, SIDE, 3))
    answers, _ = outputs.apply(variables, jnp.zeros((2, SIDE, SIDE, 3)), train=False)
    parts = fcos.split(answers)
    np.testing.assert_array_equal(parts.locations.centers, PLACES.centers)
    np.testing.assert_array_equal(parts.locations.strides, PLACES.strides)
    assert parts.logits.shape[-1] == CLASSES


def test_locations_with_the_true_box_are_counted():
    arrays = truth(5, images=2)
    located = jax.jit(fcos.located)
    np.testing.assert_array_equal(located(encode(arrays), *arrays.values()), 1.0)
    shifted = encode(arrays).at[..., CLASSES + 1].add(60.0)  # the left edge, by more than any box is wide
    np.testing.assert_array_equal(located(shifted, *arrays.values()), 0.0)
    arrays["visible"][0] = 0.0
    np.testing.assert_array_equal(located(shifted, *arrays.values()), [1.0, 0.0])


def test_few_candidates_are_said():
    with pytest.raises(UserError, match="candidates: 10 is less than most = 20"):
        fcos.decode(with_places(jnp.zeros((1, len(PLACES.strides), CLASSES + 5))), most=20, candidates=10)


def test_boxes_of_rectangles_are_learned():
    arrays = truth(4, images=8, rows=3)
    levels = np.array([[250, 40, 40], [40, 250, 40], [40, 40, 250]])
    images = np.full((8, SIDE, SIDE, 3), 128)
    for image, boxes, labels in zip(images, arrays["boxes"].round().astype(int), arrays["labels"], strict=True):
        for (left, top, right, bottom), label in zip(boxes, labels, strict=True):
            image[top:bottom, left:right] = levels[label]
    images = images.astype(np.uint8)
    network = dense_boxes(models.CNN(classes=0, width=8), CLASSES, width=32, strides=(4, 8), tower=1)
    variables = models.init(network, jax.random.key(0), (SIDE, SIDE, 3))
    apply = models.make_apply(network, (0.5,) * 3, (0.25,) * 3)
    tx = optax.adam(5e-3)

    @jax.jit
    def step(variables, opt):
        def total(params):
            (outputs, _), state = apply(variables | {"params": params}, images, True, None)
            found = fcos.losses(outputs, *map(jnp.asarray, arrays.values()))
            return sum(part.sum() for part in found[:3]) / found.weight.sum(), state

        gradient, state = jax.grad(total, has_aux=True)(variables["params"])
        with jax.numpy_dtype_promotion("standard"):
            updates, opt = tx.update(gradient, opt)
        return {"params": optax.apply_updates(variables["params"], updates), **state}, opt

    opt = tx.init(variables["params"])
    for _ in range(200):
        variables, opt = step(variables, opt)
    (outputs, _), _ = jax.jit(lambda v: apply(v, images, False, None))(variables)
    assert mean_average_precision(of_images(decode(outputs)), true_boxes(arrays))["ap50"] == 1.0
