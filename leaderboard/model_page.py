"""Everything about one model: what the catalog says, every interaction and every evaluation."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from harness.results import Evaluation
from harness.types import Regime, Risk
from leaderboard.findings import Finding, by_regime, row_key
from leaderboard.pages import page_of
from leaderboard.scale import Scale


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Something to look at that an evaluation left.

    Attributes:
        name: What it shows.
        evaluation: Whose it is.
        png: The file.
    """

    name: str
    evaluation: Evaluation
    png: bytes

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, so that a page keeps room for it: they begin at byte 16."""
        width, height = struct.unpack(">II", self.png[16:24])
        return width, height

    @property
    def path(self) -> str:
        """Of the file, relative to the site."""
        return f"pictures/{self.evaluation.cell.key[:16]}-{self.name}.png"


@dataclass(frozen=True, kw_only=True)
class SeedTable:
    """Every evaluation of one model by one attacker.

    Attributes:
        risk: What was measured.
        attack: By which attack.
        threat_model: By which attacker.
        evaluations: Sorted by defense, then seed.
        metrics: Names of the metrics that have a column, the primary one first.
        others: Names of the rest: of one group or class, and the ends of intervals.
        shared: Provenance that is equal for all of them, flattened.
        own: For each evaluation the rest of its provenance, flattened.
        pictures: Those of the first seed of every defense that has any.
    """

    risk: Risk
    attack: str
    threat_model: str
    evaluations: tuple[Evaluation, ...]
    metrics: tuple[str, ...]
    others: tuple[str, ...]
    shared: Mapping[str, object]
    own: tuple[Mapping[str, object], ...]
    pictures: tuple[Picture, ...]

    @property
    def own_names(self) -> list[str]:
        """Every name that occurs in ``own``, sorted."""
        return sorted({name for one in self.own for name in one})


@dataclass(frozen=True, kw_only=True)
class Section:
    """What is known of one model on one dataset in one regime.

    Attributes:
        dataset: Name of the dataset.
        regime: How the model came to its weights.
        findings: In the order of the matrix.
        scale: Shared by the drawings of the section.
        seed_tables: Every evaluation behind the findings, and those without one.
    """

    dataset: str
    regime: Regime
    findings: tuple[Finding, ...]
    scale: Scale
    seed_tables: tuple[SeedTable, ...]

    @property
    def defenses(self) -> list[tuple[str, list[Finding]]]:
        """Each defense stack with its findings, in their order."""
        return [
            (defense, list(group))
            for (_, defense, _), group in groupby(self.findings, key=lambda f: row_key(f.record))
        ]


@dataclass(frozen=True, kw_only=True)
class ModelPage:
    """Everything about one model.

    Attributes:
        model: Name in the catalog.
        path: File of this page, relative to the site.
        facts: What the catalog says; empty if it does not know the model.
        sections: One for each dataset and regime.
    """

    model: str
    path: str
    facts: Mapping[str, object]
    sections: tuple[Section, ...]


def model_page(
    model: str,
    facts: Mapping[str, object],
    findings: Sequence[Finding],
    evaluations: Sequence[Evaluation],
    pictures: Mapping[str, Mapping[str, bytes]],
) -> ModelPage:
    """The page of ``model`` from its own findings and evaluations, both sorted.

    Args:
        model: Name in the catalog.
        facts: What the catalog says of it.
        findings: Its interactions.
        evaluations: Its evaluations.
        pictures: By key of the cell, then by name.
    """
    return ModelPage(
        model=model,
        path=page_of(model),
        facts=facts,
        sections=tuple(
            Section(
                dataset=dataset,
                regime=regime,
                findings=tuple(found),
                scale=Scale.over(finding.record for finding in found),
                seed_tables=tuple(
                    _seed_table(*attacker, list(group), pictures)
                    for attacker, group in groupby(measured, key=_attacker)
                ),
            )
            for dataset, regime, found, measured in by_regime(findings, evaluations)
        ),
    )


def _attacker(evaluation: Evaluation) -> tuple[Risk, str, str]:
    return evaluation.cell.risk, str(evaluation.cell.attack), str(evaluation.cell.threat)


def _seed_table(
    risk: Risk,
    attack: str,
    threat_model: str,
    evaluations: list[Evaluation],
    pictures: Mapping[str, Mapping[str, bytes]],
) -> SeedTable:
    primary = [e.primary for e in evaluations if e.primary is not None]
    names = sorted({name for e in evaluations for name in e.metrics})
    others = [name for name in names if name not in primary and _is_detail(name, names)]
    provenance = [_flat(e.provenance) for e in evaluations]
    shared = {
        name: value
        for name, value in sorted(provenance[0].items())
        if all(name in one and one[name] == value for one in provenance)
    }
    return SeedTable(
        risk=risk,
        attack=attack,
        threat_model=threat_model,
        evaluations=tuple(evaluations),
        metrics=tuple(dict.fromkeys([*primary, *(n for n in names if n not in others)])),
        others=tuple(others),
        shared=shared,
        own=tuple(
            {name: value for name, value in one.items() if name not in shared} for one in provenance
        ),
        pictures=tuple(_pictures(evaluations, pictures)),
    )


def _is_detail(name: str, names: Sequence[str]) -> bool:
    """Whether a metric is of one group or class, or an end of another's interval."""
    ends = [name.removesuffix(end) for end in ("_low", "_high") if name.endswith(end)]
    return "[" in name or any(base in names for base in ends)


def _pictures(
    evaluations: Sequence[Evaluation], pictures: Mapping[str, Mapping[str, bytes]]
) -> Iterator[Picture]:
    """Of each defense those of its first seed that has some: the seeds look alike."""
    shown = set()
    for evaluation in evaluations:
        found = pictures.get(evaluation.cell.key, {})
        if found and evaluation.cell.defense not in shown:
            shown.add(evaluation.cell.defense)
            for name, png in found.items():
                yield Picture(name=name, evaluation=evaluation, png=png)


def _flat(provenance: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested provenance as one level: ``{"versions torch": "2.11"}``."""
    flat: dict[str, object] = {}
    for name, value in provenance.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name} ")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
