"""What the section of a dataset shows on `explore.html`, see survey.html."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from efficient_jax.report.charts import Chart
from efficient_jax.report.plots import Captioned, EmbeddedImage


class Suggestion(NamedTuple):
    """Something to take or to leave."""

    verdict: str  # "take" or "leave"
    what: str
    why: str
    stages: str  # those that have it


class MoreLabels(NamedTuple):
    """What more labels would bring."""

    sentence: str
    plot: Chart | None  # None where it cannot be told


class ClassRow(NamedTuple):
    """A class of the dataset."""

    name: str
    counts: list[str]  # images in each part
    share: float  # labelled images in percent of the largest class's
    spread: str
    strip: EmbeddedImage | None  # some of its images


class Measure(NamedTuple):
    """A measure of the images."""

    name: str
    plot: Chart  # its histogram
    strips: list[tuple[str, EmbeddedImage]]  # the images at each end


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Images that are worth a look."""

    title: str
    about: str
    count: int
    images: list[Captioned]  # some of them


class Annotations(NamedTuple):
    """The masks or boxes of a dataset."""

    about: str  # which images were measured, and what is counted
    legend: Sequence[tuple[str, str]]  # class name and CSS color
    headers: Sequence[str]
    classes: list[list[str]]  # cells below the headers, a row for each class
    measures: list[Measure]  # without images at their ends
    galleries: list[Gallery]


class Section(NamedTuple):
    """The section of a dataset."""

    notes: Sequence[str]
    facts: dict[str, str]
    suggestions: list[Suggestion]
    measured: str  # how many images were measured
    features: str  # name of the features
    more_labels: MoreLabels | None  # None where an image has several labels
    parts: list[str]  # of the split
    classes: list[ClassRow]
    shown: int  # classes with images, at most
    annotations: Annotations | None  # None for a dataset with neither masks nor boxes
    measures: list[Measure]
    galleries: list[Gallery]
