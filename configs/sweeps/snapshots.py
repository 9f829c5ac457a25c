r"""Does the vote of one training's snapshots beat a single model trained for as many steps? MNIST, 5 paired seeds.

    python launch.py sweep --sweep=configs/sweeps/snapshots.py --results=configs/sweeps/results/snapshots.jsonl

10 labels per class, 1,000 steps: five cycles against one cosine (arXiv 1704.00109), each at the learning rate that
snapshots_rate.py chose for it, 0.03 and 0.01. Controls: the vote of the five checkpoints that the training without
restarts kept, and that training at 0.03.
"""

CONFIG = "configs/snapshots.py"
GROUP = "10 labels per class"
SAME_RATE = "10 labels per class, single at rate 0.03"
VOTES = {"vote_of_snapshots": "snapshots@*", "vote_without_restarts": "single@*"}


def trials():
    for group, overrides in ((GROUP, {}), (SAME_RATE, {"single.optim.learning_rate": 3e-2})):
        for seed in range(5):
            yield group, {"seed": seed, **overrides}


COMPARISONS = (
    *(
        ((GROUP, stage), (GROUP, other))
        for stage, other in (
            ("vote_of_snapshots", "single"),
            ("vote_of_snapshots", "snapshots"),
            ("vote_of_snapshots", "vote_without_restarts"),
            ("vote_without_restarts", "single"),
        )
    ),
    ((SAME_RATE, "vote_of_snapshots"), (SAME_RATE, "single")),
)
