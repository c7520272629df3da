"""The file that says what is done every night."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["NightlyConfig", "Step", "load_config"]

#: Commands in the order in which they run.
STEPS = ("ingest", "embed", "predict", "drift", "report")
_KEYS = ("store", "folder", "prometheus", *STEPS)
_HINT = "docs/nightly.md shows such a file."
#: The argument of a command that is no option.
_POSITIONAL = {"ingest": "root", "predict": "run"}


@dataclass(frozen=True)
class Step:
    """One command of the night.

    Attributes:
        name: The command.
        options: Its options, by their names without dashes.
    """

    name: str
    options: Mapping[str, Any]

    def arguments(self, store: Path) -> list[str]:
        """The command line.

        >>> Step("ingest", {"root": "ris", "strict": True}).arguments(Path("s"))
        ['ingest', 'ris', '--store', 's', '--strict']
        """
        positional = _POSITIONAL.get(self.name)
        words = [self.name]
        if positional:
            words.append(str(self.options[positional]))
        words += ["--store", str(store)]
        for name, value in self.options.items():
            if name == positional or value is False or value is None:
                continue
            option = "--" + name.replace("_", "-")
            values = value if isinstance(value, list) else [value]
            for one in values:
                words += [option] if one is True else [option, str(one)]
        return words


@dataclass(frozen=True)
class NightlyConfig:
    """What is done every night.

    Attributes:
        store: Folder of the store.
        folder: Where results and predictions are written.
        steps: In the order in which they run.
        prometheus: File for the node exporter; None: none.
    """

    store: Path
    folder: Path
    steps: tuple[Step, ...]
    prometheus: Path | None = None


def load_config(file: Path) -> NightlyConfig:
    """Read a configuration; paths are relative to its folder.

    Raises:
        ConfigurationError: It cannot be read, or says what it cannot say.
    """
    import yaml

    from retune.store.errors import ConfigurationError

    try:
        plain = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(f"cannot read {file}: {reason}", _HINT) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise ConfigurationError(
            f"{file} is no configuration: {said}", _HINT
        ) from error
    if not isinstance(plain, dict):
        raise ConfigurationError(f"{file} is no configuration", _HINT)
    unknown = [str(key) for key in plain if key not in _KEYS]
    if unknown:
        raise ConfigurationError(
            f"{file}: {unknown[0]!r} is no part of it; there is: {', '.join(_KEYS)}",
            _HINT,
        )
    home = file.resolve().parent
    steps = tuple(
        step for name in STEPS if name in plain for step in _steps(file, name, plain)
    )
    if not steps:
        raise ConfigurationError(f"{file} names nothing to do", _HINT)
    exporter = plain.get("prometheus")
    return NightlyConfig(
        home / str(plain.get("store", "feature-store")),
        home / str(plain.get("folder", "nights")),
        tuple(_rooted(step, home) for step in steps),
        None if exporter is None else home / str(exporter),
    )


def _steps(file: Path, name: str, plain: Mapping[str, Any]) -> list[Step]:
    from retune.store.errors import ConfigurationError

    given = plain[name]
    steps = []
    for one in given if isinstance(given, list) else [given]:
        options = {} if one is None else one
        positional = _POSITIONAL.get(name)
        if not isinstance(options, dict) or (positional and positional not in options):
            needed = f", among them {positional!r}" if positional else ""
            raise ConfigurationError(
                f"{file}: {name}: options are needed{needed}", _HINT
            )
        steps.append(Step(name, options))
    return steps


def _rooted(step: Step, home: Path) -> Step:
    """A step whose folder of a dataset is absolute."""
    if step.name != "ingest":
        return step
    return Step(step.name, {**step.options, "root": str(home / step.options["root"])})
