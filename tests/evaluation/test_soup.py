"""Soups of snapshots."""

import json

import numpy as np

from efficient_jax.commands.evaluate import evaluate
from efficient_jax.evaluation.members import member, named, run_opener
from efficient_jax.evaluation.soup import soup_of
from efficient_jax.inference import predictions
from efficient_jax.training.trained import Trained

OPEN = run_opener(print)


def test_snapshots_vote_and_make_a_soup(trained, tmp_path):
    """The soup is a stage on disk; its weights are the mean; probabilities of the vote are in a file."""
    names = named(f"{trained / 'net'}@*")
    assert [name.rpartition("@")[2] for name in names] == ["3", "6", "9"]
    out = tmp_path / "out"
    evaluate(members=f"{trained / 'net'}@*", soup="uniform", out=str(out))
    soup = Trained.open(str(out / "soup"), "test")
    parts = [Trained.open(name, "test").variables["params"]["head"]["kernel"] for name in names]
    np.testing.assert_allclose(soup.variables["params"]["head"]["kernel"], np.mean(parts, 0), atol=1e-6)
    assert soup.spec.classes == ("0", "1", "2")
    found = json.loads((out / "evaluation.json").read_text())
    assert [*found["members"]] == [*names, "uniform soup of 3", "soft vote of 3"]
    assert len(found["pairs"]) == len(found["selection"]) == 3
    losses = [found["members"][name]["negative_log_likelihood"] for name in names]
    assert found["members"]["soft vote of 3"]["negative_log_likelihood"] <= np.mean(losses)
    voted = predictions.read(out / "predictions.npz", "test")
    every = [member(name, OPEN).test.probabilities for name in names]
    np.testing.assert_allclose(voted.probabilities, np.mean(every, 0), atol=1e-6)


def test_a_greedy_soup_is_no_worse_on_validation_than_its_best_member(trained):
    names = named(f"{trained / 'net'}@*")
    made, _, inside = soup_of(names, "greedy", OPEN)

    def right(of):
        return (of.validation.probabilities.argmax(1) == of.validation.labels).sum()

    assert set(inside) <= set(names)
    alone = [soup_of([name], "uniform", OPEN)[0] for name in names]  # with batch statistics of its kind
    assert right(made) >= max(map(right, alone))
