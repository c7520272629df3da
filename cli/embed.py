"""`retune-cli embed`: the one-time stage."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retune.store.plural import counted

from .terminal.options import (
    DatasetsOption,
    JsonOption,
    PickleOption,
    QuietOption,
    StoreOption,
    WhereOption,
    split_names,
    store_flag,
)
from .terminal.printing import print_json, print_line, progress_bar, remark
from .terminal.selection import announce_selection

if TYPE_CHECKING:
    from retune.pipeline.encode.options import EmbedSummary
    from retune.store import FeatureStore

__all__ = ["embed_command"]

#: Exit codes; see `terminal.boundary`.
_NOTHING_USABLE = 5
_SOME_UNUSABLE = 6
_NOTHING_THERE = 7


def embed_command(
    backbone: Annotated[
        str,
        typer.Option(
            "--backbone",
            help="mini, biomedclip, local-dir:PATH, hf-hub:ORG/NAME or "
            "MODEL:PRETRAINED of open_clip; hf:PATH or hf:ORG/NAME; timm:NAME.",
        ),
    ] = "mini",
    store: StoreOption = Path("feature-store"),
    datasets: DatasetsOption = None,
    where: WhereOption = None,
    descriptions: Annotated[
        str,
        typer.Option(
            "--descriptions",
            help="Description sets by name, or YAML files, separated by commas.",
        ),
    ] = "default",
    device: Annotated[
        str,
        typer.Option(
            "--device", help="Device to encode on: auto, cpu, cuda or cuda:N."
        ),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="Precision: float32, bfloat16, float16, or auto, the "
            "fastest whose vectors agree with float32.",
        ),
    ] = "auto",
    decode: Annotated[
        str,
        typer.Option(
            "--decode",
            help="Decoding: full, or scaled, which reads large JPEGs at the "
            "smallest scale that suffices.",
        ),
    ] = "full",
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype", help="Data type of stored vectors: float16 or float32."
        ),
    ] = "float16",
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", min=1, help="Images per forward pass [16, on CUDA 256]."
        ),
    ] = None,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="On an accelerator: compile the image tower first, which "
            "takes a minute or more.",
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            min=0,
            help="Number of decoding threads, of all Ray workers together [all cores].",
        ),
    ] = 0,
    engine: Annotated[
        str,
        typer.Option(
            "--engine", help="Engine: local, or ray for workers on a Ray cluster."
        ),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            "--address", help="Address of the Ray cluster [start Ray on this machine]."
        ),
    ] = None,
    num_gpus: Annotated[
        int,
        typer.Option(
            "--num-gpus",
            min=0,
            help="Number of Ray workers with one GPU each; 0 uses processors.",
        ),
    ] = 0,
    long: Annotated[
        str,
        typer.Option(
            "--long",
            help="Sentences longer than the context: cut them, or chunk them"
            " and pool the pieces (a separate feature set).",
        ),
    ] = "cut",
    pooling: Annotated[
        str,
        typer.Option(
            "--pooling",
            help="How hf: models pool tokens: cls, mean, pooler, or auto for"
            " the model's own way.",
        ),
    ] = "auto",
    layer: Annotated[
        str,
        typer.Option(
            "--layer",
            help="Which image vectors: projected, or pooled, which is before"
            " the projection.",
        ),
    ] = "projected",
    allow_pickle: PickleOption = False,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Try images again that failed before."),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Exit with code 6 if some images cannot be used."
        ),
    ] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait while another process writes to the store."),
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Encode every image and description that has no vector yet.

    Stop it at any time: the next call encodes the rest.
    Queries and training work while it runs.

    Example: retune-cli embed --backbone biomedclip --device cuda

    Example: retune-cli embed --backbone biomedclip --engine ray --num-gpus 8
    """
    from retune.pipeline.platform.memory import keep_freed_memory

    keep_freed_memory()  # before the imports below start threads

    from retune.pipeline.app.embed import EmbedOptions, embed, images_per_second
    from retune.pipeline.platform.processor import usable_cores
    from retune.store import FeatureStore

    chosen = EmbedOptions(
        backbone=backbone,
        precision=precision,
        output_dtype=dtype,
        decode=decode,
        device=device,
        engine=engine,
        address=address,
        num_gpus=num_gpus,
        batch_size=batch_size,
        compiled=compiled,
        datasets=split_names(datasets),
        where=where,
        description_sets=split_names(descriptions) or (),
        long=long,
        pooling=pooling,
        layer=layer,
        allow_pickle=allow_pickle,
        retry_failed=retry_failed,
        wait=wait,
        workers=workers or usable_cores(),
    )
    feature_store = FeatureStore(store)
    announce_selection(feature_store, chosen.datasets, where, quiet=quiet)
    with progress_bar(quiet=quiet) as show:
        summary = embed(feature_store, chosen, show)
    if summary.images_with_text:  # said in any case: it may be somebody's name
        remark(
            f"Warning: {counted(summary.images_with_text, 'image', 'seem')} to have "
            "words burned "
            "into the picture, such as PORTABLE or a name (side letters do not count): "
            'retune-cli sql "SELECT image_id FROM images JOIN burned_in_text USING '
            '(content_digest)"',
            quiet=False,
        )
    for text in summary.descriptions_cut:
        remark(f"Cut, too long for {backbone}: {text}", quiet=quiet)
    if json:
        print_json(vars(summary))
        _leave_if_nothing_usable(feature_store, summary)
        _leave_if_strict(summary, strict=strict)
        return
    rate = images_per_second(summary)
    speed = f" at {rate:.0f} images/s (limit: {summary.limiting_stage})" if rate else ""
    print_line(
        f"encoder {summary.fingerprint} ({backbone}): "
        f"{counted(summary.images_encoded, 'image')} encoded{speed}, "
        f"{summary.images_skipped:,} already done, "
        f"{summary.images_matched:,} with known content, "
        f"{counted(summary.descriptions_encoded, 'description')} encoded"
    )
    if summary.descriptions_cut:
        print_line(
            f"{counted(len(summary.descriptions_cut), 'description', 'were')} cut at "
            "the end of the context; --long chunk encodes all of each"
        )
    failed = summary.images_failed + summary.images_refused
    if failed:
        print_line(
            f"{counted(failed, 'image')} could not be used "
            f"({summary.images_refused:,} of them known from before): "
            'retune-cli sql "SELECT path, stage, error FROM failures"'
        )
    _leave_if_nothing_usable(feature_store, summary)
    _leave_if_strict(summary, strict=strict)
    remark(f"Next: retune-cli train --scenario label{store_flag(store)}", quiet=quiet)


def _leave_if_strict(summary: "EmbedSummary", *, strict: bool) -> None:
    """Exit with 7 if there was no image at all, and with 6 if asked and some failed."""
    n_failed = summary.images_failed + summary.images_refused
    usable = summary.images_encoded + summary.images_matched + summary.images_skipped
    if not usable and not n_failed:
        remark("Error: there was no image to encode", quiet=False)
        remark("Hint: `retune-cli ingest` reads a dataset's table.", quiet=False)
        raise typer.Exit(_NOTHING_THERE)
    if strict and n_failed:
        remark(f"Error: {counted(n_failed, 'image')} could not be used", quiet=False)
        raise typer.Exit(_SOME_UNUSABLE)


def _leave_if_nothing_usable(store: "FeatureStore", summary: "EmbedSummary") -> None:
    """Say on stderr that no image could be used, and why, and exit with code 5."""
    if not summary.nothing_usable:
        return
    from retune.store.queries.displays import count_last_failures

    n_images = summary.images_failed + summary.images_refused
    remark(
        f"Error: none of the {counted(n_images, 'image')} could be encoded", quiet=False
    )
    for error, count in count_last_failures(store):
        remark(f"  {count:,}: {error}", quiet=False)
    remark(
        "Hint: are the images where they were at `ingest`? Descriptions are encoded; "
        "the same command goes on from there.",
        quiet=False,
    )
    raise typer.Exit(_NOTHING_USABLE)
