from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import augment
from efficient_jax.augment.geometry import affine, random_matrices
from efficient_jax.errors import UserError

RNG = np.random.default_rng(0)
N = 64
BATCH = {
    "image": jnp.asarray(RNG.integers(0, 256, (N, 6, 6, 3), dtype=np.uint8)),
    "label": jax.nn.one_hot(jnp.arange(N), N),
}
MIRRORED = BATCH["image"][:, :, ::-1]
ALWAYS = {"probability": 1.0}


def run(key, ops, classes=N, **blocks):
    """Of the batch, whose images are of the first `classes` classes, one after the other."""
    label = jax.nn.one_hot(jnp.arange(N) % classes, classes)
    return jax.jit(augment.build(ops, blocks))(jax.random.split(key, N), BATCH | {"label": label})


def same(a, b):
    return np.asarray((a == b).all((1, 2, 3)))


def test_a_probability_applies_to_some_images(key):
    out = run(key, ("brighter",), brighter={"op": "brightness", "strength": 0.9, "probability": 0.25})["image"]
    assert 0.08 < 1 - same(out, BATCH["image"]).mean() < 0.45


def test_a_probability_leaves_some_pairs_unmixed(key):
    out = run(key, ("cutmix",), cutmix={"alpha": 1.0, "probability": 0.5})
    unmixed = np.asarray((out["label"] == BATCH["label"]).all(1))
    np.testing.assert_array_equal(same(out["image"], BATCH["image"])[unmixed], True)
    assert 0.3 < unmixed.mean() < 0.8
    as_float = run(key, ("mixup",), mixup={"alpha": 1.0, "probability": 0.0})["image"]
    np.testing.assert_allclose(as_float, augment.to_float(BATCH["image"]))


def test_a_name_of_its_own_lets_an_operation_come_twice(key):
    blocks = {"there": {"op": "flip", **ALWAYS}, "back": {"op": "flip", **ALWAYS}}
    np.testing.assert_array_equal(run(key, ("there", "back"), **blocks)["image"], BATCH["image"])
    np.testing.assert_array_equal(run(key, ("there",), **blocks)["image"], MIRRORED)


def test_one_of_applies_one_of_its_operations(key):
    blocks = {"one_of": {"ops": ("flip", "flip_vertical")}, "flip": ALWAYS, "flip_vertical": ALWAYS}
    out = run(key, ("one_of",), **blocks)["image"]
    across, down = same(out, MIRRORED), same(out, BATCH["image"][:, ::-1])
    assert (across ^ down).all()
    assert 0.3 < across.mean() < 0.7


def test_choices_nest(key):
    blocks = {
        "some_of": {"ops": ("one_of", "flip"), "n_min": 2, "n_max": 2},
        "one_of": {"ops": ("flip_vertical",)},
        "flip": ALWAYS,
        "flip_vertical": ALWAYS,
    }
    np.testing.assert_array_equal(run(key, ("some_of",), **blocks)["image"], BATCH["image"][:, ::-1, ::-1])


@pytest.mark.parametrize(
    "choose", [augment.one_of, augment.sequence, lambda ops: augment.some_of(ops, n_min=1, n_max=1)]
)
def test_names_where_functions_belong_are_refused(choose):
    with pytest.raises(UserError, match=r"want a tuple of functions .* got 'rotat'"):
        choose((augment.flip, "rotat"))


def test_a_sequence_is_one_of_several(key):
    """Either both flips, or none of them; and a chain inside it resamples once."""
    blocks = {
        "one_of": {"ops": ("both", "invert")},
        "both": {"op": "sequence", "ops": ("flip", "flip_vertical")},
        "flip": ALWAYS,
        "flip_vertical": ALWAYS,
    }
    out = run(key, ("one_of",), **blocks)["image"]
    both, inverted = same(out, BATCH["image"][:, ::-1, ::-1]), same(out, 255 - BATCH["image"])
    assert (both ^ inverted).all()
    assert 0.3 < both.mean() < 0.7
    turns = {"there": {"op": "rotate", "degrees": (40.0, 40.0)}, "back": {"op": "rotate", "degrees": (-40.0, -40.0)}}
    again = run(key, ("whole",), whole={"op": "sequence", "ops": ("there", "back")}, **turns)["image"]
    assert np.abs(np.asarray(again, int) - np.asarray(BATCH["image"], int)).max() <= 1
    assert augment.operations({"ops": ("one_of",)} | blocks) == {
        "one_of",
        "sequence",
        "flip",
        "flip_vertical",
        "invert",
    }


def test_a_document_with_its_own_phases(key):
    """The blocks name what each phase does; the result is that of the function with the same operations."""
    blocks = {
        "document": {"ink": ("thin", "flip"), "paper": ("tint",), "post": ("fade",), "overlay": "min", "opacity": 0.9},
        "thin": {"op": "fading", "strength": 0.5},
        "flip": ALWAYS,
        "tint": {"op": "paper_tint", "lightness": 0.6},
        "fade": {"op": "brightness", "strength": 0.8, "probability": 0.5},
    }
    out = run(key, ("document",), **blocks)
    phases = {
        "ink": (partial(augment.fading, strength=0.5), partial(augment.flip, probability=1.0)),
        "paper": (partial(augment.paper_tint, lightness=0.6),),
        "post": (augment.with_probability(partial(augment.brightness, strength=0.8), 0.5),),
    }
    page = jax.vmap(lambda k, example: augment.document(k, example, **phases, overlay="min", opacity=0.9))
    keys = jax.vmap(lambda k: jax.random.fold_in(k, 0))(jax.random.split(key, N))
    np.testing.assert_array_equal(out["image"], jax.jit(page)(keys, BATCH)["image"])
    assert not same(out["image"], BATCH["image"]).any()
    np.testing.assert_array_equal(run(key, ("document",), document={})["image"], BATCH["image"])
    named = augment.operations({"ops": ("document",)} | blocks)
    assert named == {"document", "fading", "flip", "paper_tint", "brightness"}


def test_a_range_for_each_class(key):
    degrees = tuple((90.0 * turns, 90.0 * turns) for turns in range(3))
    out = run(key, ("turned",), classes=3, turned={"op": "by_class", "of": "rotate", "degrees": degrees})["image"]
    for turns in range(3):
        np.testing.assert_array_equal(out[turns::3], np.rot90(BATCH["image"], turns, axes=(1, 2))[turns::3])


def test_a_strength_for_each_class(key):
    degrees = (0.0, 90.0)
    out = run(key, ("turned",), classes=2, turned={"op": "by_class", "of": "rotate", "degrees": degrees})["image"]
    unchanged = same(out, BATCH["image"])
    assert unchanged[::2].all()
    assert not unchanged[1::2].any()


def test_a_probability_for_each_class(key):
    some = {"op": "by_class", "of": "flip", "probability": (0.0, 1.0)}
    out = run(key, ("some",), classes=2, some=some)["image"]
    np.testing.assert_array_equal(out[::2], BATCH["image"][::2])
    np.testing.assert_array_equal(out[1::2], MIRRORED[1::2])


def test_what_is_not_one_image_is_refused(key):
    flip = augment.build(("flip",), {})
    keys = jax.random.split(key, N)
    with pytest.raises(UserError, match=r"\[b h w c\], not \[64, 6, 6\]"):
        flip(keys, {"image": BATCH["image"][..., 0]})
    with pytest.raises(UserError, match="not int32"):
        flip(keys, {"image": BATCH["image"].astype(jnp.int32)})
    with pytest.raises(UserError, match="has label"):
        flip(keys, {"label": BATCH["label"]})


@pytest.mark.parametrize("name", ["rotate", "pad", "cutout", "channel_drop", "gridmask", "randaugment", "elastic"])
@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float32])
def test_a_fill_of_255_levels_is_refused(key, name, dtype):
    needed = {"pad": {"pixels": 1}, "cutout": {"size": 2}}.get(name, {})
    with pytest.raises(UserError, match=r"fill 128 is not in 0\.\.1"):
        augment.OPS[name](key, {"image": jnp.ones((6, 6, 3), dtype)}, fill=128, **needed)


def test_neighbouring_matrices_are_resampled_once(key):
    """A large turn and the same back: exact as one change, blurred as two."""
    blocks = {name: {"op": "scale", "scale": 0.0} for name in ("first", "second")} | {"rotate": {"degrees": 30.0}}
    chained = run(key, ("first", "rotate", "second"), **blocks)["image"]
    lowered = jax.jit(augment.build(("first", "rotate", "second"), blocks)).lower(jax.random.split(key, N), BATCH)
    alone = jax.jit(augment.build(("rotate",), blocks)).lower(jax.random.split(key, N), BATCH)
    assert lowered.as_text().count("gather") == alone.as_text().count("gather") > 0
    keys = [jax.random.fold_in(jax.random.fold_in(k, 0), 1) for k in jax.random.split(key, N)]
    matrices = [random_matrices.random_rotation(k, (6, 6), degrees=30.0) for k in keys[:4]]
    expected = [affine.transform({"image": BATCH["image"][i]}, m)["image"] for i, m in enumerate(matrices)]
    np.testing.assert_array_equal(chained[:4], np.stack(expected))


def test_matrices_with_other_fills_stay_apart(key):
    blocks = {"rotate": {"degrees": 30.0, "fill": 1.0}, "shear": {"x": 0.1}}
    lowered = jax.jit(augment.build(("rotate", "shear"), blocks)).lower(jax.random.split(key, N), BATCH)
    alone = jax.jit(augment.build(("rotate",), blocks)).lower(jax.random.split(key, N), BATCH)
    assert lowered.as_text().count("gather") > alone.as_text().count("gather")


@pytest.mark.parametrize(
    ("ops", "blocks", "message"),
    [
        (("flp",), {}, "augment.ops: unknown name 'flp'; did you mean 'flip'"),
        (("mine",), {"mine": {"op": "flp"}}, "augment.mine.op: unknown name 'flp'; did you mean 'flip'"),
        (("flip",), {"flip": {"probabilty": 0.5}}, "augment.flip.probabilty: no such key; did you mean 'probability'"),
        (("rotate",), {"rotate": {"probability": 2.0}}, r"augment.rotate.probability: 2.0 is not in 0\.\.1"),
        (("flip",), {"flip": 0.5}, "augment.flip: expected a block of settings"),
        (("one_of",), {"one_of": {}}, "augment.one_of.ops: want the names of other operations"),
        (("one_of",), {"one_of": {"ops": ("one_of",)}}, "augment.one_of.ops: want the names of other operations"),
        (("one_of",), {}, "augment.one_of.ops: want the names of other operations"),
        (
            ("one_of",),
            {"one_of": {"ops": ("rotat", "flip")}},
            "augment.one_of.ops: unknown name 'rotat'; did you mean 'rotate'",
        ),
        (
            ("mine",),
            {"mine": {"op": "one_of", "ops": ("some_of",)}, "some_of": {"ops": ("flp",), "n_min": 0, "n_max": 1}},
            "augment.some_of.ops: unknown name 'flp'; did you mean 'flip'",
        ),
        (("one_of",), {"one_of": {"ops": ("flip", 3)}}, r"augment.one_of.ops: want names of operations, got 3 \(int\)"),
        (("one_of",), {"one_of": {"ops": ({"op": "flip"},)}}, "augment.one_of.ops: want names of operations, got {"),
        ((("flip",),), {}, "augment.ops: want names of operations, got "),
        (
            ("sequence",),
            {"sequence": {"ops": ("flp",)}},
            "augment.sequence.ops: unknown name 'flp'; did you mean 'flip'",
        ),
        (
            ("document",),
            {"document": {"post": ("jpg",)}},
            "augment.document.post: unknown name 'jpg'; did you mean 'jpeg'",
        ),
        (("document",), {"document": {"papr": ("jpeg",)}}, "augment.document.papr: no such key"),
        (("document",), {"document": {"ink": "jpeg"}}, "augment.document.ink: want the names of other operations"),
        (
            ("document",),
            {"document": {"ink": ("mixup",)}, "mixup": {"alpha": 1.0}},
            "augment.document.ink: 'mixup' mixes",
        ),
        (("x",), {"x": {"op": "by_class", "of": "rotat", "degrees": (1.0, 2.0)}}, "augment.x.of: .* mean 'rotate'"),
        (("rotate",), {"rotate": {"degrees": "30"}}, "augment.rotate.degrees: expected float, got '30'"),
        (("one_of",), {"one_of": {"ops": ("cutmix",)}, "cutmix": {"alpha": 1.0}}, "'cutmix' mixes a whole batch"),
        ((), {"flip": {"strength": 1.0}}, "augment.flip.strength: no such key"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(ops, blocks, message):
    with pytest.raises(UserError, match=message):
        augment.build(ops, blocks)


def test_a_policy_applies_what_it_may_choose():
    assert "rotate" in augment.operations({"ops": ("randaugment",)})
    assert "rotate" not in augment.operations({"ops": ("randaugment",), "randaugment": {"ops": ("color",)}})


def test_operations_hide_behind_names():
    blocks = {
        "first": {"op": "one_of", "ops": ("one_of",)},
        "one_of": {"ops": ("turn", "first")},
        "turn": {"op": "by_class", "of": "rotate", "degrees": (30.0, 0.0)},
    }
    assert augment.operations({"ops": ("first",)} | blocks) == {"one_of", "by_class", "rotate"}
