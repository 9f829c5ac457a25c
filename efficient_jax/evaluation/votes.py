"""Several members on the same images: their vote, how similar their errors are, and what each adds to the vote."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from efficient_jax.detection.detections import combine
from efficient_jax.detection.rows import NOTHING, boxes_of, rows_of
from efficient_jax.errors import UserError
from efficient_jax.evaluation.members import WHERE, Member, answering
from efficient_jax.inference import matching, predictions, voting
from efficient_jax.inference.predictions import Predictions
from efficient_jax.metrics import agreement
from efficient_jax.tasks import TASKS


def together(members: Sequence[Member], vote: str, weights: Sequence[float]) -> Member:
    """Returns the vote of several members as a member. Its thresholds are the weighted means of the members'.

    Args:
        members: one or more, as from `members.aligned`.
        vote: "soft", the mean probability, or "hard", the share of the members that predict each class.
        weights: of every member, 0 or more; () for equal ones.

    Raises: UserError for a hard vote where an image can have several labels, and for negative weights.
    """
    task = TASKS[members[0].test.task]
    if vote == "hard" and not task.exclusive:
        raise UserError(
            "--vote: hard counts one answer for each image; where an image can have several labels take soft"
        )
    shares = np.asarray(weights or np.ones(len(members)))
    parts: dict[str, Predictions] = {}
    answers: dict[str, np.ndarray] = {}
    for split in predictions.FILES:
        several = [part for member in members if (part := getattr(member, split))]
        if len(several) < len(members) or (split == "validation" and not matching.same_images(several)):
            continue  # folds and seeds have validation images of their own
        several = matching.matched(several, [member.name for member in members], WHERE)
        of_members = [part.probabilities for part in several]
        voted_on = voting.by_image(vote, of_members, shares) if task.by_pixel else None
        probabilities, answers[split] = voted_on or voting.VOTES[vote](np.stack(of_members), shares)
        voted = vote == "hard" or any(part.shares for part in several)
        parts[split] = several[0]._replace(probabilities=probabilities, shares=voted)
    thresholds = np.average([member.thresholds for member in members], 0, shares).tolist() if task.thresholds else ()
    joint = answering(f"{vote} vote of {len(members)}", parts["test"], parts.get("validation"), thresholds)
    views = [member.origin.get("views") for member in members]
    origin = {"vote": vote, "members": [member.name for member in members], "weights": shares.tolist(), "step": None}
    joint = joint._replace(origin=origin | {"views": views[0] if len(set(views)) == 1 else views})
    return joint if task.thresholds else joint._replace(answers=answers["test"])


def fused(members: Sequence[Member], name: str, fuse: Callable[..., Any], weights: Sequence[float]) -> Member:
    """Returns several detectors as a member whose boxes are those of all, merged.

    Args:
        members: two or more, as from `members.aligned`, on images of one size.
        name: of the fusion.
        fuse: a function of `detection.boxes` or `detection.fusion`.
        weights: of every member, above 0; () for equal ones.
    """
    tests = matching.matched([member.test for member in members], [member.name for member in members], WHERE)
    rows = [
        rows_of(combine([boxes_of(test.probabilities[i]) for test in tests], fuse, weights))
        for i in range(len(tests[0].ids))
    ]
    most = max(map(len, rows))
    filled = [np.concatenate([of_image, np.tile(NOTHING, (most - len(of_image), 1))]) for of_image in rows]
    joint = answering(f"{name} of {len(members)}", tests[0]._replace(probabilities=np.stack(filled)), None, ())
    shares = list(weights or np.ones(len(members)))
    origin = {"fuse": name, "members": [member.name for member in members], "weights": shares, "step": None}
    return joint._replace(origin=origin | {"views": None})


def comparison(members: Sequence[Member]) -> list[dict[str, str | float]]:
    """Compares the predictions of every pair of members, where an image has one class.

    Args:
        members: two or more, as from `members.aligned`.

    Returns: for each pair "first" and "second", the names; the fields of `agreement.Agreement`; "won" and "lost", the
        images that only the second or only the first predicts correctly; "p_value" of this difference.
    """
    tests = matching.matched([member.test for member in members], [member.name for member in members], WHERE)
    answers = [test.probabilities.argmax(1) for test in tests]
    rows = []
    for i in range(len(members)):
        for j in range(i + 1, len(members)):
            changed = agreement.change(answers[i], answers[j], tests[0].labels)
            row: dict[str, str | float] = {"first": members[i].name, "second": members[j].name}
            row |= agreement.agreement(answers[i], answers[j], tests[0].labels)._asdict()
            won, lost = int(changed.won.sum()), int(changed.lost.sum())
            rows.append(row | {"won": won, "lost": lost, "p_value": changed.p_value})
    return rows


def selection(members: Sequence[Member]) -> list[dict[str, str | float]]:
    """Orders members by what they add to the soft vote on validation images, see `voting.greedy`.

    Args:
        members: one or more, of images with one class.

    Returns: "member" and "accuracy" of the vote after it joined; empty where not all have the same validation images.
    """
    several = [member.validation for member in members if member.validation]
    if len(several) < len(members) or not matching.same_images(several):
        return []
    several = matching.matched(several, [member.name for member in members], WHERE)
    chosen, scores = voting.greedy(np.stack([part.probabilities for part in several]), several[0].labels)
    return [{"member": members[i].name, "accuracy": score} for i, score in zip(chosen, scores, strict=True)]
