"""Text that is read by rows and wanted by columns: what does not fit in memory waits in a temporary file."""

from __future__ import annotations

from tempfile import TemporaryFile
from types import TracebackType

MAX_HELD = 64 << 20  # bytes in memory, of all columns together
MAX_SPOOLED = 64 << 30  # bytes on disk, likewise


class TooLarge(ValueError):
    """More text than is allowed."""


class Columns:
    """count growing byte strings. A context manager: leaving it removes the file."""

    def __init__(self, count: int) -> None:
        self._parts = [bytearray() for _ in range(count)]
        self._places: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        self._sizes = [0] * count
        self._held, self._spooled = 0, 0
        self._file = TemporaryFile()  # noqa: SIM115 - closed by __exit__

    def add(self, column: int, text: bytes) -> None:
        """Append text to a column. Raises TooLarge, OSError."""
        self._parts[column] += text
        self._sizes[column] += len(text)
        self._held += len(text)
        if self._held > MAX_HELD:
            self._spool()

    def size(self, column: int) -> int:
        """A column's bytes so far."""
        return self._sizes[column]

    def text(self, column: int) -> bytes:
        """A column's text."""
        pieces = []
        for offset, length in self._places[column]:
            self._file.seek(offset)
            pieces.append(self._file.read(length))
        return b"".join([*pieces, self._parts[column]])

    def _spool(self) -> None:
        if self._spooled + self._held > MAX_SPOOLED:
            raise TooLarge(f"its columns hold more than {MAX_SPOOLED:,} bytes")
        for part, places in zip(self._parts, self._places, strict=True):
            if part:
                self._file.seek(self._spooled)
                places.append((self._spooled, self._file.write(part)))
                self._spooled += len(part)
                part.clear()
        self._held = 0

    def __enter__(self) -> Columns:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
