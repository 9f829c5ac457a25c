"""AdamW, RMSProp or SGD with a learning rate per parameter.

Ordered rules freeze, slow down or speed up layers; layer decay lowers the learning rate from the head to the input.
"""

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

import jax
import optax

from efficient_jax.errors import UserError, few
from efficient_jax.optim import schedules
from efficient_jax.settings import Settings, bind_named
from efficient_jax.types import Tree


class Row(NamedTuple):
    """The parameters that one rule claims in one layer."""

    rule: str  # its regular expression
    layer: int  # counted from the input; -1: all layers, which have one learning rate
    multiplier: float  # of the learning rate: that of the rule times that of the layer
    tensors: int
    parameters: int  # numbers in these tensors
    decayed: int  # those with weight decay
    weight_decay: float  # of those with weight decay; 0.0 if there are none


schedule = schedules.schedule
ADAMW = {"name": "adamw"}


def optimizer(
    params: Tree,
    steps: int,
    layers: tuple[str, ...] = (),
    *,
    learning_rate: float,
    warmup: int = 0,
    weight_decay: float,
    clip: float,
    rules: tuple[tuple[str, float], ...],
    algorithm: Settings = ADAMW,
    schedule: Settings = schedules.COSINE,
    layer_decay: float = 1.0,
) -> tuple[optax.GradientTransformation, list[Row]]:
    """Returns the optimizer of a stage, and a table of the parameters that each rule claims.

    The multiplier scales the update, not the gradient, which Adam would normalise again. Weight decay is part of the
    update, so that it follows the multiplied learning rate (as in timm). Only leaves named `kernel` decay.

    Args:
        params: parameters of the model, or their shapes.
        steps: steps of training, the warm-up included.
        learning_rate: the highest learning rate, before multipliers.
        warmup: steps over which the learning rate rises from 0.
        weight_decay: coefficient, 0.0 or more; its meaning is the algorithm's.
        clip: largest global norm of the gradients that are not frozen; 0.0 does not clip.
        rules: (regular expression, learning-rate multiplier) in order. The first rule that matches the whole path of a
            parameter, such as "stage1/conv/kernel", sets its multiplier, 0.0 or more: (r"stage[12]/.*", 0.1) slows two
            stages down, 0.0 freezes.
        algorithm: block with the `name` of a function in `ALGORITHMS` and its settings: {"name": "sgd",
            "momentum": 0.8}.
        schedule: block with the `name` of a function in `schedules.SCHEDULES` and its settings.
        layer_decay: d in 0..1 (0 excluded). The multiplier of layer l of L is also multiplied by d ** (L - 1 - l), and
            the head keeps its own (arXiv 1801.06146); 1.0 has no effect.
        layers: regular expressions of parameter paths, one per layer from the input to the head, from the model. They
            are needed for a `layer_decay` below 1.0.

    Returns: (optimizer, one row for each rule and layer).

    Raises: UserError for a parameter without a rule, a rule without a parameter, a parameter that is not in exactly
        one layer, and settings that are unknown or outside their range.
    """
    name, settings = bind_named(ALGORITHMS, algorithm, "optim.algorithm")
    multipliers, table = _multipliers(params, rules, layers, layer_decay, weight_decay)
    rate = schedules.schedule(learning_rate=learning_rate, steps=steps, warmup=warmup, schedule=schedule)
    labels = jax.tree.map(str, multipliers)  # strings, since they become keys in the checkpoint

    def group(multiplier: float) -> optax.GradientTransformation:
        if multiplier == 0.0:
            return optax.set_to_zero()
        return ALGORITHMS[name](lambda step: multiplier * rate(step), weight_decay, **settings)

    return optax.chain(
        # Frozen twice: here, since the clip would count frozen gradients; in `group`, since AdamW would decay kernels.
        optax.masked(optax.set_to_zero(), jax.tree.map(lambda multiplier: multiplier == 0.0, multipliers)),
        optax.clip_by_global_norm(clip) if clip > 0.0 else optax.identity(),
        optax.multi_transform({label: group(float(label)) for label in sorted(set(jax.tree.leaves(labels)))}, labels),
    ), table


def adamw(rate: optax.Schedule, weight_decay: float, *, b2: float = 0.999) -> optax.GradientTransformation:
    """Returns AdamW (arXiv 1711.05101). Weight decay is decoupled: kernels shrink by learning rate x weight decay.

    Args:
        rate: learning rate as a function of the step.
        weight_decay: coefficient, 0.0 or more, of kernels only.
        b2: decay of the mean of squared gradients, in 0..1.

    Returns: a gradient transformation.
    """
    return optax.adamw(rate, b2=b2, weight_decay=weight_decay, mask=_is_kernel)


def rmsprop(
    rate: optax.Schedule, weight_decay: float, *, decay: float = 0.9, momentum: float = 0.9, eps: float = 1e-3
) -> optax.GradientTransformation:
    """Returns RMSProp as in TensorFlow, which trained EfficientNet (arXiv 1905.11946).

    `eps` is inside the root, the mean square starts at 1, and momentum is applied after the learning rate.

    Args:
        rate: learning rate as a function of the step.
        weight_decay: as for `sgd`.
        decay: decay of the mean of squared gradients, in 0..1.
        momentum: in 0..1.
        eps: added to the mean of squared gradients.

    Returns: a gradient transformation.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=_is_kernel),
        optax.rmsprop(rate, decay, eps, initial_scale=1.0, eps_in_sqrt=True, momentum=momentum),
    )


def sgd(rate: optax.Schedule, weight_decay: float, *, momentum: float = 0.9) -> optax.GradientTransformation:
    """Returns SGD with Nesterov momentum.

    Weight decay is added to the gradient before the momentum, as in torch and timm. The usual values (1e-4, 5e-4)
    belong to this form; big_vision's is decoupled.

    Args:
        rate: learning rate as a function of the step.
        weight_decay: coefficient, 0.0 or more, of kernels only.
        momentum: in 0..1.

    Returns: a gradient transformation.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=_is_kernel), optax.sgd(rate, momentum=momentum, nesterov=True)
    )


ALGORITHMS: dict[str, Callable[..., optax.GradientTransformation]] = {"adamw": adamw, "rmsprop": rmsprop, "sgd": sgd}


def update(
    tx: optax.GradientTransformation, grads: Tree, opt_state: optax.OptState, params: Tree
) -> tuple[Tree, optax.OptState]:
    """Returns the parameters and the optimizer state after one step.

    Args:
        tx: the optimizer.
        grads: gradients, a tree like `params`.
        opt_state: state of the optimizer before the step.
        params: parameters before the step.

    Returns: (parameters, optimizer state).
    """
    with jax.numpy_dtype_promotion("standard"):  # optax mixes its step counter with float32
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state


def frozen(params: Tree, rules: tuple[tuple[str, float], ...]) -> Tree:
    """Returns which parameters `rules` freeze.

    The caller stops the gradients of these parameters and keeps the batch statistics of their layers.

    Args:
        params: parameters of the model, or their shapes.
        rules: as for `optimizer`.

    Returns: a tree like `params` of bools.

    Raises: UserError, as `optimizer`.
    """
    multipliers, _ = _multipliers(params, rules, (), 1.0, 0.0)
    return jax.tree.map(lambda multiplier: multiplier == 0.0, multipliers)


def table_lines(table: Iterable[Row]) -> list[str]:
    """Returns which parameters have which learning rate, as aligned lines of text, the heading first.

    Args:
        table: the rows that `optimizer` returns.

    Returns: one line per distinct multiplier of the learning rate, after the heading.
    """
    rows_of: dict[float, list[Row]] = {}
    for row in table:
        rows_of.setdefault(row.multiplier, []).append(row)
    cells = [("learning rate", "tensors", "parameters", "weight decay", "layers", "rules")]
    for multiplier, rows in sorted(rows_of.items()):
        decayed, decay = sum(row.decayed for row in rows), max(row.weight_decay for row in rows)
        layers = sorted({row.layer for row in rows})
        cells.append(
            (
                f"x {multiplier:.4g}" if multiplier else "frozen",
                f"{sum(row.tensors for row in rows):,}",
                f"{sum(row.parameters for row in rows):,}",
                f"{decay:g} on {decayed:,}" if decayed else "none",
                "all" if layers[0] < 0 else str(layers[0]) if len(layers) == 1 else f"{layers[0]}-{layers[-1]}",
                ", ".join(dict.fromkeys(row.rule for row in rows)),
            )
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join([*map(str.rjust, line[:-1], widths), line[-1]]) for line in cells]


def _path(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_kernel(params: Tree) -> Tree:
    return jax.tree.map_with_path(lambda path, _: _path(path).split("/")[-1] == "kernel", params)


def _multipliers(
    params: Tree, rules: tuple[tuple[str, float], ...], layers: tuple[str, ...], layer_decay: float, weight_decay: float
) -> tuple[Tree, list[Row]]:
    """Returns the learning-rate multiplier of each parameter, and the table of rules and layers."""
    for pair in rules:
        match pair:
            case (str(), float() | int()):
                continue
        raise UserError(f"optim.rules: {pair!r} is not a pair of a regular expression and a multiplier")
    if not 0.0 < layer_decay <= 1.0:
        raise UserError(f"optim.layer_decay: {layer_decay} is not in 0.0 .. 1.0 (0.0 excluded); 1.0 has no effect")
    if layer_decay < 1.0 and not layers:
        raise UserError(
            f"optim.layer_decay: {layer_decay} needs a model that lists its layers, which this one does not; use 1.0"
        )
    leaves, structure = jax.tree.flatten_with_path(params)
    sizes = {_path(path): leaf.size for path, leaf in leaves}
    rule_of = _claim_by_rules(sizes, rules)
    layer_of = _claim_by_layers(sizes, layers) if layers and layer_decay < 1.0 else dict.fromkeys(sizes, -1)

    def multiplier(rule: int, layer: int) -> float:
        return float(rules[rule][1]) * (layer_decay ** (len(layers) - 1 - layer) if layer >= 0 else 1.0)

    table = []
    for rule, layer in sorted({(rule_of[name], layer_of[name]) for name in sizes}):
        claimed = [name for name in sizes if (rule_of[name], layer_of[name]) == (rule, layer)]
        scale = multiplier(rule, layer)
        kernels = [name for name in claimed if name.split("/")[-1] == "kernel"]
        decayed = sum(sizes[name] for name in kernels) if scale * weight_decay else 0
        parameters = sum(sizes[name] for name in claimed)
        table.append(
            Row(rules[rule][0], layer, scale, len(claimed), parameters, decayed, weight_decay if decayed else 0.0)
        )
    return jax.tree.unflatten(structure, [multiplier(rule_of[name], layer_of[name]) for name in sizes]), table


def _claim_by_rules(names: Collection[str], rules: tuple[tuple[str, float], ...]) -> dict[str, int]:
    """Returns the index of the first rule that matches each parameter; UserError unless each rule claims some."""
    matches = _matches(names, [rule for rule, _ in rules], "optim.rules")
    claimed = {name: indices[0] for name, indices in matches.items() if indices}
    counts = [list(claimed.values()).count(i) for i in range(len(rules))]
    shown = "; ".join(f"{rule!r} x {rate} claims {n} tensors" for (rule, rate), n in zip(rules, counts, strict=True))
    if unclaimed := [name for name in names if name not in claimed]:
        raise UserError(
            f"optim.rules: no rule matches {few(unclaimed)}; add one, such as ('.*', 1.0) at the end ({shown})"
        )
    for (rule, rate), count in zip(rules, counts, strict=True):
        if not count:
            raise UserError(
                f"optim.rules: the rule {rule!r} claims no parameter: it matches none, or earlier rules claim them; "
                f"remove or move it ({shown})"
            )
        if rate < 0.0:
            raise UserError(f"optim.rules: the rule {rule!r} has the multiplier {rate}, below 0.0 ({shown})")
    return claimed


def _claim_by_layers(names: Collection[str], layers: tuple[str, ...]) -> dict[str, int]:
    """Returns the index of the layer of each parameter; UserError unless each is in one and no layer is empty."""
    matches = _matches(names, layers, "layers of the model")
    counts = [sum(i in indices for indices in matches.values()) for i in range(len(layers))]
    shown = "; ".join(f"{layer!r} claims {n} tensors" for layer, n in zip(layers, counts, strict=True))
    if wrong := [name for name, indices in matches.items() if len(indices) != 1]:
        which = ", ".join(repr(layers[i]) for i in matches[wrong[0]]) or "none"
        raise UserError(f"layers of the model: exactly one must match {few(wrong)}, but these do: {which} ({shown})")
    if 0 in counts:
        raise UserError(f"layers of the model: {layers[counts.index(0)]!r} matches no path ({shown})")
    return {name: indices[0] for name, indices in matches.items()}


def _matches(names: Iterable[str], patterns: Iterable[str], where: str) -> dict[str, list[int]]:
    """Returns for each name the indices of the regular expressions that match all of it."""
    try:
        compiled = [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise UserError(f"{where}: {error.pattern!r} is not a regular expression: {error}") from error
    return {name: [i for i, pattern in enumerate(compiled) if pattern.fullmatch(name)] for name in names}
