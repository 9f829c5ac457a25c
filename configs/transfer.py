"""Four ways to use labels, beside each other: from scratch, a head on a frozen network, and two of fine-tuning it.

    python launch.py --config=configs/transfer.py --config.data.source.path=my_images --workdir=runs/transfer

EfficientNet-Lite0 at 96 pixels. `scratch` begins with random weights; `head` is a logistic head on ImageNet's features;
`two_rates` and `layerwise` go on from there, with a tenth of the head's learning rate for all the rest, or with 0.9
of the rate of the layer above for each. Both leave the batch statistics of ImageNet as they are.
`configs/sweeps/transfer.py` compares them on photographs of clothing.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.pictures(size=32 if tiny else 96)
    config.stages = ("scratch", "head", "two_rates", "layerwise")
    config.scratch = common.lite(updates=100, rules=((".*", 1.0),))
    config.head = common.lite_head()
    config.two_rates = common.lite(init="head", updates=100, rules=(("head/.*", 1.0), common.NORMS, (".*", 0.1)))
    config.layerwise = common.lite(init="head", updates=100, rules=(common.NORMS, (".*", 1.0)), layer_decay=0.9)
    return common.shrink(config) if tiny else config
