"""A description says all that is said, and what is said wrong is named."""

import pytest

from harness.data.tables import description
from zoo.errors import ZooError

GOOD = """
file = "loans.csv"
label = "approved"
classes = ["no", "yes"]
categorical = ["job"]
"""


def _read(folder, text):
    (folder / "loans.toml").write_text(text)
    return description.read(folder / "loans.toml")


def test_what_is_not_said_is_customary(tmp_path) -> None:
    found = _read(tmp_path, GOOD)
    assert (found.name, found.files, found.separator, found.columns) == (
        "loans", ("loans.csv",), ",", (),
    )  # fmt: skip
    assert (found.classes, found.sensitive, found.openml) == ((("no",), ("yes",)), (), None)
    assert (found.sensitive_in_features, dict(found.epsilon)) == (False, {"linf": 0.1, "l2": 0.5})
    assert (found.is_number("job"), found.is_number("income")) == (False, True)
    other = _read(tmp_path, GOOD.replace("categorical", "numbers"))
    assert (other.is_number("job"), other.is_number("income")) == (True, False)


def test_values_are_text_whatever_they_are_written_as(tmp_path) -> None:
    found = _read(tmp_path, GOOD.replace('["no", "yes"]', "[0, [1.0, 2.5, true]]"))
    assert found.classes == (("0",), ("1", "2.5", "true"))


def test_a_table_may_be_like_another(tmp_path) -> None:
    adult = description.read(description.builtin()["adult"])
    aware = description.read(description.builtin()["adult-aware"])
    assert (aware.sensitive_in_features, adult.sensitive_in_features) == (True, False)
    same = {"files", "columns", "classes", "numbers", "ignored", "sensitive", "openml"}
    assert all(getattr(adult, field) == getattr(aware, field) for field in same)
    own = _read(tmp_path, 'like = "adult"\nfile = "mine.csv"\ncategorical = ["job"]')
    assert (own.files, own.openml) == (("mine.csv",), None)
    assert (own.numbers, own.categorical) == (None, ("job",))
    assert own.label == "income"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("label", "lable"), r"No field in .*loans\.toml: 'lable'\. Nearest: label"),
        (('"approved"', "3"), "label has to be text, found 3"),
        (('label = "approved"', ""), "does not say which column is to be predicted. Give label"),
        (('["no", "yes"]', '"yes"'), "classes has to be a list of the labels"),
        (('["no", "yes"]', '["yes"]'), "labels of two classes or more, found 1"),
        (('["no", "yes"]', '["no", ["yes", "no"]]'), "classes has to be a list of different words"),
        (('"loans.csv"', '"a.csv"\ntrain = "b.csv"\ntest = "c.csv"'), "either file, or both train"),
        (('file = "loans.csv"', 'train = "b.csv"'), "either file, or both train and test"),
        (('file = "loans.csv"', ""), "does not say where the rows are"),
        (("file", "header = false\nfile"), "columns has the names .* only if, header is false"),
        (("file", 'columns = ["a"]\nfile'), "columns has the names .* only if, header is false"),
        (("file", 'separator = "::"\nfile'), "separator has to be one character, found '::'"),
        (("file", 'numbers = ["age"]\nfile'), "has categorical and numbers. Give one"),
        (("file", 'ignored = ["approved"]\nfile'), "'approved' is both label and ignored"),
        (("file", "header = 1\nfile"), "header has to be true or false, found 1"),
        (("file", "epsilon = { linf = 0 }\nfile"), "epsilon.linf has to be a number above 0"),
        (("file", "epsilon = { l3 = 1 }\nfile"), "No norm of epsilon in .*: 'l3'"),
        (("file", 'like = "adlt"\nfile'), r"No built-in table that .* could be like 'adlt'\. Nea"),
        (('["job"]', '["job"]\n[sensitive.age]\nbin = [3]'),
         r"No field \[sensitive\.age\] in .*: 'bin'\. Nearest: bins"),
        (('["job"]', '["job"]\n[sensitive.age]\nbins = [3, 3]'), "sensitive.age.bins has to be a l"),
        (('["job"]', '["job"]\n[sensitive.age]\nbins = [3]\nnames = ["a"]'),
         "sensitive.age.names has to be 2 words, one more than bins"),
        (('["job"]', '["job"]\n[sensitive.age]\nnames = ["a"]'), "one more than bins"),
        (('["job"]', '["job"]\n[sensitive.age]\nbins = [3]\ngroups = { a = [1] }'), "bins and gro"),
        (('["job"]', '["job"]\n[sensitive.age]\ngroups = { a = [1], b = [1] }'), "different words"),
        (('["job"]', '["job"]\n[sensitive.age]\ngroups = { a = 1 }'), "groups.a has to be a list"),
        (('["job"]', '["job"]\n[sensitive]\nage = 3'), "sensitive.age has to be a table of fields"),
        (('["job"]', '["job"]\n[sensitive."a+b"]'), "needs a name without '\\+'"),
        (('["job"]', '["job"]\n[sensitive.approved]'), "'approved' is both label and sensitive"),
        (('["job"]', '["job"]\n[openml]'), "openml.id has to be the number of the data"),
        (('["job"]', '["job"]\n[openml]\nid = 3\ntrain = [5, 5]'), "openml.train has to be the fi"),
        (('["job"]', '["job"]\n[openml]\nid = 3\nvalues.job = 3'), "openml.values.job has to be"),
        (("label =", "label"), "cannot be read: "),
    ],
)  # fmt: skip
def test_a_description_that_cannot_be_meant_is_refused(tmp_path, change, message) -> None:
    with pytest.raises(ZooError, match=message) as problem:
        _read(tmp_path, GOOD.replace(*change))
    assert "loans.toml" in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_description_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(ZooError, match=r"none\.toml cannot be read: .*No such file"):
        description.read(tmp_path / "none.toml")


def test_every_field_that_is_documented_is_one(tmp_path) -> None:
    assert description.__doc__ is not None
    example = "\n".join(
        line[4:] for line in description.__doc__.splitlines() if line.startswith("    ")
    )
    # Of fields that exclude each other, one each.
    for other in ("file =", "numbers =", "header = true"):
        example = example.replace(other, f"# {other}")
    example = example.replace('like = "adult"', "header = false")
    found = _read(tmp_path, example)
    assert [one.name for one in found.sensitive] == ["region", "age", "sex"]
    assert found.openml is not None
    assert (found.openml.id, found.openml.train) == (31, (0, 500))
    assert found.columns == ("age", "sex", "...")
