"""A language model writes descriptions of findings; what it would be sent, and cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike

from retune.store import FeatureStore

from ...describe.describing import DescribeRequest, DescribeSummary, planned_messages
from ...describe.describing import describe as write_set
from ...describe.validation import Problem, estimate_tokens
from ...progress import ProgressCallback, silent

__all__ = [
    "DescribePlan",
    "DescribeRequest",
    "DescribeSummary",
    "cost_of",
    "describe",
    "plan_requests",
]


@dataclass(frozen=True)
class DescribePlan:
    """What would be sent first.

    Attributes:
        set_name: Name of the new set.
        model: Which would be asked.
        tokens: About how many would be sent.
        messages: Finding -> what would be said about it.
    """

    set_name: str
    model: str
    tokens: int
    messages: Mapping[str, Sequence[dict[str, str]]]


def plan_requests(request: DescribeRequest) -> DescribePlan:
    """What would be sent; nothing is."""
    planned = planned_messages(request)
    tokens = sum(
        estimate_tokens(message["content"])
        for messages in planned.values()
        for message in messages
    )
    return DescribePlan(request.name, request.model, tokens, planned)


def describe(
    store: str | PathLike[str],
    request: DescribeRequest,
    progress: ProgressCallback = silent,
    on_refused: Callable[[str, Problem], None] | None = None,
) -> DescribeSummary:
    """Ask a model and enter its sentences as a set; see `describing.describe`.

    Works within a running event loop, as in a notebook.

    Args:
        store: Folder of the store, which is made if there is none.
        request: What to ask.
        progress: Told after each finding.
        on_refused: Called with each sentence that cannot be used.

    Raises:
        ConfigurationError: The name is taken, or `openai` is missing.
        LanguageModelError: The server cannot be used, or findings are unfinished.
    """
    return write_set(FeatureStore.create(store), request, progress, on_refused)


def cost_of(
    summary: DescribeSummary, prices: tuple[float, float] | None
) -> float | None:
    """What the answers cost; None without prices.

    Args:
        summary: With the tokens that were counted.
        prices: Prices of a million tokens, in and out.

    >>> cost_of(DescribeSummary("s", tokens_in=1_000_000), (0.5, 2.0))
    0.5
    """
    if prices is None:
        return None
    return (summary.tokens_in * prices[0] + summary.tokens_out * prices[1]) / 1e6
