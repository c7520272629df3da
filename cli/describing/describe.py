"""`retune-cli describe`: descriptions by a language model, and the sets they form."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retune.store.plural import counted

from ..terminal.options import (
    JsonOption,
    QuietOption,
    StoreOption,
    split_names,
    store_flag,
)
from ..terminal.printing import print_json, print_line, progress_bar, remark
from .ablate import ablate_command
from .description_sets import add_set_commands

if TYPE_CHECKING:
    from retune.pipeline.app.describing.describe import DescribePlan, DescribeSummary

__all__ = ["describe_app"]

describe_app: typer.Typer = typer.Typer(
    invoke_without_command=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
add_set_commands(describe_app)
describe_app.command("ablate")(ablate_command)


@describe_app.callback()
def describe_command(
    context: typer.Context,
    findings: Annotated[
        str | None,
        typer.Option("--findings", help="Names, separated by commas; any language."),
    ] = None,
    llm: Annotated[
        str | None, typer.Option("--llm", help="The model, as the server knows it.")
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            "--base-url",
            envvar="RETUNE_LLM_URL",
            help="Address of a server that speaks OpenAI's protocol, with /v1.",
        ),
    ] = None,
    n: Annotated[
        int, typer.Option("--n", min=1, help="Sentences per finding and polarity.")
    ] = 12,
    set_name: Annotated[
        str | None,
        typer.Option("--set", help="Name of the set [of the model and a digest]."),
    ] = None,
    store: StoreOption = Path("feature-store"),
    language: Annotated[
        str, typer.Option("--language", help="ISO 639-1 code of the sentences.")
    ] = "en",
    max_tokens: Annotated[
        int,
        typer.Option(
            "--max-tokens",
            min=8,
            help="Longest sentence: 75 fits CLIP, 254 BiomedCLIP.",
        ),
    ] = 75,
    template: Annotated[
        Path | None,
        typer.Option("--template", help="Your own instruction, a YAML file."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", min=0.0, help="Sampling temperature."),
    ] = 0.7,
    seed: Annotated[
        int, typer.Option("--seed", help="Random seed, sent to the server.")
    ] = 0,
    rounds: Annotated[
        int,
        typer.Option("--rounds", min=1, help="Maximum number of requests per finding."),
    ] = 3,
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency", min=1, help="Number of requests at the same time."
        ),
    ] = 4,
    timeout: Annotated[
        float,
        typer.Option("--timeout", min=0.1, help="Timeout of a request, in seconds."),
    ] = 120.0,
    retries: Annotated[
        int,
        typer.Option(
            "--retries",
            min=0,
            help="Retries after 429, 5xx, a timeout or a lost connection.",
        ),
    ] = 4,
    price: Annotated[
        str | None,
        typer.Option(
            "--price", help="Price of a million tokens in and out, such as 0.15,0.60."
        ),
    ] = None,
    accept_anyway: Annotated[
        bool,
        typer.Option(
            "--accept-anyway",
            help="Fill up with sentences that break a rule; that is recorded.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent; send nothing.")
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Let a language model write descriptions of findings, and judge them.

    The server gets the names of the findings, the instruction and, when it is asked
    again, its own sentences with what is wrong with them; nothing else. A key is read
    from RETUNE_LLM_KEY or OPENAI_API_KEY only. Finished findings are kept at once; the
    same command goes on with the rest. Needs: pip install 'retune-cli[llm]'.

    Example: retune-cli describe --findings "Pneumothorax,Rib fracture" --llm llama3.1
    --base-url http://localhost:11434/v1
    """
    if context.invoked_subcommand is not None:
        return
    from retune.pipeline.app.describing.describe import (
        DescribeRequest,
        cost_of,
        describe,
        plan_requests,
    )
    from retune.pipeline.describe.instruction import load_instruction
    from retune.pipeline.describe.language_model import Sampling
    from retune.pipeline.describe.validation import Requirements

    request = DescribeRequest(
        findings=split_names(_needed(findings, "--findings", '"Edema,Rib fracture"'))
        or (),
        model=_needed(llm, "--llm", "llama3.1"),
        base_url=_needed(base_url, "--base-url", "http://localhost:11434/v1"),
        n=n,
        requirements=Requirements(n, language, max_tokens),
        sampling=Sampling(temperature, seed, None, timeout, retries),
        instruction=load_instruction(template),
        rounds=rounds,
        concurrency=concurrency,
        accept_anyway=accept_anyway,
        set_name=set_name,
    )
    prices = _prices(price)
    if dry_run:
        _print_plan(plan_requests(request), json=json)
        return
    with progress_bar(quiet=quiet) as show:
        summary = describe(
            store,
            request,
            show,
            lambda finding, problem: remark(
                f"{finding}, {problem.polarity}: {problem.reason}: {problem.text}",
                quiet=quiet,
            ),
        )
    _print_summary(summary, cost_of(summary, prices), store, json=json, quiet=quiet)


def _needed(value: str | None, option: str, example: str) -> str:
    from retune.store.errors import ConfigurationError

    if value is None or not value.strip():
        raise ConfigurationError(
            f"describe needs {option}", f"Such as: {option} {example}"
        )
    return value


def _prices(text: str | None) -> tuple[float, float] | None:
    """Prices of a million tokens, in and out."""
    from retune.store.errors import ConfigurationError

    if text is None:
        return None
    try:
        one, other = (float(part) for part in text.split(","))
    except ValueError:
        one = other = float("nan")
    if not (0 <= one < float("inf") and 0 <= other < float("inf")):
        raise ConfigurationError(
            f"--price {text!r} is not two prices", "Such as: --price 0.15,0.60"
        )
    return one, other


def _print_plan(plan: "DescribePlan", *, json: bool) -> None:
    if json:
        print_json(
            {
                "set_name": plan.set_name,
                "tokens": plan.tokens,
                "messages": plan.messages,
            }
        )
        return
    for finding, messages in plan.messages.items():
        print_line(f"--- {finding}")
        for message in messages:
            print_line(f"[{message['role']}]\n{message['content']}")
    print_line(
        f"--- nothing was sent: {len(plan.messages)} requests to {plan.model}, about "
        f"{plan.tokens:,} tokens, for the set {plan.set_name}"
    )


def _print_summary(
    summary: "DescribeSummary",
    cost: float | None,
    store: Path,
    *,
    json: bool,
    quiet: bool,
) -> None:
    if json:
        print_json({**vars(summary), "cost": cost})
        return
    if summary.already_there:
        print_line(f"set {summary.set_name}: already there, nothing was asked")
    else:
        spent = "" if cost is None else f", cost {cost:.4f}"
        print_line(
            f"set {summary.set_name}: {counted(summary.sentences, 'sentence')} of "
            f"{counted(summary.findings, 'finding')} "
            f"({counted(summary.resumed, 'finding')} from before, "
            f"{counted(summary.accepted, 'sentence')} kept in spite of a fault, "
            f"{summary.refused} faults found)"
        )
        print_line(
            f"{summary.requests} answers, {summary.tokens_in:,} tokens in, "
            f"{summary.tokens_out:,} out{spent}"
        )
    remark(
        "No radiologist has read these sentences. Next: retune-cli embed "
        f"--descriptions {summary.set_name}{store_flag(store)}",
        quiet=quiet,
    )
