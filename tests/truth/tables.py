"""`docs/truth.md`: its tables are written here and asserted by the test, block by block."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from truth.compare import Comparison, Difference
from truth.rules import RULES, explain

SHARE_THAT_SHOWS_EXAMPLES = 0.02
"""A rule that explains more than this part of the truth's places shows three examples."""
EXAMPLES = 3
TEXT_LIMIT = 110


@dataclass
class Result:
    """One data set, compared."""

    name: str
    files: int
    events: int
    malformed: int
    lines: int
    comparison: Comparison
    explained: dict[str, list[Difference]] = field(default_factory=dict)
    unexplained: list[Difference] = field(default_factory=list)

    def judge(self) -> Result:
        """Give each difference its rule."""
        for difference in self.comparison.differences:
            rule = explain(difference)
            if rule is None:
                self.unexplained.append(difference)
            else:
                self.explained.setdefault(rule.name, []).append(difference)
        return self


def render(results: Sequence[Result]) -> str:
    """The tables of one comparison, as Markdown."""
    return "\n".join([*_sets(results), "", *_rules(results), "", *_roles(results), *_examples(results)])


def _sets(results: Sequence[Result]) -> list[str]:
    rows: list[Sequence[object]] = [
        (
            result.name,
            result.files,
            result.events,
            result.malformed,
            result.lines,
            result.comparison.truth_places,
            result.comparison.our_places,
            result.comparison.agreed.total(),
            *_only(result),
        )
        for result in results
    ]
    if len(rows) > 1:
        rows.append(("all of these", *(sum(int(str(row[n])) for row in rows) for n in range(1, 10))))
    head = ("set", "files", "events", "malformed", "truth lines", "truth places", "our places", "in both")
    return _table((*head, "truth only", "ours only"), rows)


def _only(result: Result) -> tuple[int, int]:
    both = result.comparison.agreed.total()
    return result.comparison.truth_places - both, result.comparison.our_places - both


def _rules(results: Sequence[Result]) -> list[str]:
    rows: list[Sequence[object]] = []
    for rule in RULES:
        counts = [len(result.explained.get(rule.name, ())) for result in results]
        if any(counts):
            each = counts if len(results) > 1 else []
            rows.append((f"`{rule.name}`", rule.only, sum(counts), *each, rule.sentence))
    names = [result.name for result in results] if len(results) > 1 else []
    return _table(("rule", "stands in", "places", *names, "why"), rows)


def _roles(results: Sequence[Result]) -> list[str]:
    total: Counter[tuple[str, str]] = Counter()
    for result in results:
        total += result.comparison.agreed
    roles = sorted({role for _, role in total})
    rows = [(kind, *(total[kind, role] for role in roles)) for kind in sorted({kind for kind, _ in total})]
    return _table(("kind in the truth", *(f"ours: {role}" for role in roles)), rows)


def _examples(results: Sequence[Result]) -> list[str]:
    places = sum(result.comparison.truth_places for result in results)
    lines: list[str] = []
    for rule in RULES:
        hits = [hit for result in results for hit in result.explained.get(rule.name, ())]
        if len(hits) > SHARE_THAT_SHOWS_EXAMPLES * places:
            lines += ["", f"`{rule.name}`, {100 * len(hits) / places:.1f} %, for instance:", ""]
            lines += [f"- {_example(hit)}" for hit in _chosen(hits)]
    return lines


def _chosen(hits: list[Difference]) -> list[Difference]:
    ordered = sorted(hits, key=lambda hit: hit.place)
    return [ordered[len(ordered) * step // EXAMPLES] for step in range(EXAMPLES)]


def _example(hit: Difference) -> str:
    place = hit.place
    text = hit.matched if len(hit.matched) <= TEXT_LIMIT else f"{hit.matched[:TEXT_LIMIT]}…"
    return f"`{place.file}` {place.line}, `{place.path}`: {place.type} `{place.value}` in `{text}`"


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    cells = list(rows)
    first = cells[0] if cells else head
    return [
        _line(head),
        _line(["---:" if isinstance(cell, int) else "---" for cell in first]),
        *map(_line, cells),
    ]


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells) + " |"


def block(document: Path, name: str) -> str:
    """What stands between the marks of a block."""
    found = _pattern(name).search(document.read_text("utf-8"))
    return found[2].strip() if found else ""


def write_block(document: Path, name: str, text: str) -> None:
    """Put new text between the marks of a block."""
    old = document.read_text("utf-8")
    new = _pattern(name).sub(lambda found: f"{found[1]}\n{text}\n{found[3]}", old)
    document.write_text(new, "utf-8")


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->)(.*?)(<!-- /{name} -->)", re.DOTALL)
