"""A stand-in for the video encoder."""

import imageio
import pytest


class RecordingWriter:
    def __init__(self, arguments) -> None:
        self.arguments, self.frames, self.is_closed = arguments, [], False

    def append_data(self, frame) -> None:
        assert not self.is_closed
        self.frames.append(frame)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def writers(monkeypatch):
    """In place of imageio's: keep arguments and frames."""
    writers = []

    def get_writer(path, **kwargs):
        writers.append(RecordingWriter(kwargs))
        return writers[-1]

    monkeypatch.setattr(imageio, "get_writer", get_writer)
    return writers
