"""What classical models make of the same labels: a network that stays below them has learned nothing from them."""

import numpy as np
import pytest
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import SVC

from efficient_jax import files
from efficient_jax.data.sources.handwritten_digits import mnist5k
from efficient_jax.data.split import split
from tests.commands.launch import ROOT

RESULTS = ROOT / "configs" / "sweeps" / "results" / "label_efficiency.jsonl"
SEEDS = range(5)


@pytest.fixture(scope="module")
def mnist():
    return mnist5k()


@pytest.mark.filterwarnings("ignore:invalid value")  # label spreading divides by zero where no label arrives
@pytest.mark.parametrize("labels", [4, 10, 25])
def test_the_teacher_is_above_the_best_classical_model(mnist, labels, capsys):
    """A support vector machine on the labelled pixels, and label spreading that sees the unlabelled ones too."""
    pixels = mnist.images.reshape(len(mnist.images), -1) / 255
    scores = {"SVC": [], "label spreading": []}
    for seed in SEEDS:
        parts = split(mnist.labels, mnist.classes, labels_per_class=labels, validation=0, test=1000, seed=seed)
        labelled, unlabelled, test = (parts[name] for name in ("labelled", "unlabelled", "test"))
        support = SVC(C=10).fit(pixels[labelled], mnist.labels[labelled])
        scores["SVC"].append(support.score(pixels[test], mnist.labels[test]))
        known = np.concatenate([mnist.labels[labelled], np.full(len(unlabelled), -1)])
        spread = LabelSpreading(kernel="knn").fit(pixels[np.concatenate([labelled, unlabelled])], known)
        scores["label spreading"].append(spread.score(pixels[test], mnist.labels[test]))
    floor = {name: 100 * np.mean(found) for name, found in scores.items()}
    with capsys.disabled():
        print(f"\n{labels} labels per class:", ", ".join(f"{name} {score:.1f}" for name, score in floor.items()))
    lines = [r for r in files.read_lines(RESULTS) if r["group"] == f"{labels} labels per class"]
    teacher = {r["seed"]: r["stages"]["augmented"]["correct"] / 10 for r in lines}
    assert sorted(teacher) == list(SEEDS)
    assert np.mean(list(teacher.values())) > max(floor.values())
