"""`embed` does what is missing or changed, and nothing else."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from retune.pipeline.encode.images.reading import ImageItem
from retune.pipeline.encode.plan import (
    FileStatuses,
    ImageItems,
    file_statuses,
    plan_images,
    plan_work,
)


def _status(size: int = 0, mtime: int = 0, error: str = "") -> FileStatuses:
    errors = {0: error} if error else {}
    return FileStatuses(np.array([size]), np.array([mtime]), errors)


def _work(**changes: object) -> pa.Table:
    row = {
        "image_id": "d/a.png",
        "dataset": "d",
        "root": "/r",
        "path": "a.png",
        "inside": False,
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
        ({}, _status(5, 7), False, "encoded"),
        ({}, _status(6, 7), False, "read"),
        ({}, _status(5, 8), False, "read"),
        ({"content_digest": None}, _status(5, 7), False, "read"),
        ({"encoded": False}, _status(5, 7), False, "read"),
        ({"encoded": False, "failed": True}, _status(5, 7), False, "refused"),
        ({"encoded": False, "failed": True}, _status(5, 7), True, "read"),
        ({"encoded": False, "failed": True}, _status(5, 9), False, "read"),
        ({}, _status(error="No such file"), False, "missing"),
        ({"content_digest": None}, _status(error="No such file"), True, "missing"),
    ],
)
def test_each_image_has_one_fate(
    changes: dict[str, object], status: FileStatuses, retry: bool, expected: str
) -> None:
    plan = plan_images(_work(**changes), status, retry_failed=retry)
    fates = {
        "encoded": plan.n_encoded,
        "refused": plan.n_refused,
        "read": len(plan.to_read),
        "missing": len(plan.missing),
    }
    assert fates == {fate: int(fate == expected) for fate in fates}


def test_a_missing_file_says_where_it_should_be() -> None:
    status = _status(error="No such file or directory")
    (failure,) = plan_images(_work(), status, retry_failed=False).missing
    assert failure.path == "/r/a.png"
    assert failure.stage == "read"
    assert "No such file" in failure.error


def test_statuses_come_from_the_file_system(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")
    statuses = file_statuses(_work(root=str(tmp_path)))
    assert statuses.size_bytes.tolist() == [5]
    assert statuses.mtime_ns.tolist() == [(tmp_path / "a.png").stat().st_mtime_ns]
    assert not statuses.errors
    assert file_statuses(_work(root=str(tmp_path / "x"))).errors[0]


def test_rows_keep_their_fate_among_others() -> None:
    work = pa.concat_tables(
        [
            _work(image_id="a"),
            _work(image_id="b", content_digest=None, size_bytes=None, mtime_ns=None),
            _work(image_id="c"),
            _work(image_id="d"),
        ],
        promote_options="permissive",
    )
    statuses = FileStatuses(np.array([5, 5, 0, 9]), np.array([7, 7, 0, 7]), {2: "gone"})
    plan = plan_images(work, statuses, retry_failed=False)
    assert [item.image_id for item in plan.to_read] == ["b", "d"]
    assert [(one.image_id, one.error) for one in plan.missing] == [("c", "gone")]
    assert (plan.n_encoded, plan.n_refused) == (1, 0)


def test_parts_are_planned_one_by_one_and_kept_together(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"12345")
    here = {"root": str(tmp_path), "content_digest": None}
    parts = [
        _work(image_id="d/a", path="a.png", **here),
        _work(image_id="d/gone", path="gone.png", **here),
        _work(image_id="e/b", path="b.png", inside=True, **here),
    ]
    one_by_one = (
        part.set_column(2, "root", part["root"].combine_chunks().dictionary_encode())
        for part in parts
    )
    plan = plan_work(one_by_one, retry_failed=False)
    assert list(plan.to_read) == [
        ImageItem("d/a", str(tmp_path), "a.png"),
        ImageItem("e/b", str(tmp_path), "b.png", inside=True),
    ]
    (missing,) = plan.missing
    assert (missing.image_id, missing.error) == ("d/gone", "No such file or directory")
    nothing = plan_work([], retry_failed=False)
    assert (list(nothing.to_read), list(nothing.missing)) == ([], [])


def test_items_in_columns_are_a_sequence() -> None:
    names = [f"{n}.png" for n in range(7)]
    items = ImageItems(
        pa.table(
            {
                "path": names,
                "image_id": names,
                "root": ["/r"] * 7,
                "x": names,
                "inside": [False] * 7,
            }
        )
    )
    objects = [ImageItem(name, "/r", name) for name in names]
    assert list(items) == objects
    assert [items[index] for index in range(-7, 7)] == objects * 2
    for part in (slice(2, 5), slice(5, 99), slice(4, 2), slice(None, None, 3)):
        assert list(items[part]) == objects[part]
    with pytest.raises(IndexError):
        items[7]
