"""Every figure of a table has one meaning, under the table and on the page."""

import pytest

from efficient_jax.report import evaluation, page, tables
from efficient_jax.report.glossary import TERMS, legend
from efficient_jax.tasks import TASKS
from efficient_jax.types import INTERVAL

FIGURES = {column.header for task in TASKS.values() for column in task.metric_columns if column.form != INTERVAL}
FIGURES |= {*evaluation.PAIR_HEADERS[2:], *evaluation.TEMPERED_HEADERS[1:], *tables.PAIRED_HEADERS[3:]}


@pytest.mark.parametrize("header", sorted(FIGURES - {"pixels right, %"}))
def test_a_figure_of_a_table_has_a_meaning(header):
    assert legend([header])


def test_a_legend_has_a_line_for_each_term_once():
    assert legend(["member", "won", "lost", "macro F1, %"]).splitlines() == [
        f"won, lost: {TERMS['won, lost']}",
        f"F1, macro F1, micro F1: {TERMS['F1, macro F1, micro F1']}",
    ]
    assert legend(["member", "parameters"]) == ""


def test_no_name_has_two_meanings():
    names = [name for term in TERMS for name in term.split(", ")]
    assert len(names) == len(set(names))


def test_the_words_of_the_pages_have_meanings():
    assert {*evaluation.WORDS, *page.WORDS, *page.SEVERAL_WORDS} <= TERMS.keys()
