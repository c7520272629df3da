"""Workers on a real Ray: the same rows as one process, also if processes die.

A Ray is started once, and one driver sends all its work there: starting either takes
longer than the work. The driver that is killed has a Ray of its own, which begins and
ends with it as on a user's machine.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_samples import write_dataset, write_tiny_backbone
from stub_backbone import assert_tidy, embed_stub, ingested_store, stored_rows

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


class _Place:
    """A dataset, and the rows that one process makes of it with the stub backbone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_dataset(folder / "data", _N_IMAGES)
        (folder / "data" / "005.png").write_bytes(b"not an image")
        self.backbone = write_tiny_backbone(folder / "tiny")
        store = self.fresh("local")
        embed_stub(store.path)
        self.expected = stored_rows(store)
        assert len(self.expected) == _N_IMAGES - 1

    def fresh(self, name: str) -> FeatureStore:
        return ingested_store(self.folder / name, self.folder / "data")

    def check(
        self, store: FeatureStore, expected: dict[str, list[float]] | None = None
    ) -> None:
        """After the next opening nothing is left of what went wrong."""
        with store.writer("next"):
            pass
        got, expected = stored_rows(store), expected or self.expected
        assert got.keys() == expected.keys()
        for key, vector in expected.items():
            one, other = np.array(got[key]), np.array(vector)
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


# Carries out requests, a line of JSON each: a program that ends in a call of `embed`.
_DRIVER = """
import json, os, signal, sys
from pathlib import Path
from stub_backbone import StubBackbone
from retune.pipeline.encode.embed import EmbedOptions, embed
from retune.pipeline.encode.engines import ray_engine
from retune.pipeline.encode.options import EmbedSummary
from retune.store import FeatureStore
from retune.store.errors import RetuneError
original_worker, original_replace = ray_engine.EncodingWorker, Path.replace
def show(progress):
    print("told", progress.stage, progress.done, flush=True)
for line in sys.stdin:
    request = json.loads(line)
    exec(request["before"])
    try:
        embed(FeatureStore(request["store"]), EmbedOptions(**request["options"],
            precision="float32", description_sets=(), engine="ray"), show)
    except RetuneError as error:
        print("told", type(error).__name__, error.exit_code, error.message, error.hint)
    print("done", flush=True)
"""

# Quick to start: torch and open_clip stay where they are.
_STUB = """
class Stub(original_worker):
    def __init__(self, root, source, options, known, cores):
        self._root, self._cores, self._options = root, cores, options
        self._backbone = StubBackbone()
ray_engine.EncodingWorker = Stub
"""

# A worker that dies in its first unit: {moment} is where.
_DYING = """
class Dying(Stub):
    def encode_unit(self, unit, known_keys):
        mark = Path({mark!r})
        if {always} or not mark.exists():
            mark.touch()
            def replace(path, target):
                if {moment!r} == "after":
                    original_replace(path, target)
                os.kill(os.getpid(), signal.SIGKILL)
            Path.replace = replace
        return super().encode_unit(unit, known_keys)
ray_engine.EncodingWorker = Dying
"""


class _Driver:
    """A process that embeds on a Ray, at an address or one that it starts."""

    def __init__(self, workspace: _Place) -> None:
        self._place, self.address = workspace, ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _DRIVER], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=_surroundings(),
        )  # fmt: skip

    def ask(self, store: FeatureStore, before: str = "", **options: object) -> None:
        """Begin to embed."""
        assert self.process.stdin is not None
        options = {
            "backbone": self._place.backbone, "address": self.address or None,
            "workers": 2,
            **options,
        }  # fmt: skip
        request = {"store": str(store.path), "before": before, "options": options}
        print(json.dumps(request), file=self.process.stdin, flush=True)

    def told(self) -> Iterator[str]:
        """What it says until it is done; Ray writes among it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == "done":
                return
            if line.startswith("told "):
                yield line.removeprefix("told ").strip()

    def embed(self, store: FeatureStore, before: str = "", **options: object) -> str:
        """Embed; gives the last that was said."""
        self.ask(store, before, **options)
        return list(self.told())[-1]


#: What drivers show to the Ray of these tests.
_TOKEN = secrets.token_hex(32)


def _surroundings() -> dict[str, str]:
    """Workers and drivers know the tests' own modules, and the Ray's token."""
    return {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _TOKEN,
    }


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> _Place:
    pytest.importorskip("ray", reason="needs the extra retune-cli[ray]")
    return _Place(tmp_path_factory.mktemp("ray"))


_CLUSTER = """
import ray, sys
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
print("address", ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def driver(workspace: _Place) -> Iterator[_Driver]:
    """A driver on a Ray of two cores that lasts as long as these tests."""
    with subprocess.Popen(
        [sys.executable, "-c", _CLUSTER], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=_surroundings(),
    ) as cluster:  # fmt: skip
        assert cluster.stdout is not None
        made = _Driver(workspace)  # it imports while Ray starts
        address = next(line for line in cluster.stdout if line.startswith("address"))
        made.address = address.split()[1]
        yield made
        made.process.communicate()
        cluster.communicate()


@pytest.mark.slow
@pytest.mark.e2e
def test_two_workers_give_the_rows_of_one_process(
    workspace: _Place, driver: _Driver
) -> None:
    alone, store = workspace.fresh("alone"), workspace.fresh("two")
    options = EmbedOptions(workspace.backbone, precision="float32", description_sets=())
    embed(alone, options)
    assert driver.embed(store) == f"images {_N_IMAGES}"
    workspace.check(store, stored_rows(alone))
    devices = store.sql("SELECT device FROM encoders").fetchall()
    assert devices == [("ray: 2 x cpu",)]
    before = store.sql("SELECT count(*) FROM shards").fetchall()
    assert before == [(8,)]  # four units for each worker
    embed(store, options)  # there is nothing left to do
    assert store.sql("SELECT count(*) FROM shards").fetchall() == before


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_worker_killed_while_it_publishes_is_replaced(
    workspace: _Place, driver: _Driver, moment: str
) -> None:
    """Before the shard has its name a file is left; after it the shard is whole."""
    store = workspace.fresh(f"worker-{moment}")
    mark = workspace.folder / f"mark-{moment}"
    dying = _STUB + _DYING.format(mark=str(mark), always=False, moment=moment)
    assert driver.embed(store, dying) == f"images {_N_IMAGES}"
    assert mark.exists()
    workspace.check(store)
    assert store.sql("SELECT count(*) FROM shards").fetchall() == [(8,)]


@pytest.mark.slow
@pytest.mark.e2e
def test_a_worker_that_always_dies_is_given_up_with_a_reason(
    workspace: _Place, driver: _Driver
) -> None:
    store = workspace.fresh("hopeless")
    mark = str(workspace.folder / "mark")
    once = "ray_engine._RETRIES = 1\n"
    dying = _DYING.format(mark=mark, always=True, moment="before")
    last = driver.embed(store, once + _STUB + dying)
    assert last.startswith("BackboneError"), last
    assert "a worker died" in last
    assert "the same command goes on from there" in last
    embed_stub(store.path)
    workspace.check(store)


@pytest.mark.slow
@pytest.mark.e2e
def test_a_driver_that_is_killed_is_resumed(workspace: _Place) -> None:
    store = workspace.fresh("driver")
    driver = _Driver(workspace)
    driver.ask(store, _STUB)
    assert any(line.startswith("images") for line in driver.told())
    driver.process.send_signal(signal.SIGKILL)
    driver.process.communicate()
    n_done = store.sql("SELECT count(*) FROM features").fetchall()[0][0]
    assert n_done > 0
    embed_stub(store.path)
    workspace.check(store)


@pytest.mark.slow
@pytest.mark.e2e
def test_gpus_that_are_not_there_are_named(workspace: _Place, driver: _Driver) -> None:
    last = driver.embed(workspace.fresh("gpus"), workers=1, num_gpus=99)
    said = "ConfigurationError 2 `num_gpus` 99: Ray has 0 GPUs"
    assert last.startswith(said)
