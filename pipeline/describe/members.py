"""Sentences with all that is known of how they came about, and sets of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import pyarrow as pa

from retune.store import FeatureStore
from retune.store.description_sets import SetRow, add_set, list_sets, read_set
from retune.store.errors import ConfigurationError

from ..descriptions.document import check_set_name
from ..descriptions.library import available_sets
from ..descriptions.sentence import STEERING, Description, is_date

__all__ = [
    "Member",
    "Origin",
    "check_free_name",
    "find_set",
    "member_from_json",
    "member_to_json",
    "members_from_json",
    "publish",
    "renamed",
]


@dataclass(frozen=True)
class Origin:
    """The request that a sentence is the answer to.

    Attributes:
        requested_model: As the user named it.
        resolved_model: As the server names what answered.
        host: Host of the server, with its port; never a user name or a path.
        parameters: Sampling and output form that were sent, as JSON.
        seed: That was sent; None if none was.
        template: Name of the instruction's template.
        template_version: Its version.
        template_digest: Digest of its texts.
        prompt_digest: Digest of the messages that were sent.
        asked_at: When the answer came, ISO 8601 in UTC.
        response_digest: Digest of the answer's raw text.
    """

    requested_model: str
    resolved_model: str
    host: str
    parameters: str
    seed: int | None
    template: str
    template_version: str
    template_digest: str
    prompt_digest: str
    asked_at: str
    response_digest: str


@dataclass(frozen=True)
class Member:
    """A sentence of a set.

    Attributes:
        description: The sentence.
        origin: None if no language model was asked by `describe`.
        accepted: Rules that it breaks and was kept in spite of.
    """

    description: Description
    origin: Origin | None = None
    accepted: tuple[str, ...] = ()


_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "seed": (int, type(None)),
    "reviewed": (bool,),
    "edited": (bool,),
}
_ORIGIN_FIELDS = tuple(Origin.__dataclass_fields__)
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("description_id", "text_digest")),
        *(
            (name, pa.bool_() if name in ("reviewed", "edited") else pa.string())
            for name in Description.__dataclass_fields__
        ),
        ("position", pa.int32()),
        *(
            (name, pa.int64() if name == "seed" else pa.string())
            for name in _ORIGIN_FIELDS
        ),
        ("accepted", pa.list_(pa.string())),
    ]
)


def member_to_json(member: Member) -> dict[str, Any]:
    """A member as plain values, for drafts and exports."""
    return {
        "description": asdict(member.description),
        "origin": None if member.origin is None else asdict(member.origin),
        "accepted": list(member.accepted),
    }


def member_from_json(content: object) -> Member:
    """What `member_to_json` gave, with every field checked.

    Raises:
        TypeError: It is of another form, or a value of another type or out of range.
        KeyError: A part is missing.
    """
    if not isinstance(content, dict):
        raise TypeError(f"an entry is {_short(content)}")
    description, origin = content["description"], content["origin"]
    accepted = content["accepted"]
    _check_fields(description, Description)
    if description["polarity"] not in ("positive", "negative"):
        raise TypeError(f"polarity is {_short(description['polarity'])}")
    if not is_date(description["created_at"]):
        raise TypeError(f"created_at is {_short(description['created_at'])}")
    if origin is not None:
        _check_fields(origin, Origin)
        if not is_date(origin["asked_at"]):
            raise TypeError(f"asked_at is {_short(origin['asked_at'])}")
        if abs(origin["seed"] or 0) >= 1 << 63:
            raise TypeError(f"seed is {_short(origin['seed'])}")
    if not isinstance(accepted, list) or not all(map(_is_plain, accepted)):
        raise TypeError(f"accepted is {_short(accepted)}")
    return Member(
        Description(**description),
        None if origin is None else Origin(**origin),
        tuple(accepted),
    )


def members_from_json(content: object) -> tuple[Member, ...]:
    """A list of members.

    Raises:
        TypeError: It is none, or one is of another form; its number is named.
        KeyError: A part is missing.
    """
    if not isinstance(content, list):
        raise TypeError(f"expected a list, not {_short(content)}")
    members = []
    for number, entry in enumerate(content, start=1):
        try:
            members.append(member_from_json(entry))
        except TypeError as error:
            raise TypeError(f"entry {number}: {error}") from error
    return tuple(members)


def _check_fields(
    values: object, record_type: type[Description] | type[Origin]
) -> None:
    if not isinstance(values, dict) or set(values) != set(
        record_type.__dataclass_fields__
    ):
        raise TypeError(f"not the fields of {record_type.__name__}: {_short(values)}")
    for name, value in values.items():
        kinds = _KINDS.get(name, (str,))
        if type(value) not in kinds or (
            isinstance(value, str) and not _is_plain(value)
        ):
            raise TypeError(f"{name} is {_short(value)}")


def _is_plain(text: object) -> bool:
    return isinstance(text, str) and not STEERING.search(text)


def _short(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def renamed(members: Sequence[Member], set_name: str) -> tuple[Member, ...]:
    """The same sentences as members of another set."""
    return tuple(
        replace(member, description=replace(member.description, set_name=set_name))
        for member in members
    )


def publish(
    store: FeatureStore,
    members: Sequence[Member],
    *,
    made_by: str,
    language: str,
    created_at: str,
    parent: str = "",
) -> SetRow:
    """Enter a set into a store, for good.

    Args:
        store: Where to.
        members: All of one set name.
        made_by: ``describe``, ``edit`` or ``import``.
        language: ISO 639-1 code.
        created_at: ISO 8601.
        parent: The set that was edited.

    Raises:
        ConfigurationError: The name is a shipped set's, is taken in the store, or
            cannot name a set.
        StoreWriteError: The disk refused; nothing was entered.
    """
    set_name = members[0].description.set_name
    check_free_name(set_name)
    rows = [
        {
            "description_id": member.description.description_id,
            "text_digest": member.description.text_digest,
            **asdict(member.description),
            "position": position,
            **dict.fromkeys(_ORIGIN_FIELDS),
            **(asdict(member.origin) if member.origin else {}),
            "accepted": list(member.accepted),
        }
        for position, member in enumerate(members)
    ]
    row = SetRow(set_name, made_by, parent, language, len(rows), created_at)
    add_set(store, row, pa.Table.from_pylist(rows, _SCHEMA))
    return row


def check_free_name(set_name: str) -> None:
    """Refuse names that are no names and those of shipped sets.

    Raises:
        ConfigurationError: The name cannot be given to a set.
    """
    check_set_name(set_name)
    if set_name in available_sets():
        raise ConfigurationError(
            f"the set name {set_name!r} belongs to a shipped set",
            "Choose another name with `set_name`.",
        )


def find_set(store: FeatureStore, set_name: str) -> tuple[SetRow, tuple[Member, ...]]:
    """A set of the store with its sentences in their order.

    Raises:
        ConfigurationError: The store has no such set.
    """
    rows = {row.set_name: row for row in list_sets(store)}
    if set_name not in rows:
        known = ", ".join(rows) or "none"
        raise ConfigurationError(
            f"the store {store.path} has no description set '{set_name}'; it has: "
            f"{known}",
            "`retune-cli describe show` lists them; `describe import FILE` enters one.",
        )
    members = [_member(values) for values in read_set(store, set_name).to_pylist()]
    return rows[set_name], tuple(members)


def _member(values: dict[str, Any]) -> Member:
    description = Description(
        **{name: values[name] for name in Description.__dataclass_fields__}
    )
    origin = None
    if values["prompt_digest"] is not None:
        origin = Origin(**{name: values[name] for name in _ORIGIN_FIELDS})
    return Member(description, origin, tuple(values["accepted"]))
