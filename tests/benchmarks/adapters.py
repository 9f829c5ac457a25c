"""What training a head, norms, LoRA or all of a ViT-S/16 costs: parameters, memory and time of a step.

    python -m tests.benchmarks.adapters
    python -m tests.benchmarks.adapters kept

Random weights, 8 images of 224 pixels, one device; the memory is what XLA allocates for a step beside its arguments
(`memory_analysis`). The programs take turns in one process; times are medians, given as ratios to `full`.
`kept` prints what the forward pass keeps for the backward pass, with `remat` and without, as JAX traces it: on CPU, XLA
removes the barriers of `jax.checkpoint` and finds the same computation twice, so that `remat` changes nothing there.
"""

import statistics
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from configs import common
from efficient_jax import models
from efficient_jax.models import adapters
from efficient_jax.optim import optimizer

IMAGES, SIZE, CLASSES, ROUNDS = 8, 224, 10, 7
ARMS = {
    "head": ({}, {}, common.HEAD_ONLY),
    "LN-Tune": ({}, {}, common.LN_TUNE),
    "BitFit": ({}, {}, common.BITFIT),
    "LoRA, q and v, r = 8": ({}, {"rank": 8}, common.LORA),
    "LoRA, all, r = 8": ({}, {"rank": 8, "targets": "all"}, common.LORA),
    "full": ({}, {}, ((".*", 1.0),)),
    "full, remat": ({"remat": True}, {}, ((".*", 1.0),)),
}


def program(settings: dict, lora: dict, rules: tuple) -> tuple:
    """(compiled step, its arguments, trained parameters)."""
    module = models.ViT(CLASSES, "S/16", **settings)
    params = models.init(module, jax.random.key(0), (SIZE, SIZE, 3))["params"]
    merge = adapters.none
    if lora:
        pairs, merge = adapters.lora(jax.random.key(1), params, **lora)
        params = params | pairs
    tx, table = optimizer.optimizer(params, 100, learning_rate=1e-3, weight_decay=1e-2, clip=1.0, rules=rules)
    frozen = optimizer.frozen(params, rules)
    apply = adapters.merging(models.make_apply(module, (0.5,) * 3, (0.5,) * 3, frozen), merge)

    def step(params, state, images, labels):
        def loss(params):
            held = jax.tree.map(lambda p, f: jax.lax.stop_gradient(p) if f else p, params, frozen)
            logits = apply({"params": held}, images, True, None)[0][0]
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        return optimizer.update(tx, jax.grad(loss)(params), state, params)

    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (IMAGES, SIZE, SIZE, 3), np.uint8))
    arguments = params, tx.init(params), images, jnp.arange(IMAGES) % CLASSES
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(*arguments).compile()
    return compiled, arguments, sum(row.parameters for row in table if row.multiplier)


def main() -> None:
    programs = {name: program(*arm) for name, arm in ARMS.items()}
    states = {name: arguments for name, (_, arguments, _) in programs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(ROUNDS + 1):
        for name, (compiled, _, _) in programs.items():
            started = time.perf_counter()
            params, state = jax.block_until_ready(compiled(*states[name]))
            states[name] = (params, state, *states[name][2:])
            if turn:
                seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print("| trained | parameters | memory of a step, MB | state of the optimizer, MB | time | seconds |")
    print("| --- " * 6 + "|")
    for name, (compiled, arguments, trained) in programs.items():
        memory = compiled.memory_analysis().temp_size_in_bytes / 1e6
        kept = sum(x.nbytes for x in jax.tree.leaves(arguments[1])) / 1e6
        ratio = medians[name] / medians["full"]
        print(f"| {name} | {trained:,} | {memory:,.0f} | {kept:,.1f} | {ratio:.2f} | {medians[name]:.2f} |")


def kept() -> None:
    for remat in (False, True):
        module = models.ViT(CLASSES, "S/16", remat=remat)
        variables = models.shapes(module, (SIZE, SIZE, 3))
        apply = models.make_apply(module, (0.5,) * 3, (0.5,) * 3)
        images = jax.ShapeDtypeStruct((IMAGES, SIZE, SIZE, 3), np.uint8)

        def backward(variables, images, apply=apply):
            return jax.vjp(lambda variables: apply(variables, images, True, None)[0][0], variables)[1]

        sizes = [x.size * x.dtype.itemsize for x in jax.tree.leaves(jax.eval_shape(backward, variables, images))]
        print(f"remat={remat}: {sum(sizes) / 1e6:,.0f} MB, the weights among them")


if __name__ == "__main__":
    kept() if sys.argv[1:] == ["kept"] else main()
