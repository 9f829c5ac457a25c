"""Noisy student training on your own pictures: labelled ones in a folder for each class, others without any.

    python launch.py --config=configs/noisy_student.py --config.data.source.path=my_images \
        --config.data.source.unlabelled_path=my_other_images --workdir=runs/noisy_student

A teacher is fine-tuned from EfficientNet-Lite0 and labels the other pictures; a student as large learns from both under
noise (RandAugment, dropout, stochastic depth) and labels them anew; a larger one, Lite1, learns from that. Students see
128 pixels and begin with ImageNet's weights, not with their teacher's; at the end the upper layers of the last one get
used to 160 pixels and labelled pictures as they are (arXiv 1906.06423). Other ladders:
`--config.stages="('teacher','student')"`, or blocks of your own.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.pictures(size=32 if tiny else 160)
    config.data.source.unlabelled_path = ""
    config.stages = ("head", "teacher", "student", "larger", "fixed")
    frozen_norms = (common.NORMS, (".*", 1.0))
    config.head = common.lite_head()
    config.teacher = common.lite(init="head", epochs=12.0, rules=frozen_norms, layer_decay=0.9)
    config.student = common.lite_student(
        teacher="teacher", init="head", updates=600, rules=frozen_norms, layer_decay=0.9
    )
    rules = (("head/.*", 10.0), *frozen_norms)
    config.larger = common.lite_student(teacher="student", init="efficientnet-lite1", updates=600, rules=rules)
    config.larger.model.variant = "lite1"
    config.student.size = config.larger.size = 24 if tiny else 128
    upper = (common.NORMS, ("(head|conv_head|blocks/6)/.*", 1.0), (".*", 0.0))
    config.fixed = common.lite(init="larger", epochs=2.0, rules=upper)
    config.fixed.model.variant = "lite1"
    config.fixed.optim.learning_rate = 1e-4
    config.fixed.augment = {"ops": ()}
    return common.shrink(config) if tiny else config
