"""What a loss function is, which every method returns."""

from collections.abc import Callable

import jax

from efficient_jax.types import Aux, Tree

LossFn = Callable[[Tree, Tree, Tree, dict, dict], tuple[jax.Array, Aux]]
"""`loss_fn(params, state, frozen, batch, keys) -> (loss_sum, Aux)`

state   what the forward pass renews (batch statistics), and under "memory" what the method remembers, if it does
frozen  what gets no gradient: "ema", the average of the variables before this update; "progress", the share of the
        updates that are done; and what the method was given, such as a "teacher"
batch   examples of each stream ("labelled", "unlabelled"); "index" is their place in the data set
keys    one key for each of them
"""
