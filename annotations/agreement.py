"""How far the coders of a round agree, beyond what chance would give."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from annotations.codings import FIELDS, MULTIPLE, Cell, Decision, Round

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DRAWS = 2000
LEVEL = 0.95
"""Of the intervals."""

SINGLE, ALL = "single-valued", "all"
"""What the field of a pooled row is called."""


@dataclass(frozen=True)
class Choices:
    """One nominal decision that every compared coder made.

    Attributes:
        item: What it is about; the bootstrap draws items with all their decisions.
        chosen: One category per coder.
    """

    item: Hashable
    chosen: tuple[Hashable, ...]


@dataclass(frozen=True)
class Kappa:
    """Agreement over some decisions. None where it is undefined.

    Attributes:
        decisions: How many were compared.
        agreement: Share of pairs of coders that chose the same, from 0 to 1.
        kappa: Share of the agreement that chance does not give. Undefined if there is no
            decision, or if all coders chose one and the same category throughout.
        low: Lower end of the interval.
        high: Upper end of it.
        undefined_draws: Draws of the bootstrap that were left out because κ is undefined there.
    """

    decisions: int
    agreement: float | None
    kappa: float | None
    low: float | None
    high: float | None
    undefined_draws: int


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One field, or several pooled, compared between some coders.

    Attributes:
        entity: Kind of thing, or `ALL`.
        field: One field, or `SINGLE` or `ALL` for those pooled.
        coders: Two for Cohen's κ, more for Fleiss'.
        n: Cells that all of them filled in.
        left_out: Cells that one of them left empty, or did not write down.
        open: Cells of the ``n`` in which they differ and about which nothing was decided.
        kappa: Over those ``n``; a field with several values gives several decisions per cell.
    """

    entity: str
    field: str
    coders: tuple[str, ...]
    n: int
    left_out: int
    open: int
    kappa: Kappa


@dataclass(frozen=True)
class Disagreement:
    """A cell to which two coders gave different values.

    Attributes:
        cell: What was coded.
        values: Of every coder, as written.
        decision: None while it is open.
    """

    cell: Cell
    values: tuple[str, ...]
    decision: Decision | None


def compare(found: Round, draws: int = DRAWS, seed: int = 0) -> list[Agreement]:
    """Agreement by field, then pooled; of more than two coders together, then of each pair.

    A round with fewer than two coders has none. Pooled decisions are one table in which a category
    is a field with a value (a field with yes or no, if it holds several values). Both coders know
    which field they fill in, so chance agreement is small there, and κ near the plain agreement.
    """
    coders = tuple(found.codings)
    groups = [coders] if len(coders) > 2 else []
    rows: list[Agreement] = []
    for group in [*groups, *combinations(coders, 2)]:
        columns = [_column(found, group, *column) for column in _coded(found)]
        rows += [_row(c.entity, c.field, group, [c], draws, seed) for c in columns]
        single = [c for c in columns if c.field not in MULTIPLE]
        rows.append(_row(ALL, SINGLE, group, single, draws, seed))
        rows.append(_row(ALL, ALL, group, columns, draws, seed))
    return rows


def disagreements(found: Round) -> list[Disagreement]:
    """Cells to which at least two coders gave a value, but not the same."""
    return [
        Disagreement(
            cell,
            tuple(codings.get(cell, "") for codings in found.codings.values()),
            found.decisions.get(cell),
        )
        for entity, field in _coded(found)
        for cell in _cells(found, entity, field)
        if len({found.values(coder, cell) for coder in found.codings} - {frozenset()}) > 1
    ]


def agreement_table(found: Round) -> tuple[list[str], list[list[Any]]]:
    """`compare` as a header and rows."""
    header = ["entity", "field", "coders", "n", "left_out", "agreement", "kappa", "ci_low"]
    header += ["ci_high", "decisions", "undefined_draws", "open"]
    rows: list[list[Any]] = []
    for row in compare(found):
        kappa = row.kappa
        cells = [row.entity, row.field, ", ".join(row.coders), row.n, row.left_out]
        cells += [kappa.agreement, kappa.kappa, kappa.low, kappa.high]
        rows.append([*cells, kappa.decisions, kappa.undefined_draws, row.open])
    return header, rows


def disagreement_table(found: Round) -> tuple[list[str], list[list[Any]]]:
    """`disagreements` as a header, with a column per coder, and rows."""
    header = ["entity", "item", "field", *found.codings, "adjudicated", "decided_by", "reason"]
    rows: list[list[Any]] = []
    for row in disagreements(found):
        decided = row.decision
        cells = [row.cell.entity, row.cell.item, row.cell.field]
        cells += [text or None for text in row.values]
        end = (decided.value, decided.decided_by, decided.reason) if decided else (None,) * 3
        rows.append([*cells, *end])
    return header, rows


def cohen(decisions: Sequence[Choices], draws: int = DRAWS, seed: int = 0) -> Kappa:
    """Cohen's κ of two coders: (p_o - p_e) / (1 - p_e), with p_e = Σ_c p_1c p_2c.

    p_o is the share of decisions in which they agree, p_1c and p_2c are the shares of category c
    among each coder's choices. Reference: Cohen 1960, A coefficient of agreement for nominal
    scales. The interval is a percentile bootstrap over items (Efron 1979); where the coders agree
    throughout, it is the single point 1, and says nothing about how many items there were.
    """
    return _estimate(decisions, [(0,), (1,)], draws, seed)


def fleiss(decisions: Sequence[Choices], draws: int = DRAWS, seed: int = 0) -> Kappa:
    """Fleiss' κ of any number of coders: (P - P_e) / (1 - P_e), with P_e = Σ_c p_c².

    P is the share of pairs of coders that agree, p_c is the share of category c among all choices.
    Reference: Fleiss 1971, Measuring nominal scale agreement among many raters. The interval is
    that of `cohen`.
    """
    everybody = tuple(range(len(decisions[0].chosen))) if decisions else ()
    return _estimate(decisions, [everybody, everybody], draws, seed)


@dataclass(frozen=True)
class _Column:
    """One field of one kind of thing, as some coders filled it in."""

    entity: str
    field: str
    n: int
    left_out: int
    open: int
    decisions: list[Choices]


def _coded(found: Round) -> list[tuple[str, str]]:
    """Entities and fields that anybody wrote down, in the order of the rules."""
    written = {(c.entity, c.field) for codings in found.codings.values() for c in codings}
    rules = ((entity, field) for entity, fields in FIELDS.items() for field in fields)
    return [column for column in rules if column in written]


def _cells(found: Round, entity: str, field: str) -> list[Cell]:
    return [Cell(entity, item, field) for kind, item in found.items if kind == entity]


def _column(found: Round, coders: Sequence[str], entity: str, field: str) -> _Column:
    filled = {
        cell: [found.values(coder, cell) for coder in coders]
        for cell in _cells(found, entity, field)
    }
    labels = sorted({label for sets in filled.values() for labels in sets for label in labels})
    compared = {cell: sets for cell, sets in filled.items() if all(sets)}
    decisions: list[Choices] = []
    for cell, sets in compared.items():
        item = (entity, cell.item)
        if field in MULTIPLE:
            decisions += [
                Choices(item, tuple((entity, field, label in chosen) for chosen in sets))
                for label in labels
            ]
        else:
            decisions.append(Choices(item, tuple((entity, field, chosen) for chosen in sets)))
    return _Column(
        entity,
        field,
        len(compared),
        len(filled) - len(compared),
        sum(len(set(sets)) > 1 and cell not in found.decisions for cell, sets in compared.items()),
        decisions,
    )


def _row(
    entity: str,
    field: str,
    coders: tuple[str, ...],
    columns: Sequence[_Column],
    draws: int,
    seed: int,
) -> Agreement:
    decisions = [choices for column in columns for choices in column.decisions]
    measure = cohen if len(coders) == 2 else fleiss
    return Agreement(
        entity=entity,
        field=field,
        coders=coders,
        n=sum(column.n for column in columns),
        left_out=sum(column.left_out for column in columns),
        open=sum(column.open for column in columns),
        kappa=measure(decisions, draws, seed),
    )


def _estimate(
    decisions: Sequence[Choices], sides: Sequence[tuple[int, ...]], draws: int, seed: int
) -> Kappa:
    """κ whose chance agreement is that of a choice of one side with a choice of the other.

    Args:
        decisions: What is compared.
        sides: Positions of the coders on each side, as many on one as on the other.
        draws: Of the bootstrap.
        seed: Of the bootstrap.
    """
    if not decisions:
        return Kappa(0, None, None, None, None, 0)
    import numpy as np

    item = np.array(_numbered(choices.item for choices in decisions))
    categories = _numbered(category for choices in decisions for category in choices.chosen)
    chosen = np.array(categories).reshape(len(decisions), -1)
    pairs = list(combinations(range(chosen.shape[1]), 2))
    items = int(item.max()) + 1

    agree, size = np.zeros(items), np.zeros(items)
    for one, other in pairs:
        np.add.at(agree, item, chosen[:, one] == chosen[:, other])
    np.add.at(size, item, 1)
    shares = np.zeros((2, items, int(chosen.max()) + 1))
    for side, positions in enumerate(sides):
        for position in positions:
            np.add.at(shares[side], (item, chosen[:, position]), 1)
    shares = shares[:, :, shares.any(axis=1).all(axis=0)]  # the others add nothing to chance

    def measure(weights: "Floats") -> "tuple[Floats, Floats]":
        """Agreement and κ (NaN if undefined) where every item counts as often as its weight."""
        count = weights @ size
        observed = weights @ agree / (count * len(pairs))
        left, right = weights @ shares[0], weights @ shares[1]
        chance = (left * right).sum(axis=-1) / (count * len(sides[0])) ** 2
        with np.errstate(invalid="ignore"):
            return observed, (observed - chance) / (1 - chance)  # 0 / 0: whole numbers, exact

    observed, kappa = map(float, measure(np.ones(items)))
    if np.isnan(kappa):
        return Kappa(len(decisions), observed, None, None, None, draws)
    drawn = np.random.default_rng(seed).multinomial(items, np.full(items, 1 / items), size=draws)
    kappas = measure(drawn.astype(float))[1]
    defined = kappas[~np.isnan(kappas)]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(defined, [tail, 1 - tail]).tolist() if defined.size else (None, None)
    return Kappa(len(decisions), observed, kappa, low, high, draws - defined.size)


def _numbered(things: Iterable[Hashable]) -> list[int]:
    """The number of each thing: equal things have the same, from 0 in order of appearance."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(thing, len(numbers)) for thing in things]
