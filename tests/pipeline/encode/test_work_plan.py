"""`embed` does what is missing or changed, and nothing else."""

from pathlib import Path

import pyarrow as pa
import pytest

from retune.pipeline.encode.work_plan import FileStatus, file_statuses, plan_images


def _work(**changes: object) -> pa.Table:
    row = {
        "image_id": "d/a.png",
        "dataset": "d",
        "root": "/r",
        "path": "a.png",
        "content_digest": "ab",
        "size_bytes": 5,
        "mtime_ns": 7,
        "encoded": True,
        "failed": False,
    } | changes
    return pa.Table.from_pylist([row])


@pytest.mark.parametrize(
    ("changes", "status", "retry", "expected"),
    [
        ({}, FileStatus(5, 7), False, "encoded"),
        ({}, FileStatus(6, 7), False, "read"),
        ({}, FileStatus(5, 8), False, "read"),
        ({"content_digest": None}, FileStatus(5, 7), False, "read"),
        ({"encoded": False}, FileStatus(5, 7), False, "read"),
        ({"encoded": False, "failed": True}, FileStatus(5, 7), False, "refused"),
        ({"encoded": False, "failed": True}, FileStatus(5, 7), True, "read"),
        ({"encoded": False, "failed": True}, FileStatus(5, 9), False, "read"),
        ({}, FileStatus(error="No such file"), False, "missing"),
        ({"content_digest": None}, FileStatus(error="No such file"), True, "missing"),
    ],
)
def test_each_image_has_one_fate(
    changes: dict[str, object], status: FileStatus, retry: bool, expected: str
) -> None:
    plan = plan_images(_work(**changes), {"d/a.png": status}, retry_failed=retry)
    fates = {
        "encoded": plan.n_encoded,
        "refused": plan.n_refused,
        "read": len(plan.to_read),
        "missing": len(plan.missing),
    }
    assert fates == {fate: int(fate == expected) for fate in fates}


def test_a_missing_file_says_where_it_should_be() -> None:
    status = FileStatus(error="No such file or directory")
    (failure,) = plan_images(_work(), {"d/a.png": status}, retry_failed=False).missing
    assert failure.path == "/r/a.png"
    assert failure.stage == "read"
    assert "No such file" in failure.error


def test_statuses_come_from_the_file_system(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")
    found = file_statuses(_work(root=str(tmp_path)))["d/a.png"]
    assert found.size_bytes == 5
    assert found.mtime_ns == (tmp_path / "a.png").stat().st_mtime_ns
    assert file_statuses(_work(root=str(tmp_path / "x")))["d/a.png"].error
