"""Health records: events with ICD codes, the PheCode of each ICD code, and everybody's sex.

Codes are text: 250.00 and 250.0 are two codes.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from batchscope.replications.formats.files import Skips, check_folder, find_file, read_lines, refuse

_LONGEST_LINE = 10_000
# Of a table of people and codes, four bytes each.
_MOST_CELLS = 500_000_000
_SEXES = {"f": 0, "female": 0, "0": 0, "m": 1, "male": 1, "1": 1}
# The names that each column goes by, in lower case.
_PERSON = ("id", "person_id", "subject")
_CODE = ("icd_code", "icd", "code")
_KIND = ("icd_type", "flag", "vocabulary_id", "type")
_PHECODE = ("phecode", "phecodes")
_SEX = ("sex", "gender")


def read_health_records(
    folder: Path, *, limit: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, Skips]:
    """Which of all PheCodes each person ever had, shape (people, codes), and their sex.

    `events.csv` has a row per event (id, ICD_CODE, ICD_TYPE, ...), `phecodes.csv` maps codes (ICD,
    ICD_TYPE, PheCode), `people.csv` has id and sex. Events of unknown codes and of people whose
    sex is not known are left out and counted; what is said twice counts once.

    Args:
        limit: people; None for all.

    Raises:
        InvalidInput: a file or a column is missing, or everybody has one sex.
    """
    check_folder(folder)
    skips = Skips()
    sexes = _read_people(find_file(folder, "people.csv"), skips)
    phecodes = _read_map(find_file(folder, "phecodes.csv"), skips)
    every = {phecode for found in phecodes.values() for phecode in found}
    names = {code: place for place, code in enumerate(sorted(every))}
    chosen = list(sexes)[:limit]
    if not names or len(chosen) * len(names) > _MOST_CELLS:
        raise refuse(
            folder,
            f"{len(chosen):,} people and {len(names):,} PheCodes",
            f"some of both, and up to {_MOST_CELLS:,} cells of a table of them",
            "mend phecodes.csv, or take fewer people with --limit",
        )
    rows = {person: place for place, person in enumerate(chosen)}
    table = torch.zeros(len(chosen), len(names))
    events = find_file(folder, "events.csv")
    for number, (person, code, kind) in _read_columns(events, (_PERSON, _CODE, _KIND), skips):
        found = phecodes.get((code, _name_kind(kind)))
        if found is None:
            skips.add(f"{events.name}:{number} ({code})", "events of a code without a PheCode")
        elif person not in sexes:
            skips.add(f"{events.name}:{number}", "events of people without a sex")
        elif person in rows:
            table[rows[person], [names[phecode] for phecode in found]] = 1.0
    if not table.any():
        said = "; ".join(["no event of these people has a PheCode", *skips.notes])
        raise refuse(events, said, "ICD_CODE and ICD_TYPE as phecodes.csv has them", "compare both")
    known = [sexes[person] for person in chosen]
    if len(set(known)) < 2:
        raise refuse(folder / "people.csv", "everybody has one sex", "people of both sexes")
    return table, torch.tensor(known), skips


def _read_people(path: Path, skips: Skips) -> dict[str, int]:
    people: dict[str, int] = {}
    doubtful: set[str] = set()
    for number, (person, sex) in _read_columns(path, (_PERSON, _SEX), skips):
        known = _SEXES.get(sex.lower())
        if known is None or people.setdefault(person, known) != known:
            skips.add(f"{path.name}:{number} ({sex!r})", "people whose sex is not one")
            doubtful.add(person)
    return {person: sex for person, sex in people.items() if person not in doubtful}


def _read_map(path: Path, skips: Skips) -> Mapping[tuple[str, str], set[str]]:
    """The PheCodes of each code, of which some have several."""
    found: dict[tuple[str, str], set[str]] = {}
    columns = (_CODE, _KIND, _PHECODE)
    for number, (code, kind, phecode) in _read_columns(path, columns, skips):
        if phecode:
            found.setdefault((code, _name_kind(kind)), set()).add(phecode)
        else:
            skips.add(f"{path.name}:{number} ({code})", "codes that are mapped to nothing")
    return found


def _name_kind(text: str) -> str:
    """Of ICD9CM, ICD-9, 9 and 9.0 the number."""
    number = re.search(r"\d+", text)
    return text.lower() if number is None else number.group()


def _read_columns(
    path: Path, columns: tuple[tuple[str, ...], ...], skips: Skips
) -> Iterator[tuple[int, list[str]]]:
    """The columns that go by one of these names, row by row, as text."""
    number = 0

    def decode_lines() -> Iterator[str]:
        nonlocal number
        # The reader counts those that it is given, and long ones are left out.
        for at, line in read_lines(path, _LONGEST_LINE, skips):
            number = at
            yield line.decode("utf-8", errors="replace")

    table = csv.reader(decode_lines(), strict=True)
    try:
        heads = [name.strip().lower() for name in next(table, list[str]())]
        places: list[int] = []
        for names in columns:
            at = next((heads.index(name) for name in names if name in heads), None)
            if at is None:
                raise refuse(
                    path, f"has no column {names[0]!r}", f"a column named {' or '.join(names)}"
                )
            places.append(at)
        for row in table:
            if len(row) <= max(places):
                skips.add(f"{path.name}:{number}", "rows that are too short")
                continue
            yield number, [row[place].strip() for place in places]
    except csv.Error as error:
        raise refuse(
            path, f"line {number}: {error}", "quotes that are closed where they begin"
        ) from error


def shuffle_people(
    table: torch.Tensor, sex: torch.Tensor, *, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same people in a random order, so that a split of them is fair."""
    order = torch.tensor(np.random.default_rng(seed).permutation(len(sex)))
    return table[order], sex[order]
