"""The documentation tells the truth: generated parts are up to date, links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import onnx
import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "examples").rglob("*.md")])
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
_FILE = re.compile(r"`((?:cnncc|tests|docs|examples)/[\w./-]+\.(?:py|cnn|md|npz|safetensors))`")
_BLOCK = re.compile(r"^```(?:console|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _made(name="make_architecture"):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_architecture_page_shows_what_the_compiler_makes() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    made = _made().filled(page)
    old, new = page.splitlines(), made.splitlines()
    first = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
    assert page == made, (
        f"line {first}: `{old[first or 0]}` is now `{new[first or 0]}`;"
        " run `python docs/make_architecture.py` and read the diff"
    )


def test_the_page_of_operators_shows_the_tables() -> None:
    page = (DOCS / "operators.md").read_text(encoding="utf-8")
    version = re.search(r"with `onnx` ([\w.]+);", page)
    assert version is not None
    if version[1] != onnx.__version__:
        pytest.skip(f"the page is made with onnx {version[1]}, installed is {onnx.__version__}")
    assert page == _made("make_operators").page(), "run `make docs` and read the diff"


def test_every_room_shows_its_card() -> None:
    made = _made()
    package = ROOT / "cnncc"
    cards = (*package.glob("*/__init__.py"), *package.glob("kernels/*/__init__.py"))
    rooms = {p.parent.relative_to(package).as_posix() for p in cards}
    assert set(made.ROOMS) == rooms


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_file_names_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lost = [m[1] for m in _LINK.finditer(text) if not (page.parent / m[1]).exists()]
    named = [m[1] for m in _FILE.finditer(text) if "/a/" not in m[1]]  # a/b stands for any
    lost += [name for name in named if not (ROOT / name).exists()]
    assert not lost, f"{page.name} names files that are not there: {lost}"


def test_the_index_lists_every_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    listed = {(DOCS / m[1]).resolve() for m in _LINK.finditer(index)}
    pages = {p.resolve() for p in DOCS.rglob("*.md")} - {(DOCS / "README.md").resolve()}
    assert not pages - listed, f"docs/README.md does not list {sorted(pages - listed)}"


def _commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
            lines = [line.removeprefix("$ ") for line in block.splitlines()]
            lines = [line for line in lines if line.startswith(("cnncc ", "make "))]
            found += [(str(page.relative_to(ROOT)), line) for line in lines]
    return found


@pytest.mark.parametrize(("page", "line"), _commands())
def test_verbs_options_and_targets_of_commands_exist(page: str, line: str) -> None:
    """Cheap for every command of every page; those of architecture.md are run below."""
    words = shlex.split(line, comments=True)
    words = [w for w in words if not re.fullmatch(r"[A-Z_]+=\S*", w)]
    if words[:1] == ["make"]:
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for goal in (w for w in words[1:] if "=" not in w):
            assert re.search(rf"^{re.escape(goal)}:", makefile, re.MULTILINE), f"no goal `{goal}`"
    if words[:1] == ["cnncc"] and len(words) > 1 and not words[1].startswith("-"):
        from cnncc.cli.app import app

        verb = app.get_command(None, words[1])  # type: ignore[arg-type]
        assert verb is not None, f"there is no verb `{words[1]}`"
        known = {option for param in verb.params for option in param.opts}
        given = [w.split("=")[0] for w in words[2:] if w.startswith("--")]
        assert not set(given) - known - {"--help"}, f"{page}: {line}"


@pytest.mark.native
def test_the_commands_of_the_architecture_page_run(tmp_path, monkeypatch) -> None:
    from click.testing import CliRunner

    from cnncc.cli.app import app

    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for page, line in _commands():
        if page != "docs/architecture.md":
            continue
        words = shlex.split(line)
        assert words[0] == "cnncc"
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{line}: {result.output}"
