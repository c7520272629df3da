"""Runs become rows, pictures and one page."""

import html.parser
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import CHEXPERT, HOSTILE, sample_extras, sample_run, varied_runs
from scipy import stats

from retune.pipeline.learn.problem.config import TrainConfig
from retune.pipeline.learn.runs.record import ExperimentConfig, RunRecord
from retune.pipeline.learn.runs.selection import Provenance, Selection
from retune.pipeline.report.charts.axis import Axis
from retune.pipeline.report.comparable import compare_groups, differing_settings
from retune.pipeline.report.figures import plot_findings
from retune.pipeline.report.groups import (
    group_runs,
    mean_figure,
    where_it_loses,
    without_repeats,
)
from retune.pipeline.report.page import build_page, format_figure, sequence_table
from retune.pipeline.report.page_tables import course, finding_plot, overview_plot
from retune.pipeline.report.records import Figure, ReportedRun
from retune.pipeline.report.text_table import escaped
from retune.store.errors import ConfigurationError

FINDINGS = ("Edema", "Mass & more", "Hernia")


def record(
    number: int,
    *,
    shift: float = 0.0,
    scenario: str = "label",
    method: str = "finetune",
    preset: str = "default",
    where: str | None = None,
    seed: int = 0,
    store: str = "feature-store",
    fingerprint: str = "f",
) -> ReportedRun:
    """A run of three tasks; Hernia has one class in test, so it has no figure."""
    cells: dict[tuple[int, str, str, str], Figure] = {}
    for task in range(4):
        for k, name in enumerate(FINDINGS[:2]):
            value = 0.6 + 0.05 * task + 0.1 * k + shift
            cells[task, "test", name, "auroc"] = Figure(value, value - 0.1, value + 0.1)
    for name, count in zip(FINDINGS, (9, 8, 0), strict=True):
        cells[3, "test", name, "n_positive"] = Figure(count)
        cells[3, "test", name, "n_observed"] = Figure(40)
        cells[3, "test", name, "task_introduced"] = Figure(FINDINGS.index(name) + 1)
    for metric, value in (
        ("final_auroc", 0.8), ("zero_shot_auroc", 0.65), ("forgetting", 0.01),
        ("sequence_gap", 0.0), ("final_auroc_all", 0.8),
        ("macro_auroc_logistic_regression", 0.7),
    ):  # fmt: skip
        moved = value + (shift if "auroc" in metric else 0)
        cells[3, "test", "", metric] = Figure(moved, moved - 0.05, moved + 0.05)
    cells[3, "test/sex=F", "", "macro_auroc"] = Figure(0.77, 0.6, 0.9)
    cells[3, "test/sex=F", "", "n_images"] = Figure(17)
    config = ExperimentConfig(
        scenario, TrainConfig(seed=seed, epochs=3), preset, method
    )
    made = RunRecord(config, Provenance(Selection(None, where, seed)))
    return ReportedRun(
        f"run-{number}", store, "mini", fingerprint, scenario, method, 1.5, made,
        FINDINGS, np.array([1, 2, 3]), 3, cells,
    )  # fmt: skip


class _Balance(html.parser.HTMLParser):
    """Whether each element that is opened is closed, in order."""

    void = ("meta", "br", "hr", "img", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> str:
    """The text of a page that is well formed."""
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    return " ".join(" ".join(parser.text).split())


def page_of(runs: list[ReportedRun]) -> str:
    return build_page(runs, version="1", made_at="today")


def test_a_page_tells_every_figure_with_its_interval() -> None:
    text = read(page_of([record(1)]))
    assert "0.800 (0.750 to 0.850)" in text  # final
    assert "0.750 (0.650 to 0.850)" in text  # Edema after the last task
    assert "Mass & more" in text
    assert "sex=F 17 0 0.770 (0.600 to 0.900)" in text
    assert "not a medical device" in text
    assert "max_{tau(k)<=t<T}" in text  # the formulas
    assert "1 run of feature-store" in text


def test_a_page_needs_nothing_beside_it() -> None:
    page = page_of([record(1), record(2, method="analytic")])
    links = re.findall(r'(?:src|href)="([^"#][^"]*)"', page)
    assert links == []
    assert "url(http" not in page
    assert page.count('<svg class="head"') == 5  # overview, findings and groups twice
    assert page.count('<svg class="forest"') == 2 + 2 * 3 + 2
    assert page.count('<div class="curve"') == 2 + 2 * 2  # of each run and its findings
    assert page.count("<script>") == 1  # ours, and the policy allows no other


def test_equal_runs_give_equal_pages() -> None:
    runs = [record(1), record(2, seed=1, shift=0.02)]
    assert page_of(runs) == page_of(runs)


def test_names_cannot_break_the_page() -> None:
    runs = [record(1, where="age < 3 AND '<script>' <> ''")]
    page = page_of(runs)
    read(page)
    assert page.count("<script>") == 1
    assert "&lt;script&gt;" in page


def test_runs_that_differ_in_seed_are_one_row() -> None:
    runs = [record(n, seed=n, shift=s) for n, s in ((1, 0.0), (2, 0.02), (3, 0.04))]
    (group,) = group_runs(runs)
    final = group.summary("final_auroc")
    values = [0.8, 0.82, 0.84]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (final.value, final.low, final.high) == pytest.approx((0.82, low, high))
    assert group.newest.run_id == "run-3"


@pytest.mark.parametrize(
    "other",
    [
        {"scenario": "data"}, {"method": "ewc"}, {"preset": "reference"},
        {"where": "age > 3"},
    ],
)  # fmt: skip
def test_runs_that_differ_in_more_are_told_apart(other: dict[str, str]) -> None:
    groups = group_runs([record(1), record(2, **other)])  # type: ignore[arg-type]
    assert len(groups) == 2
    assert len({(group.scenario, group.name) for group in groups}) == 2


def test_repeated_runs_count_once() -> None:
    runs = [record(1), record(2), record(3, seed=4), record(4, shift=0.1)]
    assert [run.run_id for run in without_repeats(runs)] == ["run-3", "run-4"]
    elsewhere = [record(1), record(2, store="other"), record(3, fingerprint="g")]
    assert len(without_repeats(elsewhere)) == 3


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_a_mean_lies_within_its_interval(values: list[float]) -> None:
    mean = mean_figure([*(Figure(v, 0, 1) for v in values), Figure()])
    assert mean.value == pytest.approx(np.mean(values))
    assert mean.low - 1e-12 <= mean.value <= mean.high + 1e-12


def test_losses_are_named() -> None:
    assert where_it_loses(group_runs([record(1)])[0]) == []
    bad = record(1)
    cells = dict(bad.cells)
    cells[3, "test", "", "forgetting"] = Figure(0.09)
    cells[3, "test", "", "final_auroc"] = Figure(0.6)
    cells[3, "test", "", "final_auroc_all"] = Figure(0.6)
    cells[3, "test", "Edema", "auroc"] = Figure(0.3)
    (group,) = group_runs([ReportedRun(**{**vars(bad), "cells": cells})])
    lost = " ".join(where_it_loses(group))
    assert "forgetting +0.090" in lost
    assert "below zero-shot: 0.600 against 0.650, a difference of −0.050" in lost
    assert "logistic regression" in lost
    assert "Edema −0.300" in lost
    assert "Mass" not in lost


def test_losses_over_several_runs_have_intervals() -> None:
    """Differences are those of each run, not of the means: splits differ more."""
    runs = []
    for number, (start, loss) in enumerate([(0.6, 0.1), (0.8, 0.1), (0.7, 0.13)]):
        bad = record(number, seed=number)
        cells = dict(bad.cells)
        cells[3, "test", "", "zero_shot_auroc"] = Figure(start, 0.5, 0.9)
        cells[3, "test", "", "final_auroc"] = Figure(start - loss, 0.3, 0.9)
        cells[3, "test", "", "forgetting"] = Figure(0.01 + 0.03 * number)
        cells[0, "test", "Edema", "auroc"] = Figure(start)
        cells[3, "test", "Edema", "auroc"] = Figure(start - loss)
        runs.append(ReportedRun(**{**vars(bad), "cells": cells}))
    (group,) = group_runs(runs)
    half = stats.t.ppf(0.975, 2) * np.std([0.1, 0.1, 0.13], ddof=1) / np.sqrt(3)
    ends = f"−0.110 (−{0.11 + half:.3f} to −{0.11 - half:.3f})"
    forgotten, below, finding = where_it_loses(group)
    assert forgotten == "forgetting +0.040 (−0.035 to +0.115)"
    words = "it ends below zero-shot: 0.590 against 0.700, a difference of"
    assert below == f"{words} {ends}"
    assert finding == f"findings that end below zero-shot: Edema {ends}"


def test_no_interval_of_an_auroc_leaves_its_range() -> None:
    """Student's would, over a few runs that differ much."""
    (group,) = group_runs([record(1, shift=-0.2), record(2, seed=1, shift=0.19)])
    figure = group.summary("final_auroc")
    assert (figure.low, figure.high) == (0.0, 1.0)
    moved = group.difference("final_auroc", "sequence_gap")
    assert (moved.low, moved.high) == (-1.0, 1.0)


def test_figures_are_the_same_again() -> None:
    (group,) = group_runs([record(1), record(2, seed=1, shift=0.03)])
    axis = Axis(0.5, 1.0)
    for draw in (
        lambda: course(group, axis),
        lambda: finding_plot(group.newest),
        lambda: overview_plot([group], axis),
    ):
        assert draw() == draw()
    assert len(finding_plot(group.newest).rows) == 3
    assert ">zero-shot<" in overview_plot([group], axis).head


def test_a_notebook_has_a_figure_with_names_in_full() -> None:
    run = record(1)
    long = "a finding with a very long name that costs $5 and more"
    named = ReportedRun(**{**vars(run), "findings": (*FINDINGS[:2], long)})
    canvas = plot_findings(named)
    (axes,) = canvas.axes
    shown = " ".join(label.get_text() for label in axes.get_yticklabels())
    assert "Edema" in shown
    assert long.replace("$", r"\$") in " ".join(shown.split())
    canvas.canvas.draw()  # no warning that the layout was not applied


def test_runs_with_other_tasks_have_no_common_course() -> None:
    """Another split may lack a finding; a mean over tasks would mix what differs."""
    whole, part = record(1), record(2, seed=1)
    cells = {key: one for key, one in part.cells.items() if key[0] < 3}
    fewer = ReportedRun(**{**vars(part), "n_tasks": 2, "cells": cells})
    axis = Axis(0.5, 1.0)
    together = course(group_runs([whole, record(3, seed=2)])[0], axis)
    apart = course(group_runs([whole, fewer])[0], axis)
    assert ">mean 0.800<" in together
    assert ">mean" not in apart
    assert ">each run<" in apart


def test_seeds_on_the_same_images_have_the_interval_of_their_patients() -> None:
    """A spread over seeds of zero would read as certainty: (0.701 to 0.701)."""
    runs = [record(n, seed=n, where="one division") for n in (1, 2)]
    runs = [
        ReportedRun(
            **{
                **vars(run),
                "record": RunRecord(
                    run.record.config, Provenance(Selection(None, "one division"))
                ),
            }
        )
        for run in runs
    ]
    (group,) = group_runs(runs)
    assert group.same_images
    final = group.summary("final_auroc")
    assert (final.low, final.high) == pytest.approx((0.75, 0.85))
    assert "(0.750 to 0.850)" in read(page_of(runs))
    assert mean_figure([Figure(0.7), Figure(0.7)]).low != 0.7


def test_an_interval_that_does_not_show_is_left_out() -> None:
    assert format_figure(Figure(0.7, 0.7001, 0.7002)) == "0.700"
    assert format_figure(Figure(0.7, 0.69, 0.7002)) == "0.700 (0.690 to 0.700)"


def test_a_table_for_a_readme() -> None:
    table = sequence_table(group_runs([record(1), record(2, method="analytic")]))
    lines = table.splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| label | finetune | 1 | 0.800 (0.750 to 0.850) |")


def test_zero_shot_runs_have_a_page() -> None:
    whole = record(1, scenario="zero-shot")
    cells = {key: one for key, one in whole.cells.items() if key[0] == 0}
    run = ReportedRun(**{**vars(whole), "n_tasks": 0, "cells": cells})
    assert "zero-shot" in read(page_of([run]))


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> object:
        raise ImportError(f"No module named {name}", name=name)

    monkeypatch.setattr("retune.pipeline.report.page.import_module", absent)
    with pytest.raises(ConfigurationError, match="needs jinja2") as raised:
        page_of([record(1)])
    assert "retune-cli[report]" in str(raised.value.hint)


def test_only_comparable_runs_share_a_chart() -> None:
    alike = [sample_run(0), sample_run(1, method="analytic"), sample_run(2, seed=1)]
    others = [
        sample_run(3, CHEXPERT[:4]),
        sample_run(4, where="age < 3", n_test=57),
        sample_run(5, backbone="other"),
        sample_run(6, split_seed=3),
    ]
    groups = group_runs([*alike, *others], by_division=True)
    comparisons, alone = compare_groups(groups)
    assert [len(one.groups) for one in comparisons] == [2]
    reasons = [" ".join(one.reasons) for one in alone]
    assert reasons[0].startswith("other findings: without Atelectasis, Consolidation")
    assert reasons[1] == "other test images (57, not 400): where age < 3"
    assert reasons[2] == "other encoder: other finger-other"
    assert reasons[3] == "other test images: split_seed 3"
    text = read(page_of([*alike, *others]))
    for reason in reasons:
        assert reason in text


def test_settings_that_differ_are_marked() -> None:
    runs = [sample_run(n, method=m) for n, m in enumerate(("ewc", "lwf", "mask"))]
    groups = group_runs([*runs, sample_run(3, epochs=3)])
    assert differing_settings(groups) == [
        ("epochs", [("50", False), ("50", False), ("50", False), ("3", True)])
    ]
    assert "<mark>3</mark>" in page_of([*runs, sample_run(3, epochs=3)])


def test_twenty_runs_make_less_than_three_megabytes() -> None:
    runs = varied_runs()
    page = build_page(runs, version="1", made_at="now", extras=sample_extras(runs))
    assert len(page.encode()) < 3_000_000
    text = read(page)
    assert "22 runs" in text
    for name in HOSTILE:
        assert " ".join(escaped(name).split()) in text


def test_images_are_shown_only_if_there_are_some() -> None:
    assert "<img" not in page_of(varied_runs())
