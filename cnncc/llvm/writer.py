"""The text of one function under construction: lines, names, blocks and cached base addresses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cnncc.errors import EmitError
from cnncc.llvm.types import constant, register_type, scalar_type
from cnncc.loopir.nodes import Index, Type, Value


class FunctionWriter:
    """Collects the lines of a function's body.

    Attributes:
        lines: the body so far; a line may be reserved and filled later (phi nodes).
        names: the operand text of each LoopIR value that is visible.
        block: label of the block that is being written.
        rounds: whether the target has instructions that round to whole numbers.
        permutes: whether the target picks lanes of two registers by a third.
    """

    def __init__(self, *, rounds: bool, permutes: bool) -> None:
        self.lines: list[str] = []
        self.names: dict[Value, str] = {}
        self.block = "entry"
        self.rounds = rounds
        self.permutes = permutes
        self._allocas: list[str] = []
        self._bases: list[dict[tuple[str, str, str], str]] = [{}]
        self._count = 0

    def fresh(self, prefix: str) -> str:
        """A name that no other line uses."""
        self._count += 1
        return f"{prefix}{self._count}"

    def let(self, text: str) -> str:
        """Append `name = text`; gives the name."""
        name = self.fresh("%v")
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Append an instruction without a result."""
        self.lines.append(f"  {text}")

    def reserve(self) -> int:
        """Append an empty line; gives its number."""
        self.lines.append("")
        return len(self.lines) - 1

    def start_block(self, label: str) -> None:
        """Open a block; the one before must have ended in a branch."""
        self.lines.append(f"{label}:")
        self.block = label

    def alloca(self, text: str) -> str:
        """A stack slot of the entry block, described by `text`; gives its name."""
        name = self.fresh("%a")
        self._allocas.append(f"  {name} = alloca {text}")
        return name

    def body(self) -> str:
        """The whole body, the entry block first."""
        return "\n".join(["entry:", *self._allocas, *self.lines])

    def name(self, value: Value) -> str:
        """The operand text of a value.

        Raises:
            EmitError: nothing has defined it here.
        """
        try:
            return self.names[value]
        except KeyError:
            raise EmitError(f"`{value.hint or 'a value'}` is used before it is defined") from None

    def operand(self, index: Index, type_: Type) -> str:
        """The text of an operand that may be a plain integer of the given type."""
        return self.name(index) if isinstance(index, Value) else constant(type_, index)

    def typed(self, value: Value) -> str:
        """A value with its type before it."""
        return f"{register_type(scalar_type(value))} {self.name(value)}"

    @contextmanager
    def scope(self) -> Iterator[None]:
        """A region whose base addresses are not visible after it."""
        self._bases.append({})
        yield
        self._bases.pop()

    def base_address(self, element: str, buffer: str, index: str) -> str:
        """The address of `buffer[index]`, computed once per region that dominates the use."""
        key = (element, buffer, index)
        for bases in self._bases:
            if key in bases:
                return bases[key]
        made = self.let(f"getelementptr nusw {element}, ptr {buffer}, i64 {index}")
        self._bases[-1][key] = made
        return made
