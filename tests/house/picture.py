"""The picture of the house: rooms as boxes, imports as arrows, made from the imports themselves.

`python -m tests.house.picture` writes it into docs/architecture.md.
"""

from __future__ import annotations

from collections import Counter

from tests.examples.homes import ROOT
from tests.house.test_import_rule import ROOMS, every_module, imports, room_of

PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- picture: begin -->", "<!-- picture: end -->"


def arrows() -> Counter[tuple[str, str]]:
    """(importing room, imported room) → modules that do so."""
    known, found = every_module(), Counter[tuple[str, str]]()
    for name, path in known.items():
        rooms = {room_of(target) for target in imports(path) if target in known}
        found.update((str(room_of(name)), room) for room in rooms if room is not None and room != room_of(name))
    return found


def picture() -> str:
    """Mermaid: a row for each rank, the lowest at the bottom; an arrow is as thick as many modules take it."""
    modules = Counter(str(room_of(name)) for name in every_module())
    lines = ["```mermaid", "flowchart BT"]
    for rank in sorted({room.rank for room in ROOMS.values()}):
        names = [name for name, room in ROOMS.items() if room.rank == rank]
        lines.append(f'  subgraph rank{rank}[" "]')
        lines += [f'    {_box(name)}["{_place(name)}<br/>{_count(modules[name])}"]' for name in names]
        lines.append("  end")
    lines += [
        f"  {_box(upper)} {'==>' if count > 4 else '-->'} {_box(lower)}" for (upper, lower), count in sorted(arrows().items())
    ]
    return "\n".join([*lines, "```"])


def _box(name: str) -> str:
    return name.replace(".", "_")


def _place(name: str) -> str:
    path = name.replace(".", "/")
    return path if (ROOT / path).is_dir() else f"{path}.py"


def _count(modules: int) -> str:
    return f"{modules} modules" if modules != 1 else "1 module"


def page_with(text: str) -> str:
    """The page with this picture in the place of the one that it has."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page_with(picture()), encoding="utf-8")
