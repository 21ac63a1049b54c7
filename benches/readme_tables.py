"""Writes the measured tables of README.md, README.zh.md and docs/sizing.md from benches/results/*.json.

`python benches/readme_tables.py` replaces what stands between `<!-- table:NAME -->` and `<!-- /table -->` by what
results/NAME.json says, and `--check` only looks. A table without its file says so.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PAGES = {"README.md": "en", "README.zh.md": "zh", "docs/sizing.md": "en"}
BLOCK = re.compile(r"(<!-- table:([\w-]+) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)

Rows = list[list[str]]
Result = dict[str, Any]

CHINESE = {
    "not measured yet": "尚未测量",
    "model": "模型",
    "interval": "置信区间",
    "Recall@10": "Recall@10",
    "tail": "长尾",
    "rare": "稀有物品",
    "questions": "个问题",
    "users": "个用户",
    "items": "件物品",
    "events": "条事件",
    "install": "安装",
    "base": "基础安装",
    "packages": "软件包数",
    "process": "进程",
    "served process, release loaded": "服务进程，载入发布包后",
    "served process, after {n} requests": "服务进程，处理 {n} 个请求后",
    "release": "发布包",
    "seconds": "秒",
    "memory, GB": "内存（GB）",
    "reader": "读取方",
    "Polars alone: read, unique, sort": "仅用 Polars：读取、去重、排序",
    "langrec: read, number, clean, sort, split": "langrec：读取、编号、清洗、排序、切分",
    "runtime": "运行时",
    "threads": "线程数",
    "titles/s": "标题/秒",
    "overviews/s": "简介/秒",
    "mixed/s": "混合/秒",
    "ratio, mixed": "倍数（混合）",
    "cosine": "余弦",
    "request": "请求",
    "per second": "每秒",
    "median, ms": "中位数（毫秒）",
    "99 %, ms": "99 %（毫秒）",
    "recommend": "推荐",
    "search": "搜索",
    "feedback": "写入事件",
    "at once": "个并发",
    "cores": "核",
    "texts of each kind": "段文本（每种）",
    "made up": "虚构文本",
    "run": "运行",
    "first": "第一次",
    "second": "第二次",
    "limit": "上限",
    "unseen items": "新物品",
    "coverage@10": "覆盖率@10",
    "debiased NDCG@10": "去偏 NDCG@10",
    "failed": "失败",
    ", ": "，",
    "; ": "；",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="writes nothing; ends with 1 where a page is out of step")
    check = parser.parse_args().check
    stale = []
    for name, language in PAGES.items():
        path = ROOT / name
        before = path.read_text("utf-8")
        after = page(before, language)
        if after == before:
            continue
        stale.append(name)
        if not check:
            path.write_text(after, "utf-8")
    for name in stale:
        print(f"{name}: {'out of step; run python benches/readme_tables.py' if check else 'written'}")
    return int(check and bool(stale))


def page(text: str, language: str, results: Path = RESULTS) -> str:
    """A page with every table as its result file says it."""

    def filled(found: re.Match[str]) -> str:
        return f"{found[1]}{block(found[2], language, results)}{found[4]}"

    return BLOCK.sub(filled, text)


def block(name: str, language: str, results: Path = RESULTS) -> str:
    """The lines of one table, its machine and date below it."""
    say = _words(language)
    path = results / f"{SAME.get(name, name)}.json"
    if not path.exists():
        return f"*{say('not measured yet')}*\n"
    result = json.loads(path.read_text("utf-8"))
    kind = next((kind for kind in ("evaluate", "peers") if name.startswith(f"{kind}-")), name)
    head, *rows = TABLES[kind](result, say)
    lines = [_line(head), _line(["---"] + ["---:"] * (len(head) - 1)), *map(_line, rows)]
    return "\n".join([*lines, "", f"*{say('; ').join([*_notes(kind, result, say), _machine(result, say)])}*", ""])


def evaluation_table(result: Result, say: Callable[[str], str]) -> Rows:
    """One line per model, best first."""
    found = {(row["model"], row["slice"], row["metric"]): row for row in result["metrics"]}
    models = [model for model, part, metric in found if part == "all" and metric == "ndcg@10"]
    models.sort(key=lambda model: -found[model, "all", "ndcg@10"]["value"])
    parts = [part for part in ("tail", "rare") if any((model, part, "ndcg@10") in found for model in models)]
    rows = [
        [say("model"), "NDCG@10", say("interval"), "Recall@10", *(f"NDCG@10, {say(part)}" for part in parts)],
    ]
    for model in models:
        row = found[model, "all", "ndcg@10"]
        others = [found.get((model, part, "ndcg@10"), {}).get("value") for part in parts]
        recall = found.get((model, "all", "recall@10"), {}).get("value")
        name = f"**{model}**" if model == "mix" else model
        interval = f"{row['low']:.4f} – {row['high']:.4f}"
        rows.append([name, f"{row['value']:.4f}", interval, *(_digits(value) for value in (recall, *others))])
    return rows


def sizes_table(result: Result, say: Callable[[str], str]) -> Rows:
    """Both installs, the release, and the process that serves it."""
    rows = [["", "MB", say("packages")]]
    for name, install in result["installs"].items():
        torch = install["versions"].get("torch")
        shown = say("base") if name == "base" else f"`langrec[{name}]`{say(', ')}torch {torch}"
        rows.append([shown, str(install["mb"]), str(install["packages"])])
    served = result["served"]
    rows.append([f"{say('release')} ({served['data']})", f"{served['release_mb']:g}", ""])
    rows.append([say("served process, release loaded"), str(served["mb_loaded"]), ""])
    after = say("served process, after {n} requests").format(n=served["requests"])
    rows.append([after, str(served["mb_after"]), ""])
    return rows


def data_scale_table(result: Result, say: Callable[[str], str]) -> Rows:
    """langrec beside Polars alone."""
    names = {
        "polars": say("Polars alone: read, unique, sort"),
        "langrec": say("langrec: read, number, clean, sort, split"),
    }
    rows = [[say("reader"), say("seconds"), say("memory, GB")]]
    rows += [
        [shown, f"{result['best'][name]['seconds']:.1f}", f"{result['best'][name]['peak_gb']:.2f}"]
        for name, shown in names.items()
    ]
    return rows


def encode_table(result: Result, say: Callable[[str], str]) -> Rows:
    """Every runtime with its peer, by threads."""
    sets = ("titles", "overviews", "mixed")
    rows = [[say("runtime"), say("threads"), *(say(f"{kind}/s") for kind in sets), say("ratio, mixed"), say("cosine")]]
    for row in result["rows"]:
        speeds = [f"{row[f'{kind}_per_second']:.0f}" for kind in sets]
        rows.append([row["runtime"], str(row["threads"]), *speeds, f"{row['mixed_ratio']:.2f}", f"{row['cosine']:.4f}"])
    return rows


def serve_table(result: Result, say: Callable[[str], str]) -> Rows:
    """Each kind of request (`recommend_16`: sixteen at once) with its rate and times."""
    rows = [[say("request"), say("per second"), say("median, ms"), say("99 %, ms")]]
    for name, row in result.items():
        found = re.fullmatch(r"([a-z]+)_(\d+)", name)
        if found and isinstance(row, dict) and "p50_ms" in row:
            shown = f"{say(found[1])}{say(', ')}{found[2]} {say('at once')}"
            rows.append([shown, *(f"{row[key]:.0f}" for key in ("per_second", "p50_ms", "p99_ms"))])
    return rows


def demo_table(result: Result, say: Callable[[str], str]) -> Rows:
    """The first run and the second, beside the limits."""
    limits = result["limits"]
    rows = [[say("run"), say("seconds"), say("memory, GB")]]
    rows += [[say(name), f"{run['seconds']:.0f}", f"{run['peak_gb']:.2f}"] for name, run in result["runs"].items()]
    return [*rows, [say("limit"), str(limits["seconds"]), f"{limits['gb']:.2f}"]]


def peers_table(result: Result, say: Callable[[str], str]) -> Rows:
    """Other libraries' models and, where they joined the run, langrec's; best first, failures last."""
    parts = [
        ("all", "ndcg@10"),
        ("rare", "ndcg@10"),
        ("warm", "ndcg@10"),
        ("all", "coverage@10"),
        ("all", "ndcg_debiased@10"),
    ]
    heads = ["NDCG@10", say("rare"), say("unseen items"), say("coverage@10"), say("debiased NDCG@10")]
    rows = [[say("model"), heads[0], say("interval"), *heads[1:], say("seconds"), "MB"]]
    ours = [{"peer": "langrec", **row} for row in result.get("langrec", [])]
    measured = [
        (row, {(m["slice"], m["metric"]): m for m in row["metrics"]})
        for row in [*ours, *result["rows"]]
        if "metrics" in row
    ]
    for row, found in sorted(measured, key=lambda pair: -pair[1]["all", "ndcg@10"]["value"]):
        main, *others = (found.get(part, {}) for part in parts)
        name = f"**{row['peer']} {row['model']}**" if row["peer"] == "langrec" else f"{row['peer']} {row['model']}"
        seconds = f"{row['training_seconds']:.0f}" if "training_seconds" in row else ""
        memory = f"{row['peak_mb']:.0f}" if "peak_mb" in row else ""
        interval = f"{main['low']:.4f} – {main['high']:.4f}"
        cells = [_digits(other.get("value")) for other in others]
        rows.append([name, f"{main['value']:.4f}", interval, *cells, seconds, memory])
    failed = [row for row in result["rows"] if "error" in row]
    rows += [[f"{row['peer']} {row['model']}", say("failed"), *[""] * 7] for row in failed]
    return rows


def sizing_table(result: Result, say: Callable[[str], str]) -> Rows:
    """What one item, user and event take, beside what is there without any."""
    rows = [["", *(say(name) for name in SIZED.values())]]
    for part in ("items", "users", "events", "rest"):
        cells = []
        for key in SIZED:
            value = result["per"][part][key]
            cells.append(_small(value * (1000 if key.endswith("_s") else 1)) if part != "rest" else _rest(key, value))
        rows.append([say({"rest": "none of them"}.get(part, f"one of the {part}")), *cells])
    return rows


def needs_table(result: Result, say: Callable[[str], str]) -> Rows:
    """By calculation: shops of ten events an item and one user for five items."""
    heads = ("release, GB", "store, GB", "a worker's memory, GB", "first import, h", "start, min")
    rows = [["", *map(say, heads)]]
    per = result["per"]
    for items in (1_000_000, 10_000_000, 100_000_000):
        n = {"items": items, "users": items // 5, "events": items * 10}
        found = {key: per["rest"][key] + sum(per[part][key] * count for part, count in n.items()) for key in SIZED}
        shown = f"{n['items'] // 10**6:,} M items, {n['users'] / 1e6:g} M users, {n['events'] // 10**6:,} M events"
        scaled = (
            ("release_bytes", 1e9),
            ("store_bytes", 1e9),
            ("memory_bytes", 1e9),
            ("import_s", 3600),
            ("start_s", 60),
        )
        rows.append([shown, *(_small(found[key] / unit) for key, unit in scaled)])
    return rows


def index_table(result: Result, say: Callable[[str], str]) -> Rows:
    """A line per measured size of the index, with what it takes and finds."""
    heads = ["vectors", "kind", "resident bytes an item", "bytes on disk an item", "built in, s", "p50, ms", "p99, ms"]
    rows = [[say(head) for head in heads]]
    for one in result["runs"]:
        sizes = [f"{one[key]:,.0f}" for key in ("resident_bytes_per_item", "disk_bytes_per_item", "build_s")]
        times = [f"{one[key]:.2f}" for key in ("p50_ms", "p99_ms")]
        rows.append([f"{one['items']:,} x {one['dim']}", one["kind"], *sizes, *times])
    return rows


# By figure of results/sizing.json, the head of its column.
SIZED = {
    "release_bytes": "release, bytes",
    "store_bytes": "store (SQLite), bytes",
    "memory_bytes": "a worker's memory, bytes",
    "import_s": "first import, ms",
    "start_s": "start, ms",
}
# Tables that are made of another one's file.
SAME = {"sizing-needs": "sizing", "sizing-index": "index"}

TABLES: dict[str, Callable[[Result, Callable[[str], str]], Rows]] = {
    "evaluate": evaluation_table,
    "sizes": sizes_table,
    "data_scale": data_scale_table,
    "encode": encode_table,
    "serve": serve_table,
    "demo": demo_table,
    "peers": peers_table,
    "sizing": sizing_table,
    "sizing-needs": needs_table,
    "sizing-index": index_table,
}


def _notes(kind: str, result: Result, say: Callable[[str], str]) -> list[str]:
    """What was measured on, in numbers."""
    if kind == "encode":
        return [f"{result['n']:,} {say('texts of each kind')}{say(', ')}{say(result['texts'])}"]
    measured = kind in ("evaluate", "peers")
    sizes = result.get("protocol" if measured else "size", {})
    words = ("users", "items", "events")
    keys = {"questions": "questions", **{f"n_{word}": word for word in words}}
    named = keys if measured else {word: word for word in words}
    found = [f"{sizes[key]:,} {say(word)}" for key, word in named.items() if isinstance(sizes.get(key), int)]
    return [say(", ").join(found)] if found else []


def _machine(result: Result, say: Callable[[str], str]) -> str:
    machine = result.get("machine")
    if not isinstance(machine, dict):
        return str(machine)
    flags = [flag for flag in ("amx_int8", "avx512_vnni", "avx2") if flag in machine.get("flags", [])]
    parts = [machine["cpu"], f"{machine['cores']} {say('cores')}", *flags[:1], f"Python {machine['python']}"]
    return say(", ").join([*parts, machine.get("date") or result["date"]])


def _small(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _rest(key: str, value: float) -> str:
    """What is there without any item, in units that fit."""
    return f"{value / 1e6:,.0f} MB" if key.endswith("_bytes") else f"{value:.1f} s"


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _words(language: str) -> Callable[[str], str]:
    return lambda word: CHINESE.get(word, word) if language == "zh" else word


if __name__ == "__main__":
    sys.exit(main())
