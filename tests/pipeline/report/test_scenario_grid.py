"""A scenario as a grid: drawn from the same masks that training uses."""

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from retune.pipeline.learn.problem.scenarios import Scenario, plan_scenario
from retune.pipeline.learn.problem.targets import make_targets
from retune.pipeline.report.charts.scenario_grid import (
    ScenarioGrid,
    scenario_grid,
    scenario_lines,
    scenario_svg,
    tasks_saw,
)

DOCS = Path(__file__).resolve().parents[3] / "docs" / "scenarios"
FINDINGS = ("Atelectasis", "Cardiomegaly", "Edema", "Pleural Effusion")
PATIENT = np.repeat([f"p{number:02d}" for number in range(24)], 2)
ROWS = np.arange(48)


def plan(name: str, visible: str = "current", holes: bool = False) -> Scenario:
    """A scenario of 24 patients with two images each."""
    states = np.where(np.random.default_rng(4).random((48, 4)) < 0.3, 1, 0)
    if holes:
        states[::7, 1] = -1
    targets = make_targets(
        states.astype(np.int8), "ignore", "negative", findings=FINDINGS
    )
    return plan_scenario(
        name, targets, PATIENT, ROWS, FINDINGS, n_tasks=4,
        visible=visible,  # type: ignore[arg-type]  # one of two words
    )  # fmt: skip


def drawn(name: str, visible: str = "current", holes: bool = False) -> ScenarioGrid:
    return scenario_grid(plan(name, visible, holes), FINDINGS, PATIENT, ROWS)


def texts(grid: ScenarioGrid) -> list[list[str]]:
    return [[cell.text for cell in group.cells] for group in grid.groups]


def test_label_shows_each_finding_in_patients_of_its_own() -> None:
    grid = drawn("label")
    assert texts(grid) == [
        [str(task) if task == finding else "." for finding in range(1, 5)]
        for task in range(1, 5)
    ]
    assert [group.n_patients for group in grid.groups] == [6, 6, 6, 6]
    assert [group.n_images for group in grid.groups] == [12, 12, 12, 12]


def test_cumulative_labels_of_earlier_findings_are_shown_too() -> None:
    assert texts(drawn("label", "cumulative"))[2] == ["3", "3", "3", "."]


def test_data_and_joint_show_everything() -> None:
    assert texts(drawn("data")) == [[str(task)] * 4 for task in range(1, 5)]
    assert texts(drawn("joint")) == [["1"] * 4]


def test_missing_labels_are_marked() -> None:
    cells = [cell for row in texts(drawn("joint", holes=True)) for cell in row]
    assert cells == ["1", "1~", "1", "1"]


def test_every_patient_is_in_one_group() -> None:
    for name in ("class", "label", "data", "joint", "zero-shot"):
        grid = drawn(name)
        shown = sum(group.n_patients for group in grid.groups)
        assert shown + grid.n_left_out == grid.n_patients == 24
        assert len(grid.groups) <= 12


def test_what_is_left_out_is_counted() -> None:
    lines = scenario_lines(drawn("class"))
    grid = drawn("class")
    assert (grid.n_left_out > 0) == lines[-1].startswith("and ")


def test_the_terminal_has_names_in_full_and_columns_that_align() -> None:
    lines = scenario_lines(drawn("label"))
    rows = {line[:16].strip(): line for line in lines[3:]}
    assert set(FINDINGS) <= set(rows)
    assert rows["Edema"].split()[-4:] == [".", ".", "3", "."]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("label", "Each of 4 tasks saw 12 images of 6 patients, whom no other task "
         "saw, and labels of its own finding only (12 labels)."),
        ("data", "Each of 4 tasks saw 12 images of 6 patients, whom no other task "
         "saw, and labels of all 4 findings (48 labels)."),
        ("joint", "The task saw 48 images of 24 patients: 192 labels of 4 findings."),
        ("zero-shot", "There is no task: nothing was learned."),
    ],
)  # fmt: skip
def test_a_sentence_says_what_tasks_saw(name: str, words: str) -> None:
    assert tasks_saw(plan(name), PATIENT) == words


def test_class_says_that_images_recur() -> None:
    assert "images recur between tasks" in tasks_saw(plan("class"), PATIENT)


def test_names_cannot_break_the_drawing() -> None:
    names = ("<script>", "a & b", "\x1b[31m", "\u202e]]>")
    grid = scenario_grid(plan("label"), names, PATIENT, ROWS)
    root = ET.fromstring(scenario_svg(grid))
    shown = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert "<script>" in shown
    assert r"\x1b[31m" in shown
    assert all(line.isprintable() for line in scenario_lines(grid))


@pytest.mark.parametrize("name", ["class", "label", "data", "joint"])
def test_documents_show_what_the_function_draws(name: str) -> None:
    """RETUNE_WRITE_GOLDEN=1 draws them anew."""
    path = DOCS / f"{name}.svg"
    picture = scenario_svg(drawn(name)) + "\n"
    if os.environ.get("RETUNE_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(picture, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == picture
