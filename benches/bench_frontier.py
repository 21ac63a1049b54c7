"""The frontier on ml-latest-small: NDCG@10, texts per second, milliseconds and megabytes of every rung, in one run.

Usage: python benches/bench_frontier.py [--max-ms 20] [--max-mb 50] [--epochs 6] [--questions 0] [--mix]
[--cross FOLDER] [--tuned FOLDER] [--out FOLDER]. Rungs are kept in FOLDER, so that a second run only measures.
"""

from __future__ import annotations

import os
from pathlib import Path

import common

DATA = Path(os.environ.get("LANGREC_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "ml-latest-small"


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--max-ms", type=float, default=20, help="budget: milliseconds a request")
    parser.add_argument("--max-mb", type=float, default=50, help="budget: megabytes of the encoder")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of each training")
    parser.add_argument("--questions", type=int, default=0, help="questions that are asked; 0 = all")
    parser.add_argument("--mix", action="store_true", help="measures the whole recommender on each rung too")
    parser.add_argument("--cross", help="folder of a cross-encoder that looks again at the best")
    parser.add_argument(
        "--tuned", action="append", default=[], help="folder of a tuned model, as one more rung; may come again"
    )
    parser.add_argument("--out", type=Path, help="folder that keeps what was made, so that a second run only measures")
    arguments = parser.parse_args()
    if not DATA.exists():
        raise SystemExit(f"{DATA}: not there; LANGREC_TEST_DATA names the folder that holds ml-latest-small")
    from langrec.data.cache import cache_folder
    from langrec.data.load import load_dataset
    from langrec.frontier import frontier, mix_ndcg
    from langrec.lm.compress.work import Healing
    from langrec.settings import Settings

    dataset, _ = load_dataset(DATA)
    found = frontier(
        dataset,
        arguments.out or cache_folder() / "bench-frontier",
        Settings(),
        max_ms=arguments.max_ms,
        max_mb=arguments.max_mb,
        tuned=arguments.tuned,
        cross=arguments.cross,
        mix=mix_ndcg(dataset, Settings()) if arguments.mix else None,
        healing=Healing(epochs=arguments.epochs),
        questions=arguments.questions,
    )
    for one in found.rungs:
        quality = f"NDCG@10 {one.ndcg:.4f} [{one.low:.4f}, {one.high:.4f}]"
        cost = f"{one.texts_per_second:8,.0f} texts/s  {one.ms:7.2f} ms  {one.megabytes:6.1f} MB"
        print(f"{one.name:<22} {quality}  {cost}  {'fits' if one.fits else 'beyond the budget'}", flush=True)
    print(found.why)
    common.write("frontier", {**found.to_dict(), "load": list(os.getloadavg())})


if __name__ == "__main__":
    main()
