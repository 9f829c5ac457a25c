"""AdamW or SGD with a learning rate per parameter: frozen, slow and fast layers by ordered rules, and a rate that
falls from the head to the input."""

import re
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

import jax
import optax

from efficient_jax.optim import schedules
from efficient_jax.settings import bind_named
from efficient_jax.types import Tree, UserError


class Row(NamedTuple):
    """What one rule claims, in one layer."""

    rule: str
    layer: int  # counted from the input, -1: all of them, since their rates are the same
    multiplier: float  # of the learning rate: the rule's times the layer's
    tensors: int
    parameters: int
    decayed: int  # parameters under weight decay
    weight_decay: float  # of those, 0.0 where there are none


schedule = schedules.schedule
GIVEN = ("rate", "weight_decay")  # by `optimizer`; the other arguments of an algorithm are keys of its block
ADAMW = {"name": "adamw"}


def optimizer(
    params: Tree,
    *,
    steps: int,
    learning_rate: float,
    warmup: int = 0,
    weight_decay: float,
    clip: float,
    rules: tuple[tuple[str, float], ...],
    algorithm: dict = ADAMW,
    schedule: dict = schedules.COSINE,
    layer_decay: float = 1.0,
    layers: tuple[str, ...] = (),
) -> tuple[optax.GradientTransformation, list[Row]]:
    """The optimizer for `params` (arrays or their shapes), and a table of what each rule claims.

    `algorithm` is a block of `ALGORITHMS`, {"name": "sgd", "momentum": 0.8}, and `schedule` one of
    `schedules.SCHEDULES`.

    `rules` are (regular expression, learning-rate multiplier) in order. A parameter obeys the first rule that matches
    the whole of its path, such as "stage1/conv/kernel": (r"stage[12]/.*", 0.1) slows two stages down, a multiplier of
    0.0 freezes. The model gives `layers`, regular expressions of paths from the input to the head, for a rate that
    falls with the distance from the head (arXiv 1801.06146): with `layer_decay` d, a parameter of layer l of L has d **
    (L - 1 - l) times its rule's multiplier, the head its rule's alone.

    The multiplier scales the update, never the gradient, which Adam would normalise again. Weight decay is in the
    update, and so follows the multiplied learning rate (as in timm): there is no multiplier of its own. Only leaves
    named `kernel` decay. `clip` bounds the global norm of the gradients that are not frozen; 0.0 leaves them as they
    are.

    Raises UserError, with the table, where a parameter has no rule or a rule has no parameter; likewise for layers,
    of which each parameter must have exactly one.
    """
    name, settings = bind_named(ALGORITHMS, algorithm, "optim.algorithm", GIVEN)
    multipliers, table = _multipliers(params, rules, layers, layer_decay, weight_decay)
    rate = schedules.schedule(learning_rate=learning_rate, steps=steps, warmup=warmup, schedule=schedule)
    labels = jax.tree.map(str, multipliers)  # they become keys of a checkpoint

    def group(multiplier: float) -> optax.GradientTransformation:
        if multiplier == 0.0:
            return optax.set_to_zero()
        return ALGORITHMS[name](lambda step: multiplier * rate(step), weight_decay, **settings)

    return optax.chain(
        # Twice, since a clip would count frozen gradients and AdamW would decay frozen kernels.
        optax.masked(optax.set_to_zero(), jax.tree.map(lambda multiplier: multiplier == 0.0, multipliers)),
        optax.clip_by_global_norm(clip) if clip > 0.0 else optax.identity(),
        optax.multi_transform({label: group(float(label)) for label in sorted(set(jax.tree.leaves(labels)))}, labels),
    ), table


def adamw(rate: optax.Schedule, weight_decay: float, *, b2: float = 0.999) -> optax.GradientTransformation:
    """AdamW (arXiv 1711.05101). Weight decay is decoupled: kernels shrink by learning rate x weight decay."""
    return optax.adamw(rate, b2=b2, weight_decay=weight_decay, mask=_is_kernel)


def rmsprop(
    rate: optax.Schedule, weight_decay: float, *, decay: float = 0.9, momentum: float = 0.9, eps: float = 1e-3
) -> optax.GradientTransformation:
    """RMSProp as TensorFlow has it, with which EfficientNet (arXiv 1905.11946) was trained: `eps` is within the root,
    the mean square starts at 1, momentum follows the learning rate. Weight decay as for `sgd`."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=_is_kernel),
        optax.rmsprop(rate, decay, eps, initial_scale=1.0, eps_in_sqrt=True, momentum=momentum),
    )


def sgd(rate: optax.Schedule, weight_decay: float, *, momentum: float = 0.9) -> optax.GradientTransformation:
    """Nesterov's momentum. Weight decay is added to the gradient, before the momentum, as in torch and timm, for which
    the published figures (1e-4, 5e-4) are meant; big_vision's is decoupled."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=_is_kernel), optax.sgd(rate, momentum=momentum, nesterov=True)
    )


ALGORITHMS: dict[str, Callable[..., optax.GradientTransformation]] = {"adamw": adamw, "rmsprop": rmsprop, "sgd": sgd}


def update(
    tx: optax.GradientTransformation, grads: Tree, opt_state: optax.OptState, params: Tree
) -> tuple[Tree, optax.OptState]:
    """One step: the new parameters and the new optimizer state."""
    with jax.numpy_dtype_promotion("standard"):  # optax mixes its step counter with float32
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state


def frozen(params: Tree, rules: tuple[tuple[str, float], ...]) -> Tree:
    """Which parameters `rules` freeze, a bool for each: the caller also stops their gradients, and renews no batch
    statistics beside them. Raises: as `optimizer`."""
    multipliers, _ = _multipliers(params, rules, (), 1.0, 0.0)
    return jax.tree.map(lambda multiplier: multiplier == 0.0, multipliers)


def table_lines(table: Iterable[Row]) -> list[str]:
    """The table as lines of text, a heading first."""
    cells = [("rule", "layer", "tensors", "parameters", "multiplier", "weight decay")]
    for row in table:
        layer = "all" if row.layer < 0 else str(row.layer)
        decay = f"{row.weight_decay:g} on {row.decayed:,}" if row.decayed else "none"
        rate = f"{row.multiplier:.4g}" if row.multiplier else "frozen"
        cells.append((row.rule, layer, f"{row.tensors:,}", f"{row.parameters:,}", rate, decay))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in cells]


def _path(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_kernel(params: Tree) -> Tree:
    return jax.tree.map_with_path(lambda path, _: _path(path).split("/")[-1] == "kernel", params)


def _multipliers(
    params: Tree, rules: tuple[tuple[str, float], ...], layers: tuple[str, ...], layer_decay: float, weight_decay: float
) -> tuple[Tree, list[Row]]:
    """The learning-rate multiplier of each parameter, and the table."""
    for pair in rules:
        match pair:
            case (str(), float() | int()):
                continue
        raise UserError(f"optim.rules: {pair!r} is not a pair of a regular expression and a multiplier")
    if not 0.0 < layer_decay <= 1.0:
        raise UserError(f"optim.layer_decay: {layer_decay} is not in 0.0 .. 1.0 (0.0 excluded); 1.0 has no effect")
    if layer_decay < 1.0 and not layers:
        raise UserError(
            f"optim.layer_decay: {layer_decay} needs a model that lists its layers, which this one does not"
        )
    leaves, structure = jax.tree.flatten_with_path(params)
    sizes = {_path(path): leaf.size for path, leaf in leaves}
    rule_of = _claim_by_rules(sizes, rules)
    layer_of = _claim_by_layers(sizes, layers) if layers and layer_decay < 1.0 else dict.fromkeys(sizes, -1)

    def multiplier(rule: int, layer: int) -> float:
        return float(rules[rule][1]) * (layer_decay ** (len(layers) - 1 - layer) if layer >= 0 else 1.0)

    table = []
    for rule, layer in sorted({(rule_of[name], layer_of[name]) for name in sizes}):
        mine = [name for name in sizes if (rule_of[name], layer_of[name]) == (rule, layer)]
        scale = multiplier(rule, layer)
        decayed = sum(sizes[name] for name in mine if name.split("/")[-1] == "kernel") if scale * weight_decay else 0
        parameters = sum(sizes[name] for name in mine)
        table.append(
            Row(rules[rule][0], layer, scale, len(mine), parameters, decayed, weight_decay if decayed else 0.0)
        )
    return jax.tree.unflatten(structure, [multiplier(rule_of[name], layer_of[name]) for name in sizes]), table


def _claim_by_rules(names: Collection[str], rules: tuple[tuple[str, float], ...]) -> dict[str, int]:
    """The first rule of each parameter."""
    matches = _matches(names, [rule for rule, _ in rules], "optim.rules")
    claimed = {name: found[0] for name, found in matches.items() if found}
    counts = [list(claimed.values()).count(i) for i in range(len(rules))]
    shown = "; ".join(f"{rule!r} x {rate} claims {n} tensors" for (rule, rate), n in zip(rules, counts, strict=True))
    if unclaimed := [name for name in names if name not in claimed]:
        raise UserError(
            f"optim.rules: no rule matches {_few(unclaimed)}; add one, such as ('.*', 1.0) at the end ({shown})"
        )
    for (rule, rate), count in zip(rules, counts, strict=True):
        if not count:
            raise UserError(
                f"optim.rules: nothing is left for the rule {rule!r}: it matches no path, or others come first "
                f"({shown})"
            )
        if rate < 0.0:
            raise UserError(f"optim.rules: the rule {rule!r} has a negative multiplier, {rate} ({shown})")
    return claimed


def _claim_by_layers(names: Collection[str], layers: tuple[str, ...]) -> dict[str, int]:
    """The one layer of each parameter."""
    matches = _matches(names, layers, "layers of the model")
    counts = [sum(i in found for found in matches.values()) for i in range(len(layers))]
    shown = "; ".join(f"{layer!r} claims {n} tensors" for layer, n in zip(layers, counts, strict=True))
    if wrong := [name for name, found in matches.items() if len(found) != 1]:
        which = ", ".join(repr(layers[i]) for i in matches[wrong[0]]) or "none"
        raise UserError(
            f"layers of the model: want exactly one that matches {_few(wrong)}; there is: {which} ({shown})"
        )
    if 0 in counts:
        raise UserError(f"layers of the model: {layers[counts.index(0)]!r} matches no path ({shown})")
    return {name: found[0] for name, found in matches.items()}


def _matches(names: Iterable[str], patterns: Iterable[str], where: str) -> dict[str, list[int]]:
    """The positions of the regular expressions that match the whole of each name."""
    try:
        compiled = [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise UserError(f"{where}: {error.pattern!r} is not a regular expression: {error}") from error
    return {name: [i for i, pattern in enumerate(compiled) if pattern.fullmatch(name)] for name in names}


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
