"""Missing image files: found without opening one, told once."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.datasets.missing_files import missing_files


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=30,
)
@given(
    st.dictionaries(
        st.builds(
            lambda folder, n: f"{folder}{n}.png",
            st.sampled_from(["", "a/", "a/b/"]),
            st.integers(0, 40),
        ),
        st.booleans(),
        min_size=1,
    )
)
def test_missing_are_those_that_are_no_file(tmp_path_factory, there) -> None:
    root = tmp_path_factory.mktemp("root")
    for path, exists in there.items():
        if exists:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
    expected = [path for path in there if not (root / path).is_file()]
    assert missing_files(root, pa.array(list(there))) == expected


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    assert missing_files(tmp_path, pa.array(["a.png"])) == ["a.png"]


@pytest.mark.parametrize("n_images", [3, 30])
def test_ingest_tells_of_them_once_with_the_first_ten(
    tmp_path, write_table, n_images
) -> None:
    write_table(
        "t.csv", "path,patient_id,Edema", [f"{n}.png,{n},1" for n in range(n_images)]
    )
    (tmp_path / "0.png").touch()
    (warning,) = read_dataset(tmp_path).warnings
    assert warning.startswith(
        f"{n_images - 1} of {n_images} image files are not there: 1.png"
    )
    assert warning.count(".png") == min(10, n_images - 1)
    assert warning.endswith("…") == (n_images > 11)
