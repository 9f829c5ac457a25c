"""The figure of a sweep."""

import xml.etree.ElementTree as ElementTree

from efficient_jax.report.sweep_figure import write_figure

RECORDS = [
    {"group": group, "seed": seed, "stages": {stage: {"correct": 80 + seed, "n": 100} for stage in ("a", "b")}}
    for group in ("few <labels>", "many, with noise")
    for seed in (0, 1, 2)
]


def test_every_seed_and_every_mean_has_a_mark(tmp_path):
    write_figure(tmp_path / "f.svg", RECORDS)
    uses = list(ElementTree.parse(tmp_path / "f.svg").iter("{http://www.w3.org/2000/svg}use"))
    ticks = [e for e in uses if "stroke: #000000" in e.get("style", "")]
    # 2 groups x 2 stages x (3 seeds + 1 mean), 2 squares of the legend; letters are uses without a style of a mark
    marks = [e for e in uses if e not in ticks and "stroke" in e.get("style", "")]
    assert len(marks) == 2 * 2 * (3 + 1) + 2


def test_the_same_records_make_the_same_file(tmp_path):
    for name in ("one.svg", "two.svg"):
        write_figure(tmp_path / name, RECORDS)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
