"""`retune-cli view`: look through a store in a browser on this machine."""

import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from .terminal.options import FingerprintOption, StoreOption
from .terminal.printing import print_line, remark

__all__ = ["view_command"]

_FIRST_PORT, _TRIES = 8765, 50


def view_command(
    store: StoreOption = Path("feature-store"),
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port to listen on [a free one]."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(help="Name under which notes and labels are written."),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Forbid notes and labels.")
    ] = False,
    fingerprint: FingerprintOption = None,
    browser: Annotated[
        bool,
        typer.Option("--browser/--no-browser", help="Open the address in a browser."),
    ] = True,
) -> None:
    """Look through a store in a browser: images, labels, errors, a map, runs.

    The pages are served to this machine only, to whoever has the printed address, and
    reach no other host. Needs the extra view: pip install 'retune-cli[view]'. Ctrl-C
    ends it.

    Example: retune-cli view --store feature-store --read-only
    """
    from retune.pipeline.app.gallery.gallery import Gallery
    from retune.store import FeatureStore, choose_encoder
    from retune.store.errors import ConfigurationError

    try:
        from .gallery.server import serve
    except ImportError as error:
        raise ConfigurationError(
            f"the gallery needs {error.name}, which is not installed",
            "python -m pip install 'retune-cli[view]'",
        ) from error
    opened = FeatureStore(store)
    if fingerprint is not None:
        fingerprint = choose_encoder(opened, fingerprint=fingerprint).fingerprint
    gallery = Gallery(
        opened, _author(user), read_only=read_only, fingerprint=fingerprint
    )
    token, chosen = secrets.token_urlsafe(24), _free_port(port)
    address = f"http://127.0.0.1:{chosen}/?token={token}"

    def ready() -> None:
        print_line(address)
        remark("Ctrl-C ends the gallery.")
        if browser:
            import webbrowser

            with suppress(webbrowser.Error):
                webbrowser.open(address)

    serve(gallery, token, chosen, ready)


def _author(given: str | None) -> str:
    """The name to write under: as given, or the one of the account."""
    from retune.store.errors import ConfigurationError

    if given is None:
        import getpass

        try:
            return getpass.getuser()
        except (OSError, KeyError):  # an account without a name
            return "unknown"
    if not given.strip() or not given.isprintable() or len(given) > 100:
        raise ConfigurationError(
            f"{given!r} cannot be a user's name", "Use up to 100 printable characters."
        )
    return given.strip()


def _free_port(wanted: int | None) -> int:
    """The wanted port, or the first free one from 8765 on.

    Raises:
        ConfigurationError: It is taken.
    """
    from retune.store.errors import ConfigurationError

    ports = [wanted] if wanted else range(_FIRST_PORT, _FIRST_PORT + _TRIES)
    for port in ports:
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise ConfigurationError(
        f"port {wanted or _FIRST_PORT} is taken or forbidden",
        "Choose another one with --port.",
    )
