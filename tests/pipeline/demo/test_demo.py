"""Synthetic radiographs: the same bytes again, true signs, CheXpert's own tables."""

import csv
import doctest
import hashlib
import importlib
import json
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from retune.pipeline.demo import contact_sheet, drawing, layout, write_demo
from retune.pipeline.demo.anatomy import Chest, diaphragm, lung_borders
from retune.pipeline.demo.film import draw_film, film_attenuation, film_chest
from retune.pipeline.demo.grid import grid_of, upsample
from retune.pipeline.demo.labels import HEADER, LABELS, train_cells
from retune.pipeline.demo.population import (
    DRAWN_FINDINGS,
    MILD,
    MODERATE,
    SEVERE,
    Patient,
    Side,
    Sign,
    Study,
    View,
    draw_patient,
    patients,
)
from retune.pipeline.demo.signs import apply
from retune.pipeline.demo.tissue import draw_tissue, heart_chord
from retune.pipeline.demo.vessels import hila
from retune.store.errors import ConfigurationError, PipelineError

Field = NDArray[np.float32]

SIZE = 64  # small films for what is about files
GRID = grid_of(160)
PA, AP = View(1, "PA"), View(1, "AP")
GRADES = (MILD, MODERATE, SEVERE)
CHEXPERT_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,"
    "Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,"
    "Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


class Row(NamedTuple):
    """One film of a patient with signs of our choice."""

    patient: Patient
    study: Study
    view: View

    def with_signs(self, *signs: Sign) -> "Row":
        return self._replace(study=replace(self.study, signs=signs))

    def attenuation(self) -> Field:
        return film_attenuation(0, self.patient, self.study, self.view, GRID)

    def chest(self) -> Chest:
        return film_chest(0, self.patient, self.study, self.view)


def row(number: int, view: View = PA) -> Row:
    """A patient without any sign."""
    patient = draw_patient(0, number)
    return Row(patient, replace(patient.studies[0], signs=(), views=(view,)), view)


def added(base: Row, *signs: Sign) -> Field:
    """What the signs add to the attenuation of one film."""
    return base.with_signs(*signs).attenuation() - base.attenuation()


def at(field: Field, x: float, y: float, half: float = 0.05) -> float:
    """Mean of a field in a square of film units."""
    return float(field[GRID.box(x - half, y - half, x + half, y + half)].mean())


def rows_of(n_images: int, seed: int = 0) -> Iterator[Row]:
    for patient in patients(seed, 1, n_images):
        for study in patient.studies:
            for view in study.views:
                yield Row(patient, study, view)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def table(folder: Path, name: str) -> list[dict[str, str]]:
    path = folder / "CheXpert-v1.0-small" / f"{name}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo of 40 small films, drawn by one process; tests only read it."""
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder, 40, 0, size=SIZE, workers=1)
    return folder


# --- the same again ---------------------------------------------------------------


def test_same_arguments_give_the_same_bytes_with_any_number_of_workers(
    demo: Path, tmp_path: Path
) -> None:
    write_demo(tmp_path / "two", 40, 0, size=SIZE, workers=2)
    assert digests(tmp_path / "two") == digests(demo)


def test_another_seed_draws_other_films(demo: Path, tmp_path: Path) -> None:
    write_demo(tmp_path, 40, 1, size=SIZE, workers=1)
    ours, theirs = set(digests(tmp_path).values()), set(digests(demo).values())
    assert len(ours & theirs) == 1  # README.txt
    assert len(ours) > 40


def test_a_larger_demo_holds_the_patients_of_a_smaller_one(
    demo: Path, tmp_path: Path
) -> None:
    write_demo(tmp_path, 12, 0, size=SIZE, workers=1)
    small, large = digests(tmp_path), digests(demo)
    films = {path for path in small if path.endswith(".jpg")}
    assert len(films) == 12
    assert all(small[path] == large[path] for path in films)


def test_repeating_a_call_draws_nothing(
    demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a film was drawn again")

    monkeypatch.setattr(drawing, "draw_film", refuse)
    before = digests(demo)
    calls: list[tuple[int, int]] = []
    again = write_demo(
        demo, 40, 0, size=SIZE, workers=1, progress=lambda *c: calls.append(c)
    )
    assert again.n_images == 40
    assert calls == [(40, 40)]
    assert digests(demo) == before


def test_an_interrupted_demo_is_completed(demo: Path, tmp_path: Path) -> None:
    class StoppedError(Exception):
        """What a Ctrl-C between two films looks like to the generator."""

    def stop(done: int, total: int) -> None:
        if done == 7:
            raise StoppedError

    with pytest.raises(StoppedError):
        write_demo(tmp_path, 40, 0, size=SIZE, workers=1, progress=stop)
    assert len(list(tmp_path.rglob("*.jpg"))) == 7
    calls: list[tuple[int, int]] = []
    write_demo(
        tmp_path, 40, 0, size=SIZE, workers=1, progress=lambda *c: calls.append(c)
    )
    assert digests(tmp_path) == digests(demo)
    assert calls == [(done, 40) for done in range(7, 41)]


def test_a_film_does_not_depend_on_films_drawn_before_it() -> None:
    one, other = list(rows_of(6))[2::3]
    alone = draw_film(0, *one, SIZE).tobytes()
    draw_film(0, *other, SIZE)
    assert draw_film(0, *one, SIZE).tobytes() == alone


# --- files and folders ------------------------------------------------------------


def test_films_are_grey_jpegs_of_the_size_and_show_something(demo: Path) -> None:
    films = list(demo.rglob("*.jpg"))
    assert len(films) == 40
    for path in films:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "L", (SIZE, SIZE))
            assert np.asarray(image).std() > 20


def test_no_half_written_file_is_left(demo: Path) -> None:
    assert not list(demo.rglob("*.part"))


def test_the_folder_says_that_no_patient_is_shown(demo: Path) -> None:
    words = " ".join((demo / "README.txt").read_text("utf-8").split())
    assert "show no patient" in words
    assert "medical purpose" in words


@pytest.mark.parametrize("n_images", [2, 3, 5])
def test_tiny_demos_have_exactly_their_images_in_both_splits(
    tmp_path: Path, n_images: int
) -> None:
    summary = write_demo(tmp_path, n_images, 3, size=SIZE)
    rows = [len(table(tmp_path, "train")), len(table(tmp_path, "valid"))]
    assert sum(rows) == summary.n_images == n_images
    assert min(rows) >= 1


def test_the_summary_counts_what_was_written(demo: Path) -> None:
    summary = write_demo(demo, 40, 0, size=SIZE, workers=1)
    both = table(demo, "train") + table(demo, "valid")
    assert summary.folder == demo
    assert summary.n_patients == len({r["Path"].split("/")[2] for r in both})
    assert summary.n_studies == len({r["Path"].rsplit("/", 1)[0] for r in both})
    assert list(summary.positives) == list(DRAWN_FINDINGS)
    assert summary.seconds > 0
    for finding, count in summary.positives.items():
        named = [r[finding] for r in both]
        # A report may doubt a sign that was drawn, and one that was not.
        assert named.count("1.0") <= count <= named.count("1.0") + named.count("-1.0")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n_images": 1}, "demo of 1 image"),
        ({"n_images": 0}, "demo of 0 images"),
        ({"n_images": 1_000_000}, "demo of 1,000,000 images"),
        ({"seed": -1}, "seed is -1"),
        ({"size": 16}, "16 pixels"),
        ({"size": 4096}, "4096 pixels"),
        ({"workers": 0}, "0 workers"),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        write_demo(tmp_path / "demo", **{"n_images": 4, **arguments})
    assert caught.value.hint
    assert not (tmp_path / "demo").exists()


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigurationError, match="not empty") as caught:
        write_demo(tmp_path, 4, size=SIZE)
    assert "new folder" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("other", [{"n_images": 41}, {"seed": 1}, {"size": 65}])
def test_a_folder_with_another_demo_is_refused(
    demo: Path, other: dict[str, Any]
) -> None:
    arguments = {"n_images": 40, "seed": 0, "size": SIZE, **other}
    before = digests(demo)
    with pytest.raises(ConfigurationError, match="another demo") as caught:
        write_demo(demo, **arguments)
    assert "its own arguments" in caught.value.hint
    assert digests(demo) == before


def test_a_demo_of_another_drawing_version_is_refused(tmp_path: Path) -> None:
    write_demo(tmp_path, 2, size=SIZE)
    record = json.loads((tmp_path / "demo.json").read_text("utf-8"))
    record["drawing_version"] += 1
    (tmp_path / "demo.json").write_text(json.dumps(record))
    with pytest.raises(ConfigurationError, match="another demo"):
        write_demo(tmp_path, 2, size=SIZE)


@pytest.mark.parametrize("text", ["{", "\x00", '"a word"', "[]"])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "demo.json").write_text(text)
    with pytest.raises(ConfigurationError):
        write_demo(tmp_path, 2, size=SIZE)


def test_a_record_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        write_demo(tmp_path, 2, size=SIZE)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("a file")
    with pytest.raises(ConfigurationError, match="is a file"):
        write_demo(tmp_path / "demo", 2, size=SIZE)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_that_cannot_be_written_gives_a_named_error(
    tmp_path: Path, workers: int
) -> None:
    write_demo(tmp_path, 2, size=SIZE)
    train = tmp_path / "CheXpert-v1.0-small" / "train"
    for name in ("train", "valid"):
        split = train.with_name(name)
        for path in sorted(split.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        split.rmdir()
        split.write_text("in the way")
    with pytest.raises(PipelineError, match="cannot write the demo") as caught:
        write_demo(tmp_path, 2, size=SIZE, workers=workers)
    assert "goes on where it stopped" in caught.value.hint


def test_a_full_disk_gives_a_named_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Image.Image, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(PipelineError, match="No space left"):
        write_demo(tmp_path, 2, size=SIZE, workers=1)
    assert not list(tmp_path.rglob("*.jpg"))


def test_a_dead_worker_gives_a_named_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DeadPool:
        def __init__(self, *_: object, **__: object) -> None: ...

        def submit(self, *_: object) -> None:
            raise BrokenProcessPool("died")

        def shutdown(self, **_: object) -> None: ...

    monkeypatch.setattr(drawing, "ProcessPoolExecutor", DeadPool)
    with pytest.raises(PipelineError, match="died") as caught:
        write_demo(tmp_path, 4, size=SIZE, workers=2)
    assert "one worker" in caught.value.hint


# --- CheXpert's tables --------------------------------------------------------------


@pytest.mark.parametrize("name", ["train", "valid"])
def test_tables_have_chexperts_header_and_one_row_per_file(
    demo: Path, name: str
) -> None:
    root = demo / "CheXpert-v1.0-small"
    header = (root / f"{name}.csv").read_text("utf-8").splitlines()[0]
    assert header == CHEXPERT_HEADER == ",".join(HEADER)
    listed = [r["Path"] for r in table(demo, name)]
    assert len(listed) == len(set(listed))
    assert {str(p.relative_to(demo)) for p in (root / name).rglob("*.jpg")} == {*listed}
    assert all(p.startswith(f"CheXpert-v1.0-small/{name}/patient") for p in listed)
    assert all(p.endswith("_frontal.jpg") for p in listed)


def test_about_a_quarter_of_the_films_are_other_patients_for_validation(
    demo: Path,
) -> None:
    people = {
        name: {r["Path"].split("/")[2] for r in table(demo, name)}
        for name in ("train", "valid")
    }
    assert not people["train"] & people["valid"]
    assert len(table(demo, "valid")) == 10


@pytest.mark.parametrize("name", ["train", "valid"])
def test_demographic_columns_hold_chexperts_words(demo: Path, name: str) -> None:
    for r in table(demo, name):
        assert r["Sex"] in {"Male", "Female"}
        assert 18 <= int(r["Age"]) <= 90
        assert r["Frontal/Lateral"] == "Frontal"
        assert r["AP/PA"] in {"PA", "AP"}


def test_validation_rows_are_complete_and_consistent(demo: Path) -> None:
    opacities = ("Edema", "Consolidation", "Atelectasis")
    for r in table(demo, "valid"):
        assert {r[label] for label in LABELS} <= {"0.0", "1.0"}
        assert (r["No Finding"] == "1.0") == all(r[f] == "0.0" for f in DRAWN_FINDINGS)
        assert r["Enlarged Cardiomediastinum"] == r["Cardiomegaly"]
        assert r["Lung Opacity"] == max(r[f] for f in opacities)
        assert {r["Fracture"], r["Support Devices"], r["Lung Lesion"]} == {"0.0"}


def test_training_rows_are_blank_where_nothing_is_ever_drawn(demo: Path) -> None:
    never = ("Lung Lesion", "Pneumonia", "Pneumothorax", "Pleural Other", "Fracture")
    for r in table(demo, "train"):
        assert {r[label] for label in LABELS} <= {"1.0", "0.0", "-1.0", ""}
        assert {r[label] for label in (*never, "Support Devices")} == {""}


def test_films_of_one_study_have_the_same_labels(demo: Path) -> None:
    seen: dict[str, list[str]] = {}
    for r in table(demo, "train") + table(demo, "valid"):
        study = r["Path"].rsplit("/", 1)[0]
        labels = [r[label] for label in LABELS]
        assert seen.setdefault(study, labels) == labels


def test_a_report_never_contradicts_what_was_drawn() -> None:
    rng = np.random.default_rng(0)
    column = {label: index for index, label in enumerate(LABELS)}
    for film in rows_of(600):
        signs = film.study.signs
        cells = train_cells(signs, rng)
        present = {sign.finding for sign in signs}
        for finding in DRAWN_FINDINGS:
            allowed = {"1.0", "-1.0"} if finding in present else {"0.0", "-1.0", ""}
            assert cells[column[finding]] in allowed
        assert cells[0] == ("" if present else "1.0")


def test_reports_doubt_mild_signs_most_and_leave_most_absences_out() -> None:
    rng = np.random.default_rng(0)
    column = LABELS.index("Edema")

    def share(value: str, *signs: Sign) -> float:
        cells = [train_cells(signs, rng)[column] for _ in range(500)]
        return cells.count(value) / len(cells)

    assert 0.2 < share("-1.0", Sign("Edema", MILD)) < 0.4
    assert share("-1.0", Sign("Edema", SEVERE)) < 0.1
    assert share("") > 0.5
    assert 0.2 < share("0.0") < 0.5


# --- who is drawn -------------------------------------------------------------------


def test_patients_have_exactly_the_films_asked_for() -> None:
    for n_images in (1, 2, 17, 100):
        assert len(list(rows_of(n_images))) == n_images


def test_both_sexes_both_views_many_ages_and_repeated_films_occur() -> None:
    films = list(rows_of(300))
    assert {film.patient.sex for film in films} == {"Male", "Female"}
    assert {film.view.projection for film in films} == {"PA", "AP"}
    ages = np.array([film.study.age for film in films])
    assert ages.min() >= 18
    assert ages.max() <= 90
    assert 55 < ages.mean() < 66
    assert max(len(patient.studies) for patient in patients(0, 1, 300)) >= 3
    assert max(film.view.number for film in films) == 2


def test_every_finding_is_common_enough_in_each_severity() -> None:
    films = list(rows_of(1000))
    for finding in DRAWN_FINDINGS:
        grades = [
            max(
                (s.severity for s in film.study.signs if s.finding == finding),
                default=0,
            )
            for film in films
        ]
        assert 0.12 < np.mean(np.array(grades) > 0) < 0.40
        assert set(grades) == {0, *GRADES}
    assert 0.2 < np.mean([not film.study.signs for film in films]) < 0.5


def test_findings_keep_company_as_they_do_in_patients() -> None:
    studies = [{s.finding for s in f.study.signs} for f in rows_of(3000)]

    def chance(finding: str, *, given: str, holds: bool) -> float:
        chosen = [s for s in studies if (given in s) == holds]
        return sum(finding in s for s in chosen) / len(chosen)

    for finding, given in (
        ("Edema", "Cardiomegaly"),
        ("Pleural Effusion", "Edema"),
        ("Pleural Effusion", "Consolidation"),
        ("Atelectasis", "Pleural Effusion"),
    ):
        with_it = chance(finding, given=given, holds=True)
        without = chance(finding, given=given, holds=False)
        assert with_it > 1.15 * without, (finding, given)


# --- the signs ----------------------------------------------------------------------


def measured_ratio(chest: Chest) -> float:
    """Heart width / inner thoracic width, measured on what is drawn above the domes."""
    grid = grid_of(320)
    heart = heart_chord(chest, grid.x, grid.y) > 0
    columns = grid.x[0][(heart & (grid.y < diaphragm(chest, grid.x))).any(axis=0)]
    thorax = 2 * float(lung_borders(chest, grid.y)[1].max())
    return float(columns.max() - columns.min() + grid.pixel) / thorax


def test_the_drawn_heart_is_wider_than_half_the_chest_exactly_in_cardiomegaly() -> None:
    for film in rows_of(300):
        large = any(sign.finding == "Cardiomegaly" for sign in film.study.signs)
        ratio = measured_ratio(film.chest())
        assert 0.36 < ratio < 0.75
        assert (ratio > 0.5) == large
        assert ratio == pytest.approx(film.chest().ratio, abs=0.02)


def test_hearts_grow_with_severity_and_look_larger_in_bed() -> None:
    for number in (1, 5, 9):
        ratios = [
            row(number).with_signs(Sign("Cardiomegaly", grade)).chest().ratio
            for grade in GRADES
        ]
        assert ratios == sorted(ratios)
        assert row(number, AP).chest().ratio > row(number).chest().ratio


def test_breath_is_shallower_in_bed() -> None:
    deep = np.mean([row(n).chest().dome_y[0] for n in range(1, 20)])
    shallow = np.mean([row(n, AP).chest().dome_y[0] for n in range(1, 20)])
    assert shallow < deep - 0.05


def test_the_right_lung_is_larger_and_its_dome_is_higher() -> None:
    for number in range(1, 12):
        chest = row(number).chest()
        assert chest.dome_y[0] < chest.dome_y[1]
        air = draw_tissue(chest, GRID, np.random.default_rng(0)).air
        assert air[:, GRID.x[0] < 0].sum() > air[:, GRID.x[0] > 0].sum()


@pytest.mark.parametrize("view", [PA, AP])
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("grade", GRADES)
def test_effusion_fills_the_costophrenic_angle_of_its_side(
    side: Side, grade: int, view: View
) -> None:
    base = row(4, view)
    more = added(base, Sign("Pleural Effusion", grade, side))
    chest = base.chest()
    angle_y = chest.dome_at(side) + 0.65 * chest.dome_drop
    angle_x = side * 0.92 * chest.half_width
    assert at(more, angle_x, angle_y, 0.03) > 0.15
    assert np.all(more[:, np.sign(GRID.x[0]) == -side] == 0)
    apex = at(more, side * 0.5 * chest.half_width, chest.apex_y + 0.15)
    assert apex < 0.25 * at(more, angle_x, angle_y, 0.03)


def test_effusion_has_a_meniscus() -> None:
    """The fluid's upper border is higher at the side wall than further in."""
    base = row(4)
    chest = base.chest()
    for side in (-1, 1):
        more = added(base, Sign("Pleural Effusion", SEVERE, side))
        x = np.abs(GRID.x[0]) / chest.half_width

        def border(
            u: float, more: Field = more, side: int = side, x: Field = x
        ) -> float:
            column = int(np.argmin(np.abs(x - u) + 9 * (np.sign(GRID.x[0]) != side)))
            filled = more[:, column] > 0.5 * more[:, column].max()
            return float(GRID.y[int(np.argmax(filled)), 0])

        assert border(0.93) < border(0.75) - 0.02 < border(0.55) - 0.04


def test_oedema_veils_both_hila_and_spares_the_apices() -> None:
    base = row(2)
    chest = base.chest()
    for grade in GRADES:
        more = added(base, Sign("Edema", grade))
        for side, (x, y) in zip((-1, 1), hila(chest), strict=True):
            near = at(more, x + side * 0.14, y + 0.06, 0.08)
            far = at(more, side * 0.55 * chest.half_width, chest.apex_y + 0.12)
            assert near > 0.08
            assert near > 3 * far


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("height", [0.3, 0.5, 0.75])
def test_consolidation_is_one_focus_in_one_lung(side: Side, height: float) -> None:
    base = row(3)
    more = added(base, Sign("Consolidation", SEVERE, side, height))
    same = np.sign(GRID.x[0]) == side
    assert np.abs(more[:, ~same]).max() < 0.05 * more.max()
    strong = more > 0.5 * more.max()
    assert 0.005 < strong.mean() < 0.08
    rows, columns = np.nonzero(strong)
    x, y = GRID.x[0][columns], GRID.y[rows, 0]
    assert x.std() < 0.2
    assert y.std() < 0.2
    assert 0.3 < abs(x.mean()) / base.chest().half_width < 0.85


def test_consolidations_lie_where_their_height_says() -> None:
    base = row(3)
    middles = []
    for height in (0.2, 0.5, 0.8):
        more = added(base, Sign("Consolidation", MODERATE, 1, height)).clip(0)
        middles.append(float((more * GRID.y).sum() / more.sum()))
    assert middles == sorted(middles)
    assert middles[-1] - middles[0] > 0.3


@pytest.mark.parametrize("side", [-1, 1])
def test_atelectasis_raises_its_dome_and_draws_the_mediastinum(side: Side) -> None:
    base = row(6)
    before = base.chest()
    rises, shifts = [], []
    for grade in GRADES:
        after = base.with_signs(Sign("Atelectasis", grade, side)).chest()
        assert after.dome_at(-side) == before.dome_at(-side)
        rises.append(before.dome_at(side) - after.dome_at(side))
        shifts.append(side * (after.shift - before.shift))
    assert 0 < rises[0] < rises[1] < rises[2]
    assert 0 < shifts[0] < shifts[1] < shifts[2]


def test_atelectasis_shows_as_plates_longer_than_thick() -> None:
    chest = row(6).chest()
    for grade in GRADES:
        tissue = draw_tissue(chest, GRID, np.random.default_rng(0))
        apply(tissue, chest, [Sign("Atelectasis", grade, 1)], np.random.default_rng(1))
        rows, columns = np.nonzero(tissue.marks > 0.5 * tissue.marks.max())
        assert columns.size > 0
        wide = np.ptp(GRID.x[0][columns])
        thick = len(rows) * GRID.pixel**2 / wide / grade
        assert wide > 4 * thick
        assert np.all(GRID.x[0][columns] > 0)
        assert np.all(GRID.y[rows, 0] < chest.dome_at(1))


@pytest.mark.parametrize("finding", DRAWN_FINDINGS)
def test_severer_signs_change_the_film_more(finding: str) -> None:
    side: Side = 0 if finding in {"Edema", "Cardiomegaly"} else 1
    for number in (2, 7):
        change = [
            float(np.abs(added(row(number), Sign(finding, grade, side))).sum())
            for grade in GRADES
        ]
        assert 0 < change[0] < change[1] < change[2]


def test_a_sign_is_the_same_whatever_other_signs_are_drawn() -> None:
    base = row(5)
    oedema, effusion = Sign("Edema", SEVERE), Sign("Pleural Effusion", SEVERE, 1)
    alone = added(base, oedema)
    beside = added(base.with_signs(effusion), effusion, oedema)
    right = GRID.x[0] < -0.05
    np.testing.assert_allclose(beside[:, right], alone[:, right], atol=1e-5)


def test_signs_survive_the_exposure() -> None:
    """On the finished film an effusion is brighter than the same film without it."""
    base = row(4)
    sick = base.with_signs(Sign("Pleural Effusion", SEVERE, -1))
    films = [
        np.asarray(draw_film(0, *film, 160), dtype=np.float32) for film in (base, sick)
    ]
    part = np.s_[80:110, 24:56]
    assert films[1][part].mean() > films[0][part].mean() + 25


def test_free_beam_is_dark_and_the_abdomen_bright() -> None:
    for number in range(1, 8):
        film = np.asarray(draw_film(0, *row(number), 160))
        lung, belly = np.median(film[60:90, 30:50]), np.median(film[140:150, 60:100])
        assert 70 < lung < 190
        assert belly > lung + 30
        assert film.min() < 10


# --- the pieces ---------------------------------------------------------------------


def test_enlarging_agrees_with_interpolating_each_point() -> None:
    field = np.random.default_rng(0).random((5, 5), dtype=np.float32)
    at_ = np.clip((np.arange(13) + 0.5) * 5 / 13 - 0.5, 0, 4)
    along = np.array([np.interp(at_, np.arange(5), line) for line in field])
    expected = np.array([np.interp(at_, np.arange(5), line) for line in along.T]).T
    np.testing.assert_allclose(upsample(field, 13), expected, atol=1e-6)


def test_a_contact_sheet_has_a_row_per_finding() -> None:
    sheet = contact_sheet(1)
    assert sheet.mode == "L"
    assert sheet.height > (1 + len(DRAWN_FINDINGS)) * sheet.width
    assert contact_sheet(1).tobytes() == sheet.tobytes()


@pytest.mark.parametrize(
    "name", ["anatomy", "grid", "labels", "layout", "population", "signs", "tissue"]
)
def test_examples_in_docstrings_hold(name: str) -> None:
    module = importlib.import_module(f"retune.pipeline.demo.{name}")
    assert doctest.testmod(module).failed == 0


def test_validation_numbers_start_where_chexperts_do(demo: Path) -> None:
    first = min(r["Path"] for r in table(demo, "valid"))
    assert "patient64541" in first
    assert layout.DRAWING_VERSION == 1
