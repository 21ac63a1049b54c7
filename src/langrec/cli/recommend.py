"""`langrec recommend`: lists for many users into one file, or one list for someone new."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from langrec.cli.options import AsJson, bar, check_out_file
from langrec.errors import DataError
from langrec.settings import DataSettings
from langrec.types import Query

# Who names a file so would not expect Parquet in it.
OTHER_KINDS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".xlsx", ".gz")


def recommend(
    release: Annotated[Path, typer.Option("--release", help="A release, or a folder of releases.")],
    users: Annotated[
        Path | None, typer.Option("--users", help="One user id a line, or a table with user_id; default: all.")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="List length.")] = 10,
    out: Annotated[Path, typer.Option("--out", help="Parquet file: user_id, item_id, score, rank.")] = Path(
        "recommendations.parquet"
    ),
    likes: Annotated[
        str | None, typer.Option("--likes", help="Ids of liked items, comma separated: one list, printed.")
    ] = None,
    wish: Annotated[str | None, typer.Option("--wish", help="A wish in words: one list, printed.")] = None,
    probability: Annotated[
        bool, typer.Option("--probability", help="Add the chance of each item to be chosen next, where it is known.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Recommend to many users and write `user_id, item_id, score, rank`, or print one list for someone new.

    A user that the release does not know gets the list of a new visitor. Where the release explores (`explore.places`),
    a column `propensity` says with what chance each item is in its list. With `--likes`, `--wish` or both nobody needs
    to be known: the list answers the wish, half by the wish and half by the likes where both are given.

    Example: `langrec recommend --release releases --k 20 --out lists.parquet`

    Example: `langrec recommend --release releases --likes m7,m12 --wish "a quiet film about space"`
    """
    from langrec.bundle import Bundle
    from langrec.lists import list_frame

    if likes is not None or wish is not None:
        if users is not None:
            raise DataError(
                "--users: writes lists for known users; leave it out with --likes and --wish", field="users"
            )
        liked = tuple(part.strip() for part in (likes or "").split(",") if part.strip())
        _print_one(release, liked, wish, k, as_json)
        return
    if out.suffix.lower() in OTHER_KINDS:
        named = out.with_suffix(".parquet")
        raise DataError(f"--out {out}: what is written is Parquet; name it {named}", field="out")
    check_out_file(out)
    bundle = Bundle.open(release)
    recommender = bundle.recommender()
    start = time.perf_counter()
    asked = _read_users(users, bundle.settings.data) if users is not None else recommender.users.names.tolist()
    strange = [name for name in asked if name not in recommender.users]
    if strange:
        print(
            f"{len(strange)} of {len(asked)} users are not in the release and get the list of a new visitor, "
            f"such as {strange[0]!r}",
            file=sys.stderr,
        )
    with bar() as told:
        lists = list_frame(recommender, asked, bundle.events(), k, probability=probability, progress=told)
    lists.write_parquet(out)
    seconds = time.perf_counter() - start
    print(f"{len(asked)} users in {seconds:.1f} s ({len(asked) / max(seconds, 1e-9):.0f} a second)", file=sys.stderr)
    if as_json:
        said = {"release": bundle.stamp, "file": str(out), "users": len(asked), "rows": lists.height, "k": k}
        print(json.dumps({**said, "seconds": round(seconds, 3)}))
    else:
        print(out)


def _print_one(release: Path, likes: tuple[str, ...], wish: str | None, k: int, as_json: bool) -> None:
    """Prints the list of someone of whom only likes and a wish are known; ids that nobody knows are named."""
    from langrec.bundle import Bundle
    from langrec.cli.shown import print_list

    recommender = Bundle.open(release).recommender()
    query = Query(history=likes, text=wish or None, k=k, personal=0.5 if likes else 0.0)
    answer = recommender.recommend([query])[0]
    for name in answer.trace.unknown:
        print(f"--likes {name}: not in the catalogue; passed over", file=sys.stderr)
    print_list(recommender, answer, f"by {answer.trace.reason.replace('_', ' ')}", as_json)


def _read_users(path: Path, settings: DataSettings | None = None) -> list[str]:
    """User ids of a table with a user column, or of a text file with one id a line; each once, as they come first.

    Raises:
        DataError: the file cannot be read, has rows that cannot, or holds no ids; or the table has no user column.
    """
    from langrec.data.aliases import find_roles, key
    from langrec.data.log import MISSING_IDS, as_ids
    from langrec.data.profiles import USER_ROLE
    from langrec.data.renaming import Renaming
    from langrec.data.sources.delimited import DELIMITERS
    from langrec.data.sources.lines import to_utf8
    from langrec.data.sources.opening import read_bytes, suffixes
    from langrec.data.sources.tables import read_table

    settings = settings or DataSettings()
    naming = Renaming(settings.columns)
    data = read_bytes(path)
    typed = suffixes(path) in (".parquet", ".jsonl", ".ndjson", ".json", ".user")
    if not typed and data[:4] != b"PAR1" and data.lstrip()[:1] != b"{":
        data = to_utf8(data, [], settings.encoding)
        first = next(iter(data.decode("utf-8", "replace").splitlines()), "")
        fields = [[name.strip(' "') for name in first.split(mark)] for mark in DELIMITERS]
        users = set(map(key, USER_ROLE["user"]))
        named = {key(column) for name, column in settings.columns.items() if key(name) in users}
        if not any(find_roles(names, USER_ROLE) or named & set(map(key, names)) for names in fields):
            if any(mark in first for mark in ",;\t"):
                raise DataError(f"{path}: no user column (line 1 is {first[:80]!r}); call it user_id", field="users")
            return _one_a_line(data, path)
    table = naming.of(read_table(path, encoding=settings.encoding, known=settings.columns.values()))
    if table.refused:
        bad = table.refused[0]
        raise DataError(f"{path} row {bad.row}: {bad.reason} ({bad.detail}); repair or delete the row", field="users")
    column = find_roles(table.frame.columns, USER_ROLE).get("user")
    if column is None:
        has = ", ".join(table.frame.columns[:8])
        raise DataError(f"{path}: no user column (it has {has}); call it user_id", field="users")
    ids = as_ids(table.frame[column]).str.strip_chars().drop_nulls()
    return _some(ids.filter(~ids.str.to_lowercase().is_in(MISSING_IDS)).to_list(), path)


def _one_a_line(data: bytes, path: Path) -> list[str]:
    text = data.decode("utf-8", "replace")
    if "\ufffd" in text:
        raise DataError(f"{path}: cannot be read as a list of users (it holds bytes that are no text)", field="users")
    return _some([line.strip() for line in text.splitlines() if line.strip()], path)


def _some(ids: list[str], path: Path) -> list[str]:
    """The ids, each once: who stands there often, as in a log, gets one list."""
    if not ids:
        raise DataError(f"{path}: holds no user ids; write one a line", field="users")
    return list(dict.fromkeys(ids))
