"""What an entry has to say of a user's own dataset, which the annotations do not have."""

from dataclasses import dataclass

from annotations.load import load_codebook


@dataclass(frozen=True, kw_only=True)
class Data:
    """What the catalog has to know of a dataset, as it was read.

    Attributes:
        name: As whoever reads it calls it.
        input_shape: (channels, height, width), or (features,).
        num_classes: Number of labels.
        train_size: Examples of the official training part, or all if there is none.
        test_size: Examples of the official test part; None if there is none.
        attributes: Names of the sensitive attributes.
        widths: Of a table, how many features each column is.
    """

    name: str
    input_shape: tuple[int, ...]
    num_classes: int
    train_size: int
    test_size: int | None
    attributes: tuple[str, ...]
    widths: tuple[int, ...]


def of_dataset(data: Data) -> dict[str, object]:
    """What the catalog's columns say of a dataset; nobody has coded its topic."""
    known = load_codebook().tables["datasets"].fields["sensitive_attributes"].values
    attributes = {one if one in known else "other attributes" for one in data.attributes}
    return {
        "key": data.name,
        "name": data.name,
        "train_size": data.train_size,
        "test_size": data.test_size,
        "num_classes": data.num_classes,
        "input_shape": data.input_shape,
        "sensitive_attributes": sorted(attributes) or ["none"],
    }
