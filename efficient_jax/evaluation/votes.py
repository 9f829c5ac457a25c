"""What several members make of the same images: their vote, how alike they err, who adds what."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from efficient_jax.errors import UserError
from efficient_jax.evaluation.members import WHERE, Member, answering
from efficient_jax.inference import predictions, voting
from efficient_jax.inference.predictions import Predictions
from efficient_jax.metrics import agreement
from efficient_jax.tasks import TASKS


def together(found: Sequence[Member], vote: str, weights: Sequence[float]) -> Member:
    """Their vote. Thresholds of several labels are the weighted means of the members'."""
    task = TASKS[found[0].test.task]
    if vote == "hard" and not task.exclusive:
        raise UserError(
            "--vote: hard counts one answer for each image; where an image can have several labels take soft"
        )
    shares = np.asarray(weights or np.ones(len(found)))
    parts: dict[str, Predictions] = {}
    answers: dict[str, np.ndarray] = {}
    for split in predictions.FILES:
        several = [of for each in found if (of := getattr(each, split))]
        if len(several) < len(found) or (split == "validation" and not predictions.same_images(several)):
            continue  # folds and seeds have validation images of their own
        several = predictions.matched(several, [each.name for each in found], WHERE)
        probabilities, answers[split] = voting.VOTES[vote](np.stack([of.probabilities for of in several]), shares)
        voted = vote == "hard" or any(of.shares for of in several)
        parts[split] = several[0]._replace(probabilities=probabilities, shares=voted)
    thresholds = np.average([each.thresholds for each in found], 0, shares).tolist() if task.thresholds else ()
    joint = answering(f"{vote} vote of {len(found)}", parts["test"], parts.get("validation"), thresholds)
    views = [each.about.get("views") for each in found]
    about = {"vote": vote, "members": [each.name for each in found], "weights": shares.tolist(), "update": None}
    joint = joint._replace(about=about | {"views": views[0] if len(set(views)) == 1 else views})
    return joint if task.thresholds else joint._replace(answers=answers["test"])


def comparison(found: Sequence[Member]) -> list[dict[str, Any]]:
    """For each pair of members of one class an image: how alike they err, and what the second won and lost."""
    tests = predictions.matched([each.test for each in found], [each.name for each in found], WHERE)
    answers = [test.probabilities.argmax(1) for test in tests]
    rows = []
    for i in range(len(found)):
        for j in range(i + 1, len(found)):
            changed = agreement.change(answers[i], answers[j], tests[0].labels)
            row = {"first": found[i].name, "second": found[j].name}
            row |= agreement.agreement(answers[i], answers[j], tests[0].labels)._asdict()
            won, lost = int(changed.won.sum()), int(changed.lost.sum())
            rows.append(row | {"won": won, "lost": lost, "p_value": changed.p_value})
    return rows


def selection(found: Sequence[Member]) -> list[dict[str, Any]]:
    """Who adds what: members in the order in which a greedy choice takes them, each once, and the accuracy of the soft
    vote after each on validation images; none where these are not the same for all."""
    several = [each.validation for each in found if each.validation]
    if len(several) < len(found) or not predictions.same_images(several):
        return []
    several = predictions.matched(several, [each.name for each in found], WHERE)
    chosen, scores = voting.greedy(np.stack([of.probabilities for of in several]), several[0].labels)
    return [{"member": found[i].name, "accuracy": score} for i, score in zip(chosen, scores, strict=True)]
