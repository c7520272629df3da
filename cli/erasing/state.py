"""`retune-cli state`: what a patient is of a run, for those who carry it on."""

from pathlib import Path
from typing import Annotated

import typer

from retune.store.plural import counted

from ..terminal.options import DatasetsOption, JsonOption, StoreOption, split_names
from ..terminal.printing import print_json, print_line

__all__ = ["state_command"]


def state_command(
    run: Annotated[
        str, typer.Argument(help="Run id, its beginning, a name, or latest.")
    ],
    of_patient: Annotated[
        list[str],
        typer.Option("--of-patient", help="Patient id, or a file of ids; repeatable."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    store: StoreOption = Path("feature-store"),
    datasets: DatasetsOption = None,
    json: JsonOption = False,
) -> None:
    """Write what patients are of an analytic run's sums, to subtract them elsewhere.

    A state that left the house cannot be called back. Send this file after it, before
    you erase the patients here: merge --subtract FILE takes them out there.

    Example: retune-cli state latest --of-patient 00000013 --out part.safetensors
    """
    from retune.pipeline.app.erasing.contribution import write_patient_state
    from retune.store import FeatureStore

    done = write_patient_state(
        FeatureStore(store), run, of_patient, out, datasets=split_names(datasets)
    )
    if json:
        print_json(vars(done))
        return
    print_line(
        f"{done.path}: {counted(done.n_images, 'image')} of "
        f"{counted(done.n_patients, 'patient')} of run "
        f"{done.run_id}"
    )
