"""CutMix where it hides least: CIFAR-10 with 100 labels per class on two cores, a small network, three ways to mix.

    python launch.py --config=configs/puzzle_mix.py --workdir=runs/puzzle_mix \
        --config.data.source.path=cifar10/train.parquet --config.data.source.test_path=cifar10/test.parquet

`weak` does not mix, `cutmix` pastes a rectangle (arXiv 1905.04899), `puzzle_mix` the blocks that matter most to the
loss: each step computes the gradient of the loss by the pixels before it mixes them (arXiv 2009.06962, section 3, the
mask alone), one more forward and backward pass: 1.6 times as long as with `cutmix` on two cores, in one process
(`tests/methods/test_cost.py`). Accuracies are not yet compared. `:tiny` runs without the files.
"""

from ml_collections import ConfigDict

from configs import common
from configs.cifar10_fixmatch import WEAK
from configs.quickstart import stage


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.cifar10(tiny, labels_per_class=100)
    config.stages = ("weak", "cutmix", "puzzle_mix")
    cutmix = {"cutmix": {"alpha": 1.0, "probability": 0.5}}
    puzzle_mix = {"saliency_cutmix": {"alpha": 1.0, "blocks": 4, "smoothness": 0.5, "probability": 0.5}}
    for name, mix in (("weak", {}), ("cutmix", cutmix), ("puzzle_mix", puzzle_mix)):
        augment = WEAK | {"ops": (*WEAK["ops"], *mix)} | mix
        config[name] = stage({"name": "supervised", "label_smoothing": 0.0}, width=32, updates=1500, augment=augment)
    return common.shrink(config) if tiny else config
