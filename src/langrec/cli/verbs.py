"""The verbs in the order of `langrec --help`."""

from __future__ import annotations

import importlib

import typer

# verb -> "module:command" or "module:app" for verbs with verbs of their own
VERBS = {
    "demo": "langrec.cli.demo:demo",
    "data": "langrec.cli.data:app",
    "train": "langrec.cli.train:train",
    "encode": "langrec.cli.encode:encode",
    "tune": "langrec.cli.tune:tune",
    "adapt": "langrec.cli.adapt:adapt",
    "label": "langrec.cli.label:app",
    "evaluate": "langrec.cli.evaluate:evaluate",
    "compress": "langrec.cli.compress:compress",
    "frontier": "langrec.cli.frontier:frontier",
    "recommend": "langrec.cli.recommend:recommend",
    "search": "langrec.cli.search:search",
    "serve": "langrec.cli.serve:serve",
    "retrain": "langrec.cli.retrain:retrain",
    "feedback": "langrec.cli.feedback:app",
    "store": "langrec.cli.store:app",
    "users": "langrec.cli.users:app",
    "bench": "langrec.cli.bench:app",
    "bundle": "langrec.cli.bundle:app",
    "tenants": "langrec.cli.tenants:app",
    "keys": "langrec.cli.keys:app",
    "audit": "langrec.cli.audit:app",
    "doctor": "langrec.cli.doctor:doctor",
}


def register(app: typer.Typer) -> None:
    """Hangs every verb onto the application; the modules import nothing heavy before a verb runs."""
    for name, target in VERBS.items():
        module, _, attribute = target.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
