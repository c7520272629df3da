"""Description sets by name, file, or from the store, for the findings in use."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from retune.store import FeatureStore
from retune.store.description_sets import list_sets, read_set
from retune.store.errors import ConfigurationError

from ..findings import spelling_key
from . import Description, available_sets, load_descriptions
from .library import expand_templates

__all__ = ["load_set"]


def load_set(
    store: FeatureStore, name: str, findings: Sequence[str] | None = None
) -> tuple[Description, ...]:
    """A set that ships with retune, that the store holds, or that a file holds.

    Args:
        store: Where named sets are.
        name: Name of the set, or the path of a YAML file.
        findings: The findings in use; one that the set does not list is described by
            templates. None: those that the set lists.

    Raises:
        ConfigurationError: There is no such set or file, or it cannot be used.
    """
    stored = [row.set_name for row in list_sets(store)]
    if name in available_sets() or name not in stored:
        if name not in available_sets() and not Path(name).exists():
            known = ", ".join([*available_sets(), *stored])
            raise ConfigurationError(
                f"there is no description set or file {name!r}",
                f"Name a set ({known}) or the path of a YAML file.",
            )
        return load_descriptions(name, findings)
    members = [_description(values) for values in read_set(store, name).to_pylist()]
    if findings is None:
        return tuple(members)
    by_finding: dict[str, list[Description]] = {}
    for member in members:
        by_finding.setdefault(spelling_key(member.finding), []).append(member)
    rows: list[Description] = []
    for finding in dict.fromkeys(findings):
        listed = by_finding.get(spelling_key(finding))
        if listed is None:
            rows += expand_templates(name, finding)
        else:
            rows += [replace(member, finding=finding) for member in listed]
    return tuple(rows)


def _description(values: dict[str, object]) -> Description:
    fields = {name: values[name] for name in Description.__dataclass_fields__}
    return Description(**fields)  # type: ignore[arg-type]  # as the catalog types them
