"""Votes."""

import numpy as np
import pytest
from scipy import stats

from efficient_jax.errors import UserError
from efficient_jax.inference import voting

EVEN = np.ones(3)


@pytest.fixture(scope="module")
def members():
    return np.random.default_rng(0).dirichlet(np.ones(4), (3, 500))


def test_the_mean_is_no_less_likely_than_the_members(members):
    """Jensen's inequality, for every example and every class."""
    mean, _ = voting.soft(members, EVEN)
    assert (-np.log(mean) <= -np.log(members).mean(0) + 1e-12).all()


def test_most_votes_win(members):
    _, answer = voting.hard(members, EVEN)
    votes = members.argmax(-1)
    clear = (votes[0] == votes[1]) | (votes[1] == votes[2]) | (votes[0] == votes[2])
    np.testing.assert_array_equal(answer[clear], stats.mode(votes[:, clear]).mode)


def test_equal_votes_go_to_the_higher_mean_then_to_the_first():
    a, b = [0.6, 0.4, 0.0], [0.1, 0.8, 0.1]
    assert voting.hard(np.array([[a], [b]]), np.ones(2))[1] == 1
    assert voting.hard(np.array([[[0.0, 0.4, 0.6]], [[0.6, 0.4, 0.0]]]), np.ones(2))[1] == 0


def test_three_independent_members():
    """Condorcet: right with p each, the majority of three is with 3 p^2 - 2 p^3."""
    right = np.random.default_rng(1).random((3, 200_000)) < 0.7
    probabilities = np.stack([right, ~right], -1).astype(float)
    assert (voting.hard(probabilities, EVEN)[1] == 0).mean() == pytest.approx(3 * 0.7**2 - 2 * 0.7**3, abs=0.005)


@pytest.mark.parametrize("vote", voting.VOTES.values())
def test_order_does_not_matter_and_one_is_itself(members, vote):
    weights = np.array([1.0, 2.0, 0.5])
    for x, y in zip(vote(members, weights), vote(members[::-1], weights[::-1]), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-12)
    np.testing.assert_array_equal(vote(members[:1], np.ones(1))[1], members[0].argmax(-1))
    np.testing.assert_array_equal(vote(members, np.array([0.0, 1.0, 0.0]))[1], members[1].argmax(-1))


def test_one_hot_members_vote_alike():
    members = np.eye(3)[np.random.default_rng(0).integers(0, 3, (5, 4, 6))]  # a map for each of five
    for x, y in zip(voting.soft(members, np.ones(5)), voting.hard(members, np.ones(5)), strict=True):
        np.testing.assert_allclose(x, y)


@pytest.mark.parametrize("vote", voting.VOTES)
def test_a_vote_image_by_image_is_that_of_all(vote):
    maps = np.random.default_rng(0).dirichlet(np.ones(3), (2, 4, 5, 6)).astype(np.float32)
    weights = np.array([1.0, 2.0])
    expected, answers = voting.VOTES[vote](maps, weights)
    found = voting.by_image(vote, [*maps], weights)
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(found[1], answers)


@pytest.mark.parametrize("weights", [[0.0, 0.0, 0.0], [1.0, -1.0, 2.0], [np.nan, 1.0, 1.0]])
def test_weights_that_weigh_nothing_are_refused(members, weights):
    with pytest.raises(UserError, match="weights of members"):
        voting.soft(members, np.array(weights))


@pytest.mark.parametrize("vote", voting.VOTES.values())
@pytest.mark.parametrize("weights", [[1.0, 2.0], [1.0] * 4, [[1.0], [1.0], [1.0]], 1.0, []])
def test_weights_are_one_for_each_member(members, vote, weights):
    with pytest.raises(UserError, match=r"weights of members: .* for 3 members; want one for each"):
        vote(members, np.array(weights))


def test_greedy_selection_adds_who_helps():
    """Two members that are each right on one half, and one that is right nowhere, loudly."""
    labels = np.zeros(10, int)
    good, bad = [0.9, 0.1], [0.3, 0.7]
    members = np.array([[good] * 5 + [bad] * 5, [[0.0, 1.0]] * 10, [bad] * 5 + [good] * 5])
    chosen, scores = voting.greedy(members, labels)
    assert (set(chosen[:2]), chosen[2], scores) == ({0, 2}, 1, [0.5, 1.0, 0.0])
