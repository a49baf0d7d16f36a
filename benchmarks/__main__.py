"""Run the benchmarks: ``python -m benchmarks``, from the root of the repository."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.timing import Options
from benchmarks.versions import machine

__all__ = ["main"]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare skdep with other programs.")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"cases, * and ? allowed: {', '.join(CASES)}")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of timing (default 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results, with every single time, here")
    parser.add_argument(
        "--slow",
        action=argparse.BooleanOptionalAction,
        help="run what takes a minute or is hopeless at full size too; --no-slow leaves out all that is slow",
    )
    parser.add_argument("--quick", action="store_true", help="small data, to see that every case runs")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    for pattern in options.only or []:
        if not any(fnmatch(name, pattern) for name in CASES):
            parser.error(f"no case is called {pattern!r}; there are {', '.join(CASES)}")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases asked for and print their tables, each as soon as it is there."""
    asked = _parse(arguments)
    options = Options(asked.repeats, asked.quick, asked.slow)
    names = [name for name in CASES if not asked.only or any(fnmatch(name, pattern) for pattern in asked.only)]
    cases: dict[str, object] = {}
    results = {"machine": machine(), "quick": options.quick, "repeats": options.repeats, "cases": cases}
    print("; ".join(f"{name} {value}" for name, value in results["machine"].items()))
    if options.quick:
        print("\nSmall data: the times mean nothing.")
    for name in names:
        print(f"... {name}", file=sys.stderr)
        table = CASES[name](options)
        print(f"\n{table}", flush=True)
        cases[name] = {"title": table.title, "data": table.description, "rows": table.rows}
        if asked.json:
            asked.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
