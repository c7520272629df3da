"""What each error means, how it comes about and what to do: `retune-cli explain`.

The page docs/reference/errors.md is made of it, and a test runs every example.
"""

from dataclasses import dataclass

from retune.store import errors

__all__ = ["EXPLANATIONS", "Explanation", "explain"]


@dataclass(frozen=True)
class Explanation:
    """One kind of error.

    Attributes:
        error: Its class.
        meaning: What has happened, in general.
        example: Python that raises it, in a folder with a small store `feature-store`
            and its images in `data`.
        cures: What to do, the most likely one first.
    """

    error: type[errors.RetuneError]
    meaning: str
    example: str
    cures: tuple[str, ...]

    @property
    def text(self) -> str:
        """As the terminal shows it."""
        code = "\n".join(f"    {line}" for line in self.example.splitlines())
        cures = "\n".join(f"  - {cure}" for cure in self.cures)
        return (
            f"{self.error.code} (retune.{self.error.__name__}, exit code "
            f"{self.error.exit_code})\n\n{self.meaning}\n\nExample that raises it:\n\n"
            f"{code}\n\nWhat to do:\n\n{cures}"
        )


EXPLANATIONS = (
    Explanation(
        errors.ConfigurationError,
        "An option, a name or a value cannot be used as given, or contradicts another "
        "one. Nothing was changed.",
        'retune.open("feature-store").train("label", method="nosuch")',
        (
            "Read the message: it names the parameter and what it accepts.",
            "`retune-cli COMMAND --help` lists all options with their defaults.",
        ),
    ),
    Explanation(
        errors.StoreNotFoundError,
        "There is no feature store in this folder.",
        'retune.open("no-such-store")',
        (
            "Give the store's folder by --store or the environment variable "
            "RETUNE_STORE.",
            "Make a store: `retune-cli ingest ROOT`.",
        ),
    ),
    Explanation(
        errors.StoreVersionError,
        "Another version of retune wrote the store in a format that this one does not "
        "read.",
        "from pathlib import Path\n"
        'marker = Path("feature-store/retune-store.json")\n'
        'marker.write_text(marker.read_text().replace("1", "99"))\n'
        'retune.open("feature-store")',
        (
            "Install the version of retune that wrote it, or a newer one.",
            "Stores of older versions stay readable: only newer ones are refused.",
        ),
    ),
    Explanation(
        errors.StoreBusyError,
        "Another process writes to the store. Readers are not affected.",
        "from retune.store import FeatureStore\n"
        'with FeatureStore("feature-store").writer("backup"):\n'
        '    with FeatureStore("feature-store").writer("ingest"):\n'
        "        pass",
        (
            "Wait until the other command ends; the message says who holds the lock.",
            "On a network share without file locks, keep the store on a local disk.",
        ),
    ),
    Explanation(
        errors.StoreCorruptError,
        "A shard, a run's file or the catalog holds other bytes than were written.",
        "from pathlib import Path\n"
        'shard = next(Path("feature-store").rglob("image-*.h5"))\n'
        "content = bytearray(shard.read_bytes())\n"
        "content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)\n"
        "shard.write_bytes(content)\n"
        'retune.open("feature-store").arrays(split="train")',
        (
            "`retune-cli verify` lists all damaged files.",
            "`retune-cli repair`, then `retune-cli embed`, encodes lost vectors again.",
            "`retune-cli repair --from-copies` rebuilds a damaged catalog.",
            "Check the disk: damage rarely comes alone.",
        ),
    ),
    Explanation(
        errors.StoreWriteError,
        "The disk is full, is read-only, or you have no right to write there.",
        'retune.open("/proc/feature-store", create=True)',
        (
            "Make space or change the rights, then run the same command again: "
            "finished work is kept.",
            "Never move or delete the catalog because of this error.",
        ),
    ),
    Explanation(
        errors.FingerprintMismatchError,
        "Vectors of two encoders were about to be mixed. Vectors of different "
        "backbones, preprocessing or precision cannot be compared.",
        'store = retune.open("feature-store")\n'
        'run = store.train("joint", method="analytic", bounds=False)\n'
        'state = f"feature-store/runs/{run.run_id}/state.safetensors"\n'
        'other = retune.open("other", create=True)\n'
        'other.ingest("data")\n'
        'other.train("joint", continued=state)',
        (
            "Choose one encoder by --backbone or --fingerprint; `retune-cli status` "
            "lists them.",
            "States can only be merged if both stores used the same backbone.",
        ),
    ),
    Explanation(
        errors.QueryError,
        "DuckDB cannot run the SQL statement, or it asks for something that a query "
        "may not do.",
        'retune.open("feature-store").sql("SELECT nothing FROM images")',
        (
            'Check names: `retune-cli sql "SHOW TABLES"` and `"DESCRIBE images"`.',
            "Files outside the store need --allow-read or --allow-write.",
        ),
    ),
    Explanation(
        errors.DatasetError,
        "A label table, or the folder around it, is not what its layout says.",
        "from pathlib import Path\n"
        'Path("empty").mkdir()\n'
        'retune.open("feature-store").ingest("empty")',
        (
            "The message names the file, the line and the value: correct it there.",
            "Name the layout by --layout if another one was recognised.",
        ),
    ),
    Explanation(
        errors.ImageError,
        "One image cannot be decoded. In `embed` and `predict` it costs its own row "
        "only: the table `failures` has the reason.",
        "from retune.pipeline.encode.images.decode import decode_image\n"
        'decode_image(b"no image")',
        (
            "Open the file in a viewer; copy it again from its source.",
            "`retune-cli embed --retry-failed` tries failed images again.",
            "docs/pixels.md lists the forms of images that are read.",
        ),
    ),
    Explanation(
        errors.LanguageModelError,
        "The language model of `describe` cannot be reached, or its answer cannot be "
        "used.",
        'store = retune.open("feature-store")\n'
        'store.describe("Edema", "llama3.1", "http://127.0.0.1:9/v1")',
        (
            "Check --base-url and that the server runs.",
            "Finished findings are kept: run the same command again.",
        ),
    ),
    Explanation(
        errors.BackboneError,
        "A backbone's weights or configuration cannot be loaded, or are refused "
        "because they could run code.",
        'retune.open("feature-store").embed("local-dir:no-such-folder")',
        (
            "Check the folder: docs/backbones.md lists the files.",
            "Convert pickled weights to safetensors.",
        ),
    ),
    Explanation(
        errors.TrainingError,
        "The scenario cannot be run on these images: no vectors, no labels, or no "
        "patients left in a split.",
        'retune.open("feature-store").train("data", tasks=500)',
        (
            "`retune-cli status` says what is there; `retune-cli embed` adds vectors.",
            "`retune-cli findings` lists labels per finding.",
        ),
    ),
    Explanation(
        errors.LeakageError,
        "Patients or pictures stand in more than one split, so that test results "
        "would be too good.",
        "from shutil import copytree\n"
        'copytree("data", "again")\n'
        'store = retune.open("feature-store")\n'
        'store.ingest("again", dataset="again", split_seed=7)\n'
        'store.embed("mini")\n'
        'store.train("joint")',
        (
            "Divide all patients anew: --split-seed 0.",
            "--allow-leakage trains all the same and records that it was allowed.",
        ),
    ),
    Explanation(
        errors.ErasedDataError,
        "The weights of a run, or the sums of a state, depend on a patient who was "
        "erased from the store.",
        'store = retune.open("feature-store")\n'
        'store.train("joint", epochs=1, bounds=False)\n'
        "query = \"SELECT patient_id FROM images WHERE split = 'train' LIMIT 1\"\n"
        "store.forget(store.sql(query).fetchall()[0][0])\n"
        'store.evaluate("latest")',
        (
            "retune-cli forget --retrain trains the marked runs again without them.",
            "Of a state file from before: take the run's state anew.",
            "--allow-erased uses the run all the same.",
        ),
    ),
)


def explain(code: str) -> Explanation:
    """What is known of an error.

    Args:
        code: Such as `store-busy`, or the name of the class.

    Raises:
        ConfigurationError: There is no such error.
    """
    for known in EXPLANATIONS:
        if code in {known.error.code, known.error.__name__}:
            return known
    codes = ", ".join(known.error.code for known in EXPLANATIONS)
    raise errors.ConfigurationError(f"no error is called {code!r}", f"Known: {codes}.")
