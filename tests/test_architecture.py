"""The shape of the house: who imports whom, who may touch what, and that every file has a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cnncc"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(p.relative_to(PACKAGE)) for p in FILES]

# What each room may import, besides itself. Modules of the package's top stand for themselves.
BELOW = {
    "errors": set(),
    "abi": {"ir.types"},
    "ir": {"errors"},
    "ops": {"ir", "errors"},
    "passes": {"ops", "ir", "errors"},
    "pipeline": {"passes", "ir", "errors"},
    "spec": {"ops", "ir", "errors"},
    "loopir": {"ir.types", "errors"},
    "targets": {"ir.types", "errors"},
    "kernels": {"ops", "loopir", "targets", "ir", "errors"},
    "plan": {"kernels", "ops", "loopir", "targets", "ir", "abi", "errors"},
    "llvm": {"loopir", "targets", "ir.types", "abi", "errors"},
    "runtime": {"abi", "errors", "ir.types"},
    "export": {"llvm", "runtime", "plan", "targets", "abi", "loopir", "ir.types", "errors"},
}
# These stand above the rooms and see all of them.
ABOVE = {"__init__", "__main__", "driver", "verification", "stages", "cli", "bench"}
ROOMS = sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py"))
# Libraries with one place each.
OWNERS = {
    "networkx": ("ir/graph.py",),
    "llvmlite": ("llvm/",),
    "ctypes": ("llvm/", "runtime/", "bench/", "verification.py"),
    "safetensors": ("spec/weight_files.py",),
    "click": ("cli/",),
    "rich": ("cli/",),
    "PIL": ("cli/",),
    "onnxruntime": ("bench/", "cli/"),
    "pickle": (),
    "subprocess": ("export/", "bench/", "cli/"),
}
CPU_MODELS = re.compile(r"\b(skylake|haswell|nehalem|cortex|zen\d|znver\d)\b", re.IGNORECASE)
CPU_FEATURES = re.compile(r"\b(avx512\w*|avx2?|sse\d(\.\d)?|neon)\b", re.IGNORECASE)
# The command line's help gives examples.
MODEL_FILES = ("targets/", "cli/options.py")
# LLVM's intrinsics and its and the kernel's names of features are the business of these.
FEATURE_FILES = ("targets/", "llvm/", "runtime/cpu.py")
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
MACHINE = re.compile(r"/(work|root|home)/\w|/tmp/(?!\w*\{)\w")
EVERY_MODULE = pytest.mark.parametrize("path", FILES, ids=NAMES)
# Files whose test is not their mirror: what they make is seen whole in the test named here.
TESTED_BY = {
    "cli/cache.py": "cli/test_lists.py",
    "cli/model.py": "cli/test_compile.py",
    "cli/ops.py": "cli/test_lists.py",
    "cli/options.py": "cli/test_app.py",
    "cli/targets.py": "cli/test_lists.py",
    "export/example.py": "export/test_write.py",
    "export/header.py": "export/test_write.py",
    "export/shared.py": "export/test_write.py",
    "kernels/copy_loops.py": "kernels/test_relayout.py",
    "kernels/copy_nest.py": "kernels/test_relayout.py",
    "kernels/global_pool.py": "kernels/test_pool.py",
    "kernels/row_nest.py": "kernels/test_pointwise.py",
    "llvm/c_api.py": "llvm/test_aot.py",
    "llvm/pool.py": "runtime/test_threads.py",
    "llvm/pool_code.py": "runtime/test_threads.py",
    "llvm/types.py": "llvm/test_emit.py",
    "llvm/writer.py": "llvm/test_emit.py",
    "spec/arguments.py": "spec/test_errors.py",
    "spec/ast.py": "spec/test_format.py",
    "spec/block_calls.py": "spec/test_semantics.py",
    "spec/build.py": "spec/test_semantics.py",
    "spec/builtins.py": "spec/test_reference.py",
    "spec/catalogue.py": "spec/test_errors.py",
    "spec/diagnostics.py": "spec/test_errors.py",
    "spec/evaluate.py": "spec/test_semantics.py",
    "spec/expressions.py": "spec/test_semantics.py",
    "spec/functions.py": "spec/test_semantics.py",
    "spec/idle.py": "spec/test_errors.py",
    "spec/joins.py": "spec/test_semantics.py",
    "spec/layers.py": "spec/test_semantics.py",
    "spec/lexer.py": "spec/test_grammar.py",
    "spec/modules.py": "spec/test_errors.py",
    "spec/parser.py": "spec/test_grammar.py",
    "spec/project.py": "spec/test_hostile.py",
    "spec/scopes.py": "spec/test_semantics.py",
    "spec/spacing.py": "spec/test_format.py",
    "spec/suggest.py": "spec/test_errors.py",
    "spec/values.py": "spec/test_semantics.py",
    "spec/weight_files.py": "spec/test_weights.py",
}


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def imports(path: Path) -> list[tuple[int, str]]:
    """Modules that a file imports, with their lines; those for type checking alone do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module == "cnncc":
                found += [(node.lineno, f"cnncc.{alias.name}") for alias in node.names]
            else:
                found.append((node.lineno, module))
    return found


@EVERY_MODULE
def test_rooms_import_downwards_only(path):
    room = room_of(path)
    if room in ABOVE:
        return
    assert room in BELOW, (
        f"cnncc/{room} is in no list: say in BELOW of {Path(__file__).name} what it may import"
    )
    for line, module in imports(path):
        if not module.startswith("cnncc."):
            continue
        inner = module.removeprefix("cnncc.")
        if inner == "__version__":
            continue
        other = inner.split(".")[0]
        allowed = other == room or any(
            inner == name or inner.startswith(f"{name}.") for name in BELOW[room]
        )
        assert allowed, (
            f"{path.relative_to(ROOT)}:{line} imports {module}, but `{room}` may see only"
            f" {', '.join(sorted(BELOW[room])) or 'nothing'}: move what it needs down, or hand it"
            " over as an argument"
        )


@EVERY_MODULE
def test_nothing_below_imports_what_stands_above(path):
    if room_of(path) in ABOVE:
        return
    for line, module in imports(path):
        name = module.removeprefix("cnncc.").split(".")[0]
        assert not (module.startswith("cnncc.") and name in ABOVE), (
            f"{path.relative_to(ROOT)}:{line} imports {module}, which stands above every room"
        )


@EVERY_MODULE
def test_libraries_have_one_place(path):
    inside = str(path.relative_to(PACKAGE))
    for line, module in imports(path):
        owners = OWNERS.get(module.split(".")[0])
        assert owners is None or inside.startswith(owners or ("-",)), (
            f"{path.relative_to(ROOT)}:{line} imports {module}, whose place is"
            f" {' or '.join(owners or ()) or 'nowhere'}: call what is there instead"
        )


@EVERY_MODULE
def test_cpus_are_named_by_targets_only(path):
    """In code; comments may say why."""
    inside = path.relative_to(PACKAGE).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body
        if isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        word = ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            word = node.value
        elif isinstance(node, ast.Name):
            word = node.id.replace("_", " ")
        model = None if inside.startswith(MODEL_FILES) else CPU_MODELS.search(word)
        feature = None if inside.startswith(FEATURE_FILES) else CPU_FEATURES.search(word)
        found = model or feature
        assert not found, (
            f"{path.relative_to(ROOT)}:{node.lineno} names `{found[0]}`: make what differs a field"
            " of `Target` and ask for that"
        )


@EVERY_MODULE
def test_only_the_command_line_prints(path):
    if room_of(path) in ("cli", "bench"):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        printed = isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "print",
            "sys.stdout.write",
            "sys.stderr.write",
        )
        assert not printed, f"{path.relative_to(ROOT)}:{node.lineno} prints: use `logging`"


@EVERY_MODULE
def test_nothing_is_evaluated_or_swallowed(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"{where} runs text as code"
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else ""
            raised = any(isinstance(n, ast.Raise) for n in ast.walk(node))
            broad = caught in ("", "Exception", "BaseException")
            assert not broad or raised or _hands_on(node) or room_of(path) == "cli", (
                f"{where} catches everything: name the exceptions that can come"
            )


def _hands_on(handler: ast.ExceptHandler) -> bool:
    """Whether the caught exception is kept, to be raised where it can be."""
    names = [n.id for n in ast.walk(handler) if isinstance(n, ast.Name)]
    return handler.name is not None and names.count(handler.name) >= 1


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_card(room):
    card = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())) or ""
    for word in ("Takes:", "Gives:", "May import:", "Invariants:"):
        assert word in card, f"cnncc/{room}/__init__.py: the card does not say `{word}`"
    assert re.search(r"\bopen\b|\badd\b|\bwrite\b|\bto add\b", card, re.I), (
        f"cnncc/{room}/__init__.py: the card does not say which file to open for which change"
    )


@EVERY_MODULE
def test_every_file_has_a_test(path):
    if path.name in ("__init__.py", "__main__.py"):
        return
    inside = path.relative_to(PACKAGE)
    mirror = inside.parent / f"test_{path.name}"
    named = TESTED_BY.get(inside.as_posix())
    if named is None:
        assert (ROOT / "tests" / mirror).exists(), (
            f"{path.relative_to(ROOT)} has no tests/{mirror}: write it, or name in TESTED_BY of"
            f" {Path(__file__).name} the test that sees all of it"
        )
        return
    assert (ROOT / "tests" / named).exists(), f"tests/{named}, named for {inside}, is gone"
    assert not (ROOT / "tests" / mirror).exists(), f"{inside} has a mirror: drop it from TESTED_BY"


def test_no_file_is_named_that_is_gone():
    assert set(TESTED_BY) <= {Path(n).as_posix() for n in NAMES}


def test_every_folder_of_tests_is_a_package():
    for folder in {p.parent for p in (ROOT / "tests").rglob("test_*.py")}:
        assert (folder / "__init__.py").exists(), (
            f"{folder.relative_to(ROOT)}/__init__.py is missing"
        )


def sources() -> list[Path]:
    kinds = (
        "cnncc/**/*.py",
        "tests/**/*.py",
        "examples/**/*.py",
        "examples/**/*.cnn",
        "docs/**/*.md",
    )
    return sorted(p for kind in kinds for p in ROOT.glob(kind))


def test_nothing_is_left_for_later():
    for path in sources():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found = UNFINISHED.search(line)
            assert not found, f"{path.relative_to(ROOT)}:{number} says `{found[0]}`"


def test_no_path_of_one_machine():
    for path in sources():
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found = MACHINE.search(line)
            assert not found, f"{path.relative_to(ROOT)}:{number} has a path of one machine: {line}"


def test_lengths():
    """A file that outgrows this holds two ideas."""
    for path in FILES:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 700, (
            f"{path.relative_to(ROOT)} has {lines} lines: which two ideas are in it?"
        )
