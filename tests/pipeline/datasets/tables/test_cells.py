"""Columns of text become typed; odd values are counted, wrong labels refused."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.datasets.tables.cells import (
    LABEL_TOKENS,
    ages,
    are_labels,
    label_states,
    required_ids,
    sexes,
)
from retune.pipeline.datasets.tables.delimited import read_csv
from retune.store.errors import DatasetError
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE, UNCERTAIN


def test_label_tokens_are_every_spelling_of_the_four_states(write_table):
    cells = ["1", "1.0", "0", "0.0", "-1", "-1.0", '""', " 1 "]
    table = read_csv(write_table("t.csv", "a,Edema", [f"x,{cell}" for cell in cells]))
    states = label_states(table, ["Edema"])
    assert states.dtype == np.int8
    assert states[:, 0].tolist() == [
        POSITIVE, POSITIVE, NEGATIVE, NEGATIVE, UNCERTAIN, UNCERTAIN, ABSENT, POSITIVE
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["2", "0.5", "yes", "1.00", "--1", "nan", "−1"])
def test_a_cell_that_is_no_label_is_named_with_line_and_column(write_table, value):
    rows = ["1,0", "1,", f"1,{value}", f"1,{value}"]
    table = read_csv(write_table("t.csv", "Mass,Edema", rows))
    with pytest.raises(DatasetError) as caught:
        label_states(table, ["Mass", "Edema"])
    assert caught.value.message == (
        f"{table.file}, line 4, column 'Edema': {value!r} is not a label"
        " (2 such cells in this column)"
    )


@given(st.lists(st.sampled_from([*LABEL_TOKENS, "2", "a", " "]), max_size=6))
def test_a_column_is_labels_if_all_cells_are_and_one_says_something(values):
    trimmed = [value.strip() for value in values]
    expected = all(v in LABEL_TOKENS for v in trimmed) and any(trimmed)
    assert are_labels(pa.array(values, pa.string())) == expected


def test_sexes_that_are_neither_are_unknown_and_counted():
    values = ["F", "f", "Female", "M", "male ", "Unknown", "O", "O", ""]
    codes, warnings = sexes(pa.array(values), "Sex")
    assert codes.to_pylist() == ["F", "F", "F", "M", "M", None, None, None, None]
    assert warnings == [
        "column 'Sex': 3 values kept as unknown: 'O' (2), 'Unknown' (1)"
    ]


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("58", 58.0),
        (" 58.0 ", 58.0),
        ("0", 0.0),
        ("120", 120.0),
        ("058Y", 58.0),
        ("006M", 0.5),
        ("010D", 10 / 365.2425),
        ("004W", 4 / 52.1775),
    ],
)
def test_ages_are_years(text, years):
    years_read, warnings = ages(pa.array([text]), "Age")
    assert years_read.type == pa.float32()
    assert years_read[0].as_py() == pytest.approx(years, rel=1e-6)
    assert warnings == []


@pytest.mark.parametrize(
    "text", ["000Y", "121", "148", "-3", "old", "58y", "1e1", "NaN"]
)
def test_ages_that_cannot_be_are_unknown_and_counted(text):
    years_read, warnings = ages(pa.array([text, "58", ""]), "Age")
    assert years_read.to_pylist() == [None, 58.0, None]
    assert warnings == [f"column 'Age': 1 value kept as unknown: {text!r} (1)"]


def test_a_missing_patient_is_an_error_with_the_first_line_and_the_count(write_table):
    table = read_csv(write_table("t.csv", "p,x", ["1,a", ",b", "  ,c"]))
    with pytest.raises(DatasetError, match=r"line 3, column 'p': .*\(2 such rows\)"):
        required_ids(table, "p")


def test_patients_keep_their_leading_zeros(write_table):
    table = read_csv(write_table("t.csv", "p,x", ["007,a", " 7 ,b"]))
    assert required_ids(table, "p").to_pylist() == ["007", "7"]
