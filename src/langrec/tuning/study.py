"""Trials, one after the other or several at once: drawn by the seed, cut short where they fall behind, and kept.

The search is Optuna's tree-structured Parzen estimator (Bergstra et al. 2011) with its median stopping rule; a space
that is no larger than the number of trials is gone through whole.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from langrec.alone import alone
from langrec.errors import LangrecError, MissingExtra, SettingsError
from langrec.protocols import Progress
from langrec.steps import step_hash
from langrec.tuning.page import page
from langrec.tuning.space import Range, Space, as_dict, combinations, ends, written

log = logging.getLogger(__name__)
FILE, STUDY = "study.db", "tune"
# Trials that are drawn evenly before the search learns from them.
EVEN = 8
# A trial is cut short after this many epochs at the earliest, beside this many others at least.
EPOCHS_BEFORE, TRIALS_BEFORE = 2, 4
# What an impossible combination of settings raises; anything else is a fault of ours and stops the run.
REFUSALS = (LangrecError, ValueError, RuntimeError, ArithmeticError)

Report = Callable[[int, float], None]


class Subject(Protocol):
    """What is tuned: it takes settings and says how good they are on validation, higher is better.

    Attributes:
        name: what it is, for a headline.
        metric: what is judged.
        identity: everything that its values depend on, besides the settings that are tuned, as JSON.
        note: one sentence on what was judged.
        pruned: whether it reports epochs, so that trials can be cut short.
    """

    name: str
    metric: str
    identity: Mapping[str, Any]
    note: str
    pruned: bool

    def check(self, name: str, value: str) -> None:
        """Raises SettingsError where a setting is unknown, cannot be tuned, or does not take the value."""
        ...

    def whole(self, name: str) -> bool:
        """Whether a setting takes whole numbers only."""
        ...

    def run(self, values: Mapping[str, str], report: Report, folder: Path) -> float:
        """The value of these settings on validation.

        Args:
            values: by setting, as written on the command line; empty = the settings as they are.
            report: is told (epoch, value) where the training judges its epochs.
            folder: for what must outlive an interruption; it is the same for the same values.
        """
        ...

    def recipe(self, values: Mapping[str, str]) -> str:
        """The settings with these values as TOML."""
        ...

    def command(self, out: Path, values: Mapping[str, str]) -> str:
        """The command that uses them."""
        ...


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a study came to.

    Attributes:
        value: the best trial's, on validation.
        before: that of the settings as they were.
        values: the best trial's settings, as written on the command line.
        number: the best trial's number, from 0.
        summary: the content of trials.json.
    """

    value: float
    before: float
    values: dict[str, str]
    number: int
    summary: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended; `value` is NaN where it did not come to one, `why` says what was wrong."""

    state: Literal["done", "cut short", "failed"]
    value: float = math.nan
    why: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A trial that is to be run: its settings, and a folder for what must outlive an interruption."""

    trial: Any
    values: dict[str, str]
    folder: Path

    def judged(self, epoch: int, value: float) -> bool:
        """Takes what an epoch came to, and says whether the trial is to be cut short."""
        if not math.isfinite(value):
            return False
        self.trial.report(value, epoch)
        return bool(self.trial.should_prune())


class CutShort(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """A trial fell behind the others."""


def tune(
    subject: Subject,
    space: Space,
    out: Path,
    trials: int,
    *,
    seed: int = 0,
    told: Progress | None = None,
    course: Callable[[Course], None] | None = None,
) -> Tuned:
    """Goes on to `trials` trials and writes study.db, trials.json, best.toml and report.html into `out`.

    Each trial depends on the seed, its number and the trials before it alone: an interrupted study that goes on comes
    to what one that went through comes to, and its interrupted trial is begun again first.

    Args:
        course: goes through the trials, asking for each and telling how it ended; None takes one after the other.

    Raises:
        SettingsError: a setting or value of the space is refused, the folder holds a study of something else, another
            run is at work in it, or no trial succeeded.
        MissingExtra: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingExtra("tune", "langrec tune") from error
    if trials < 1:
        raise SettingsError(f"--trials {trials}: needs at least 1", field="trials")
    for name, value in ends(space):
        subject.check(name, value)
    space = {
        name: replace(part, whole=subject.whole(name)) if isinstance(part, Range) else part
        for name, part in space.items()
    }
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    say = told or (lambda *_: None)
    out.mkdir(parents=True, exist_ok=True)
    with alone(out):  # a second run would take the first one's trial for an interrupted one
        study = optuna.create_study(
            storage=f"sqlite:///{(out / FILE).resolve()}", study_name=STUDY, direction="maximize", load_if_exists=True
        )
        _same(study, {"subject": dict(subject.identity), "space": as_dict(space), "seed": seed}, out)
        _interrupted(study)
        before = study.user_attrs.get("before")
        if before is None:
            say("settings as they are", 0, trials)
            before = subject.run({}, lambda *_: None, out / "running" / "before")
            study.set_user_attr("before", before)
        (course or one_by_one)(Course(study, subject, space, out, trials, seed, say))
        summary = _summary(study, subject, space, seed, float(before))
        _write(summary, subject, out)
        shutil.rmtree(out / "running", ignore_errors=True)
    best = summary["best"]
    return Tuned(best["value"], float(before), dict(best["values"]), best["trial"], summary)


@dataclass(frozen=True, slots=True)
class Course:
    """A study while it runs: gives the next trial, and takes how one ended."""

    study: Any
    subject: Subject
    space: Space
    out: Path
    trials: int
    seed: int
    told: Progress

    def ask(self, running: int = 0) -> Asked | None:
        """The next trial; None where there are enough, or where the space is gone through.

        Args:
            running: trials that were asked for and have not ended.
        """
        import optuna

        states = optuna.trial.TrialState
        while (done := len(_counted(self.study))) + running < self.trials:
            self.told(_so_far(self.study, self.subject, self.trials), done, self.trials)
            whole = combinations(self.space, self.trials)
            if whole is not None and not self.study.get_trials(deepcopy=False, states=(states.WAITING,)):
                under_way = self.study.get_trials(deepcopy=False, states=(states.RUNNING,))
                seen = [trial.params for trial in (*_counted(self.study), *under_way)]
                new = next((values for values in whole if values not in seen), None)
                if new is None:
                    return None
                self.study.enqueue_trial(new)
            seed = (self.seed + 1_000_003 * (done + running)) % 2**32
            self.study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=EVEN, constant_liar=running > 0)
            self.study.pruner = optuna.pruners.MedianPruner(
                n_startup_trials=TRIALS_BEFORE, n_warmup_steps=EPOCHS_BEFORE, n_min_trials=TRIALS_BEFORE
            )
            trial = self.study.ask({name: _distribution(part) for name, part in self.space.items()})
            values = {name: written(value) for name, value in trial.params.items()}
            twin = next((one for one in _complete(self.study) if one.params == trial.params), None)
            if twin is None:
                return Asked(trial, values, self.out / "running" / step_hash("trial", values)[:16])
            trial.set_user_attr("why", f"the same as trial {twin.number}")
            self.study.tell(trial, twin.value)
        return None

    def tell(self, asked: Asked, outcome: Outcome) -> None:
        """Keeps how a trial ended."""
        import optuna

        states, trial = optuna.trial.TrialState, asked.trial
        if outcome.state == "failed":
            log.warning("trial %d failed: %s", trial.number, outcome.why)
            trial.set_user_attr("why", outcome.why)
            self.study.tell(trial, state=states.FAIL)
            return
        trial.set_user_attr("seconds", outcome.seconds)
        if outcome.state == "cut short":
            self.study.tell(trial, state=states.PRUNED)
        else:
            self.study.tell(trial, outcome.value)


def one_by_one(course: Course) -> None:
    """Runs every trial in this process, each before the next is asked for."""
    while (asked := course.ask()) is not None:
        course.tell(asked, run_trial(course.subject, asked.values, asked.folder, asked.judged))


def run_trial(
    subject: Subject, values: Mapping[str, str], folder: Path, judged: Callable[[int, float], bool]
) -> Outcome:
    """Runs one trial; settings that do not go together are an outcome, a fault of ours is not."""
    start = time.perf_counter()

    def report(epoch: int, value: float) -> None:
        if judged(epoch, value):
            raise CutShort

    try:
        value = subject.run(values, report, folder)
        if not math.isfinite(value):
            raise SettingsError(f"{subject.metric} is {value}: nothing on validation could be judged")
        outcome = Outcome("done", value, seconds=time.perf_counter() - start)
    except CutShort:
        outcome = Outcome("cut short", seconds=time.perf_counter() - start)
    except MissingExtra:
        raise
    except REFUSALS as error:
        outcome = Outcome("failed", why=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    shutil.rmtree(folder, ignore_errors=True)
    return outcome


def _distribution(part: tuple[str, ...] | Range) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(part, Range):
        return CategoricalDistribution(part)
    if part.whole:
        return IntDistribution(int(part.low), int(part.high), log=part.log)
    return FloatDistribution(part.low, part.high, log=part.log)


def _same(study: Any, now: dict[str, Any], out: Path) -> None:
    """A study goes on only where data, settings, metric, space and seed are those that it began with."""
    was, now = study.user_attrs.get("what"), json.loads(json.dumps(now, default=str))
    if was is None:
        study.set_user_attr("what", now)
        return
    changed = [name for name in ("space", "seed") if was.get(name) != now[name]]
    before, after = was.get("subject", {}), now["subject"]
    changed += [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if changed:
        raise SettingsError(
            f"--out {out}: holds a study with other {', '.join(changed)}; choose another folder", field="out"
        )


def _interrupted(study: Any) -> None:
    """Trials that a stopped run left open are closed, and begun again before any other."""
    import optuna

    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)


def _complete(study: Any) -> list[Any]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]


def _counted(study: Any) -> list[Any]:
    """Trials that came to an end by themselves; those that were interrupted do not count."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state.name in ("COMPLETE", "PRUNED") or (trial.state.name == "FAIL" and "why" in trial.user_attrs)
    ]


def _so_far(study: Any, subject: Subject, trials: int) -> str:
    done = _complete(study)
    best = f": {subject.metric} {max(trial.value for trial in done):.4f} so far" if done else ""
    return f"{len(_counted(study))} of {trials} trials done{best}"


def _summary(study: Any, subject: Subject, space: Space, seed: int, before: float) -> dict[str, Any]:
    rows = []
    for trial in _counted(study):
        state = {"COMPLETE": "done", "PRUNED": "cut short", "FAIL": "failed"}[trial.state.name]
        rows.append(
            {
                "trial": trial.number,
                "state": state,
                "value": trial.value if state == "done" else None,
                "values": {name: written(value) for name, value in trial.params.items()},
                "params": dict(trial.params),
                "epochs": {str(step): value for step, value in sorted(trial.intermediate_values.items())},
                "seconds": trial.user_attrs.get("seconds"),
                "why": trial.user_attrs.get("why", ""),
            }
        )
    done = [row for row in rows if row["state"] == "done"]
    if not done:
        why = next((row["why"] for row in rows if row["why"]), "all were cut short")
        raise SettingsError(f"--space: no trial succeeded ({why})", field="space")
    best = max(done, key=lambda row: (row["value"], -row["trial"]))
    return {
        "what": subject.name,
        "metric": subject.metric,
        "note": subject.note,
        "seed": seed,
        "space": as_dict(space),
        "before": before,
        "best": {"trial": best["trial"], "value": best["value"], "values": best["values"]},
        "importances": _importances(study),
        "trials": rows,
    }


def _importances(study: Any) -> dict[str, float]:
    """By setting, its share in what made trials good (PED-ANOVA, Watanabe et al. 2023); empty where few trials tell."""
    import optuna

    if len(_complete(study)) < 2:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # So few trials that the good ones are all of them: it would call every setting equally important.
            warnings.filterwarnings("error", message="Target and region quantiles")
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (UserWarning, ValueError, RuntimeError, ZeroDivisionError):
        return {}
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def _write(summary: dict[str, Any], subject: Subject, out: Path) -> None:
    best = summary["best"]
    summary["use"] = subject.command(out, best["values"])
    head = f"# {subject.metric} {best['value']:.4f} on validation, {summary['before']:.4f} before ({subject.name}).\n"
    if best["value"] <= summary["before"]:
        head += "# No trial was better than the settings as they were: keep these, or look on.\n"
    for name, text in {
        "trials.json": json.dumps(summary, indent=1, ensure_ascii=False) + "\n",
        "best.toml": f"{head}# {summary['use']}\n\n{subject.recipe(best['values'])}",
        "report.html": page(summary),
    }.items():
        half = out / f"{name}.half"
        half.write_text(text, "utf-8")
        half.replace(out / name)
