r"""Which peak learning rate for a snapshot ensemble and for its single model? Development seeds, validation images.

    python launch.py sweep --sweep=configs/sweeps/snapshots_rate.py \
        --results=configs/sweeps/results/snapshots_rate.jsonl
"""

CONFIG = "configs/snapshots.py"
SPLIT = "validation"
RATES = (3e-3, 1e-2, 3e-2)
VOTES = {"vote_of_snapshots": "snapshots@*"}


def trials():
    for seed in (100, 101):
        for rate in RATES:
            rates = {f"{stage}.optim.learning_rate": rate for stage in ("single", "snapshots")}
            # `single` has one checkpoint: of several the best on validation would count.
            once = {"single.save_every": 1000, "single.keep_every": 1000}
            yield f"learning rate {rate}", {"seed": seed, "data.validation": 1000, **rates, **once}


COMPARISONS = ()
