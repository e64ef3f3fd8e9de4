"""TensorBoard event files, written at once and in this thread.

tensorboardX's own `SummaryWriter` hands events to a thread through a bounded queue: on a full disk
the thread dies and the training hangs. Its `EventsWriter` beneath has no thread and raises the
error.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import user_errors


class EventWriter:
    """Appends scalars, pictures and texts to a new event file in `folder`.

    `after` is the iteration that a resumed run starts from: TensorBoard then forgets later ones,
    which earlier event files may hold.
    """

    def __init__(self, folder: Path, after: int | None) -> None:
        try:
            from tensorboardX import summary
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto import event_pb2
        except ImportError as problem:
            raise UserError(
                "TensorBoard's files need tensorboardX: pip install tensorboardX",
                setting="tensorboard",
            ) from problem
        self._summary, self._proto = summary, event_pb2
        self._task = f"cannot write TensorBoard events to {folder}"
        with user_errors(self._task):
            self._writer = EventsWriter(str(folder / "events"), f".{time.time_ns()}")
            if after is not None:
                start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
                self._write(after + 1, session_log=start)
                self._writer.flush()

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        """Write one value a name; names with `/` are grouped by TensorBoard."""
        summary = self._summary.scalar
        self._write_all(iteration, [summary(name, value) for name, value in values.items()])

    def pictures(self, iteration: int, pictures: Mapping[str, bytes]) -> None:
        """Write one picture a name, each the content of a PNG file."""
        self._write_all(iteration, [self._image(name, png) for name, png in pictures.items()])

    def text(self, iteration: int, name: str, markdown: str) -> None:
        """Write a text, which TensorBoard reads as Markdown."""
        self._write_all(iteration, [self._summary.text(name, markdown)])

    def _image(self, name: str, png: bytes) -> Any:
        with Image.open(io.BytesIO(png)) as picture:
            content = {
                "width": picture.width,
                "height": picture.height,
                "colorspace": len(picture.getbands()),
                "encoded_image_string": png,
            }
        kind = self._summary.Summary
        return kind(value=[kind.Value(tag=name, image=kind.Image(**content))])

    def _write_all(self, iteration: int, summaries: Sequence[Any]) -> None:
        with user_errors(self._task):
            for summary in summaries:
                self._write(iteration, summary=summary)
            self._writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        with user_errors(self._task):
            self._writer.close()

    def _write(self, iteration: int, **content: object) -> None:
        event = self._proto.Event(wall_time=time.time(), step=iteration, **content)
        self._writer.write_event(event)
