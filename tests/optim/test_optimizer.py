import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from efficient_jax.errors import UserError
from efficient_jax.optim import optimizer

ALL = ((".*", 1.0),)
PLAIN = {"name": "sgd", "momentum": 0.0}
SETTINGS = {"steps": 100, "learning_rate": 0.1, "warmup": 0, "weight_decay": 0.0, "clip": 0.0, "rules": ALL}


@pytest.fixture
def params():
    return {
        "body": {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([0.5])},
        "head": {"kernel": jnp.array([[3.0, 4.0]]), "bias": jnp.array([-1.0])},
    }


@pytest.fixture
def net():
    """Four layers."""
    keys = jax.random.split(jax.random.key(0), 5)
    return {
        "stem": {"conv": {"kernel": jax.random.normal(keys[0], (3, 2))}, "norm": {"scale": jnp.ones(2)}},
        "layer1": {
            "0": {"conv": {"kernel": jax.random.normal(keys[1], (2, 2))}, "norm": {"scale": jnp.ones(2)}},
            "1": {"conv": {"kernel": jax.random.normal(keys[2], (2, 2))}, "norm": {"scale": jnp.ones(2)}},
        },
        "norm": {"scale": jnp.ones(2)},
        "head": {"kernel": jax.random.normal(keys[3], (2, 3)), "bias": jax.random.normal(keys[4], (3,))},
    }


LAYERS = ("stem/.*", "layer1/0/.*", "layer1/1/.*", "norm/.*|head/.*")  # from the input to the head


def train(params, grads, updates, **settings):
    """The parameters and the optimizer's state."""
    tx, _ = optimizer.optimizer(params, **(SETTINGS | settings))
    state = tx.init(params)
    step = jax.jit(lambda params, state: optimizer.update(tx, grads, state, params))
    for _ in range(updates):
        params, state = step(params, state)
    return params, state


def run(*args, **settings):
    return train(*args, **settings)[0]


def moved(params, grads, **settings):
    return jax.tree.map(jnp.subtract, run(params, grads, 1, **settings), params)


def test_frozen_parameters_keep_every_bit(params):
    grads = jax.tree.map(jnp.ones_like, params)
    after = run(params, grads, 3, weight_decay=0.1, clip=1.0, rules=(("body/.*", 0.0), *ALL))
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(after["body"][name], params["body"][name])
        assert (after["head"][name] != params["head"][name]).all()


@pytest.mark.parametrize("name", optimizer.ALGORITHMS)
def test_frozen_parameters_take_no_memory(params, name):
    tx, _ = optimizer.optimizer(params, **(SETTINGS | {"algorithm": {"name": name}, "rules": (("body/.*", 0.0), *ALL)}))
    state = jax.tree.leaves_with_path(tx.init(params))
    assert not [path for path, _ in state if "body" in jax.tree_util.keystr(path)]


def test_a_multiplier_scales_the_update(params):
    grads = jax.tree.map(jnp.ones_like, params)
    rules = (("body/.*", 0.125), *ALL)
    slow, plain = (run(params, grads, 1, weight_decay=0.25, rules=rules) for rules in (rules, ALL))
    for name in ("kernel", "bias"):
        moved = slow["body"][name] - params["body"][name]
        full = plain["body"][name] - params["body"][name]
        np.testing.assert_allclose(moved, 0.125 * full, atol=1e-6)
        np.testing.assert_array_equal(slow["head"][name], plain["head"][name])


def test_first_step_is_the_sign_of_the_gradient(params):
    grads = jax.tree.map(lambda p: 7.0 * jnp.sign(p), params)
    after = run(params, grads, 1)
    for new, old in zip(jax.tree.leaves(after), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(new, old - 0.1 * jnp.sign(old), atol=2e-6)


def test_only_kernels_decay(params):
    after = run(params, jax.tree.map(jnp.zeros_like, params), 4, weight_decay=0.2, steps=10)
    rates = [0.05 * (1 + np.cos(np.pi * step / 10)) for step in range(4)]
    for part in ("body", "head"):
        shrunk = params[part]["kernel"] * np.float32(np.prod([1 - 0.2 * rate for rate in rates]))
        np.testing.assert_allclose(after[part]["kernel"], shrunk, rtol=1e-6)
        np.testing.assert_array_equal(after[part]["bias"], params[part]["bias"])


def test_clip_does_not_count_frozen_gradients(params):
    grads = jax.tree.map(lambda p: 1e-8 * jnp.ones_like(p), params)  # near Adam's epsilon, where scale shows
    rules = (("body/.*", 0.0), *ALL)
    huge = grads | {"body": jax.tree.map(lambda p: 1e6 * jnp.ones_like(p), params["body"])}
    quiet, loud = (run(params, g, 1, clip=1.0, rules=rules)["head"] for g in (grads, huge))
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(quiet[name], loud[name])


def test_clip_bounds_the_gradient(params):
    grads = jax.tree.map(jnp.ones_like, params)
    clipped = run(params, grads, 1, clip=1e-8)
    norm = np.sqrt(sum(leaf.size for leaf in jax.tree.leaves(params)))
    g = 1e-8 / norm  # each entry of the clipped gradient
    np.testing.assert_allclose(clipped["head"]["bias"], -1.0 - 0.1 * g / (g + 1e-8), rtol=1e-5)


def test_the_table_counts_what_each_rule_claims(params):
    settings = SETTINGS | {"weight_decay": 0.1, "rules": (("body/.*", 0.0), (".*/bias", 2.0), *ALL)}
    _, table = optimizer.optimizer(params, **settings)
    assert table == [
        ("body/.*", -1, 0.0, 2, 3, 0, 0.0),
        (".*/bias", -1, 2.0, 1, 1, 0, 0.0),
        (".*", -1, 1.0, 1, 2, 2, 0.1),
    ]


def test_shapes_are_enough_to_plan(params):
    shapes = jax.eval_shape(lambda: params)
    assert optimizer.optimizer(shapes, **SETTINGS)[1] == optimizer.optimizer(params, **SETTINGS)[1]


@pytest.mark.parametrize("name", optimizer.ALGORITHMS)
def test_the_rate_falls_from_the_head_to_the_stem(net, name):
    grads = jax.tree.map(lambda p: 0.3 * p + 0.2, net)
    settings = {"algorithm": {"name": name}, "weight_decay": 0.1}
    full, decayed = moved(net, grads, **settings), moved(net, grads, **settings, layer_decay=0.5, layers=LAYERS)
    expected = {  # 0.5 to the power of the distance from the head
        "stem": jax.tree.map(lambda u: 0.125 * u, full["stem"]),
        "layer1": {
            "0": jax.tree.map(lambda u: 0.25 * u, full["layer1"]["0"]),
            "1": jax.tree.map(lambda u: 0.5 * u, full["layer1"]["1"]),
        },
        "norm": full["norm"],
        "head": full["head"],
    }
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-7), decayed, expected)


def test_layer_decay_table(net):
    rules = (("stem/.*", 0.0), ("head/.*", 10.0), *ALL)
    settings = SETTINGS | {"weight_decay": 0.1, "rules": rules, "layer_decay": 0.75, "layers": LAYERS}
    _, table = optimizer.optimizer(net, **settings)
    assert table == [
        ("stem/.*", 0, 0.0, 2, 8, 0, 0.0),
        ("head/.*", 3, 10.0, 2, 9, 6, 0.1),
        (".*", 1, 0.5625, 2, 6, 4, 0.1),
        (".*", 2, 0.75, 2, 6, 4, 0.1),
        (".*", 3, 1.0, 1, 2, 0, 0.0),
    ]


def test_the_table_as_text(net):
    settings = SETTINGS | {"weight_decay": 0.1, "layer_decay": 0.75, "layers": LAYERS}
    _, table = optimizer.optimizer(net, **(settings | {"rules": (("stem/.*", 0.0), *ALL)}))
    assert optimizer.table_lines(table) == [
        "learning rate  tensors  parameters  weight decay  layers  rules",
        "       frozen        2           8          none       0  stem/.*",
        "     x 0.5625        2           6      0.1 on 4       1  .*",
        "       x 0.75        2           6      0.1 on 4       2  .*",
        "          x 1        3          11      0.1 on 6       3  .*",
    ]


def test_the_table_as_text_has_a_line_for_each_multiplier(net):
    rules = (("stem/.*", 0.5), ("head/.*", 0.5), *ALL)
    _, table = optimizer.optimizer(net, **(SETTINGS | {"weight_decay": 0.1, "rules": rules}))
    assert optimizer.table_lines(table) == [
        "learning rate  tensors  parameters  weight decay  layers  rules",
        "        x 0.5        4          17     0.1 on 12     all  stem/.*, head/.*",
        "          x 1        5          14      0.1 on 8     all  .*",
    ]


def test_rule_and_layer_multiply(net):
    grads = jax.tree.map(jnp.ones_like, net)
    rules = (("layer1/0/.*", 0.4), *ALL)
    both = moved(net, grads, rules=rules, layer_decay=0.5, layers=LAYERS)["layer1"]["0"]
    one = moved(net, grads)["layer1"]["0"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, 0.4 * 0.25 * b, atol=2e-7), both, one)


@pytest.mark.parametrize("name", optimizer.ALGORITHMS)
def test_layer_decay_of_1_is_plain_training_bit_for_bit(net, name):
    grads = jax.tree.map(lambda p: 0.3 * p + 0.2, net)
    settings = {"algorithm": {"name": name}, "weight_decay": 0.1, "clip": 1.0, "warmup": 2}
    plain, same = (run(net, grads, 4, **settings, **d) for d in ({}, {"layer_decay": 1.0, "layers": LAYERS}))
    jax.tree.map(np.testing.assert_array_equal, plain, same)


@pytest.mark.parametrize("name", optimizer.ALGORITHMS)
def test_layer_decay_does_not_thaw(net, name):
    grads = jax.tree.map(lambda p: 100.0 * jnp.ones_like(p), net)
    settings = {
        "algorithm": {"name": name},
        "weight_decay": 0.1,
        "clip": 1.0,
        "rules": (("stem/.*|layer1/0/.*", 0.0), *ALL),
    }
    after = run(net, grads, 3, **settings, layer_decay=0.5, layers=LAYERS)
    jax.tree.map(np.testing.assert_array_equal, after["stem"], net["stem"])
    jax.tree.map(np.testing.assert_array_equal, after["layer1"]["0"], net["layer1"]["0"])
    assert (after["layer1"]["1"]["conv"]["kernel"] != net["layer1"]["1"]["conv"]["kernel"]).all()


def test_moments_do_not_depend_on_the_grouping(net):
    grads = jax.tree.map(lambda p: 0.3 * p + 0.2, net)

    def moments(**settings):
        _, state = train(net, grads, 3, **settings)
        return {
            (moment, jax.tree_util.keystr(path)): leaf
            for moment in ("mu", "nu")
            for _, group in optax.tree.get_all_with_path(state, moment)
            for path, leaf in jax.tree.leaves_with_path(group)
        }

    one, many = moments(), moments(layer_decay=0.5, layers=LAYERS)
    assert len(one) == 2 * len(jax.tree.leaves(net))
    jax.tree.map(np.testing.assert_array_equal, one, many)


def test_rmsprop_is_tensorflows():
    tx, _ = optimizer.optimizer(
        {"bias": jnp.zeros(2)},
        **(SETTINGS | {"algorithm": {"name": "rmsprop"}, "learning_rate": 0.1, "schedule": {"name": "constant"}}),
    )
    params = {"bias": jnp.array([1.0, -2.0])}
    state = tx.init(params)
    by_hand, square, velocity = np.array([1.0, -2.0]), np.ones(2), np.zeros(2)
    for i in range(3):
        gradient = (i + 1) * np.array([0.5, -1.5])
        square = 0.9 * square + 0.1 * gradient**2
        velocity = 0.9 * velocity + 0.1 * gradient / np.sqrt(square + 1e-3)
        by_hand = by_hand - velocity
        params, state = optimizer.update(tx, {"bias": jnp.asarray(gradient, jnp.float32)}, state, params)
        np.testing.assert_allclose(params["bias"], by_hand, rtol=1e-5)


def test_sgd_is_torchs():
    """torch.optim.SGD([p], lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.2)"""
    tx, _ = optimizer.optimizer(
        {"kernel": jnp.zeros(2)},
        **(SETTINGS | {"algorithm": {"name": "sgd"}, "weight_decay": 0.2, "schedule": {"name": "constant"}}),
    )
    params = {"kernel": jnp.array([1.0, -2.0])}
    state = tx.init(params)
    for i, expected in enumerate([[0.867, -1.639], [0.587354, -0.852818], [0.133959148, 0.442650884]]):
        params, state = optimizer.update(tx, {"kernel": (i + 1) * jnp.array([0.5, -1.5])}, state, params)
        np.testing.assert_allclose(params["kernel"], expected, rtol=1e-6)


def test_momentum_is_set(params):
    grads = jax.tree.map(jnp.ones_like, params)
    after = run(params, grads, 2, algorithm=PLAIN, schedule={"name": "constant"})
    np.testing.assert_allclose(after["head"]["bias"], -1.2, rtol=1e-6)


def test_the_schedule_is_followed(params):
    grads = jax.tree.map(jnp.ones_like, params)
    schedule = {"name": "step", "boundaries": (1,), "factor": 0.5}
    after = run(params, grads, 2, algorithm=PLAIN, schedule=schedule)
    np.testing.assert_allclose(after["head"]["bias"], -1.0 - 0.1 - 0.05, rtol=1e-6)
    rate = optimizer.schedule(learning_rate=0.1, steps=100, schedule=schedule)
    np.testing.assert_allclose([rate(0), rate(1)], [0.1, 0.05], rtol=1e-6)


def test_frozen_names_what_a_rule_of_0_claims(params):
    assert optimizer.frozen(params, (("body/kernel", 0.0), (".*", 0.1))) == {
        "body": {"kernel": True, "bias": False},
        "head": {"kernel": False, "bias": False},
    }


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ((("body/.*", 1.0),), r"no rule matches head/bias, head/kernel; .*'body/\.\*' x 1\.0 claims 2 tensors"),
        ((("head", 1.0), *ALL), r"the rule 'head' claims no parameter"),
        ((*ALL, ("head/.*", 0.1)), r"the rule 'head/\.\*' claims no parameter"),
        ((("(", 1.0), *ALL), r"'\(' is not a regular expression"),
        (((".*", -1.0),), r"the rule '\.\*' has the multiplier -1\.0, below 0\.0"),
        ((".*", *ALL), r"'\.\*' is not a pair"),
    ],
)
def test_rules_must_fit_the_parameters(params, rules, message):
    with pytest.raises(UserError, match=message):
        optimizer.optimizer(params, **(SETTINGS | {"rules": rules}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": {"name": "adam"}}, "optim.algorithm.name: unknown name 'adam'; did you mean 'adamw'?"),
        ({"algorithm": {"name": "adamw", "momentum": 0.9}}, "optim.algorithm.momentum: no such key; there is: b2"),
        ({"algorithm": {"name": "sgd", "b2": 0.9}}, "optim.algorithm.b2: no such key; there is: momentum"),
        ({"layer_decay": 0.0}, r"optim.layer_decay: 0.0 is not in 0.0 .. 1.0 \(0.0 excluded\)"),
        ({"layer_decay": 1.1}, "optim.layer_decay: 1.1 is not"),
        ({"layer_decay": 0.5, "layers": ()}, "optim.layer_decay: 0.5 needs a model that lists its layers"),
        ({"layers": LAYERS[1:]}, r"exactly one must match stem/conv/kernel, stem/norm/scale, but these do: none \("),
        ({"layers": (".*/0/.*", *LAYERS)}, r"must match layer1/0/conv/kernel.*: '\.\*/0/\.\*', 'layer1/0/\.\*' \("),
        ({"layers": (*LAYERS, "neck/.*")}, r"'neck/\.\*' matches no path \('stem/\.\*' claims 2 tensors; "),
        ({"layers": ("(",)}, r"layers of the model: '\(' is not a regular expression"),
        ({"rules": (("none", 1.0),)}, "no rule matches .*layer1/1/conv/kernel and 4 more; add one"),
    ],
)
def test_layers_must_fit_the_parameters(net, settings, message):
    with pytest.raises(UserError, match=message):
        optimizer.optimizer(net, **(SETTINGS | {"layer_decay": 0.5, "layers": LAYERS} | settings))
