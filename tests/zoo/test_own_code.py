"""Networks that a user's own code defines, and what they answer."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.add import add
from zoo.catalog import open_catalog
from zoo.errors import ZooError
from zoo.fetch import fetch
from zoo.home import Home
from zoo.loading import load_model
from zoo.nets import build, known, own_code, skeleton
from zoo.nets.answers import KINDS, as_logits, kind_of
from zoo.remove import remove

CODE = """
import torch
from torch import nn
from helper_of_mine import WIDTH

class MyNet(nn.Module):
    def __init__(self, width=WIDTH, end="logits", classes=10):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU())
        self.head = nn.Linear(width, classes)
        self.end = end
    def forward(self, x):
        z = self.head(self.body(x))
        if self.end == "tuple":
            return z, x
        if self.end == "dict":
            return {"loss": None, "logits": z}
        if self.end == "softmax":
            return z.softmax(1)
        if self.end == "sigmoid":
            return z.sigmoid()
        if self.end == "nan":
            return z / 0 * 0
        return z

def numbers():
    return 3

class Box:
    Inner = MyNet
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "helper_of_mine.py").write_text("WIDTH = 12\n")
    (folder / "net.py").write_text(CODE)
    monkeypatch.chdir(folder)
    return folder / "net.py"


def test_a_file_and_a_module_make_the_network_with_arguments(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = own_code.key("net.py:MyNet", {"width": 5})
    assert re.fullmatch(rf"{code}:MyNet\(width=5\)@[0-9a-f]{{12}}", key)
    assert build(key, (1, 8, 8), 10)(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    assert build(own_code.key("net.py:MyNet", {}), (1, 8, 8), 10).body[1].out_features == 12
    assert build(f"{code}:Box.Inner(width=3)", (1, 8, 8), 10).head.in_features == 3
    assert all(p.device.type == "meta" for p in skeleton(key, (1, 8, 8), 10).parameters())
    monkeypatch.syspath_prepend(code.parent)
    assert build("net:MyNet(width=4, end='tuple')", (1, 8, 8), 10).head.in_features == 4
    assert known(key)
    assert key == own_code.key(key, {})
    assert own_code.key(key, answers="probabilities") == f"{key}->probabilities"


WRONG = {
    "no file": ("nothing.py:MyNet", "There is no file .*nothing.py"),
    "no module": ("no.such.package:MyNet", "cannot be imported .*name the file"),
    "no name": ("net.py:YourNet", "defines no YourNet"),
    "no network": ("net.py:numbers", "makes a int, not a torch.nn.Module"),
    "no callable": ("net.py:torch", "cannot be called"),
    "wrong argument": ("net.py:MyNet(depth=3)", "could not be made .*--set"),
    "the standard library": ("os:system(command='exit 3')", "Python's own library"),
    "a program": ("program.py:MyNet", "cannot be run .*SystemExit"),
    "an argument without a name": ("net.py:MyNet(3)", "every argument needs a name"),
    "an argument that is code": ("net.py:MyNet(width=open('x'))", "cannot be read"),
    "unfinished": ("net.py:MyNet(width=)", "cannot be read"),
    "broken code": ("broken.py:MyNet", "cannot be run .*SyntaxError"),
}


@pytest.mark.parametrize(("key", "said"), WRONG.values(), ids=list(WRONG))
def test_code_that_makes_no_network_is_one_line(code: Path, key: str, said: str) -> None:
    code.with_name("broken.py").write_text("def\n")
    code.with_name("program.py").write_text("import sys\nsys.exit(2)\n")
    with pytest.raises(ZooError, match=said) as error:
        build(own_code.key(key, {}), (1, 8, 8), 10)
    assert "\n" not in str(error.value)


def test_an_argument_is_said_once(code: Path) -> None:
    with pytest.raises(ZooError, match="both say width"):
        own_code.key("net.py:MyNet(width=3)", {"width": 4})


def mine(**other: Any) -> dict[str, Any]:
    return {
        "name": "me/own", "dataset": "digits", "architecture": "net.py:MyNet", "mean": [0.0],
        "std": [1.0], **other,
    }  # fmt: skip


def stored(folder: Path, **arguments: Any) -> tuple[Path, nn.Module]:
    torch.manual_seed(0)
    net = build(own_code.key("net.py:MyNet", arguments), (1, 8, 8), 10)
    torch.save(net.state_dict(), folder / "own.pt")
    return folder / "own.pt", net


def test_it_is_added_and_loaded_wherever_one_is(
    home: Home, code: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, net = stored(tmp_path, width=7)
    added = add(home, path, **mine(arguments={"width": 7}))
    monkeypatch.chdir("/")
    entry = open_catalog(home).entry("me/own")
    assert entry == added
    assert re.fullmatch(rf"{code}:MyNet\(width=7\)@[0-9a-f]{{12}}", entry.architecture)
    x = torch.rand(3, 1, 8, 8)
    model = load_model(entry, fetch(entry, home).path)
    torch.testing.assert_close(model(x), net(x))
    # The code is wanted each time; without it everything else is still there.
    code.unlink()
    own_code._files.clear()
    with pytest.raises(ZooError, match="Put it there again"):
        load_model(entry, fetch(entry, home).path)
    remove(home, "me/own")
    assert "me/own" not in open_catalog(home).names()


def test_two_models_of_one_network_and_one_dataset_stand_alone(
    home: Home, code: Path, tmp_path: Path
) -> None:
    from zoo.own_data import Data

    path, _ = stored(tmp_path)
    data = Data(name="mine", input_shape=(1, 8, 8), num_classes=10, train_size=50, test_size=None,
                attributes=(), widths=())  # fmt: skip
    for name in ("me/second", "me/first", "me/third"):  # read in another order than added
        add(home, path, **mine(name=name, dataset="mine"), data=data)
    remove(home, "me/first")
    names = open_catalog(home).names()
    assert {"me/second", "me/third"} <= set(names)
    assert open_catalog(home).entry("me/third").dataset == "mine"


@pytest.mark.parametrize(
    ("end", "kind"), [("tuple", None), ("dict", None), ("softmax", "probabilities")]
)
def test_whatever_it_answers_becomes_logits(
    home: Home, code: Path, tmp_path: Path, end: str, kind: str | None, recwarn
) -> None:
    path, net = stored(tmp_path, end=end)
    entry = add(home, path, **mine(arguments={"end": end}))
    assert entry.architecture.endswith(f"->{kind}") == (kind is not None)
    assert (
        "is taken to answer with probabilities" in "".join(str(w.message) for w in recwarn)
    ) == (kind is not None)
    entry = open_catalog(home).entry("me/own")
    x = torch.rand(4, 1, 8, 8)
    found = load_model(entry, fetch(entry, home).path)(x)
    wanted = net.head(net.body(x))  # type: ignore[operator]
    torch.testing.assert_close(found.softmax(1), wanted.softmax(1))


def test_answers_that_do_not_fit_are_refused(home: Home, code: Path, tmp_path: Path) -> None:
    for arguments, said in (
        ({"classes": 7}, "gives 7 numbers for each input, and the dataset has 10 classes"),
        ({"classes": 1}, "gives 1 number for each input"),
        ({"end": "nan"}, "answers with NaN or infinity"),
    ):
        path, _ = stored(tmp_path, **arguments)
        with pytest.raises(ZooError, match=said):
            add(home, path, **mine(arguments=arguments))
    path, _ = stored(tmp_path)
    with pytest.raises(ZooError, match="No kind of answers 'softmax'"):
        add(home, path, **mine(answers="softmax"))
    with pytest.raises(ZooError, match="--answers one-logit: but the network gives 10"):
        add(home, path, **mine(answers="one-logit"))
    assert open_catalog(home).names() == sorted(set(open_catalog(home).names()) - {"me/own"})


def test_one_number_in_0_to_1_is_asked_about(home: Home, code: Path, tmp_path: Path) -> None:
    """A logit is in there by chance for half of the networks that are not trained."""
    from zoo.own_data import Data

    data = Data(name="two", input_shape=(1, 8, 8), num_classes=2, train_size=50, test_size=None,
                attributes=(), widths=())  # fmt: skip
    how = {"classes": 1, "end": "sigmoid"}
    path, net = stored(tmp_path, **how)
    with pytest.raises(ZooError, match="Say which: --answers one-logit or one-probability"):
        add(home, path, **mine(dataset="two", arguments=how), data=data)
    entry = add(home, path, **mine(dataset="two", arguments=how, answers="one-probability"),
                data=data)  # fmt: skip
    x = torch.rand(5, 1, 8, 8)
    shares = load_model(entry, fetch(entry, home).path)(x).softmax(1)
    torch.testing.assert_close(shares[:, 1], net.head(net.body(x)).sigmoid()[:, 0])  # type: ignore[operator]
    path, _ = stored(tmp_path, classes=2)
    with pytest.raises(ZooError, match="--answers probabilities: but the network gives -"):
        add(home, path, **mine(name="me/no", dataset="two", arguments={"classes": 2},
                               answers="probabilities"), data=data)  # fmt: skip


def test_code_that_was_changed_is_another_network(home: Home, code: Path, tmp_path: Path) -> None:
    """What was measured of the old one is not taken for the new one's."""
    path, _ = stored(tmp_path)
    entry = add(home, path, **mine())
    for file in (code, code.with_name("helper_of_mine.py")):
        text = file.read_text()
        file.write_text(text + "\n# changed\n")
        own_code._files.clear()
        with pytest.raises(ZooError, match="is not what it was when the model was added"):
            load_model(entry, fetch(entry, home).path)
        file.write_text(text)
        own_code._files.clear()
        load_model(entry, fetch(entry, home).path)


def test_files_beside_two_networks_may_be_called_alike(tmp_path: Path) -> None:
    for name, width in (("a", 3), ("b", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sizes.py").write_text(f"WIDTH = {width}\n")
        (tmp_path / name / "late.py").write_text(f"WIDTH = {width + 10}\n")
        (tmp_path / name / "net.py").write_text(
            "from torch import nn\nimport sizes\n"
            "def net():\n    import late\n    return nn.Linear(sizes.WIDTH, late.WIDTH)\n"
        )
    for name, width in (("a", 3), ("b", 5), ("a", 3)):
        made = build(f"{tmp_path / name / 'net.py'}:net", (3,), 2)
        assert (made.in_features, made.out_features) == (width, width + 10)


def test_it_answers_with_logits_wherever_it_is_built(code: Path) -> None:
    """Also as a thief's copy, which knows the architecture alone."""
    from copy import deepcopy

    key = own_code.key("net.py:MyNet", {"end": "softmax"}, "probabilities")
    net = build(key, (1, 8, 8), 10)
    x = torch.rand(3, 1, 8, 8)
    shares = net.head(net.body(x)).softmax(1)  # type: ignore[operator]
    for one in (net, deepcopy(net)):
        torch.testing.assert_close(one(x), shares.log())
        assert set(one.state_dict()) == set(net.state_dict())


def test_each_kind_gives_the_probabilities_that_it_means() -> None:
    torch.manual_seed(0)
    z = torch.randn(50, 1)
    p = z.sigmoid()
    for answer, kind in ((z, "one-logit"), (z[:, 0], "one-logit"), (p, "one-probability")):
        assert kind_of(answer, 2) == (None if kind == "one-probability" else kind)
        shares = as_logits(answer, kind).softmax(1)
        torch.testing.assert_close(shares, torch.cat([1 - p, p], 1))
    many = torch.randn(50, 5)
    assert kind_of(many, 5) == "logits"
    assert kind_of(many.softmax(1), 5) == "probabilities"
    torch.testing.assert_close(
        as_logits(many.softmax(1), "probabilities").softmax(1), many.softmax(1)
    )
    assert as_logits(many) is many
    assert set(KINDS) == {"logits", "probabilities", "one-logit", "one-probability"}
    # Not shares that do not sum to 1, nor logits that happen to be small.
    assert kind_of(torch.rand(50, 5), 5) == "logits"


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_probability_of_0_or_1_can_be_differentiated(p: float) -> None:
    one = torch.full((2, 1), p, requires_grad=True)
    found = as_logits(one, "one-probability")
    assert bool(found.isfinite().all())
    (slope,) = torch.autograd.grad(found.sum(), one)
    assert bool(slope.isfinite().all())


def test_numbers_of_another_unit_are_refused(home: Home, code: Path, tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    with pytest.raises(ZooError, match=r"127.5 is of 0 to 255. Divide them by 255 \(0.5,0.5\)"):
        add(home, path, **mine(mean=[127.5], std=[127.5]))
    with pytest.raises(ZooError, match="Give both --mean and --std"):
        add(home, path, **mine(std=None))
    with pytest.raises(ZooError, match="Nothing says how the images of digits are scaled"):
        add(home, path, **mine(mean=None, std=None))


def test_only_own_code_takes_arguments(
    home: Home, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    torch.save(dict(state), tmp_path / "own.pt")
    with pytest.raises(ZooError, match="mlp-128 is none. Leave it out"):
        add(home, tmp_path / "own.pt", **mine(architecture="mlp-128", arguments={"width": 3}))
