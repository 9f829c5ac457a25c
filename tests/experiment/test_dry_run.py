"""What does not fit is said before the first stage trains."""

import pytest

from efficient_jax.errors import UserError
from efficient_jax.methods import METHODS, Method
from tests.tiny_run import run, stage


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optim": stage("supervised")["optim"] | {"rules": (("head/.*", 1.0),)}}, "no rule matches"),
        ({"augment": {"ops": ("cutout",), "cutout": {"size": -3}}}, r"^config\.s\.augment: cutout"),
        (
            {
                "method": {"name": "fixmatch"},
                "batch": {"labelled": 8, "unlabelled": 8},
                "strong_augment": {"ops": ("cutout",), "cutout": {"size": 0}},
            },
            r"^config\.s\.strong_augment: cutout",
        ),
        ({"model": {"name": "cnn", "width": 0}}, "width"),
    ],
)
def test_values_are_checked_before_training(images, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        run(images, tmp_path, {"s": stage("supervised") | changes})
    assert not (tmp_path / "s").exists()


def test_unknown_intermediates_are_said_before_training(two, teacher, tmp_path):
    method = {"name": "feature_distill", "terms": (("angle", 1.0, "features", "stag2"),)}
    first = stage("supervised", model={"name": "mlp", "width": 8})
    for name, there in ((str(teacher), "did you mean 'stage2'"), ("first", "there is: features, hidden1")):
        blocks = {"first": first, "s": stage("distill", teacher=name) | {"method": method}}
        with pytest.raises(UserError, match=rf"^config\.s: method\.terms: intermediates of the teacher: .*; {there}"):
            run(two, tmp_path / "s", blocks)
    assert not (tmp_path / "s" / "first").exists()


@pytest.mark.parametrize("method", [{"head": "svm"}, {"l2": -1.0}])
def test_settings_of_a_head_are_checked_before_features_are_computed(images, teacher, tmp_path, method):
    block = {"model": stage("supervised")["model"], "method": {"name": "linear_probe"} | method, "init": str(teacher)}
    with pytest.raises(UserError, match=r"^config\.probe: method\."):
        run(images, tmp_path, {"probe": block})
    assert not (tmp_path / "probe").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"name": "densenet"}}, r"no pixels are left at 'stage\d'; take larger images"),
        ({"model": {"name": "vit", "variant": "S/16"}}, "16"),
        ({"init": "weights.pth"}, "weights of others, which there are for .*; the model is 'cnn'"),
        ({"init": "weights.pth", "model": {"name": "resnet", "depth": 18}}, r"weights\.pth: there is no such file"),
    ],
)
def test_a_network_that_does_not_fit_is_said_before_training(images, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        run(images, tmp_path, {"s": stage("supervised") | changes})


@pytest.mark.parametrize("error", [TypeError, ValueError, ZeroDivisionError, AttributeError])
def test_a_programming_error_in_a_loss_keeps_its_traceback(images, tmp_path, monkeypatch, error):
    """It is nobody's data: the line that raised it is what helps."""

    def wrong_loss(apply, augment):
        del apply, augment

        def loss_fn(*_):
            raise error("where it is wrong")

        return loss_fn

    monkeypatch.setitem(METHODS, "supervised", Method(wrong_loss))
    with pytest.raises(error, match="where it is wrong") as caught:
        run(images, tmp_path, {"s": stage("supervised")})
    assert caught.traceback[-1].name == "loss_fn"
    assert "while config.s was traced" in caught.value.__notes__
