"""`retune-cli nightly`: ingest, embed, predict, drift and report, unattended."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ..terminal.boundary import run_guarded
from ..terminal.options import JsonOption, QuietOption
from ..terminal.printing import print_json, print_line, remark

__all__ = ["nightly_command"]

#: Codes after which nothing else is tried.
_INTERRUPTED = (130, 143)


def nightly_command(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="YAML file; see docs/nightly.md.")],
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run what a configuration says: ingest, embed, predict, drift, report.

    Every step does only what is missing, so that an interrupted night is finished by
    the next call, and a second call has nothing to do. The result is a line, a JSON
    file, and metrics for Prometheus. The exit code is that of the first step that was
    not well; 6 if some images could not be used.

    Example: retune-cli nightly night.yaml --quiet --log /var/log/retune.log
    """
    from retune.pipeline.app.erasing.nights import NIGHT_FILE
    from retune.store.errors import StoreWriteError

    from .configuration import load_config
    from .results import as_json, exit_code, prometheus_text, summary_line, write_file
    from .steps import run_step

    # The command line's own root: importing it here would be a circle.
    root = context.find_root().command

    def run(arguments: list[str]) -> int:
        return run_guarded(lambda: root.main(args=arguments, prog_name="retune-cli"))

    settings = load_config(config)
    try:
        settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreWriteError(
            f"cannot make {settings.folder}: {error.strerror}", "Choose another folder."
        ) from error
    started, clock = datetime.now(UTC), time.monotonic()
    results = []
    for step in settings.steps:
        result = run_step(step, settings, run)
        results.append(result)
        for line in result.messages:
            remark(f"{step.name}: {line}", quiet=quiet and result.is_fine)
        if result.exit_code in _INTERRUPTED:
            break
    seconds = time.monotonic() - clock
    night = as_json(results, started, seconds)
    write_file(settings.folder / NIGHT_FILE, night)
    if settings.prometheus is not None:
        text = prometheus_text(results, seconds)
        write_file(settings.prometheus, text, mode=0o644)
    if json:
        print_json(night)
    else:
        print_line(summary_line(results, seconds))
    code = exit_code(results)
    if code:
        raise typer.Exit(code)
