"""Find where a CSV file can be cut: at line breaks outside of quoted cells."""

from __future__ import annotations

from data.reading.file_format import WHITESPACE, FileFormat

CHUNK_BYTES = 1 << 22


class Cuts:
    """Finds the first line break outside of quoted cells after each multiple of some bytes, and that of the header."""

    def __init__(self, every: int, form: FileFormat):
        self.every, self.offset, self.lines, self.next = every, 0, 0, 0
        self.quoted = self.content = False
        self.positions: list[tuple[int, int]] = []
        self.left_out, self.has_header = form.skip_rows, form.column_names is None
        self.quotes = form.delimiter != WHITESPACE  # a quote has no meaning in files with columns separated by blanks
        if not self.left_out:
            self._begin(0)

    def add(self, chunk: bytes) -> None:
        """Process the next bytes of the file."""
        position = 0
        while self.left_out and (end := chunk.find(b"\n", position)) >= 0:
            position, self.lines, self.left_out = end + 1, self.lines + 1, self.left_out - 1
            if not self.left_out:
                self._begin(self.offset + position)
        while not self.left_out and self.next < self.offset + len(chunk):
            target = max(self.next - self.offset, position)
            self._skip(chunk, position, target)
            position = target
            end = chunk.find(b"\n", position)
            if end < 0:
                break
            self._skip(chunk, position, end + 1)
            position = end + 1
            if not self.quoted and self.content:  # skip blank lines before the header
                self.positions.append((self.offset + position, self.lines))
                self.next = max(self.next + self.every, self.offset + position)
        if not self.left_out:
            self._skip(chunk, position, len(chunk))
        self.offset += len(chunk)

    def _begin(self, offset: int) -> None:
        """Note that the rows, or their header, begin at this offset."""
        self.next = offset
        if not self.has_header:
            self.positions.append((offset, self.lines))
            self.next += self.every

    def _skip(self, chunk: bytes, start: int, stop: int) -> None:
        self.quoted ^= self.quotes and chunk.count(b'"', start, stop) % 2 == 1
        self.lines += chunk.count(b"\n", start, stop)
        self.content = self.content or bool(chunk[start:stop].strip())
