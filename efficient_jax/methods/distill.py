"""Knowledge distillation (arXiv 1503.02531): a student learns a frozen teacher's probabilities."""

from efficient_jax.losses import cross_entropy, distillation
from efficient_jax.methods.view import one_view, right
from efficient_jax.training.step import LossFn
from efficient_jax.types import Apply, Augment, Aux, UserError


def distill(
    apply: Apply,
    augment: Augment,
    teacher: Apply,
    *,
    temperature: float = 4.0,
    soft_weight: float = 0.9,
    hard_weight: float = 0.1,
) -> LossFn:
    """`soft_weight` T^2 KL(teacher || student), the mean over all images, plus `hard_weight` cross-entropy, the mean
    over the labelled ones. The teacher (`frozen["teacher"]`, in evaluation mode) sees the view that the student
    sees (arXiv 2106.05237).
    """

    if temperature <= 0.0:
        raise UserError(f"method.temperature: {temperature} is not above 0.0")
    if min(soft_weight, hard_weight) < 0.0 or soft_weight + hard_weight == 0.0:
        raise UserError(f"method: soft_weight {soft_weight} and hard_weight {hard_weight} are negative, or both 0.0")

    def loss_fn(params, state, frozen, batch, keys):
        seen, model_keys = one_view(augment, batch, keys)
        (logits, _), state = apply({"params": params, **state}, seen["image"], True, model_keys)
        (teacher_logits, _), _ = teacher(frozen["teacher"], seen["image"], False, None)
        soft = distillation(logits, teacher_logits, temperature)
        n, total = len(batch["labelled"]["label"]), len(soft)  # "labelled" comes before "unlabelled"
        hard = cross_entropy(logits[:n], seen["label"][:n])
        correct = right(logits, seen["label"])[:n].sum()
        loss = soft_weight * soft.sum() + hard_weight * hard.sum() * (total / n)
        agree = right(logits, teacher_logits).sum()
        return loss, Aux(float(total), state, {"accuracy": (correct, float(n)), "agreement": (agree, float(total))})

    return loss_fn
