import xml.etree.ElementTree as ElementTree

from cnncc.cli import drawing
from tests.cli.conftest import DIGITS, ROOT, TINY

NAME = "{http://www.w3.org/2000/svg}"


def drawn(run, *words, stdin=None):
    return ElementTree.fromstring(run("inspect", "--svg", *words, stdin=stdin).stdout)


def test_a_chain(run):
    root = drawn(run, DIGITS)
    texts = [t.text for t in root.iter(f"{NAME}text")]
    assert texts[0] == "digits: 21 nodes became 7 loop nests"
    assert texts[3:6] == ["normalize", "28x28x1", "digit.normalize: relayout, runs"]
    assert [t for t in texts if t in ("conv", "relu", "maxpool")] == [
        *("conv", "relu", "maxpool", "conv", "relu", "maxpool", "relu")
    ]
    kinds = [r.get("class") for r in root.iter(f"{NAME}rect")]
    assert (kinds.count("box"), kinds.count("used")) == (7, 6)
    assert len(list(root.iter(f"{NAME}path"))) == 6


def test_everything_lies_inside(run):
    root = drawn(run, ROOT / "examples" / "resnet18.cnn", "--target", "x86-64-v3")
    width, height = float(root.get("width")), float(root.get("height"))
    arena = drawing.LEFT + drawing.BOX + drawing.GAP
    for rect in root.iter(f"{NAME}rect"):
        x, y, w, h = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
        assert 0 <= x < x + w <= width
        assert 0 <= y < y + h <= height
        if rect.get("class") == "used":
            assert arena <= x < x + w <= arena + drawing.ARENA + 2
    arcs = [p for p in root.iter(f"{NAME}path") if "C" in p.get("d")]
    # Five identities; three shortcuts, which run just before the sum, cross two arcs each.
    assert len(arcs) == 11


def test_a_residual_is_an_arc(run):
    body = "a = conv(1x1, filters=2)\nconv(3x3, filters=2, pad=1)\nc = conv(3x3, filters=2, pad=1)"
    text = TINY.replace("conv(3x3, filters=4) -> relu", f"{body}\nadd(c, a)")
    root = drawn(run, "-", stdin=text)
    assert len([p for p in root.iter(f"{NAME}path") if "C" in p.get("d")]) == 1


def test_the_picture_of_the_readme_shows_the_present_plan(run, update_golden):
    path = ROOT / "docs" / "pictures" / "fused.svg"
    made = run("inspect", "--svg", "--target", "x86-64-v4", DIGITS).stdout
    if update_golden:
        path.write_text(made)
    assert path.read_text() == made, "another plan: look at it, then run with --update-golden"
