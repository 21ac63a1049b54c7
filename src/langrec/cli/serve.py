"""`langrec serve`: HTTP and console over a releases folder."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from langrec.cli.signals import ending_well
from langrec.errors import SettingsError
from langrec.recipe import ENV_PREFIX, check_settings, load_settings
from langrec.remote import is_remote
from langrec.settings import ServeSettings, Settings

if TYPE_CHECKING:
    import uvicorn


def serve(
    releases: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|URL",
            help="Folder of releases, whose file CURRENT names the one in use; or an address to follow, such as "
            "s3://bucket/releases.",
        ),
    ] = None,
    tenants: Annotated[
        Path | None, typer.Option(help="Folder of tenants, in place of --releases: see `langrec tenants`.")
    ] = None,
    store: Annotated[str | None, typer.Option(help="Database URL, such as sqlite:///langrec.db.")] = None,
    host: Annotated[str | None, typer.Option(help="Address; anything but loopback needs keys.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate with its chain (PEM): HTTPS only.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key of the certificate (PEM).")] = None,
    retrain: Annotated[
        str | None, typer.Option(metavar="CRON", help="Retrain at these times (UTC), such as '0 3 * * *'.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="Recipe file (TOML).")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be repeated.")] = None,
) -> None:
    """Serve recommendations, search and the console until Ctrl-C.

    Example: `langrec serve --releases releases`

    Example: `langrec serve --releases releases --store sqlite:///shop.db --port 8080 --workers 2`

    Example: `langrec serve --releases releases --retrain '0 3 * * *'`

    Example: `langrec serve --releases s3://shop-models/releases --set serve.follow_seconds=10`

    Example: `langrec serve --tenants tenants --workers 2 --retrain '0 3 * * *'`

    Example: `langrec serve --releases releases --host 0.0.0.0 --tls-cert shop.pem --tls-key shop.key`
    """
    settings = load_settings(recipe, set_ or [])
    given: dict[str, Any] = {"store": store, "host": host, "port": port, "workers": workers}
    given |= {"tls_cert": tls_cert and str(tls_cert), "tls_key": tls_key and str(tls_key)}
    chosen = dataclasses.replace(settings.serve, **{k: v for k, v in given.items() if v is not None})
    if tenants is not None:
        from langrec.service.tenants import control_url, tenants_in

        tenants_in(tenants)
        kept = control_url(tenants) if chosen.store == ServeSettings().store else chosen.store
        chosen = dataclasses.replace(chosen, tenants=str(tenants), store=kept)
    if (releases is None) == (not chosen.tenants):
        raise SettingsError("--releases: name a folder of releases, or with --tenants one of tenants", field="releases")
    served = dataclasses.replace(settings, serve=chosen)
    if releases is not None and is_remote(releases):
        if retrain is not None:
            raise SettingsError(
                f"--retrain: {releases} is followed, not written; retrain where its releases are made, and push them",
                field="retrain",
            )
        from langrec.following import Follower, folder_of
        from langrec.service.starting import start_log

        start_log()
        follower = Follower(releases, folder_of(releases), settings.retrain.keep)
        with _progress("fetch") as show:
            follower.start(show)
        with follower.following(chosen.follow_seconds):
            run(follower.folder, served)
        return
    folder = None if releases is None else Path(releases)
    with _retraining(retrain, folder, served, recipe, set_ or []):
        run(folder or Path(chosen.tenants), served)


def _retraining(
    cron: str | None,
    releases: Path | None,
    settings: Settings,
    recipe: Path | None,
    overrides: Sequence[str],
) -> contextlib.AbstractContextManager[None]:
    """Retrains at the times of the expression for as long as the server runs; the recipe and settings are its too.

    Args:
        releases: the folder of releases; None = those of every tenant, one after the other.
    """
    if cron is None:
        return contextlib.nullcontext()
    from langrec.retraining.schedule import Place, places_of, retraining

    own, server = releases, settings.serve
    places = [Place(own, server.store)] if own is not None else None

    arguments = [] if recipe is None else ["--recipe", str(recipe)]
    # What serves says nothing to a training; everything else does.
    arguments += [part for one in overrides if not one.startswith("serve.") for part in ("--set", one)]
    return retraining(
        cron, lambda: places or places_of(Path(server.tenants), server), arguments, settings.retrain.threads
    )


def run(releases: Path, settings: Settings, *, say: TextIO | None = None) -> None:
    """Imports the release into the store, says where the console is, and serves.

    Args:
        releases: folder of releases.
        settings: its section `serve` is used.
        say: where the console's address is printed; None = standard output.

    Raises:
        StoreError: another server uses the same SQLite file.
        SettingsError: a value is out of range, the port is taken, or others reach the address and there are no keys.
        BundleError: there is no sound release.
    """
    import uvicorn

    from langrec.service import keeping
    from langrec.service.access.auth import warn_where_open
    from langrec.service.heads import BoundedProtocol
    from langrec.service.starting import start_log
    from langrec.service.store.lease import only_server

    chosen = settings.serve
    check_settings(settings)  # options of the command line have come since
    keeping.check(settings.store, chosen.history)
    tls = tls_of(chosen)
    _check_port(chosen)
    start_log()
    if chosen.tls_key:
        warn_where_open(Path(chosen.tls_key), "serve.tls_key")
    with only_server(chosen.store):
        app = _app(releases, settings) if chosen.workers == 1 else _app_of_workers(releases, settings)
        print(f"console: {address(chosen)}   (Ctrl-C stops)", flush=True, file=say or sys.stdout)
        config = uvicorn.Config(
            app,
            factory=isinstance(app, str),
            host=chosen.host,
            port=chosen.port,
            workers=chosen.workers,
            http=BoundedProtocol,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=chosen.stop_seconds,
            timeout_keep_alive=chosen.keep_alive,
            timeout_worker_healthcheck=60,
            **tls,
        )
        # While it runs, the server takes SIGTERM, finishes what it accepted, and raises it again: for this.
        with ending_well(0):
            if chosen.workers == 1:
                _run_alone(config)
            else:
                _run_workers(config)


def address(settings: ServeSettings) -> str:
    """The URL at which a browser on this machine finds the console."""
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.tls_cert else 'http'}://{shown}:{settings.port}/"


def tls_of(settings: ServeSettings) -> dict[str, Any]:
    """What uvicorn needs to speak HTTPS; nothing where there is no certificate.

    Raises:
        SettingsError: one of certificate and key is absent, or they cannot be read or do not belong together.
    """
    import functools
    import ssl

    if not settings.tls_cert and not settings.tls_key:
        return {}
    if not (settings.tls_cert and settings.tls_key):
        raise SettingsError("serve.tls_cert and serve.tls_key: give both", field="serve.tls_cert")
    try:
        oldest = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[settings.tls_min]
    except KeyError:
        raise SettingsError(f"serve.tls_min: {settings.tls_min!r} is not 1.2 or 1.3", field="serve.tls_min") from None
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"serve.tls_cert: {settings.tls_cert} with {settings.tls_key}: cannot be used ({error})",
            field="serve.tls_cert",
        ) from error
    return {
        "ssl_certfile": settings.tls_cert,
        "ssl_keyfile": settings.tls_key,
        "ssl_context_factory": functools.partial(_with_oldest, oldest),
    }


def _with_oldest(oldest: int, _: Any, make: Callable[[], Any]) -> Any:
    """uvicorn's own TLS context that speaks no version before the oldest; workers make it anew, so it is a function."""
    context = make()
    context.minimum_version = oldest
    return context


def _app(releases: Path, settings: Settings) -> Any:
    """The application of a server of one process."""
    from langrec.service.starting import load_code

    load_code()
    from langrec.service.http import calm, create_app

    with _progress() as show:
        app = create_app(releases, settings.serve, keeping=settings.store, feedback=settings.feedback, progress=show)
    calm(app)
    return app


def _app_of_workers(releases: Path, whole: Settings) -> str:
    """Does what only one process should do, before there are several, and says what each of them runs.

    Workers are new processes: they read what to serve from their environment. A release that the store holds is
    compared here once and loaded by them alone: after a crash nobody waits for it to be loaded one more time.
    """
    from langrec.service.access.key_ring import KeyRing
    from langrec.service.served import checked
    from langrec.service.starting import RELEASES_VARIABLE
    from langrec.service.store.importing import is_imported
    from langrec.service.store.store import Store

    settings = whole.serve
    store = Store(settings.store)
    try:
        KeyRing(settings, store, always=bool(settings.tenants)).close()
        if not settings.tenants:
            stamp = checked.check(releases)
            with store.read() as connection:
                known = stamp is not None and is_imported(connection, stamp)
            if not known:
                from langrec.service.served.snapshot import Releases

                with _progress() as show:
                    Releases(releases, store, progress=show)
    finally:
        store.close()
    os.environ[RELEASES_VARIABLE] = str(releases.resolve())
    _into_environment(settings, f"{ENV_PREFIX}SERVE_")
    _into_environment(whole.store, f"{ENV_PREFIX}STORE_")
    _into_environment(whole.feedback, f"{ENV_PREFIX}FEEDBACK_")
    return "langrec.service.http:app_from_environment"


def _into_environment(section: Any, prefix: str) -> None:
    """Sets the variables of a section of settings and of those within it."""
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            _into_environment(value, f"{prefix}{field.name}_")
        else:
            os.environ[f"{prefix}{field.name}".upper()] = str(value)


def _run_alone(config: uvicorn.Config) -> None:
    """Serves in this process."""
    import uvicorn
    from uvicorn.config import STARTUP_FAILURE

    server = uvicorn.Server(config)
    server.run()
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)


def _run_workers(config: uvicorn.Config) -> None:
    """Serves in several processes, which this one watches and replaces.

    Raises:
        SystemExit: with status 2, where none could begin; each has said why.
    """
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import multiprocess

    from langrec.service.worker import Worker

    multiprocess.Process = Worker  # type: ignore[misc]
    Worker.made = 0
    with _shared_by_workers():
        supervisor = multiprocess.Multiprocess(config, sockets=[config.bind_socket()])
        supervisor.run()
    if any(one.exitcode == STARTUP_FAILURE for one in supervisor.processes):
        raise SystemExit(2)


@contextlib.contextmanager
def _shared_by_workers() -> Iterator[None]:
    """Where workers count metrics, requests of keys and connections together while they run, by their environment."""
    from langrec.service import accepting
    from langrec.service.access import rate_limits
    from langrec.service.monitoring import gathered

    gathered.clear_left_behind(Path(tempfile.gettempdir()))
    with (
        tempfile.TemporaryDirectory(prefix=gathered.PREFIX, ignore_cleanup_errors=True) as folder,
        gathered.in_use(Path(folder)),
    ):
        os.environ[gathered.VARIABLE] = folder
        os.environ[rate_limits.VARIABLE] = str(Path(folder) / "limits")
        if sys.platform != "win32":  # whose event loop tells nobody that a connection waits
            os.environ[accepting.VARIABLE] = str(Path(folder) / "connections")
        try:
            yield
        finally:
            for name in (gathered.VARIABLE, rate_limits.VARIABLE, accepting.VARIABLE):
                os.environ.pop(name, None)


@contextlib.contextmanager
def _progress(verb: str = "import") -> Iterator[Callable[[str, int, int], None]]:
    """A bar per part of an import or another work, on standard error, gone when it is done."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(part: str, done: int, total: int) -> None:
            if part not in tasks:
                tasks[part] = bar.add_task(f"{verb} {part}", total=total)
            bar.update(tasks[part], completed=done, total=total)

        yield show


def _check_port(settings: ServeSettings) -> None:
    """Raises SettingsError where the address cannot be listened on."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[
            0
        ]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(
            f"serve.port: {settings.host}:{settings.port} cannot be listened on ({reason}); choose another with --port",
            field="serve.port",
        ) from error
