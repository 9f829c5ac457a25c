r"""Does the vote of one training's snapshots beat a single model trained for as many steps? MNIST, 5 paired seeds.

    python launch.py sweep --sweep=configs/sweeps/snapshots.py --results=configs/sweeps/results/snapshots.jsonl

10 labels per class, 1,000 steps: five cycles against one cosine (arXiv 1704.00109). Control: the vote of the five
checkpoints that the training without restarts kept. Learning rates were chosen in snapshots_rate.py.
"""

CONFIG = "configs/snapshots.py"
GROUP = "10 labels per class"
VOTES = {"vote_of_snapshots": "snapshots@*", "vote_without_restarts": "single@*"}


def trials():
    for seed in range(5):
        yield GROUP, {"seed": seed}


COMPARISONS = tuple(
    ((GROUP, stage), (GROUP, other))
    for stage, other in (
        ("vote_of_snapshots", "single"),
        ("vote_of_snapshots", "snapshots"),
        ("vote_of_snapshots", "vote_without_restarts"),
        ("vote_without_restarts", "single"),
    )
)
