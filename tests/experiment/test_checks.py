"""What does not fit together in a stage's block."""

import pytest

from efficient_jax.errors import UserError
from efficient_jax.experiment.config import plan
from tests.experiment.plans import CONFIG, DISTILL, PROBE, STUDENT, WEAK_AND_STRONG, changed, stage


def test_an_operation_that_wants_saliency_is_for_methods_that_compute_it():
    mixing = {"ops": ("flip", "mine"), "mine": {"op": "saliency_cutmix", "probability": 0.5}}
    assert plan(changed("first.augment", mixing) | {"student": stage(**STUDENT, augment=mixing)})
    message = (
        r"^config\.student\.augment: 'saliency_cutmix' wants the saliency of images, which the method 'distill' does "
        r"not compute; take the method 'supervised' or "
    )
    with pytest.raises(UserError, match=message):
        plan(CONFIG | {"student": stage(**DISTILL, teacher="first", augment=mixing)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strong_augment": {}}, r"strong_augment: the method 'fixmatch' needs a block of operations"),
        ({"method": {"name": "mean_teacher"}}, r"strong_augment: the method 'mean_teacher' has no strong view"),
        ({"augment": {"ops": ("mixup",)}}, r"augment: 'mixup' mixes images, but the method 'fixmatch' compares views"),
        ({"strong_augment": {"ops": ("cutmix",)}}, r"strong_augment: 'cutmix' mixes images"),
        ({"batch": {"labelled": 8}}, r"batch\.unlabelled: the method 'fixmatch' needs some"),
        ({"teacher": "first"}, r"teacher: the method 'fixmatch' does not read 'first'"),
    ],
)
def test_what_two_views_do_not_fit_with(changes, message):
    with pytest.raises(UserError, match=message):
        plan(CONFIG | {"student": stage(**(WEAK_AND_STRONG | changes))})


def test_a_correction_reads_no_views():
    block = {"model": {"name": "cnn"}, "method": {"name": "prior_correction"}, "init": "first", "views": 2}
    with pytest.raises(UserError, match=r"^config\.student\.views: the method 'prior_correction' takes no steps"):
        plan(CONFIG | {"student": block})


def test_some_stream_must_have_images():
    block = stage(**DISTILL | {"batch": {"labelled": 0, "unlabelled": 0}}, teacher="first")
    with pytest.raises(UserError, match=r"^config\.student\.batch\.labelled: 0 is less than 1$"):
        plan(CONFIG | {"student": block})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": ""}, "config.probe.init: the method 'linear_probe' needs a trained network"),
        ({"steps": 5}, "config.probe.steps: the method 'linear_probe' takes no steps and does not read it"),
        ({"augment": {"ops": ("flip",)}}, "config.probe.views: 0; `augment` wants 1 or more"),
        ({"augment": {"ops": ("mixup",)}, "views": 1}, "config.probe.augment: 'mixup' mixes images, so that held-out"),
        ({"init": "efficientnet-lite9"}, "config.probe.init: 'efficientnet-lite9' is neither an earlier stage nor"),
        ({"method": {"name": "linear_probe", "heads": "ridge"}}, "config.probe.method.heads: no such key"),
    ],
)
def test_a_method_that_fits_says_what_it_wants(changes, message):
    with pytest.raises(UserError) as error:
        plan(CONFIG | {"stages": ("first", "probe"), "probe": PROBE | changes})
    assert str(error.value).startswith(message)
