"""Workers on a real Ray: the same rows as one process, also if processes die.

Each run is a process of its own, as on a user's machine, so that Ray begins and ends
with it.
"""

import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_samples import write_dataset, write_tiny_backbone
from stub_backbone import assert_tidy, ingested_store, stored_rows

from retune.pipeline.encode.embed import EmbedOptions, embed
from retune.pipeline.encode.engines import ray_engine
from retune.pipeline.encode.engines.work_units import plan_units
from retune.pipeline.encode.images.reading import ImageItem
from retune.store import FeatureStore
from retune.store.errors import ConfigurationError

_N_IMAGES = 40


@given(st.integers(0, 300), st.integers(1, 50), st.integers(1, 9))
def test_units_hold_every_image_once_in_order(
    n_images: int, shard_rows: int, workers: int
) -> None:
    items = [ImageItem(f"{i:04d}", "/", f"{i}.png") for i in range(n_images)]
    units = plan_units(items, "00000000", shard_rows=shard_rows, workers=workers)
    assert [item for unit in units for item in unit.items] == items
    assert all(1 <= len(unit.items) <= shard_rows for unit in units)
    assert len({unit.shard_id for unit in units}) == len(units)
    assert all(len(unit.shard_id) == 16 for unit in units)
    again = plan_units(items, "00000000", shard_rows=shard_rows, workers=workers)
    assert again == units


def test_without_ray_it_is_said_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    write_dataset(tmp_path / "data", 2)
    store = ingested_store(tmp_path / "store", tmp_path / "data")
    with pytest.raises(ConfigurationError, match="needs Ray") as caught:
        embed(store, EmbedOptions(engine="ray"))
    assert "retune-cli[ray]" in caught.value.hint


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"CPU": 64.0}, "Ray has 0 GPUs"),
        ({"CPU": 64.0, "GPU": 2.0}, "Ray has 2 GPUs"),
        ({"CPU": 3.0, "GPU": 4.0}, "Ray has 3 cores"),
    ],
)
def test_more_than_the_cluster_has_is_refused_not_waited_for(
    there: dict[str, float], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ray_engine._check_resources(there, 4, 1, 4)


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_an_address_where_nobody_listens_is_refused_at_once(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))  # it is not asked
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"{prefix}127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match="no Ray at") as caught:
            ray_engine._connect(EmbedOptions(engine="ray", address=address))
    assert address in caught.value.message
    assert "ray start --head" in caught.value.hint


def _last_told(out: str) -> str:
    """The last line that is ours; Ray writes among them."""
    told = ("images ", "BackboneError ")
    return [line for line in out.splitlines() if line.startswith(told)][-1]


class _Place:
    """A dataset, a backbone, and what one process makes of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_dataset(folder / "data", _N_IMAGES)
        (folder / "data" / "005.png").write_bytes(b"not an image")
        self.backbone = write_tiny_backbone(folder / "tiny")
        store = self.fresh("local")
        self.finish(store)
        self.expected = stored_rows(store)
        assert len(self.expected) == _N_IMAGES - 1

    def fresh(self, name: str) -> FeatureStore:
        return ingested_store(self.folder / name, self.folder / "data")

    def finish(self, store: FeatureStore) -> None:
        options = EmbedOptions(self.backbone, precision="float32", description_sets=())
        embed(store, options)

    def start(self, store: FeatureStore, before: str = "") -> subprocess.Popen[str]:
        """Embed with two workers on a Ray of its own; prints progress."""
        program = _PROGRAM.format(
            before=before, store=str(store.path), backbone=self.backbone
        )
        return subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def check(self, store: FeatureStore) -> None:
        """After the next opening nothing is left of what went wrong."""
        with store.writer("next"):
            pass
        found = stored_rows(store)
        assert found.keys() == self.expected.keys()
        for key, vector in self.expected.items():
            one, other = np.array(found[key]), np.array(vector)
            norms = np.linalg.norm(one) * np.linalg.norm(other)
            assert one @ other / norms > 0.9999
        rows = store.sql(
            """SELECT count(*), count(DISTINCT item_id) FROM features
            WHERE modality = 'image'"""
        ).fetchall()
        assert rows == [(_N_IMAGES - 1, _N_IMAGES - 1)]
        failed = store.sql("SELECT DISTINCT image_id, stage FROM failures").fetchall()
        assert failed == [("d/005.png", "decode")]
        assert_tidy(store)


_PROGRAM = """
import os, signal, sys
from pathlib import Path
from retune.pipeline.encode.embed import EmbedOptions, embed
from retune.pipeline.encode.engines import ray_engine
from retune.store import FeatureStore
from retune.store.errors import RetuneError
{before}
def show(progress):
    print(progress.stage, progress.done, flush=True)
options = EmbedOptions({backbone!r}, precision="float32", description_sets=(),
    engine="ray", workers=2)
try:
    embed(FeatureStore({store!r}), options, show)
except RetuneError as error:
    print(type(error).__name__, error.message, error.hint)
"""

# A worker that dies in its first unit: {moment} is where.
_DYING = """
class Dying(ray_engine.EncodingWorker):
    def encode_unit(self, unit, known_keys):
        mark = Path({mark!r})
        if {always} or not mark.exists():
            mark.touch()
            original = Path.replace
            def replace(path, target):
                if {moment!r} == "after":
                    original(path, target)
                os.kill(os.getpid(), signal.SIGKILL)
            Path.replace = replace
        return super().encode_unit(unit, known_keys)
ray_engine.EncodingWorker = Dying
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> _Place:
    pytest.importorskip("ray", reason="needs the extra retune-cli[ray]")
    return _Place(tmp_path_factory.mktemp("ray"))


@pytest.mark.slow
@pytest.mark.e2e
def test_two_workers_give_the_rows_of_one_process(place: _Place) -> None:
    store = place.fresh("two")
    out, err = place.start(store).communicate()
    assert _last_told(out) == f"images {_N_IMAGES}", err
    place.check(store)
    devices = store.sql("SELECT device FROM encoders").fetchall()
    assert devices == [("ray: 2 x cpu",)]
    before = store.sql("SELECT count(*) FROM shards").fetchall()
    assert before == [(8,)]  # four units for each worker
    place.finish(store)  # there is nothing left to do
    assert store.sql("SELECT count(*) FROM shards").fetchall() == before


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_worker_killed_while_it_publishes_is_replaced(
    place: _Place, moment: str
) -> None:
    """Before the shard has its name a file is left; after it the shard is whole."""
    store = place.fresh(f"worker-{moment}")
    mark = place.folder / f"mark-{moment}"
    dying = _DYING.format(mark=str(mark), always=False, moment=moment)
    out, err = place.start(store, dying).communicate()
    assert _last_told(out) == f"images {_N_IMAGES}", err
    assert mark.exists()
    place.check(store)
    assert store.sql("SELECT count(*) FROM shards").fetchall() == [(8,)]


@pytest.mark.slow
@pytest.mark.e2e
def test_a_worker_that_always_dies_is_given_up_with_a_reason(place: _Place) -> None:
    store = place.fresh("hopeless")
    dying = _DYING.format(mark=str(place.folder / "mark"), always=True, moment="before")
    out, err = place.start(store, dying).communicate()
    last = _last_told(out)
    assert last.startswith("BackboneError a worker died"), err
    assert "the same command goes on from there" in last
    place.finish(store)
    place.check(store)


@pytest.mark.slow
@pytest.mark.e2e
def test_a_driver_that_is_killed_is_resumed(place: _Place) -> None:
    store = place.fresh("driver")
    process = place.start(store)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("images"):
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    n_done = store.sql("SELECT count(*) FROM features").fetchall()[0][0]
    assert n_done > 0
    place.finish(store)
    place.check(store)


@pytest.mark.slow
@pytest.mark.e2e
def test_gpus_that_are_not_there_are_named(place: _Place) -> None:
    program = "options = EmbedOptions(engine='ray', workers=1, num_gpus=99)"
    done = subprocess.run(
        [
            sys.executable, "-c",
            "from retune.pipeline.encode.embed import EmbedOptions, embed\n"
            "from retune.store import FeatureStore\n"
            "from retune.store.errors import RetuneError\n"
            f"{program}\n"
            "try:\n"
            f"    embed(FeatureStore({str(place.fresh('gpus').path)!r}), options)\n"
            "except RetuneError as error:\n"
            "    print(error.exit_code, error.message)\n",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "2 `num_gpus` 99: Ray has 0 GPUs"
