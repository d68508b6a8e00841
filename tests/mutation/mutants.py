"""How good are the tests? Bugs are put into a copy of the compiler, and must be caught.

    python -m tests.mutation.mutants [--only WORD] [--jobs 2]

A mutant replaces one line's worth of text, which must occur exactly once, and names the tests whose
business it is. It counts as caught when they fail, and as a survivor when they pass.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
SECONDS = 300


@dataclass(frozen=True)
class Mutant:
    """A bug.

    Attributes:
        file: below `cnncc/`.
        old: text that occurs there exactly once.
        new: what it becomes.
        tests: files or folders below `tests/` that must notice.
        why: the bug in words.
    """

    file: str
    old: str
    new: str
    tests: str
    why: str


def _kernel(name: str, old: str, new: str, why: str, tests: str = "") -> Mutant:
    test = PurePosixPath(tests or name)
    return Mutant(
        f"kernels/{name}.py", old, new, f"kernels/{test.with_name(f'test_{test.name}.py')}", why
    )


def _plan(name: str, old: str, new: str, why: str) -> Mutant:
    return Mutant(f"plan/{name}.py", old, new, "plan", why)


def _pass(name: str, old: str, new: str, why: str) -> Mutant:
    return Mutant(f"passes/{name}.py", old, new, "passes", why)


MUTANTS = (
    # -- kernels
    _kernel(
        "convolution/reduction",
        "taps.rows, taps.row_step * taps.row_pitch)",
        "taps.rows, taps.row_pitch)",
        "the dilation of rows is forgotten",
        "convolution/conv_direct",
    ),
    _kernel(
        "convolution/reduction",
        "taps.columns, taps.column_step * taps.block)",
        "taps.columns, taps.block)",
        "the dilation of columns is forgotten",
        "convolution/conv_direct",
    ),
    _kernel(
        "convolution/conv_tile",
        "+ column * self.pixel_column_step * self.block",
        "+ column * self.block",
        "the stride of columns is forgotten inside a tile",
        "convolution/conv_direct",
    ),
    _kernel(
        "convolution/reduction",
        "turns = 1 if taps.group else taps.walk.turns(b, first)",
        "turns = 1",
        "the last channels of a block are dropped",
        "convolution/conv_direct",
    ),
    _kernel(
        "convolution/conv_nest",
        "b.isub(b.imul(y, g.attrs.strides[0]), g.attrs.pads[0]),",
        "b.isub(b.imul(y, g.attrs.strides[0]), g.attrs.pads[2]),",
        "padding below instead of above",
        "convolution/conv_direct",
    ),
    _kernel(
        "convolution/conv_nest",
        "b.isub(b.imul(x, g.attrs.strides[1]), g.attrs.pads[1]),",
        "b.isub(b.imul(x, g.attrs.strides[0]), g.attrs.pads[1]),",
        "strides are swapped",
        "convolution/conv_direct",
    ),
    _kernel(
        "convolution/tile_loops",
        'return size, (b.compare("eq", number, full), last)',
        'return size, (b.compare("eq", number, full), max(1, last - 1))',
        "a pixel of the last, smaller tile is skipped",
        "convolution/conv_direct",
    ),
    _kernel(
        "convolution/conv_nest",
        "return b.imul(b.idiv(panel, self.group_panels), self.in_blocks)",
        "return 0",
        "every group reads the first one's channels",
        "convolution/conv_direct",
    ),
    _kernel(
        "convolution/conv_nest",
        "self.mask = LaneMask(site, needed=True)",
        "self.mask = LaneMask(site, needed=not self.epilogue.keeps_zero)",
        "NaN in padding lanes",
        "convolution/conv_direct",
    ),
    _kernel(
        "convolution/conv_geometry",
        "after.append(max(0, reach - (x.shape[2 + axis] - 1)))",
        "after.append(max(0, reach - x.shape[2 + axis]))",
        "the halo behind is a pixel short",
    ),
    _kernel(
        "convolution/filter_panels",
        "= w[g * outs : (g + 1) * outs]",
        "= w[:outs]",
        "every group has the first one's filters",
        "convolution/conv_direct",
    ),
    _kernel(
        "winograd/winograd_nest",
        'with b.when(b.compare("eq", fresh, 1)):',
        'with b.when(b.compare("eq", panel, 0)):',
        "a thread that begins within a block has no transformed inputs",
        "winograd/conv_winograd",
    ),
    _kernel(
        "winograd/winograd_inputs",
        "region.plane(row * wide.products + k, ",
        "region.plane(row * tall.products + k, ",
        "planes of tiles that are not square are mixed up",
        "winograd/conv_winograd",
    ),
    _kernel(
        "winograd/winograd_tiles",
        "return TilePlace(0, 0, b.iadd(line, region.line), b.iadd(across, region.column))",
        "return TilePlace(0, 0, b.iadd(across, region.column), b.iadd(line, region.line))",
        "tiles of a map that is not square lie elsewhere",
        "winograd/conv_winograd",
    ),
    _kernel(
        "winograd/winograd_regions",
        "return (rows * (self.across - columns) if column else 0), high * broad",
        "return 0, high * broad",
        "planes that the right edge lacks multiply its tiles",
        "winograd/conv_winograd",
    ),
    _kernel(
        "convolution/tile_loops",
        'return least + 1, (b.compare("ge", phase, more), least)',
        'return least + 1, (b.compare("gt", phase, more), least)',
        "a phase of fewer rows writes one too many",
        "winograd/conv_winograd",
    ),
    _kernel(
        "zones/tap_zones",
        "(i + y * shape.down.source_step, k",
        "(i + y * shape.down.result_step, k",
        "tiles further down a strided convolution's zone see other inputs",
        "zones/conv_zones",
    ),
    _kernel(
        "zones/conv_zones",
        "of_taps[row * window + column].append",
        "of_taps[column * window + row].append",
        "taps of rows and columns are mixed up",
    ),
    _kernel(
        "shares",
        "behind = b.isub(panels - 1, panel)",
        "behind = b.isub(panels, panel)",
        "a row is in nobody's share",
    ),
    _kernel(
        "shares",
        "first, end = b.imax(0, b.isub(lo, before)), b.imin(rows, b.isub(hi, before))",
        "first, end = 0, b.imin(rows, b.isub(hi, before))",
        "two threads do the same rows",
    ),
    _kernel(
        "strassen/strassen_pairs",
        "yield Half(replace(part, rows=1), 2 * half, 0, half)",
        "yield Half(replace(part, rows=1), half, 0, half)",
        "the row without a partner is another one",
        "strassen/conv_strassen",
    ),
    _kernel(
        "strassen/strassen_nest",
        "slot, y = b.select(p5, 2, 0)",
        "slot, y = b.select(p5, 1, 0)",
        "U2 stands for U3",
        "strassen/conv_strassen",
    ),
    _kernel(
        "winograd/cook_toom",
        "if power == self.outputs - 1:",
        "if power == 0:",
        "the point at infinity adds to the wrong output",
    ),
    _kernel(
        "winograd/winograd_expand",
        "own = (taps[0], b.iadd(taps[1], b.imul(first, self.lanes * self.taps * self.lanes)))",
        "own = taps",
        "every run multiplies the taps of the first",
    ),
    _kernel(
        "winograd/cook_toom",
        'op = "add" if row == group[0] else "sub"',
        'op = "add"',
        "a point and its negative have the same filters",
    ),
    _kernel(
        "winograd/winograd_choice",
        "return (tiles * f.outputs - 1) * f.stride + f.taps",
        "return tiles * f.outputs * f.stride",
        "the last tiles read beyond the halo",
        "winograd/conv_winograd",
    ),
    _kernel(
        "winograd/phase_ring",
        "ready = b.select(last, self.pool_behind.rows, ready)",
        "ready = b.imin(ready, self.pool_behind.rows)",
        "windows over the lower edge are forgotten",
        "winograd/conv_phases",
    ),
    _kernel(
        "winograd/plane_rows",
        "last = b.load(source, at, lanes, offset=width - lanes)",
        "last = b.load(source, at, lanes)",
        "the last pixels of a row are its first",
    ),
    _kernel(
        "convolution/depthwise_runs",
        "uses.setdefault(t * taps.stride + k * taps.dilation, [])",
        "uses.setdefault(t * taps.stride + k, [])",
        "the dilation of columns is forgotten",
        "convolution/conv_depthwise",
    ),
    _kernel(
        "convolution/conv_depthwise",
        "step = g.attrs.dilations[0] * source.row_pitch",
        "step = g.attrs.dilations[1] * source.row_pitch",
        "dilations are swapped",
    ),
    _kernel(
        "convolution/depthwise_runs",
        "body(full * run, last)",
        "body(full * run - 1, last)",
        "the last run begins a pixel too early",
    ),
    _kernel(
        "convolution/conv_depthwise",
        "(w, b.imul(block, taps.elems))",
        "(w, 0)",
        "every block has the first one's filters",
    ),
    _kernel(
        "convolution/conv_pool",
        'shape, held, float("-inf") if pool.is_max else 0.0)',
        "shape, held, 0.0)",
        "zeros of the border win over negative maxima",
    ),
    _kernel(
        "convolution/conv_pool",
        "new = b.select(is_first, start, b.iadd(start, window - stride))",
        "new = b.select(is_first, start, b.iadd(start, window - stride + 1))",
        "a row of each window is stale",
    ),
    Mutant(
        "ops/pool.py",
        "(-before, extent + after) if attrs.count_pad else (0, extent)",
        "(0, extent)",
        "ops",
        "padding never counts in a mean, neither in kernels nor in the reference",
    ),
    _kernel(
        "convolution/conv_pool",
        "cell = row // window[0], column // window[1]",
        "cell = row // window[1], column // window[0]",
        "windows are transposed",
    ),
    _kernel(
        "convolution/conv_pool",
        "last = b.imin(b.iadd(first, band), pool.rows)",
        "last = b.imin(b.iadd(first, max(1, band - 1)), pool.rows)",
        "the last row of a band is never pooled",
    ),
    _kernel(
        "convolution/conv_transposed",
        "first = (phase + pad - taps[0] * dilation) // stride if taps else 0",
        "first = (phase + pad) // stride if taps else 0",
        "the first tap's distance is forgotten",
    ),
    _kernel(
        "convolution/conv_transposed",
        "out_x = b.iadd(b.imul(x, attrs.strides[1]), phase_x)",
        "out_x = b.iadd(b.imul(x, attrs.strides[1]), phase_y)",
        "phases are swapped",
    ),
    _kernel(
        "convolution/conv_transposed",
        "grouped = w.reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2)",
        "grouped = w.reshape(1, -1, *w.shape[1:]).swapaxes(1, 2)",
        "groups of filters are mixed up",
    ),
    _kernel(
        "convolution/dense",
        "acc = step(loop.results, b.iadd(first, full), count % chains)",
        "acc = loop.results",
        "what is left over behind the chains is dropped",
    ),
    _kernel(
        "convolution/dense",
        "mask = LaneMask(site, needed=True)",
        "mask = LaneMask(site, needed=False)",
        "padding lanes are not cleared",
    ),
    _kernel(
        "epilogue",
        "offset = layout.offset(*behind)",
        "offset = layout.offset(behind[0], behind[2], behind[1])",
        "a residual is read at the transposed pixel",
        "convolution/conv_direct",
    ),
    _kernel(
        "epilogue",
        "return bool(self._run(NumpyScalars(), zero, lambda _: zero) == 0)",
        "return bool(self._run(NumpyScalars(), zero, lambda _: np.float32(1)) == 0)",
        "operands are taken for ones where lanes are padding",
    ),
    _kernel(
        "moves/fill_halo",
        "_clear(b, out, b.iadd(start, end), layout.plane_pitch - end, lanes)",
        "_clear(b, out, b.iadd(start, end), layout.plane_pitch - end - layout.block, lanes)",
        "the last pixel of the halo is not cleared",
    ),
    _kernel(
        "moves/fill_halo",
        "gap = (right + left) * layout.block",
        "gap = right * layout.block",
        "the left halo is not cleared",
    ),
    _kernel(
        "layout",
        "start += -(-size // self.block) * self.block",
        "start += size",
        "segments begin within blocks",
    ),
    _kernel(
        "layout",
        'ordered = place if self.order == "chw" else place.transpose(1, 2, 0)',
        "ordered = place",
        "the order of flatten is ignored",
    ),
    _kernel(
        "maps/pool",
        "self.epilogue.open(b, block, row, x)",
        "self.epilogue.open(b, block, x, row)",
        "an epilogue behind a pool reads the transposed pixel",
    ),
    # -- plan
    _plan(
        "place_views",
        "offset += Layout(self.lanes, self.segments[operand], 1, 1).blocks",
        "offset += Layout(self.lanes, (sum(self.segments[operand]),), 1, 1).blocks",
        "operands of a join overlap",
    ),
    _plan(
        "place_views",
        "if operand in self.slots.alias:",
        "if False:",
        "a value is computed into two joins at once",
    ),
    _plan(
        "place_views",
        "if operand in self.graph.operands(concat)[:index]:",
        "if False:",
        "a value twice in a join is there once",
    ),
    _plan(
        "choose_halo",
        "halos[owner] = widest(halos.get(owner, NO_HALO), needed)",
        "halos[owner] = needed",
        "the last reader's halo wins",
    ),
    _plan(
        "place_views",
        "return first // self.lanes if first % self.lanes == 0 and alone else None",
        "return first // self.lanes if alone else None",
        "slices within blocks are views",
    ),
    _plan(
        "choose_picture",
        "return step.args[0] == index and index not in later",
        "return step.args[0] == index",
        "a picture is narrow although a residual reads it",
    ),
    _plan(
        "arena",
        "return self.first <= other.last and other.first <= self.last",
        "return self.first < other.last and other.first < self.last",
        "a result may lie over its own operand",
    ),
    _plan(
        "plan_memory",
        "return self._last_use(values) == self.steps[node_id]",
        "return True",
        "operands that are read later are written over",
    ),
    _plan(
        "plan_memory",
        "return [a for a in args if a not in anchored]",
        "return list(args)",
        "the input of a window is written over",
    ),
    _plan(
        "arena",
        "if start - offset >= item.elems:",
        "if start - offset >= item.elems // 2:",
        "buffers are squeezed into gaps that are too small",
    ),
    _plan(
        "lower",
        "hi = b.idiv(b.imul(b.iadd(self.thread, 1), launch.work), self.threads)",
        "hi = b.imul(b.iadd(self.thread, 1), b.idiv(launch.work, self.threads))",
        "work that does not divide by the threads is lost",
    ),
    Mutant(
        "llvm/parallel.py",
        "if lo != 0 or not isinstance(items, Select) or items.b != 0:",
        "if lo != 0 or not isinstance(items, Select):",
        "llvm/test_parallel.py",
        "threads do not meet where others have work too",
    ),
    _plan(
        "lower",
        "            if number:\n                b.barrier()",
        "            if number > 1:\n                b.barrier()",
        "the first barrier is missing",
    ),
    _plan(
        "choose_kernel",
        "offers.sort(key=lambda offer: offer[1].seconds)",
        "offers.sort(key=lambda offer: -offer[1].seconds)",
        "the slowest kernel is chosen",
    ),
    # -- passes
    _pass(
        "match",
        "return users.pop() if len(users) == 1 else None",
        "return min(users) if users else None",
        "values that others read are taken into a group",
    ),
    _pass(
        "fold_batchnorm",
        "return Affine(x, factor, bias - mean * factor)",
        "return Affine(x, factor, bias - mean)",
        "the mean is not scaled",
    ),
    _pass(
        "fold_batchnorm",
        "moved = bias[0] * affine.factor + affine.shift if bias else affine.shift",
        "moved = bias[0] + affine.shift if bias else affine.shift",
        "the bias is not scaled",
    ),
    _pass(
        "fold_batchnorm",
        "grouped = (groups, channels // groups, depth, kh, kw)",
        "grouped = (channels // groups, groups, depth, kh, kw)",
        "groups of transposed filters are mixed up",
    ),
    _pass(
        "fold_batchnorm",
        "factor = scale / np.sqrt(var + eps)",
        "factor = scale / np.sqrt(var)",
        "eps is forgotten",
    ),
    _pass(
        "absorb_pad",
        "if graph[pad].attrs.value != 0:",
        "if False:",
        "a border of ones becomes padding with zeros",
    ),
    _pass(
        "absorb_pad",
        "if any(attrs.pads) and not attrs.count_pad:",
        "if False:",
        "a border counts differently in a mean",
    ),
    _pass(
        "simplify_moves",
        "moved = replace(attrs, start=start + attrs.start, stop=start + attrs.stop)",
        "moved = replace(attrs, start=attrs.start, stop=attrs.stop)",
        "slices of slices begin at the wrong channel",
    ),
    _pass(
        "simplify_moves",
        'attrs = lookup("transpose").Attrs(tuple(first[p] for p in second))',
        'attrs = lookup("transpose").Attrs(tuple(second[p] for p in first))',
        "transpositions are composed the wrong way round",
    ),
    _pass(
        "fuse",
        "if self._graph.is_output(group.tail):",
        "if False:",
        "an output disappears into a group",
    ),
)


def source(mutant: Mutant, root: Path = ROOT) -> Path:
    """The file that a mutant changes."""
    return root / "cnncc" / mutant.file


def applied(mutant: Mutant, text: str) -> str:
    """The text with the bug in it.

    Raises:
        ValueError: the text to replace does not occur exactly once: the mutant is out of date.
    """
    if text.count(mutant.old) != 1 or mutant.old == mutant.new:
        raise ValueError(f"{mutant.file}: {mutant.old!r} occurs {text.count(mutant.old)} times")
    return text.replace(mutant.old, mutant.new)


def survives(mutant: Mutant, root: Path) -> bool:
    """Whether the tests pass with the bug, in a copy of the project."""
    file = source(mutant, root)
    sound = file.read_text(encoding="utf-8")
    file.write_text(applied(mutant, sound), encoding="utf-8")
    try:
        return _tests_pass(mutant.tests, root)
    finally:
        file.write_text(sound, encoding="utf-8")


def _tests_pass(tests: str, root: Path) -> bool:
    options = ("-x", "-q", "-p", "no:cacheprovider", "-m", "not native")
    command = [sys.executable, "-m", "pytest", *options, f"tests/{tests}"]
    # No bytecode: a file that is changed twice in a second would be taken for the same.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(root)}
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{tests}: pytest could not run:\n{done.stdout[-2000:]}{done.stderr}")
    return done.returncode == 0


def copy_of_project(folder: Path) -> Path:
    """What the tests need, without caches."""
    for part in ("cnncc", "tests", "examples", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", "*.npz", "*.safetensors")
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run(mutants: list[Mutant], jobs: int) -> Iterator[tuple[Mutant, bool]]:
    """Pairs (mutant, survived), as they are known."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        roots = [copy_of_project(Path(folder) / str(n)) for n in range(jobs)]
        for tests in sorted({m.tests for m in mutants}):
            if not _tests_pass(tests, roots[0]):
                raise RuntimeError(f"tests/{tests} fails without any bug: it would catch them all")

        def worker(number: int) -> list[tuple[Mutant, bool]]:
            return [(m, survives(m, roots[number])) for m in mutants[number::jobs]]

        for part in pool.map(worker, range(jobs)):
            yield from part


def main() -> int:
    """Report the score; exit code 1 when a bug survives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="files whose name contains this")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if options.only in m.file]
    counts: dict[str, list[int]] = {}
    for mutant, survived in run(chosen, options.jobs):
        score = counts.setdefault(mutant.file.split("/")[0], [0, 0])
        score[0] += not survived
        score[1] += 1
        if survived:
            print(f"survived: {mutant.file}: {mutant.why} ({mutant.tests})", flush=True)
    for room, (caught, total) in counts.items():
        print(f"{room}: {caught} of {total} caught")
    return int(any(caught < total for caught, total in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
