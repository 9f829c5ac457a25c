"""When does which way of using pretrained weights pay? Clothing photographs, 10 and 50 labels per class and all.

    python launch.py sweep --sweep=configs/sweeps/transfer.py --results=configs/sweeps/results/transfer.jsonl

The photographs (CC0, github.com/alexeygrigorev/clothing-dataset-small) are expected in
$EFFICIENT_JAX_DATA/clothing, with the folders train and validation; the latter are the test images.
"""

CONFIG = "configs/transfer.py"

DATA = "$EFFICIENT_JAX_DATA/clothing"
SOURCE = {"data.source.path": f"{DATA}/train", "data.source.test_path": f"{DATA}/validation"}
TUNED = ("two_rates", "layerwise")
PLAIN = {f"{stage}.augment.ops": () for stage in ("scratch", *TUNED)}
AUGMENTED = {"head.views": 8, "head.augment.ops": ("random_resized_crop", "flip")}
STEPS = {10: 100, 50: 200}


def trials():
    for seed in range(3):
        for labels, steps in STEPS.items():
            for name, changes in (("augmented", AUGMENTED), ("plain", PLAIN)):
                lengths = {f"{stage}.steps": steps for stage in ("scratch", *TUNED)}
                overrides = {"seed": seed, "data.labels_per_class": labels, **SOURCE, **lengths, **changes}
                yield f"{labels} labels per class, {name}", overrides
        if seed == 0:
            lengths = {"two_rates.steps": 960, "layerwise.steps": 960}
            everything = {"seed": 0, "stages": ("head", *TUNED), **SOURCE, **lengths}
            yield "all labels, augmented", everything
            yield "all labels, 160 pixels", everything | {"data.source.size": 160, "stages": ("head", "layerwise")}


COMPARISONS = tuple(
    ((f"{labels} labels per class, {name}", stage), (f"{labels} labels per class, {name}", "head"))
    for labels in STEPS
    for name in ("augmented", "plain")
    for stage in ("scratch", *TUNED)
) + tuple(
    ((f"{labels} labels per class, augmented", stage), (f"{labels} labels per class, plain", stage))
    for labels in STEPS
    for stage in ("scratch", "head", *TUNED)
)
