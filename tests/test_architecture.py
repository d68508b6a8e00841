"""The shape of the house: who imports whom, who may touch what, and that every file has a test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).name
ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cnncc"
FILES = sorted(PACKAGE.rglob("*.py"))

# What each room may import, besides itself. Modules of the package's top stand for themselves.
BELOW = {
    "errors": set(),
    "options": {"errors"},
    "abi": {"ir.types"},
    "private_folder": set(),
    "network_store": {"runtime", "private_folder", "abi", "errors"},
    "ir": {"errors"},
    "ops": {"ir", "errors"},
    "passes": {"ops", "ir", "errors"},
    "pipeline": {"passes", "ir", "options", "errors"},
    "spec": {"ops", "ir", "errors"},
    "onnx": {"ops", "ir", "errors"},
    "loopir": {"ir.types", "errors"},
    "targets": {"ir.types", "errors"},
    "kernels": {"ops", "loopir", "targets", "ir", "errors"},
    "plan": {"kernels", "ops", "loopir", "targets", "ir", "abi", "options", "errors"},
    "llvm": {"loopir", "targets", "ir.types", "abi", "private_folder", "errors"},
    "runtime": {"abi", "errors", "ir.types"},
    "export": {"llvm", "runtime", "plan", "targets", "abi", "loopir", "ir.types", "errors"},
}
# What the rooms within `kernels` may import of each other; all see the files beside them, which see
# `scalars` only.
KERNEL_ROOMS = {
    "": {"scalars"},
    "scalars": set(),
    "moves": {"scalars"},
    "rows": {"scalars", "moves"},
    "maps": {"scalars"},
    "convolution": {"scalars", "moves"},
    "winograd": {"scalars", "convolution"},
    "strassen": {"scalars", "convolution"},
    "zones": {"scalars", "convolution", "winograd"},
}
# These stand above the rooms and see all of them.
ABOVE = {
    "__init__",
    "__main__",
    "compiling",
    "driver",
    "verification",
    "stages",
    "tuning",
    "cli",
    "bench",
}
# So do these, which lie in a room because that is where the world looks for them.
ABOVE_FILES = {"onnx/backend.py"}
ROOMS = sorted(
    p.parent.relative_to(PACKAGE).as_posix()
    for p in (*PACKAGE.glob("*/__init__.py"), *PACKAGE.glob("kernels/*/__init__.py"))
)
# Libraries with one place each.
OWNERS = {
    "networkx": ("ir/graph.py",),
    "llvmlite": ("llvm/",),
    "ctypes": ("llvm/", "runtime/", "bench/", "verification.py", "tuning.py"),
    "safetensors": ("spec/weight_files.py",),
    "click": ("cli/",),
    "rich": ("cli/",),
    "PIL": ("cli/",),
    "onnxruntime": ("bench/", "cli/", "onnx/peer.py"),
    "onnx": ("onnx/", "bench/"),
    "pickle": (),
    "subprocess": ("export/", "bench/", "cli/", "llvm/processes.py"),
}
CPU_MODELS = re.compile(r"\b(skylake|haswell|nehalem|cortex|zen\d|znver\d)\b", re.IGNORECASE)
CPU_FEATURES = re.compile(r"\b(avx512\w*|avx2?|sse\d(\.\d)?|neon)\b", re.IGNORECASE)
# The command line's help gives examples.
MODEL_FILES = ("targets/", "cli/options.py")
# LLVM's intrinsics and its and the kernel's names of features are the business of these.
FEATURE_FILES = ("targets/", "llvm/", "runtime/cpu.py")
PRINTS = ("print", "sys.stdout.write", "sys.stderr.write")
MOST_LINES = 700
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
MACHINE = re.compile(r"/(work|root|home)/\w|/tmp/(?!\w*\{)\w")
# Files whose test is not their mirror: what they make is seen whole in the test named here.
TESTED_BY = {
    "bench/peers/engines/job.py": "bench/peers/test_contestant.py",
    "bench/peers/engines/run_cnncc.py": "bench/peers/test_engines.py",
    "bench/peers/engines/run_litert.py": "bench/peers/test_contestant.py",
    "bench/peers/engines/run_mnn.py": "bench/peers/test_engines.py",
    "bench/peers/engines/run_ncnn.py": "bench/peers/test_engines.py",
    "bench/peers/engines/run_onnxruntime.py": "bench/peers/test_engines.py",
    "bench/peers/engines/run_openvino.py": "bench/peers/test_engines.py",
    "bench/peers/engines/run_torch.py": "bench/peers/test_contestant.py",
    "bench/peers/engines/worker.py": "bench/peers/test_contestant.py",
    "cli/cache.py": "cli/test_lists.py",
    "cli/import_.py": "cli/test_import.py",
    "cli/model.py": "cli/test_compile.py",
    "cli/ops.py": "cli/test_lists.py",
    "cli/options.py": "cli/test_app.py",
    "cli/targets.py": "cli/test_lists.py",
    "export/example.py": "export/test_write.py",
    "export/header.py": "export/test_write.py",
    "export/shared.py": "export/test_write.py",
    "kernels/moves/copy_loops.py": "kernels/moves/test_relayout.py",
    "kernels/moves/copy_nest.py": "kernels/moves/test_relayout.py",
    "kernels/scalars/elementary.py": "kernels/scalars/test_scalar_math.py",
    "kernels/scalars/elementary_wide.py": "kernels/scalars/test_scalar_math.py",
    "kernels/convolution/conv_nest.py": "kernels/convolution/test_conv_direct.py",
    "kernels/convolution/conv_ring.py": "kernels/convolution/test_conv_block.py",
    "kernels/pool_behind.py": "kernels/convolution/test_conv_pool.py",
    "kernels/maps/global_pool.py": "kernels/maps/test_pool.py",
    "kernels/winograd/phase_nest.py": "kernels/winograd/test_conv_phases.py",
    "kernels/winograd/phase_ring.py": "kernels/winograd/test_conv_phases.py",
    "kernels/maps/row_nest.py": "kernels/maps/test_pointwise.py",
    "kernels/rows/row_matmul_loops.py": "kernels/rows/test_row_matmul.py",
    "kernels/rows/row_matmul_tile.py": "kernels/rows/test_row_matmul.py",
    "kernels/rows/row_steps.py": "kernels/rows/test_row_pointwise.py",
    "kernels/rows/row_transpose_loops.py": "kernels/rows/test_row_transpose.py",
    "kernels/scalars/scalar_operations.py": "kernels/scalars/test_scalar_arithmetic.py",
    "kernels/winograd/winograd_inputs.py": "kernels/winograd/test_conv_winograd.py",
    "kernels/winograd/winograd_nest.py": "kernels/winograd/test_conv_winograd.py",
    "kernels/winograd/winograd_outputs.py": "kernels/winograd/test_conv_winograd.py",
    "kernels/winograd/winograd_products.py": "kernels/winograd/test_conv_winograd.py",
    "kernels/winograd/winograd_tiles.py": "kernels/winograd/test_conv_winograd.py",
    "kernels/winograd/transformed_rows.py": "kernels/winograd/test_conv_row_pairs.py",
    "llvm/c_api.py": "llvm/test_aot.py",
    "plan/pick_channels.py": "plan/test_choose_layout.py",
    "plan/place_views.py": "plan/test_choose_layout.py",
    "llvm/pool.py": "runtime/test_threads.py",
    "llvm/pool_code.py": "runtime/test_threads.py",
    "llvm/types.py": "llvm/test_emit.py",
    "llvm/writer.py": "llvm/test_emit.py",
    "onnx/call.py": "onnx/test_convert.py",
    "onnx/limits.py": "onnx/test_read.py",
    "onnx/model.py": "onnx/test_read.py",
    "onnx/nodes.py": "onnx/test_read.py",
    "onnx/rules/windows.py": "onnx/rules/test_convolution.py",
    "onnx/refusals.py": "onnx/test_convert.py",
    "onnx/table.py": "onnx/test_convert.py",
    "ops/copying.py": "ops/test_contracts.py",
    "spec/arguments.py": "spec/test_errors.py",
    "spec/ast.py": "spec/test_format.py",
    "spec/block_calls.py": "spec/test_semantics.py",
    "spec/build.py": "spec/test_semantics.py",
    "spec/builtins.py": "spec/test_reference.py",
    "spec/catalogue.py": "spec/test_errors.py",
    "spec/diagnostics.py": "spec/test_errors.py",
    "spec/evaluate.py": "spec/test_semantics.py",
    "spec/expressions.py": "spec/test_semantics.py",
    "spec/chains.py": "spec/test_recover.py",
    "spec/functions.py": "spec/test_semantics.py",
    "spec/general_calls.py": "spec/test_general.py",
    "spec/header.py": "spec/test_recover.py",
    "spec/items.py": "spec/test_recover.py",
    "spec/loops.py": "spec/test_recover.py",
    "spec/naming.py": "spec/test_recover.py",
    "spec/operands.py": "spec/test_write.py",
    "spec/operations.py": "spec/test_write.py",
    "spec/repeats.py": "spec/test_recover.py",
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
    "passes/specialise_resample.py": "passes/test_specialise.py",
    "passes/views.py": "passes/test_channels_first.py",
}


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> list[tuple[str, str]]:
    """Modules that a file imports, each with its place; those for type checking do not count."""
    typing_only = {
        id(inner)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree_of(path)):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [(place(path, node), alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.module == "cnncc":
                names = [f"cnncc.{alias.name}" for alias in node.names]
            found += [(place(path, node), name) for name in names]
    return found


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


# -- rules: each gives what is wrong with a file, and what to do ---------------------------------


def rooms_import_downwards_only(path: Path) -> Iterator[str]:
    room = room_of(path)
    if room in ABOVE or path.relative_to(PACKAGE).as_posix() in ABOVE_FILES:
        return
    if room not in BELOW:
        yield f"{path.relative_to(ROOT)}: say in BELOW of {HERE} what `{room}` may import"
        return
    for where, module in imports(path):
        inner = module.removeprefix("cnncc.")
        if not module.startswith("cnncc.") or inner == "__version__":
            continue
        allowed = inner.split(".")[0] == room or any(
            inner == name or inner.startswith(f"{name}.") for name in BELOW[room]
        )
        if not allowed:
            yield (
                f"{where} imports {module}, but `{room}` may see only"
                f" {', '.join(sorted(BELOW[room])) or 'nothing'}: move what it needs down, or hand"
                " it over as an argument"
            )


def kernel_rooms_import_in_one_direction(path: Path) -> Iterator[str]:
    inside = path.relative_to(PACKAGE).parts
    if inside[0] != "kernels" or inside == ("kernels", "__init__.py"):
        return
    room = inside[1] if len(inside) > 2 else ""
    if room not in KERNEL_ROOMS:
        yield f"{path.relative_to(ROOT)}: say in KERNEL_ROOMS of {HERE} what `{room}` may import"
        return
    for where, module in imports(path):
        parts = module.removeprefix("cnncc.kernels.").split(".")
        other = parts[0] if len(parts) > 1 else ""
        if not module.startswith("cnncc.kernels.") or other in ("", room):
            continue
        if other not in KERNEL_ROOMS[room]:
            yield (
                f"{where} imports {module}, but `kernels/{room}` may see only"
                f" {', '.join(sorted(KERNEL_ROOMS[room])) or 'what lies beside the rooms'}"
            )


def libraries_have_one_place(path: Path) -> Iterator[str]:
    inside = path.relative_to(PACKAGE).as_posix()
    for where, module in imports(path):
        owners = OWNERS.get(module.split(".")[0])
        if owners is not None and not (owners and inside.startswith(owners)):
            homes = " or ".join(owners) or "nowhere"
            yield f"{where} imports {module}, whose place is {homes}: call what is there instead"


def cpus_are_named_by_targets_only(path: Path) -> Iterator[str]:
    """In code; comments may say why."""
    inside = path.relative_to(PACKAGE).as_posix()
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body
        if isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree_of(path)):
        word = ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            word = node.value
        elif isinstance(node, ast.Name):
            word = node.id.replace("_", " ")
        model = None if inside.startswith(MODEL_FILES) else CPU_MODELS.search(word)
        feature = None if inside.startswith(FEATURE_FILES) else CPU_FEATURES.search(word)
        found = model or feature
        if found:
            yield (
                f"{place(path, node)} names `{found[0]}`: make what differs a field of `Target`"
                " and ask for that"
            )


def only_the_command_line_prints(path: Path) -> Iterator[str]:
    if room_of(path) in ("cli", "bench"):
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in PRINTS:
            yield f"{place(path, node)} prints: use `logging`"


def nothing_is_evaluated_or_swallowed(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("eval", "exec"):
            yield f"{place(path, node)} runs text as code"
        if isinstance(node, ast.ExceptHandler) and room_of(path) != "cli":
            caught = ast.unparse(node.type) if node.type else ""
            if caught in ("", "Exception", "BaseException") and not _hands_on(node):
                yield f"{place(path, node)} catches everything: name the exceptions that can come"


def _hands_on(handler: ast.ExceptHandler) -> bool:
    """Whether what was caught is raised, or kept to be raised where it can be."""
    names = [n.id for n in ast.walk(handler) if isinstance(n, ast.Name)]
    return handler.name in names or any(isinstance(n, ast.Raise) for n in ast.walk(handler))


def every_file_has_a_test(path: Path) -> Iterator[str]:
    if path.name in ("__init__.py", "__main__.py"):
        return
    inside = path.relative_to(PACKAGE)
    mirror = inside.parent / f"test_{path.name}"
    named = TESTED_BY.get(inside.as_posix())
    if named is None and not (ROOT / "tests" / mirror).exists():
        yield (
            f"{path.relative_to(ROOT)} has no tests/{mirror}: write it, or name in TESTED_BY of"
            f" {HERE} the test that sees all of it"
        )
    if named is not None and not (ROOT / "tests" / named).exists():
        yield f"tests/{named}, named for {inside} in TESTED_BY of {HERE}, is gone"
    if named is not None and (ROOT / "tests" / mirror).exists():
        yield f"{inside} has a mirror now: drop it from TESTED_BY of {HERE}"


def no_file_holds_two_ideas(path: Path) -> Iterator[str]:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    if lines > MOST_LINES:
        yield f"{path.relative_to(ROOT)} has {lines} lines: which two ideas share it?"


RULES = (
    rooms_import_downwards_only,
    kernel_rooms_import_in_one_direction,
    libraries_have_one_place,
    cpus_are_named_by_targets_only,
    only_the_command_line_prints,
    nothing_is_evaluated_or_swallowed,
    every_file_has_a_test,
    no_file_holds_two_ideas,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_rule(rule):
    found = [message for path in FILES for message in rule(path)]
    assert not found, "\n" + "\n".join(found)


BREACHES = {
    rooms_import_downwards_only: (
        "ir/a.py",
        "from cnncc.kernels.layout import Layout",
        "ir/a.py:1",
    ),
    kernel_rooms_import_in_one_direction: (
        "kernels/convolution/a.py",
        "from cnncc.kernels.winograd.cook_toom import CookToom",
        "`kernels/convolution` may see only moves, scalars",
    ),
    libraries_have_one_place: ("plan/a.py", "x = 1\nimport networkx as nx", "plan/a.py:2"),
    cpus_are_named_by_targets_only: ("plan/a.py", "if cpu == 'skylake':\n    pass", "`skylake`"),
    only_the_command_line_prints: ("plan/a.py", "print(1)", "use `logging`"),
    nothing_is_evaluated_or_swallowed: (
        "plan/a.py",
        "try:\n    pass\nexcept Exception:\n    pass",
        "plan/a.py:3 catches everything",
    ),
    every_file_has_a_test: ("plan/a.py", "", "no tests/plan/test_a.py"),
    no_file_holds_two_ideas: ("plan/a.py", "x = 1\n" * 800, "800 lines"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_each_rule_sees_a_breach(monkeypatch, tmp_path, rule):
    inside, text, word = BREACHES[rule]
    path = tmp_path / "cnncc" / inside
    path.parent.mkdir(parents=True)
    path.write_text(text)
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path / "cnncc")
    (message,) = rule(path)
    assert word in message


def test_no_file_is_named_that_is_gone():
    assert set(TESTED_BY) <= {p.relative_to(PACKAGE).as_posix() for p in FILES}


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_card(room):
    card = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())) or ""
    for word in ("Takes:", "Gives:", "May import:", "Invariants:"):
        assert word in card, f"cnncc/{room}/__init__.py: the card does not say `{word}`"
    assert re.search(r"\bopen\b|\badd\b|\bwrite\b|\bto add\b", card, re.I), (
        f"cnncc/{room}/__init__.py: the card does not say which file to open for which change"
    )


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
