"""What is wrong with a file: all of it in one error, in text that cannot steer a terminal."""

from __future__ import annotations

from cnncc.errors import OnnxError

_MOST = 20
_LONGEST = 80


def quoted(text: str | bytes) -> str:
    """Text from a file, between backticks: shortened, and everything that does not print escaped.

    That includes marks of writing direction, which could make a name look like another.
    """
    if isinstance(text, bytes):
        text = text[: 4 * _LONGEST].decode("ascii", "backslashreplace")
    length = len(text)
    if length <= _LONGEST and text.isprintable() and "`" not in text:
        return f"`{text}`"
    head = text if length <= _LONGEST else text[: _LONGEST - 20]
    shown = "".join(c if c.isprintable() and c != "`" else _escaped(c) for c in head)
    return f"`{shown}`" if head is text else f"`{shown}...` ({length} characters)"


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{{{code:x}}}"


class Problems:
    """Collects what is wrong, so that one run tells all of it.

    Args:
        place: the file, for the message.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._found: list[str] = []
        self._hints: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, where: str, what: str, hint: str = "") -> None:
        """Note one problem.

        Args:
            where: the part of the file, such as "node 3 `conv1` (Conv)"; may be empty.
            what: what is wrong there.
            hint: what to do about it.

        Raises:
            OnnxError: there are so many that looking further helps nobody.
        """
        self._found.append(f"{where}: {what}" if where else what)
        if hint and hint not in self._hints:
            self._hints.append(hint)
        if len(self._found) == _MOST:
            self._found.append("there may be more")
            self.check()

    def check(self) -> None:
        """Raise what was found.

        Raises:
            OnnxError: something was.
        """
        if self._found:
            raise OnnxError(self.place, tuple(self._found), hint="; ".join(self._hints))

    def stop(self, where: str, what: str, hint: str = "") -> OnnxError:
        """The error for a problem that makes it senseless to look further."""
        self._found.append(f"{where}: {what}" if where else what)
        hints = [*self._hints, *([hint] if hint else [])]
        return OnnxError(self.place, tuple(self._found), hint="; ".join(hints))
