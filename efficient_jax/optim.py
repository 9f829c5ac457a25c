"""AdamW with a learning rate per parameter: frozen, slow and fast layers by ordered rules."""

import re
from typing import NamedTuple

import jax
import optax

from efficient_jax.types import Tree, UserError


class Row(NamedTuple):
    """What one rule claims."""

    rule: str
    multiplier: float
    tensors: int
    parameters: int
    decayed: int  # parameters under weight decay


def schedule(*, learning_rate: float, steps: int, warmup: int) -> optax.Schedule:
    """Linear from 0 to `learning_rate` over `warmup` steps, then half a cosine to 0 at `steps`
    (arXiv 1608.03983); `steps` counts the warm-up too.
    """
    if not 0 <= warmup < steps:
        raise UserError(f"warmup = {warmup} steps must be at least 0 and less than the {steps} training steps")
    return optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, steps)


def optimizer(
    params: Tree,
    *,
    steps: int,
    learning_rate: float,
    warmup: int,
    weight_decay: float,
    clip: float,
    rules: tuple[tuple[str, float], ...],
    b2: float = 0.999,
) -> tuple[optax.GradientTransformation, list[Row]]:
    """AdamW (arXiv 1711.05101) for `params` (arrays or their shapes), and a table of what each rule claims.

    `rules` are (regular expression, learning-rate multiplier) in order. A parameter obeys the first
    rule that matches the whole of its path, such as "stage1/conv/kernel": (r"stage[12]/.*", 0.1) slows
    two stages down, a multiplier of 0.0 freezes. The multiplier scales the update, decay included,
    never the gradient, which Adam would normalise again. Only leaves named `kernel` decay.
    `clip` bounds the global norm of the gradients that are not frozen; 0.0 leaves them as they are.

    Raises UserError, with the table, where a parameter has no rule or a rule has no parameter.
    """
    labels, table = _label(params, rules, weight_decay)
    frozen = jax.tree.map(lambda label: float(label) == 0.0, labels)
    rate = schedule(learning_rate=learning_rate, steps=steps, warmup=warmup)

    def adamw(multiplier: float) -> optax.GradientTransformation:
        return optax.adamw(lambda step: multiplier * rate(step), b2=b2, weight_decay=weight_decay, mask=_is_kernel)

    groups = {
        label: optax.set_to_zero() if float(label) == 0.0 else adamw(float(label))
        for label in sorted(set(jax.tree.leaves(labels)))
    }
    return optax.chain(
        # Twice, since a clip would count frozen gradients and AdamW would decay frozen kernels.
        optax.masked(optax.set_to_zero(), frozen),
        optax.clip_by_global_norm(clip) if clip > 0.0 else optax.identity(),
        optax.multi_transform(groups, labels),
    ), table


def update(
    tx: optax.GradientTransformation, grads: Tree, opt_state: optax.OptState, params: Tree
) -> tuple[Tree, optax.OptState]:
    """One step: the new parameters and the new optimizer state."""
    with jax.numpy_dtype_promotion("standard"):  # optax mixes its step counter with float32
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state


def _path(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_kernel(params: Tree) -> Tree:
    return jax.tree.map_with_path(lambda path, _: _path(path).split("/")[-1] == "kernel", params)


def _label(params: Tree, rules: tuple[tuple[str, float], ...], weight_decay: float) -> tuple[Tree, list[Row]]:
    """Each parameter's multiplier as a string (multi_transform's labels become keys of a checkpoint)."""
    for pair in rules:
        match pair:
            case (str(), float() | int()):
                continue
        raise UserError(f"optim.rules: {pair!r} is not a pair of a regular expression and a multiplier")
    claims: dict[str, list[tuple[str, int]]] = {rule: [] for rule, _ in rules}
    unclaimed = []

    def label(path: tuple, leaf: jax.Array) -> str:
        name = _path(path)
        for rule, multiplier in rules:
            if re.fullmatch(rule, name):
                claims[rule].append((name, leaf.size))
                return str(float(multiplier))
        unclaimed.append(name)
        return ""

    try:
        labels = jax.tree.map_with_path(label, params)
    except re.error as error:
        raise UserError(f"optim.rules: the rule {error.pattern!r} is not a regular expression: {error}") from error

    table = []
    for rule, multiplier in rules:
        decayed = [size for name, size in claims[rule] if multiplier * weight_decay and name.split("/")[-1] == "kernel"]
        sizes = [size for _, size in claims[rule]]
        table.append(Row(rule, multiplier, len(sizes), sum(sizes), sum(decayed)))

    shown = "; ".join(f"{row.rule!r} x {row.multiplier} claims {row.tensors} tensors" for row in table)
    if unclaimed:
        raise UserError(
            f"optim.rules: no rule matches {', '.join(unclaimed)}; add one, such as ('.*', 1.0) at the end ({shown})"
        )
    if idle := [row.rule for row in table if not row.tensors]:
        raise UserError(
            f"optim.rules: nothing is left for the rule {idle[0]!r}: it matches no path, or others come first ({shown})"
        )
    if wrong := [row for row in table if row.multiplier < 0.0]:
        raise UserError(
            f"optim.rules: the rule {wrong[0].rule!r} has a negative multiplier, {wrong[0].multiplier} ({shown})"
        )
    return labels, table
