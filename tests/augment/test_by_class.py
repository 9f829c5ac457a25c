"""Class-dependent augmentation: the augmentation of the label, and no more than that."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import augment
from efficient_jax.augment import invert, solarize, with_probability
from efficient_jax.augment.combinators import by_class, from_block, shared
from efficient_jax.errors import UserError

CLASSES = 3
ANGLES = (30.0, 0.0, 30.0)
LABELS = np.array([0, 1, 2, 1, 0, 2, 2, 1])


def examples():
    images = np.random.default_rng(0).integers(0, 256, (8, 9, 9, 1), np.uint8)
    return {"image": jnp.asarray(images), "label": jax.nn.one_hot(LABELS, CLASSES)}


def rotations(degrees=ANGLES):
    return tuple(partial(augment.rotate, degrees=d) for d in degrees)


def paint(level, calls=None):
    """Fills the image with `level`; counts how often it is traced."""

    def augmentation(key, example):
        del key
        if calls is not None:
            calls.append(level)
        return example | {"image": jnp.full_like(example["image"], level)}

    return augmentation


@pytest.mark.parametrize("run", ["jit", "pmap"])
def test_each_image_goes_through_the_augmentation_of_its_class(key, run):
    keys, before = jax.random.split(key, 8), examples()
    batched = jax.vmap(by_class(rotations()))
    if run == "pmap":
        batched = jax.pmap(batched)
        keys, before = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), (keys, before))
    after = jax.tree.map(lambda x: x.reshape(8, *x.shape[-3:]), jax.jit(batched)(keys, before)["image"])
    plain = jax.jit(jax.vmap(partial(augment.rotate, degrees=30.0)))(jax.random.split(key, 8), examples())["image"]
    expected = np.where((LABELS == 1)[:, None, None, None], examples()["image"], plain)
    np.testing.assert_array_equal(after, expected)
    assert (after != examples()["image"]).any(axis=(1, 2, 3)).sum() == (LABELS != 1).sum()


def test_alone_as_in_a_batch(key):
    alone = jax.jit(by_class(rotations()))
    together = jax.jit(jax.vmap(by_class(rotations())))(jax.random.split(key, 8), examples())["image"]
    for i, one in enumerate(jax.random.split(key, 8)):
        np.testing.assert_array_equal(alone(one, {k: v[i] for k, v in examples().items()})["image"], together[i])


def test_the_same_for_all_classes_is_the_plain_augmentation(key):
    def program(augmentation):
        return jax.jit(lambda *batch: jax.vmap(augmentation)(*batch)).lower(jax.random.split(key, 8), examples())

    assert program(by_class(rotations((5.0, 5.0, 5.0)))).as_text() == program(rotations((5.0,))[0]).as_text()


def test_equal_settings_share_a_branch():
    first, second = paint(1), paint(2)
    branches, branch_of = shared((first, *rotations((5.0, 7.0)), second, *rotations((5.0,)), first))
    assert len(branches) == 4
    assert [branches[i] for i in branch_of[[0, 3, 5]]] == [first, second, first]
    assert [branches[i].keywords["degrees"] for i in branch_of[[1, 2, 4]]] == [5.0, 7.0, 5.0]


def test_a_shared_branch_is_traced_once(key):
    traced = {}
    for kinds in (2, 3):
        calls = []
        several = [paint(level, calls) for level in range(kinds)]
        jax.make_jaxpr(by_class((*several, *several)))(
            key, {"image": np.zeros((1, 1, 1), np.uint8), "label": np.ones(2 * kinds)}
        )
        traced[kinds] = len(calls)
    assert traced[2] * 3 == traced[3] * 2


def test_an_image_without_a_label_is_of_a_random_class():
    n, levels = 600, (1, 2, 3)
    unlabelled = {"image": jnp.zeros((n, 1, 1, 1), jnp.uint8), "label": jnp.zeros((n, CLASSES))}
    augmentation = by_class(tuple(paint(level) for level in levels))
    seen = jax.jit(jax.vmap(augmentation))(jax.random.split(jax.random.key(1), n), unlabelled)["image"]
    counts = [int((seen == level).sum()) for level in levels]
    assert sum(counts) == n
    assert all(abs(count - n / 3) < 5 * np.sqrt(n * 2 / 9) for count in counts)


def test_soft_labels_count_by_their_largest_entry(key):
    one = {"image": jnp.zeros((1, 1, 1), jnp.uint8), "label": jnp.array([0.3, 0.2, 0.5])}
    assert by_class((paint(1), paint(2), paint(3)))(key, one)["image"].item() == 3


@pytest.mark.parametrize(
    ("augmentations", "change", "message"),
    [
        ((), {}, "by_class: no augmentations; want one for each class"),
        (rotations(), {"label": None}, "by_class: the example has no label; labels are known only in training"),
        (rotations((1.0, 2.0)), {}, r"by_class: 2 augmentations, .* labels are float32\[3\]"),
        (rotations(), {"label": jnp.int32(1)}, r"by_class: 3 augmentations, .* labels are int32\[\]"),
        ((paint(1), paint(1), partial(augment.pad, pixels=1)), {}, r"by_class: pad returns .*uint8\[11, 11, 1\]"),
    ],
)
def test_what_cannot_be_is_said(key, augmentations, change, message):
    example = {name: value[0] for name, value in examples().items()} | change
    with pytest.raises(UserError, match=message):
        by_class(augmentations)(key, {name: value for name, value in example.items() if value is not None})


def settings(block):
    return [each.keywords for each in from_block(augment.OPS, block, "here")]


def test_a_tuple_is_one_value_for_each_class():
    block = {"op": "by_class", "of": "rotate", "degrees": ANGLES, "fill": 0.5, "probability": 0.1}
    assert settings(block) == [{"degrees": d, "fill": 0.5, "border": "constant"} for d in ANGLES]


def test_a_setting_that_is_a_tuple_anyway_is_the_same_for_all():
    found = settings({"of": "crop", "size": (4, 5), "padding": (0, 1, 2)})
    assert [(s["size"], s["padding"]) for s in found] == [((4, 5), 0), ((4, 5), 1), ((4, 5), 2)]


def test_an_operation_with_a_probability_of_its_own_has_one_for_each_class():
    assert [s["probability"] for s in settings({"of": "flip", "probability": (0.5, 0.0)})] == [0.5, 0.0]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"degrees": 30.0}, "here: by_class wants tuples of one value for each class, all of one length; found none"),
        ({"degrees": (1.0, 2.0), "fill": (0.0,)}, "here: by_class wants .*; found degrees: 2, fill: 1"),
        ({"degrees": ()}, "here: by_class wants .*; found degrees: 0"),
        ({"degrees": (1.0, "a")}, "here.degrees: expected float, got 'a'"),
        ({"degrees": (1.0, 2.0), "fil": 0.0}, "here.fil: no such key; did you mean 'fill'"),
        ({"degrees": (1.0, 2.0), "of": "rotat"}, "here.of: unknown name 'rotat'; did you mean 'rotate'"),
    ],
)
def test_blocks_that_do_not_fit_are_said(block, message):
    with pytest.raises(UserError, match=message):
        settings({"op": "by_class", "of": "rotate"} | block)


def test_the_class_of_an_unlabelled_image_is_independent_of_what_its_augmentation_draws(key):
    """by_class and with_probability each draw from what they are given: 1/4 each, not 1/2 and nothing."""
    other = with_probability(partial(solarize, threshold=100), 0.5)
    either = by_class((with_probability(invert, 0.5), other))
    image, label = jnp.full((2, 2, 1), 60, jnp.uint8), jnp.zeros(2)
    draws = jax.jit(jax.vmap(lambda k: either(k, {"image": image, "label": label})["image"][0, 0, 0]))
    levels = np.asarray(draws(jax.random.split(key, 800)))
    assert 0.18 < (levels == 195).mean() < 0.32
