"""What the configs share."""

from ml_collections import ConfigDict

from efficient_jax.types import UserError


def is_tiny(arg: str) -> bool:
    """Every config accepts `:tiny`, which runs the same stages for two updates each."""
    if arg not in ("", "tiny"):
        raise UserError(f"--config: unknown argument {arg!r} after the colon; there is: tiny")
    return arg == "tiny"


def adamw(*, learning_rate: float = 3e-3, warmup: int = 50) -> ConfigDict:
    """AdamW with cosine decay; all parameters learn at the same rate."""
    return ConfigDict(
        {
            "learning_rate": learning_rate,
            "warmup": warmup,
            "weight_decay": 1e-2,
            "clip": 1.0,
            "rules": ((".*", 1.0),),
        }
    )


def shrink(config: ConfigDict) -> ConfigDict:
    """The `:tiny` form: the same stages, two updates each."""
    for name in config.stages:
        if "optim" not in config[name]:
            continue
        config[name].update({"updates": 2, "epochs": 0.0})
        config[name].optim.update({"warmup": 0, "warmup_percent": 0.0})
        if "pseudo_labels" in config[name]:
            config[name].pseudo_labels.threshold = 0.0  # two updates make no confident teacher
    return config
