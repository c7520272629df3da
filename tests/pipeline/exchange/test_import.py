"""Vectors of others: each layout is read bit for bit, and no row lost in silence."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange_samples import IDS, KINDS, D, N, lists, make_store, vectors_of, write

import retune
from retune.pipeline.app.encoders.import_request import ImportRequest
from retune.pipeline.app.encoders.vector_import import import_vectors
from retune.pipeline.exchange.identity import external_spec
from retune.store.errors import (
    ConfigurationError,
    DatasetError,
    FingerprintMismatchError,
    TrainingError,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_store(folder)
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> retune.Store:
    """A copy of a store: making one takes longer."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    store = retune.open(tmp_path / "store")
    store.sql("UPDATE datasets SET root = ?", [str(tmp_path / "table")], write=True)
    return store


def final(store: retune.Store, run: retune.Run) -> float:
    value = store.sql(
        """SELECT value FROM metrics WHERE run_id = ? AND metric = 'final_auroc'
        AND finding IS NULL""",
        [run.run_id],
    )
    return float(value.fetchall()[0][0])


def take(store: retune.Store, files: list[Path], name: str = "theirs", **options):
    request = ImportRequest(tuple(files), name, **options)
    return import_vectors(store.feature_store, request)


def stored(store: retune.Store, **query: object) -> np.ndarray:
    table = store.arrow(vectors=True, **query)
    flat = table["embedding"].combine_chunks().flatten().to_numpy()
    return flat.reshape(len(table), -1)


@pytest.mark.parametrize("layout", KINDS)
def test_every_layout_is_read_bit_for_bit(
    store: retune.Store, tmp_path: Path, layout: str
) -> None:
    vectors = vectors_of()
    order = np.random.default_rng(3).permutation(N)
    given = write(tmp_path / "in", layout, vectors[order], [IDS[at] for at in order])
    done = take(store, **given)
    assert (done.imported, done.unmatched, done.double, done.failed) == (N, 0, 0, 0)
    assert (done.dim, done.images_without) == (D, 0)
    assert np.array_equal(stored(store), vectors)
    assert not store.feature_store.verify()


@pytest.mark.parametrize("layout", ["parquet", "npz", "npy-csv", "hdf5", "datasets"])
def test_float16_stays_float16(
    store: retune.Store, tmp_path: Path, layout: str
) -> None:
    vectors = vectors_of(dtype="float16")
    done = take(store, **write(tmp_path / "in", layout, vectors))
    assert done.dtype == "float16"
    assert np.array_equal(stored(store), vectors.astype("float32"))


def test_an_import_that_is_repeated_brings_nothing(
    store: retune.Store, tmp_path: Path
) -> None:
    given = write(tmp_path / "in", "parquet", vectors_of())
    first, second = take(store, **given), take(store, **given)
    assert (first.imported, second.imported, second.known) == (N, 0, N)
    assert first.fingerprint == second.fingerprint


def test_ids_of_no_image_and_double_ones_are_counted_and_named(
    store: retune.Store, tmp_path: Path
) -> None:
    ids = [*IDS[:10], "nobody.jpg", IDS[0]]
    vectors = vectors_of(12)
    done = take(store, **write(tmp_path / "in", "parquet", vectors, ids))
    assert (done.imported, done.unmatched, done.double) == (10, 1, 1)
    assert (done.unmatched_ids, done.double_ids) == (("nobody.jpg",), (IDS[0],))
    assert done.images_without == N - 10
    assert np.array_equal(stored(store), vectors[:10])  # the first of two counts


def test_what_is_no_vector_fails_by_itself(store: retune.Store, tmp_path: Path) -> None:
    rows = [row.copy() for row in vectors_of()]
    rows[1][3], rows[2][:], rows[4][0] = np.nan, 0, np.inf
    listed = [
        None if n == 5 else row[:5] if n == 3 else row for n, row in enumerate(rows)
    ]
    column = pa.array(listed, pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": IDS, "v": column}), tmp_path / "a.parquet")
    done = take(store, [tmp_path / "a.parquet"], ids="id")
    assert (done.imported, done.failed) == (N - 5, 5)
    failures = store.sql(
        "SELECT stage, error FROM failures ORDER BY image_id"
    ).fetchall()
    assert failures == [
        ("import", "its vector is not finite"),
        ("import", "its vector is zero"),
        ("import", "its vector has 5 numbers, not 8"),
        ("import", "its vector is not finite"),
        ("import", "its vector is null"),
    ]
    assert done.failures[0] == f"table/{IDS[1]}: its vector is not finite"


def test_too_large_for_float16_fails(store: retune.Store, tmp_path: Path) -> None:
    vectors = vectors_of()
    vectors[0, 0] = 1e6
    given = write(tmp_path / "in", "npz", vectors)
    done = take(store, **given, output_dtype="float16")
    assert (done.imported, done.failures) == (
        N - 1,
        (f"table/{IDS[0]}: its vector is too large for float16",),
    )


@pytest.mark.parametrize("join", ["image_id", "name", "digest"])
def test_ids_may_be_ids_names_or_digests(
    store: retune.Store, tmp_path: Path, join: str
) -> None:
    take(store, **write(tmp_path / "in", "parquet", vectors_of()))
    rows = store.sql("SELECT image_id, content_digest FROM images ORDER BY path")
    ids = {
        "image_id": [row[0] for row in rows.fetchall()],
        "name": [Path(name).stem for name in IDS],
        "digest": [row[1] for row in rows.fetchall()],
    }[join]
    given = write(tmp_path / "again", "npz", vectors_of() + 1, ids)
    done = take(store, name="others", **given)
    assert (done.join, done.imported) == (join, N)


def test_by_position_only_if_asked_and_of_equal_length(
    store: retune.Store, tmp_path: Path
) -> None:
    file = tmp_path / "a.npy"
    np.save(file, vectors_of())
    with pytest.raises(ConfigurationError, match="nothing says which image"):
        take(store, [file])
    assert take(store, [file], by_position=True).imported == N
    assert np.array_equal(stored(store), vectors_of())
    np.save(file, vectors_of(N - 1))
    with pytest.raises(ConfigurationError, match="60 images"):
        take(store, [file], name="b", by_position=True)
    with pytest.raises(ConfigurationError, match="exclude"):
        take(store, [file], name="b", by_position=True, ids="a")


def test_wrong_ids_are_refused_and_nothing_is_written(
    store: retune.Store, tmp_path: Path
) -> None:
    given = write(tmp_path / "in", "parquet", vectors_of(2), ["x", "y"])
    with pytest.raises(ConfigurationError, match="none of 2 ids is that of an image"):
        take(store, **given)
    assert list(store.encoders) == []
    with pytest.raises(ConfigurationError, match="no column 'image'"):
        take(store, given["files"], ids="image")
    with pytest.raises(ConfigurationError, match="unknown `join`"):
        take(store, **given, join="hash")


def test_vectors_of_other_files_never_mix(store: retune.Store, tmp_path: Path) -> None:
    given = write(tmp_path / "in", "npz", vectors_of(10), IDS[:10])
    first = take(store, **given)
    other = write(tmp_path / "more", "npz", vectors_of()[10:], IDS[10:])
    with pytest.raises(FingerprintMismatchError, match="imported from other files"):
        take(store, **other)
    assert take(store, **other, add=True).fingerprint == first.fingerprint
    assert len(stored(store)) == N
    wide = write(tmp_path / "wide", "npz", vectors_of(dim=9))
    with pytest.raises(FingerprintMismatchError, match="have 8 numbers, these have 9"):
        take(store, **wide, add=True)
    with pytest.raises(ConfigurationError, match="needs one imported encoder"):
        take(store, **wide, name="new", add=True)


def test_name_version_source_and_preprocessing_make_the_fingerprint() -> None:
    def fingerprint(*words: str, dim: int = 4, dtype: str = "float32") -> str:
        return external_spec(*words, output_dtype=dtype, dim=dim).fingerprint

    plain = ("medsiglip", "1", "ab", "448 px")
    others = [
        fingerprint(*plain[:at], "other", *plain[at + 1 :]) for at in range(len(plain))
    ]
    others += [fingerprint(*plain, dim=5), fingerprint(*plain, dtype="float16")]
    assert len({fingerprint(*plain), *others}) == 7
    assert fingerprint(*plain) == fingerprint(*plain)


def test_a_source_stands_for_the_files(store: retune.Store, tmp_path: Path) -> None:
    one = write(tmp_path / "one", "npz", vectors_of(10), IDS[:10])
    other = write(tmp_path / "other", "parquet", vectors_of()[10:], IDS[10:])
    first = take(store, **one, source="org/model@1")
    assert take(store, **other, source="org/model@1").fingerprint == first.fingerprint


def test_files_of_different_length_are_refused(
    store: retune.Store, tmp_path: Path
) -> None:
    one = write(tmp_path / "one", "npz", vectors_of(5), IDS[:5])["files"]
    other = write(tmp_path / "two", "npz", vectors_of(5, 9), IDS[5:10])["files"]
    with pytest.raises(ConfigurationError, match="equally long; found: 8 in"):
        take(store, one + other)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1 no", "cannot read"),
        ("a.arrow", b"ARROW1 no", "cannot read"),
        ("a.npz", b"PK no", "cannot read"),
        ("a.h5", b"no", "cannot read"),
        ("a.tfrecord", b"no", "cut short"),
        ("a.tfrecord", b"\x00" * 20, "checksum"),
        ("a.xlsx", b"", "of no kind"),
        ("a.csv", b"id\na\n", "but no vectors"),
    ],
)
def test_damaged_and_strange_files_are_named(
    store: retune.Store, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((DatasetError, ConfigurationError), match=message) as caught:
        take(store, [tmp_path / name], ids="id")
    assert name in str(caught.value)


def test_pickled_arrays_are_never_read(store: retune.Store, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[object()]]), allow_pickle=True)
    with pytest.raises(DatasetError, match="Python objects"):
        take(store, [tmp_path / "a.npy"], by_position=True)
    np.savez(tmp_path / "a.npz", x=vectors_of(), ids=np.array(IDS, dtype=object))
    with pytest.raises(DatasetError, match="Python objects"):
        take(store, [tmp_path / "a.npz"])


def test_hdf5_does_not_reach_for_other_files(
    store: retune.Store, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = vectors_of()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = h5py.ExternalLink("secret.h5", "x")
        file["id"] = np.array(IDS, dtype="S")
    with pytest.raises(ConfigurationError, match="0 columns that could hold vectors"):
        take(store, [tmp_path / "a.h5"], ids="id")


def test_a_datasets_folder_names_only_its_own_files(
    store: retune.Store, tmp_path: Path
) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "state.json").write_text('{"_data_files":[{"filename":"../x"}]}')
    with pytest.raises(DatasetError, match="no name of a file in it"):
        take(store, [tmp_path / "hf"])


def test_pairs_that_do_not_pair_up_are_refused(
    store: retune.Store, tmp_path: Path
) -> None:
    given = write(tmp_path / "in", "npy-csv", vectors_of(), IDS)
    given["files"][1].write_text("image\n" + "\n".join(IDS[:-1]) + "\n")
    with pytest.raises(ConfigurationError, match=r"60 vectors, but .* 59 rows"):
        take(store, **given)
    another = shutil.copy(given["files"][0], tmp_path / "b.npy")
    with pytest.raises(ConfigurationError, match="do not pair up"):
        take(store, [*given["files"], another])


def test_a_truncated_record_is_named(store: retune.Store, tmp_path: Path) -> None:
    given = write(tmp_path / "in", "tfrecord", vectors_of(1), IDS[:1])
    (file,) = given["files"][0].rglob("*.tfrecord")
    content = bytearray(file.read_bytes())
    content[-10] ^= 1
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=r"record 1 of .* does not match"):
        take(store, **given)


def texts_of(folder: Path, dim: int = D) -> Path:
    file = folder / "texts.parquet"
    rows = [(f, p) for f in ("Edema", "fracture") for p in ("positive", "negative")]
    table = pa.table(
        {
            "finding": [row[0] for row in rows],
            "polarity": [row[1] for row in rows],
            "text": [f"{polarity} {finding}" for finding, polarity in rows],
            "embedding": lists(vectors_of(4, dim) + 1),
        }
    )
    pq.write_table(table, file)
    return file


def test_vectors_of_texts_make_a_description_set(
    store: retune.Store, tmp_path: Path
) -> None:
    given = write(tmp_path / "in", "parquet", vectors_of())
    done = take(store, **given, texts=(texts_of(tmp_path),))
    assert (done.texts, done.set_name) == (4, "theirs")
    rows = store.sql(
        "SELECT finding, polarity, text FROM text_features ORDER BY ALL"
    ).fetchall()
    assert rows[0] == ("Edema", "negative", "negative Edema")
    assert rows[-1] == ("Fracture", "positive", "positive fracture")
    run = store.train("zero-shot", descriptions="theirs")
    assert 0 <= final(store, run) <= 1
    again = take(store, [], texts=(texts_of(tmp_path),), add=True)
    assert (again.texts, again.fingerprint) == (0, done.fingerprint)


def test_texts_have_to_be_vectors_of_the_same_encoder(
    store: retune.Store, tmp_path: Path
) -> None:
    given = write(tmp_path / "in", "parquet", vectors_of())
    with pytest.raises(ConfigurationError, match="equally long"):
        take(store, **given, texts=(texts_of(tmp_path, 9),))
    pq.write_table(
        pa.table({"finding": ["a"], "v": lists(vectors_of(1))}), tmp_path / "t.parquet"
    )
    with pytest.raises(ConfigurationError, match="no column polarity"):
        take(store, **given, texts=(tmp_path / "t.parquet",))


@pytest.fixture
def images_only(store: retune.Store, tmp_path: Path) -> retune.Store:
    take(store, **write(tmp_path / "in", "parquet", vectors_of()))
    return store


def test_images_alone_suffice_for_the_exact_method(images_only: retune.Store) -> None:
    run = images_only.train("label")
    assert run.method == "analytic"
    rows = images_only.sql(
        "SELECT count(*), count(value) FROM metrics WHERE task = 0 AND metric = 'auroc'"
    ).fetchall()
    assert rows == [(4, 0)]  # there is no zero-shot
    again = images_only.train("label", method="analytic", bounds=False)
    assert final(images_only, again) == final(images_only, run)
    assert images_only.evaluate(run, split="validation") is not None


def test_encoding_needs_to_be_told_with_what(
    store: retune.Store, tmp_path: Path
) -> None:
    given = write(tmp_path / "in", "npz", vectors_of(dim=128))
    take(store, **given)
    run = store.train("joint", bounds=False)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    with pytest.raises(
        ConfigurationError, match=r"'theirs' .* were imported"
    ) as caught:
        store.predict(run, [picture])
    assert "`encode_with`" in caught.value.hint
    with pytest.raises(FingerprintMismatchError, match="gives 1,280 numbers"):
        store.predict(run, [picture], backbone="timm:tf_efficientnet_lite0")
    assert len(store.predict(run, [picture], backbone="mini"))


@pytest.mark.parametrize("method", ["finetune", "mask", "replay", "lwf", "ewc"])
def test_methods_that_need_text_refuse_by_name(
    images_only: retune.Store, method: str
) -> None:
    with pytest.raises(TrainingError, match=f"method {method} needs vectors of texts"):
        images_only.train("joint", method=method)


def test_zero_shot_without_texts_is_refused(images_only: retune.Store) -> None:
    with pytest.raises(
        TrainingError, match="scenario zero-shot needs vectors of texts"
    ):
        images_only.train("zero-shot")


def test_continued_and_split_training_agree_without_texts(
    images_only: retune.Store,
) -> None:
    whole = images_only.train("data", tasks=2, bounds=False)
    joint = images_only.train("joint", bounds=False)
    assert final(images_only, whole) == pytest.approx(final(images_only, joint))


def test_vectors_follow_an_image_whose_file_appears(
    images_only: retune.Store, tmp_path: Path
) -> None:
    from PIL import Image

    for name in IDS[:4]:
        (tmp_path / "table" / name).parent.mkdir(parents=True, exist_ok=True)
        shades = np.random.default_rng(IDS.index(name)).integers(0, 256, (64, 64))
        Image.fromarray(shades.astype(np.uint8)).save(tmp_path / "table" / name)
    images_only.embed("mini", descriptions=(), where="path < 'p02'")
    assert np.array_equal(stored(images_only, backbone="theirs"), vectors_of())
    assert len(stored(images_only, backbone="mini")) == 4
    assert not images_only.feature_store.verify()


def test_files_that_are_there_are_keyed_by_their_content(
    store: retune.Store, tmp_path: Path
) -> None:
    from retune.store import content_digest

    file = tmp_path / "table" / IDS[0]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a picture")
    take(store, **write(tmp_path / "in", "parquet", vectors_of()))
    rows = store.sql(
        "SELECT content_digest, size_bytes FROM images WHERE path = ?", [IDS[0]]
    ).fetchall()
    assert rows == [(content_digest(b"a picture"), 9)]
