"""Training methods by name; all share the train step, the loop and the checkpoints."""

from efficient_jax.methods import (
    adamatch,
    box_distill,
    consistency,
    debiaspl,
    distill,
    ema_teacher,
    feature_distill,
    fixmatch,
    flexmatch,
    freematch,
    lejepa,
    linear_probe,
    logit_adjustment,
    mae,
    mean_teacher,
    noisy_student,
    pretraining,
    prior_correction,
    pseudo_label,
    simclr,
    softmatch,
    supervised,
    uda,
)
from efficient_jax.methods.base import Method, build_loss

METHODS = {
    "supervised": Method(supervised.supervised, saliency=True),
    "ema_teacher": Method(ema_teacher.ema_teacher, unlabelled=True, fits=lambda task: task.guesses is not None),
    "noisy_student": Method(noisy_student.noisy_student, unlabelled=True, pseudo_labels=True, saliency=True),
    "linear_probe": Method(fit=linear_probe.linear_probe),
    "logit_adjustment": Method(correct=logit_adjustment.logit_adjustment),
    "prior_correction": Method(correct=prior_correction.prior_correction),
    "distill": Method(distill.distill, unlabelled=True, fits=lambda task: task.exclusive),
    "box_distill": Method(box_distill.box_distill, unlabelled=True, fits=lambda task: not task.probable),
    "feature_distill": Method(
        feature_distill.feature_distill,
        unlabelled=True,
        parameters=feature_distill.regressors,
        any_classes=True,
    ),
    "pseudo_label": Method(pseudo_label.pseudo_label, unlabelled=True, mixes=False),
    "mean_teacher": Method(mean_teacher.mean_teacher, unlabelled=True, mixes=False),
    "uda": Method(uda.uda, unlabelled=True, mixes=False, memory=consistency.memory),
    "fixmatch": Method(fixmatch.fixmatch, unlabelled=True, mixes=False, memory=consistency.memory),
    "flexmatch": Method(flexmatch.flexmatch, unlabelled=True, mixes=False, memory=flexmatch.memory),
    "freematch": Method(freematch.freematch, unlabelled=True, mixes=False, memory=freematch.memory),
    "softmatch": Method(softmatch.softmatch, unlabelled=True, mixes=False, memory=softmatch.memory),
    "simclr": Method(simclr.simclr, unlabelled=True, mixes=False, parameters=pretraining.parameters, labels=False),
    "lejepa": Method(lejepa.lejepa, unlabelled=True, mixes=False, parameters=pretraining.parameters, labels=False),
    "mae": Method(mae.mae, unlabelled=True, parameters=mae.parameters, labels=False),
    "adamatch": Method(adamatch.adamatch, unlabelled=True, mixes=False, memory=consistency.memory),
    "debiaspl": Method(debiaspl.debiaspl, unlabelled=True, mixes=False, memory=consistency.memory),
}

__all__ = ["METHODS", "Method", "build_loss"]
