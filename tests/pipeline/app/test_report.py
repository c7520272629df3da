"""The report of a real store: probabilities, pictures, and what is missing."""

import re
from pathlib import Path

import pytest
from image_samples import write_dataset, write_tiny_backbone

import retune
from retune.pipeline.app.report import ReportRequest, report_markdown, write_report
from retune.store.errors import ConfigurationError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a run, and one without."""
    folder = tmp_path_factory.mktemp("report")
    write_dataset(folder / "data", 120)
    backbone = write_tiny_backbone(folder / "tiny")
    opened = retune.open(folder / "store", create=True)
    opened.ingest(folder / "data", layout="table", dataset="ward")
    opened.embed(backbone)
    opened.train("label", method="analytic")
    opened.train("joint", method="analytic", bounds=False)
    return folder / "store"


def test_it_shows_reliability_and_no_picture_unless_asked(
    store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.html"
    told: list[int] = []
    n_runs = write_report(
        ReportRequest((store,)), out, lambda progress: told.append(progress.done)
    )
    page = out.read_text(encoding="utf-8")
    assert (n_runs, told) == (2, [1, 2])
    assert "Reliability of probabilities" in page
    assert "<img" not in page
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)


def test_pictures_hold_pixels_only(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    write_report(ReportRequest((store,), images=True), out)
    page = out.read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg;base64,') > 0
    assert "labelled positive" in page


def test_a_run_whose_images_are_gone_still_has_a_page(
    store: Path, tmp_path: Path
) -> None:
    opened = retune.open(store)
    run = opened.run("latest")
    for file in (store / "runs" / run.run_id).iterdir():
        file.rename(file.with_name(f"{file.name}.away"))
    out = tmp_path / "report.html"
    try:
        write_report(ReportRequest((store,), (run.run_id,), images=True), out)
    finally:
        for file in (store / "runs" / run.run_id).iterdir():
            file.rename(file.with_name(file.name.removesuffix(".away")))
    page = out.read_text(encoding="utf-8")
    assert "There is none: " in page
    assert "<img" not in page


def test_the_table_has_a_row_for_each_group(store: Path) -> None:
    lines = report_markdown(ReportRequest((store,))).splitlines()
    assert len(lines) == 4


def test_mistakes_are_explained(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="means 0 runs"):
        write_report(ReportRequest((store,), ("nothing",)), tmp_path / "a.html")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_report(ReportRequest((store,)), tmp_path / "none" / "a.html")
