"""`Store`: what a notebook does with a feature store; each method calls one function.

The command line calls the same functions; neither has logic of its own.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from retune.store import FeatureStore, choose_encoder
from retune.store.errors import StoreNotFoundError

from ..datasets.contract import TableOptions
from ..platform.processor import let_threads_sleep
from ..report.text_table import cell_text
from .ingest import IngestRequest, IngestSummary, ingest
from .progress_bar import notebook_bar
from .queries.arrays import ArrayQuery, Arrays, read_arrays, torch_dataset
from .queries.findings import FindingRow, list_findings
from .queries.images import ImageQuery, image_table, names, to_pandas, to_polars
from .queries.listing import Listing
from .queries.sql import query
from .queries.status import (
    DatasetRow,
    EncodedRow,
    StoreStatus,
    list_datasets,
    list_encoders,
    store_status,
)
from .run import Run, find
from .run_entries import RunEntry, list_runs

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl
    from torch.utils.data import TensorDataset

    from ..describe.describing import DescribeSummary
    from ..encode.options import EmbedSummary
    from ..learn.runs.external import ExternalEvaluation
    from .compare import Comparison
    from .encoders.import_request import ImportSummary
    from .encoders.vector_export import ExportSummary
    from .erasing.forget import ForgetSummary
    from .measuring.curve import CurveResult
    from .measuring.drift import DriftSummary
    from .measuring.duplicate_audit import DuplicateAudit
    from .measuring.label_audit import LabelAudit
    from .predicting.pictures import Picture
    from .searching.query_encoder import QueryEncoder
    from .searching.search import Kind, SearchResult

__all__ = ["Store", "open_store"]

Names = str | Sequence[str] | None
PathLike = str | os.PathLike[str]


def open_store(path: PathLike = "feature-store", *, create: bool = False) -> "Store":
    """Open a feature store.

    Args:
        path: Its folder.
        create: Make an empty one if there is none.

    Raises:
        StoreNotFoundError: There is none, and `create` is False.
        StoreVersionError: It has a newer format than this version reads.
        StoreWriteError: It cannot be made.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "store"
        >>> len(open_store(folder, create=True).datasets)
        0
    """
    if create:
        return Store(FeatureStore.create(path))
    try:
        return Store(FeatureStore(path))
    except StoreNotFoundError as error:
        raise StoreNotFoundError(
            error.message, f"Make one: retune.open({os.fspath(path)!r}, create=True)."
        ) from error


class Store:
    """A feature store: datasets, encoders and runs, with all that is done with them.

    `retune.open` gives one.

    Attributes:
        feature_store: The store's own door, for what has no method here.

    Example:
        >>> import tempfile
        >>> store = open_store(Path(tempfile.mkdtemp()) / "store", create=True)
        >>> store.sql("SELECT count(*) FROM images").fetchall()
        [(0,)]
    """

    def __init__(self, feature_store: FeatureStore) -> None:
        let_threads_sleep()  # if torch is not loaded yet
        self.feature_store = feature_store
        self._encoders: dict[tuple[str, str | None, bool], QueryEncoder] = {}

    @property
    def path(self) -> Path:
        """The store's folder."""
        return self.feature_store.path

    # What goes in.

    def ingest(
        self,
        root: PathLike,
        layout: str | None = None,
        *,
        dataset: str | None = None,
        split_seed: int | None = None,
        ignore_official_splits: bool = False,
        moved: bool = False,
        pseudonymize: PathLike | None = None,
        hide_paths: PathLike | None = None,
        file: str | None = None,
        path_column: str | None = None,
        patient_column: str | None = None,
        study_column: str | None = None,
        view_column: str | None = None,
        sex_column: str | None = None,
        age_column: str | None = None,
        split_column: str | None = None,
        series_column: str | None = None,
        birth_date_column: str | None = None,
        date_column: str | None = None,
        time_column: str | None = None,
        device_column: str | None = None,
        site_column: str | None = None,
        keep: Names = None,
        path_prefix: Mapping[str, str] | None = None,
        mapping: PathLike | None = None,
        anew: bool = False,
        append: bool = False,
        dates_from_dicom: bool = False,
        dry_run: bool = False,
        findings: Names = None,
        votes: str | None = None,
        patient_is_image: bool = False,
        follow_links: bool = False,
        un_forget: bool = False,
        progress: bool = False,
    ) -> IngestSummary:
        """Read a dataset's label table; no image is opened.

        Args:
            root: Folder with the label table and the images.
            layout: Its layout, such as ``nih``; None: it is recognised.
            dataset: Name in the store; None: the layout's.
            split_seed: Seed of the patient-disjoint splits; None: as before, or 0.
            ignore_official_splits: Divide all patients by their hash.
            moved: The dataset lies in another folder than before.
            pseudonymize: File with the key that turns ids into pseudonyms.
            hide_paths: File that keeps the paths; the store gets digests of them.
            file: The label table, if `root` has several.
            path_column: Layout ``table``: the column with the image paths.
            patient_column: The column with the patient ids.
            study_column: The column with the study ids.
            view_column: The column with the views.
            sex_column: The column with the sexes.
            age_column: The column with the ages in years.
            split_column: The column with the official split.
            series_column: The column with the series ids.
            birth_date_column: The column with birth dates, for the age; not stored.
            date_column: The column with the dates of the pictures.
            time_column: The column with the times of day.
            device_column: The column with the devices.
            site_column: The column with the sites.
            keep: Further columns to keep.
            path_prefix: How paths begin, and what stands there instead.
            mapping: File that says how to understand the table.
            anew: Forget how the table was understood before.
            append: The table has new rows only; the others stay.
            dates_from_dicom: Dates that the table lacks, from DICOM files.
            dry_run: Read and tell, but write nothing.
            findings: The finding columns.
            votes: Layout ``vindr``, of readers: any, majority, all or soft.
            patient_is_image: There are no patient ids; each image is a patient.
            follow_links: Follow links that lead out of `root`.
            un_forget: Let patients back in who were erased by `forget`.
            progress: Show what is odd but usable while it is read.

        Example:
            store.ingest("data", layout="table")
        """
        request = IngestRequest(
            Path(root),
            layout,
            dataset,
            TableOptions(
                file=file,
                path_column=path_column,
                patient_column=patient_column,
                study_column=study_column,
                view_column=view_column,
                sex_column=sex_column,
                age_column=age_column,
                split_column=split_column,
                finding_columns=names(findings),
                votes=votes,
                patient_is_image=patient_is_image,
                series_column=series_column,
                birth_date_column=birth_date_column,
                date_column=date_column,
                time_column=time_column,
                device_column=device_column,
                site_column=site_column,
                keep=names(keep) or (),
                path_prefix=tuple((path_prefix or {}).items()),
            ),
            split_seed=split_seed,
            ignore_official_splits=ignore_official_splits,
            moved=moved,
            follow_links=follow_links,
            un_forget=un_forget,
            key_file=None if pseudonymize is None else Path(pseudonymize),
            hide_paths=None if hide_paths is None else Path(hide_paths),
            map_file=None if mapping is None else Path(mapping),
            anew=anew,
            append=append,
            dates_from_dicom=dates_from_dicom,
            dry_run=dry_run,
        )
        with notebook_bar(progress=progress) as show:
            return ingest(self.path, request, show)

    def embed(
        self,
        backbone: str = "mini",
        *,
        datasets: Names = None,
        where: str | None = None,
        descriptions: str | Sequence[str] = "default",
        progress: bool = False,
        **options: Any,
    ) -> "EmbedSummary":
        """Encode every image and description that has no vector of a backbone yet.

        Args:
            backbone: mini, biomedclip, local-dir:PATH, hf-hub:ORG/NAME or
                MODEL:PRETRAINED of open_clip.
            datasets: Only these; None for all.
            where: A SQL condition over `images`.
            descriptions: Sets by name, or YAML files.
            progress: Draw a bar.
            **options: Further fields of `EmbedOptions`, such as `device`, `precision`,
                `batch_size`, `retry_failed` and `wait`.

        Raises:
            BackboneError: The backbone cannot be loaded.
            StoreBusyError: Another process writes to the store.

        Example:
            store.embed("mini", progress=True)
        """
        from .embed import EmbedOptions, embed
        from .queries.selection import count_selection

        count_selection(self.feature_store, names(datasets), where)
        chosen = EmbedOptions(
            backbone=backbone,
            datasets=names(datasets),
            where=where,
            description_sets=names(descriptions) or (),
            **options,
        )
        with notebook_bar(progress=progress) as show:
            return embed(self.feature_store, chosen, show)

    def import_vectors(
        self,
        files: PathLike | Sequence[PathLike],
        backbone_name: str,
        *,
        texts: PathLike | Sequence[PathLike] = (),
        datasets: Names = None,
        progress: bool = False,
        **options: Any,
    ) -> "ImportSummary":
        """Take vectors that were computed elsewhere; see `retune-cli import-vectors`.

        Args:
            files: Parquet, Arrow, npz, npy with csv or txt, HDF5, TFRecord, folders.
            backbone_name: What the encoder is called from now on.
            texts: Files with vectors of texts per finding and polarity.
            datasets: Only images of these; None for all.
            progress: Draw a bar.
            **options: Further fields of `ImportRequest`: `ids`, `vectors`, `join`,
                `by_position`, `backbone_version`, `preprocessing`, `source`,
                `output_dtype`, `set_name`, `add`.

        Raises:
            ConfigurationError: Ids name no image, or a column is missing.
            FingerprintMismatchError: The store has other vectors of this name.

        Example:
            import numpy as np

            ids = store.frame()["image_id"].tolist()
            vectors = np.random.default_rng(0).normal(size=(len(ids), 4))
            np.savez("theirs.npz", x=vectors, ids=np.array(ids, dtype=str))
            store.import_vectors("theirs.npz", "theirs")
        """
        from .encoders.import_request import ImportRequest
        from .encoders.vector_import import import_vectors

        request = ImportRequest(
            _paths(files),
            backbone_name,
            texts=_paths(texts),
            datasets=names(datasets),
            **options,
        )
        with notebook_bar(progress=progress) as show:
            return import_vectors(self.feature_store, request, show)

    def describe(
        self,
        findings: str | Sequence[str],
        model: str,
        base_url: str,
        *,
        n: int = 12,
        set_name: str | None = None,
        language: str = "en",
        max_tokens: int = 75,
        progress: bool = False,
        **options: Any,
    ) -> "DescribeSummary":
        """Let a language model write descriptions of findings, and judge them.

        Args:
            findings: Names, in any language.
            model: As the server knows it.
            base_url: URL of a server that speaks OpenAI's protocol, with /v1.
            n: Sentences per finding and polarity.
            set_name: Name of the set; None: of the model and a digest.
            language: ISO 639-1 code of the sentences.
            max_tokens: Longest sentence: 75 fits CLIP, 254 BiomedCLIP.
            progress: Draw a bar.
            **options: Further fields of `DescribeRequest`: `sampling`, `instruction`,
                `rounds`, `concurrency`, `accept_anyway`.

        Raises:
            LanguageModelError: The server cannot be used, or findings are unfinished.

        Example:
            store.describe(["Edema"], "llama3.1", "http://localhost:11434/v1")
        """
        from ..describe.validation import Requirements
        from .describing.describe import DescribeRequest, describe

        request = DescribeRequest(
            names(findings) or (),
            model,
            base_url,
            n=n,
            requirements=Requirements(n, language, max_tokens),
            set_name=set_name,
            **options,
        )
        with notebook_bar(progress=progress) as show:
            return describe(self.path, request, show)

    # What comes out.

    def arrow(
        self,
        *,
        split: str | None = None,
        labels: bool = False,
        vectors: bool = False,
        where: str | None = None,
        datasets: Names = None,
        backbone: str | None = None,
        fingerprint: str | None = None,
    ) -> pa.Table:
        """Images as an Arrow table; see `frame`.

        Example:
            store.arrow(split="test").num_rows
        """
        wanted = ImageQuery(
            split, names(datasets), where, labels, vectors, backbone, fingerprint
        )
        return image_table(self.feature_store, wanted)

    def frame(self, **query: Any) -> "pd.DataFrame":
        """Images as a pandas DataFrame, ordered by image_id.

        Args:
            **query: `split` (train, validation, test; None for all), `labels` (a column
                per finding: 1, 0, −1 for uncertain, nothing where unknown), `vectors`
                (a column `embedding` with an array of shape (D,) per row; only images
                that have one), `where` (a SQL condition over `images`), `datasets`,
                `backbone` or `fingerprint` (whose vectors).

        Raises:
            ConfigurationError: A name is unknown, or vectors of several encoders fit.
            QueryError: `where` is no condition.

        Example:
            df = store.frame(split="test", labels=True, vectors=True)
        """
        return to_pandas(self.arrow(**query))

    def polars(self, **query: Any) -> "pl.DataFrame":
        """Images as a polars DataFrame; see `frame`. Needs the extra ``polars``.

        Example:
            store.polars(split="test", labels=True)
        """
        return to_polars(self.arrow(**query))

    def arrays(
        self,
        *,
        split: str | None = None,
        datasets: Names = None,
        findings: Names = None,
        **query: Any,
    ) -> Arrays:
        """Vectors and labels, for scikit-learn.

        Args:
            split: ``train``, ``validation`` or ``test``; None for all.
            datasets: Only these; None for all.
            findings: The columns of Y, in this order; None for all.
            **query: Further fields of `ArrayQuery`: `where`, `uncertain`, `blank`,
                `backbone`, `fingerprint`, `allow_leakage`.

        Returns:
            X, shape (N, D), float32; Y, shape (N, K), float32, NaN where a label is
            unknown; the images as a DataFrame. The names of the K findings are its
            attribute `findings`.

        Example:
            X, Y, images = store.arrays(split="train")
        """
        wanted = ArrayQuery(split, names(datasets), findings=names(findings), **query)
        return read_arrays(self.feature_store, wanted)

    def torch_dataset(self, **query: Any) -> "TensorDataset":
        """Pairs of vector (D,) and labels (K,) for a `DataLoader`; see `arrays`.

        Example:
            from torch.utils.data import DataLoader

            DataLoader(store.torch_dataset(split="train"), batch_size=256)
        """
        return torch_dataset(self.arrays(**query))

    def sql(
        self,
        text: str,
        parameters: Sequence[object] | Mapping[str, object] | None = None,
        *,
        write: bool = False,
        allow_read: Sequence[str | Path] = (),
        allow_write: Sequence[str | Path] = (),
    ) -> "duckdb.DuckDBPyRelation":
        """Query the store in SQL: ``.df()``, ``.fetchall()``, ``.to_arrow_table()``.

        Args:
            text: One or more statements.
            parameters: Values for ``?`` or ``$name``.
            write: Let the statements change the catalog.
            allow_read: Files or folders that they may read.
            allow_write: Files or folders that they may write.

        Raises:
            QueryError: The SQL is wrong, or writes and `write` is False.

        Example:
            store.sql("SELECT view, count(*) FROM images GROUP BY view").df()
        """
        return query(
            self.feature_store,
            text,
            parameters,
            write=write,
            allow_read=allow_read,
            allow_write=allow_write,
        )

    def search(
        self,
        query: "str | Path | Picture",
        k: int = 10,
        *,
        without: str | None = None,
        per_patient: int | None = None,
        datasets: Names = None,
        where: str | None = None,
        backbone: str | None = None,
        fingerprint: str | None = None,
        kind: "Kind | None" = None,
        encode_with: str | None = None,
        allow_pickle: bool = False,
    ) -> "SearchResult":
        """Find images that look like a sentence, a file, an image or a picture.

        All images are compared; the backbone stays loaded for further questions.

        Args:
            query: An image id, a file, a sentence, or a picture in memory; a text is
                taken for the first of these that it can be.
            k: Images to find.
            without: A sentence that they should not fit.
            per_patient: Images of one patient at most; None: any number.
            datasets: Only these; None for all.
            where: A SQL condition over `images`; None for all.
            backbone: Whose vectors; None if the store has those of one encoder.
            fingerprint: Fingerprint of the encoder, or its beginning.
            kind: ``image``, ``file`` or ``sentence``; None: see `query`.
            encode_with: Where the backbone lies now, or which one made imported
                vectors.
            allow_pickle: Take .bin and .pt weights of it if there are no safetensors.

        Raises:
            ConfigurationError: Nothing was asked, or a name is unknown.
            ImageError: The picture cannot be used.

        Example:
            store.search("enlarged heart, no effusion", k=5, per_patient=1).frame()
        """
        from .searching.query_encoder import QueryEncoder
        from .searching.search import SearchRequest, search

        request = SearchRequest(
            query,
            k,
            without=without,
            per_patient=per_patient,
            datasets=names(datasets),
            where=where,
            backbone=backbone,
            fingerprint=fingerprint,
            kind=kind,
        )
        chosen = choose_encoder(
            self.feature_store, backbone=backbone, fingerprint=fingerprint
        ).fingerprint
        key = chosen, encode_with, allow_pickle
        if key not in self._encoders:
            self._encoders[key] = QueryEncoder(
                self.feature_store,
                chosen,
                backbone=encode_with,
                allow_pickle=allow_pickle,
            )
        return search(self.feature_store, request, self._encoders[key])

    def similar(self, image_id: str, k: int = 10, **options: Any) -> "SearchResult":
        """Find the images nearest to one of the store, which is left out.

        Args:
            image_id: Id of the image.
            k: Images to find.
            **options: Those of `search`.

        Raises:
            ConfigurationError: There is no such image, or it is not encoded.

        Example:
            store.similar("table/000.png", k=5)
        """
        return self.search(image_id, k, kind="image", **options)

    def export(
        self,
        to: str,
        out: PathLike | None = None,
        *,
        datasets: Names = None,
        columns: Names = None,
        **options: Any,
    ) -> "ExportSummary":
        """Write images, labels and vectors to files, with a Croissant description.

        Args:
            to: ``parquet``, ``arrow``, ``npy``, ``npz``, ``h5``, ``hf-dataset`` or
                ``lance``.
            out: File or folder; None: ``vectors`` in the current folder.
            datasets: Only these; None for all.
            columns: Columns of `images` in addition to `image_id`; None for all.
            **options: Further fields of `ExportRequest`: `backbone`, `fingerprint`,
                `where`, `split`, `by_split`, `labels` (wide, long, none), `dtype`.

        Raises:
            ConfigurationError: A name is unknown, or the place is taken.

        Example:
            store.export("parquet", "test.parquet", split="test", backbone="mini")
        """
        from .encoders.vector_export import ExportRequest, export

        request = ExportRequest(
            to,
            None if out is None else Path(out),
            datasets=names(datasets),
            columns=names(columns),
            **options,
        )
        return export(self.feature_store, request)

    @property
    def datasets(self) -> Listing[DatasetRow]:
        """The datasets with their images, patients and splits."""
        return list_datasets(self.feature_store)

    @property
    def findings(self) -> Listing[FindingRow]:
        """The findings of each dataset with their labels."""
        return list_findings(self.feature_store)

    @property
    def encoders(self) -> Listing[EncodedRow]:
        """The encoders with their vectors."""
        return list_encoders(self.feature_store)

    @property
    def runs(self) -> Listing[Run]:
        """The finished runs, newest first."""
        entries = {entry.run_id: entry for entry in list_runs(self.feature_store)}
        runs = [Run(self.feature_store, run_id) for run_id in entries]
        titles = list_runs(self.feature_store)[:0].columns
        return Listing(runs, {title: _shown(entries, title) for title in titles})

    def run(self, name: str) -> Run:
        """A run by its name, its id, the beginning of the id, or ``latest``.

        Raises:
            ConfigurationError: No run, or more than one, is meant.

        Example:
            store.run("latest").summary
        """
        return find(self.feature_store, name)

    def status(self) -> StoreStatus:
        """What is in the store, what is not yet encoded, and whether splits leak.

        Example:
            store.status().missing
        """
        return store_status(self.feature_store)

    # Learning.

    def train(
        self,
        scenario: str,
        *,
        datasets: Names = None,
        where: str | None = None,
        split_seed: int | None = None,
        descriptions: str = "default",
        allow_leakage: bool = False,
        allow_contaminated: bool = False,
        findings: Names = None,
        order: Names = None,
        progress: bool = False,
        **options: Any,
    ) -> Run:
        """Learn a scenario over cached features, and evaluate after every task.

        Args:
            scenario: ``zero-shot``, ``joint``, ``class``, ``label`` or ``data``.
            datasets: Only these; None for all.
            where: A SQL condition over `images`.
            split_seed: Divide patients anew; None: the splits of `ingest`.
            descriptions: The description set.
            allow_leakage: Even if splits share patients or pictures.
            allow_contaminated: Even if the backbone was trained on them.
            findings: Only these; None for all that can be trained.
            order: The findings in the order of their tasks.
            progress: Draw a bar.
            **options: Further fields of `TrainRequest`, such as `method`, `options`,
                `tasks`, `preset`, `epochs`, `seed`, `uncertain`, `blank`, `backbone`,
                `continued`, `predictions`, `bounds` and `device`.

        Returns:
            The run; with `seeds` the last of them.

        Example:
            run = store.train("label", method="analytic", findings=["Edema"])
        """
        from ..learn.runs.selection import Selection
        from .train import TrainRequest, train

        selection = Selection(
            datasets=names(datasets),
            where=where,
            split_seed=split_seed,
            description_set=descriptions,
            allow_leakage=allow_leakage,
            allow_contaminated=allow_contaminated,
        )
        request = TrainRequest(
            scenario,
            selection,
            findings=names(findings),
            order=names(order),
            **options,
        )
        with notebook_bar(progress=progress) as show:
            made = train(self.feature_store, request, show)
        return Run(self.feature_store, made[-1].run.run_id)

    def curve(
        self,
        shots: Sequence[str | int] = ("8", "16", "32", "64", "128", "all"),
        *,
        datasets: Names = None,
        where: str | None = None,
        split_seed: int | None = None,
        descriptions: str = "default",
        allow_leakage: bool = False,
        allow_contaminated: bool = False,
        findings: Names = None,
        progress: bool = False,
        **options: Any,
    ) -> "CurveResult":
        """Test AUROC by the number of patients that methods learn from.

        Args:
            shots: Numbers of training patients, or ``all``.
            datasets: Only these; None for all.
            where: A SQL condition over `images`.
            split_seed: Divide patients anew; None: the splits of `ingest`.
            descriptions: The description set.
            allow_leakage: Even if splits share patients or pictures.
            allow_contaminated: Even if the backbone was trained on them.
            findings: Only these; None for all that can be trained.
            progress: Draw a bar.
            **options: Further fields of `CurveRequest`: `methods`, `seeds`, `seed`,
                `uncertain`, `blank`, `min_positives`, `backbone` and `fingerprint`.

        Example:
            found = store.curve([4, "all"], methods=["zero-shot", "analytic"],
                                seeds=2, min_positives=1)
            found.frame()
        """
        from ..learn.runs.selection import Selection
        from .measuring.curve import CurveRequest, curve

        selection = Selection(
            names(datasets),
            where,
            split_seed,
            descriptions,
            allow_leakage,
            allow_contaminated,
        )
        request = CurveRequest(
            shots, selection=selection, findings=names(findings), **options
        )
        with notebook_bar(progress=progress) as show:
            return curve(self.feature_store, request, show)

    def audit_labels(
        self, *, datasets: Names = None, findings: Names = None, **options: Any
    ) -> "LabelAudit":
        """Rank labels by how much the images of other patients contradict them.

        Args:
            datasets: Only these; None for all.
            findings: Only these; None for all with labels of both classes.
            **options: Further fields of `LabelAuditRequest`: `uncertain`, `blank`,
                `k`, `backbone` and `fingerprint`.

        Example:
            store.audit_labels(findings=["Edema"], k=10).frame()
        """
        from ..learn.runs.selection import Selection
        from .measuring.label_audit import LabelAuditRequest, audit_labels

        selection = Selection(names(datasets), allow_leakage=True)
        request = LabelAuditRequest(selection, names(findings), **options)
        return audit_labels(self.feature_store, request)

    def audit_duplicates(
        self, *, datasets: Names = None, where: str | None = None, **options: Any
    ) -> "DuplicateAudit":
        """Find images that may be the same picture.

        Args:
            datasets: Only these; None for all.
            where: A SQL condition over `images`.
            **options: Further fields of `DuplicateAuditRequest`: `threshold`, `k`,
                `backbone` and `fingerprint`.

        Example:
            store.audit_duplicates(k=10).frame()
        """
        from ..learn.runs.selection import Selection
        from .measuring.duplicate_audit import DuplicateAuditRequest, audit_duplicates

        selection = Selection(names(datasets), where, allow_leakage=True)
        request = DuplicateAuditRequest(selection, **options)
        return audit_duplicates(self.feature_store, request)

    def evaluate(
        self,
        run: Run | str,
        dataset: str | None = None,
        *,
        datasets: Names = None,
        split: str = "test",
        **options: Any,
    ) -> "ExternalEvaluation":
        """Evaluate a run on other images of the store.

        Args:
            run: The run, or what `run` finds it by.
            dataset: On this dataset.
            datasets: Or on these; None for those of the run.
            split: ``train``, ``validation``, ``test``, or ``all`` for external data.
            **options: Further fields of `EvaluateRequest`: `where`, `uncertain`,
                `blank`, `allow_leakage`, `allow_contaminated`.

        Example:
            store.evaluate(run, dataset="table", split="validation")
        """
        from .evaluate import EvaluateRequest, evaluate

        request = EvaluateRequest(
            self._run_id(run),
            datasets=names(dataset if datasets is None else datasets),
            split=split,
            **options,
        )
        return evaluate(self.feature_store, request)

    def compare(
        self, first: Run | str, second: Run | str, **options: Any
    ) -> "Comparison":
        """Test whether two runs differ on the same test images; see `retune.compare`.

        Example:
            store.compare("baseline", "latest")
        """
        from .compare import compare

        run_ids = self._run_id(first), self._run_id(second)
        return compare(self.feature_store, *run_ids, **options)

    def predict(
        self,
        run: Run | str,
        images: Any,
        *,
        backbone: str | None = None,
        device: str = "auto",
        encode_with: str | None = None,
        allow_pickle: bool = False,
    ) -> "pd.DataFrame":
        """Predict findings of images that need not be in the store.

        `Run.model` keeps the backbone loaded for further images.

        Args:
            run: The run, or what `run` finds it by.
            images: Files, folders, PIL images or arrays.
            backbone: Where the run's backbone lies now; None: where it was at `embed`.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            encode_with: What made imported vectors; the same as `backbone`.
            allow_pickle: Take .bin and .pt weights if there are no safetensors.

        Example:
            store.predict("latest", ["data/000.png", "data/"])
        """
        opened = Run(self.feature_store, self._run_id(run))
        model = opened.model(
            backbone=backbone or encode_with, device=device, allow_pickle=allow_pickle
        )
        return model.predict(images)

    def drift(
        self,
        by: str,
        reference: str | None = None,
        *,
        run: Run | str | None = None,
        datasets: Names = None,
        plot: PathLike | None = None,
        progress: bool = False,
        **options: Any,
    ) -> "DriftSummary":
        """Hold groups of images against a reference: pictures, labels, scores, gaps.

        Args:
            by: ``month``, ``year``, ``day``, or a column of `images`.
            reference: A SQL condition over `images`; None: each group is compared with
                all others.
            run: Also look at the scores of this run.
            datasets: Only these; None for all.
            plot: Where to draw a chart.
            progress: Draw a bar.
            **options: Further fields of `DriftRequest`: `where`, `backbone`,
                `fingerprint`, `alpha`, `fail_above`, `seed`, `min_patients`.

        Example:
            store.drift("view").alarms
        """
        from .measuring.drift import DriftRequest, drift

        request = DriftRequest(
            by,
            reference,
            run=None if run is None else self._run_id(run),
            datasets=names(datasets),
            plot=None if plot is None else Path(plot),
            **options,
        )
        with notebook_bar(progress=progress) as show:
            return drift(self.feature_store, request, show)

    def forget(
        self,
        patients: Names = None,
        *,
        where: str | None = None,
        requested_by: str | None = None,
        retrain: bool = False,
        progress: bool = False,
        **options: Any,
    ) -> "ForgetSummary":
        """Erase patients, and everything that was learned from them.

        Args:
            patients: Ids, or files with one id a line.
            where: A SQL condition over `images`: all patients with such an image.
            requested_by: Who asked for it; None: the user of this process.
            retrain: Train runs of gradient methods again on what stays.
            progress: Draw a bar.
            **options: Further fields of `ForgetRequest`: `datasets`, `orphans`,
                `dry_run`.

        Example:
            store.forget(where="split = 'test'", dry_run=True)
        """
        from .erasing.forget import ForgetRequest, forget

        request = ForgetRequest(
            names(patients) or (),
            where,
            requested_by=requested_by,
            retrain=retrain,
            **options,
        )
        with notebook_bar(progress=progress) as show:
            return forget(self.feature_store, request, show)

    def _run_id(self, run: Run | str) -> str:
        return run.run_id if isinstance(run, Run) else self.run(run).run_id

    def __repr__(self) -> str:
        parts: tuple[tuple[str, Iterable[str]], ...] = (
            (
                "datasets",
                (f"{one.dataset} ({cell_text(one.images)})" for one in self.datasets),
            ),
            (
                "encoders",
                (
                    f"{one.backbone} ({cell_text(one.image_vectors)} of D={one.dim})"
                    for one in self.encoders
                ),
            ),
        )
        lines = [f"feature store {self.path}"]
        lines += [f"  {title}: {_some(list(texts))}" for title, texts in parts]
        runs = list_runs(self.feature_store)
        newest = [entry.name or entry.run_id for entry in runs[:3]]
        told = f"{len(runs):,}, newest {', '.join(newest)}" if newest else "none"
        return "\n".join([*lines, f"  runs: {told}"])

    def _repr_html_(self) -> str:
        tables = (self.datasets, self.encoders, self.runs)
        shown = "".join(table._repr_html_() for table in tables)
        return f"<p>feature store {self.path.name}</p>{shown}"


def _shown(entries: Mapping[str, RunEntry], title: str) -> Any:
    """What a list of runs shows of one under a title."""
    rows = Listing.of(list(entries.values()), [title])
    cells = dict(zip(entries, (cell for (cell,) in rows.cells()), strict=True))
    return lambda run: cells[run.run_id]


def _paths(files: PathLike | Sequence[PathLike]) -> tuple[Path, ...]:
    """One path or several.

    >>> [str(path) for path in _paths("a.npy")]
    ['a.npy']
    """
    if isinstance(files, str | os.PathLike):
        return (Path(files),)
    return tuple(Path(one) for one in files)


def _some(texts: Sequence[str], shown: int = 5) -> str:
    """The first texts; the others are counted.

    >>> _some(["a", "b", "c"], 2), _some([])
    ('a, b and 1 more', 'none')
    """
    more = f" and {len(texts) - shown} more" if len(texts) > shown else ""
    return ", ".join(texts[:shown]) + more or "none"
