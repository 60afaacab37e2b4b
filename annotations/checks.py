"""What rows must be, given other rows: known to each other, and consistent."""

from collections.abc import Mapping
from dataclasses import replace

from annotations.record import Annotations, Codebook, Row


def check_references(
    codebook: Codebook,
    rows: Mapping[str, list[Row]],
    recipes: set[str],
    broken: set[str],
    problems: list[str],
) -> None:
    """Every name of another row must be one, and no row may be in two files.

    Args:
        codebook: Which columns name rows of what.
        rows: By table.
        recipes: Names of the recipes.
        broken: Entities with rows that could not be read, so that a name may be of one of them.
        problems: What is wrong is added here.
    """
    known: dict[str, dict[str, Row | None]] = {"recipes": dict.fromkeys(recipes)}
    for table in codebook.tables.values():
        things = known.setdefault(table.entity, {})
        for row in rows[table.name]:
            other = things.get(row.key)
            if other is not None and other.file != row.file:
                problems.append(
                    f"{row.file}:{row.line}: {row.key!r} is already in {other.file}:{other.line}"
                )
            things[row.key] = row
    for table in codebook.tables.values():
        for row in rows[table.name]:
            for name, field in table.fields.items():
                value = row.values[name]
                if field.ref is None or field.ref in broken or value is None:
                    continue
                if value not in known[field.ref]:
                    problems.append(
                        f"{row.file}:{row.line}: {name}: no row {value!r} among the {field.ref}"
                    )


def with_evidence(
    codebook: Codebook,
    rows: Mapping[str, list[Row]],
    broken: set[str],
    problems: list[str],
) -> dict[str, list[Row]]:
    """The rows, with the provenance of single values that ``evidence.csv`` gives."""
    told: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows["evidence"]:
        thing = (str(row.values["entity"]), str(row.values["id"]))
        told.setdefault(thing, {})[str(row.values["field"])] = row
    found: dict[str, list[Row]] = {}
    for table in codebook.tables.values():
        found[table.name] = []
        for row in rows[table.name]:
            own = told.pop((table.entity, row.key), {})
            for name, evidence in own.items():
                if row.values.get(name) is None:
                    problems.append(
                        f"{evidence.file}:{evidence.line}: {row.key!r} has no value of {name!r}"
                    )
            singles = {name: evidence.provenance for name, evidence in own.items()}
            found[table.name].append(replace(row, own={**row.own, **singles}) if own else row)
    for (entity, key), own in told.items():
        if entity not in broken:
            problems += [
                f"{evidence.file}:{evidence.line}: no row {key!r} among the {entity}"
                for evidence in own.values()
            ]
    return found


def check_facts(annotations: Annotations, problems: list[str]) -> None:
    """What a value must be, given others of any kind; adds to ``problems``."""
    for table in annotations.rows.values():
        for row in table:
            for said in {row.provenance, *row.own.values()}:
                if said.confidence == "high" and "recalled" in said.evidence:
                    problems.append(
                        f"{row.file}:{row.line}: confidence is high, but the evidence is recalled"
                    )
    types: dict[object, tuple[object, Row]] = {}
    for row in annotations.of("papers"):
        venue, kind = row.values["venue"], row.values["venue_type"]
        before, where = types.setdefault(venue, (kind, row))
        if venue is not None and kind != before:
            problems.append(
                f"{row.file}:{row.line}: venue_type: {venue} is {kind}, but {before} in "
                f"{where.file}:{where.line}"
            )
    for row in annotations.of("exclusions"):
        if (row.values["reason"] == "duplicate") != (row.values["duplicate_of"] is not None):
            problems.append(
                f"{row.file}:{row.line}: duplicate_of: must name the model that is kept if the "
                "reason is duplicate, and none otherwise"
            )
    for row in [*annotations.of("models"), *annotations.of("datasets")]:
        if str(row.values["licence"]).lower() in ("unknown", "other"):
            problems.append(f"{row.file}:{row.line}: licence: leave it empty if it is unknown")


def check_models(annotations: Annotations, problems: list[str]) -> None:
    """What one column of a model must be, given another; adds to ``problems``."""
    datasets = {row.key: row.values for row in annotations.of("datasets")}
    for row in annotations.of("models"):
        values, where = row.values, f"{row.file}:{row.line}"
        shape, mean, std = values["input_shape"], values["mean"], values["std"]
        if isinstance(shape, tuple) and isinstance(mean, tuple) and isinstance(std, tuple):
            channels = shape[0] if len(shape) == 3 else 1
            if not len(mean) == len(std) == channels:
                problems.append(
                    f"{where}: mean has {len(mean)} and std has {len(std)} numbers, "
                    f"but the input has {channels} channels"
                )
            if min(float(number) for number in std) <= 0:
                problems.append(f"{where}: std: must be above 0")
        if (mean is None) != (std is None):
            problems.append(f"{where}: mean and std: one is given without the other")
        if (values["pretraining"] == ("none",)) != (values["extra_data"] == "none"):
            problems.append(f"{where}: pretraining and extra_data: one is none, the other is not")
        dataset = datasets.get(str(values["dataset"]))
        odd = dataset is not None and dataset["num_classes"] != values["num_classes"]
        if dataset is not None and odd and values["notes"] is None:
            problems.append(
                f"{where}: num_classes: {values['num_classes']}, but {values['dataset']} "
                f"has {dataset['num_classes']}; if that is right, say why in the notes"
            )
