"""Uploads: hostile names, too much, at the wrong time; nothing stays behind."""

import asyncio
import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dnnlib.errors import InputError
from viz.web.uploads import MAX_FILES, Uploads


async def chunks(*parts: bytes):
    for part in parts:
        yield part


def save(session, name: str, *parts: bytes) -> str:
    return asyncio.run(session.save(name, chunks(*parts)))


def refusal(session, name: str, *parts: bytes) -> str:
    with pytest.raises(InputError) as caught:
        save(session, name, *parts)
    message = str(caught.value)
    assert message.isprintable()
    return message


@pytest.fixture
def uploads():
    made = Uploads(max_bytes=1000)
    yield made
    made.close()


def files_of(uploads: Uploads) -> list[Path]:
    return [path for path in Path(uploads._folder.name).rglob("*") if path.is_file()]


def test_a_file_is_saved_and_goes_with_its_session(uploads):
    session, other = uploads.begin_session(), uploads.begin_session()
    path = save(session, "my net.PKL", b"abc", b"", b"def")
    assert Path(path).read_bytes() == b"abcdef"
    assert (path in session, path in other) == (True, False)
    assert list(session) == [path]
    assert session.name_of(path) == "my net.PKL"
    assert session.name_of("/x/net.pkl") == "/x/net.pkl"
    assert session.with_names(f"{path} is damaged") == "my net.PKL is damaged"
    kept = save(other, "my net.PKL", b"x")
    session.close()
    assert files_of(uploads) == [Path(kept)]
    assert (len(session), uploads.num_bytes) == (0, 1)
    uploads.close()
    assert not Path(kept).parent.parent.exists()


def test_nobody_else_reads_it(uploads):
    path = Path(save(uploads.begin_session(), "net.pkl", b"x"))
    for folder in (path.parent, path.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


NAMES = ["../../net.pkl", "/etc/net.pkl", "..\\..\\net.pkl", "C:\\net.pkl", "a\0b.pkl", "\n.pkl"]
NAMES += ["\ud800.pkl", "x" * 90 + ".pkl", "<script>.pkl", "$(id).pkl", "~root.pkl", "-rf.pkl"]
NAMES += ["\u202egnp.pkl", "日本.npz", "a.pkl.safetensors", " .pt", "CON.pkl", "a:b.pkl", "..pkl"]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_stay_in_the_folder(uploads, name):
    session = uploads.begin_session()
    path = Path(save(session, name, b"x"))
    assert path.parent == session._folder
    assert name.endswith(path.suffix)
    assert path.name.isascii() and path.name.isprintable() and len(path.name) < 100
    assert session.name_of(str(path)).isprintable()


OTHERS = ["net", "", ".", "..", ".pkl", "x.py", "x.pkl/", "x.pkl.exe", "a.p", "x" * 5000 + ".pkl"]


@pytest.mark.parametrize("name", OTHERS)
def test_other_kinds_are_refused(uploads, name):
    assert "must end in .pkl, .safetensors" in refusal(uploads.begin_session(), name, b"x")
    assert files_of(uploads) == []


def test_the_same_name_twice_makes_two_files(uploads):
    session = uploads.begin_session()
    assert save(session, "net.pkl", b"1") != save(session, "net.pkl", b"2")


def test_a_large_file_is_refused_before_it_ends(uploads):
    taken = []

    async def endless():
        while True:
            taken.append(b"x" * 300)
            yield taken[-1]

    session = uploads.begin_session()
    with pytest.raises(InputError, match=r"big.pkl: a file can be at most .* MB \(--max-upload\)"):
        asyncio.run(session.save("big.pkl", endless()))
    assert len(taken) == 4
    assert (files_of(uploads), len(session), uploads.num_bytes) == ([], 0, 0)
    save(session, "fits.pkl", b"x" * 1000)


def test_sessions_have_a_limit_each_and_together(uploads):
    session = uploads.begin_session()
    for _ in range(2):
        save(session, "net.pkl", b"x" * 1000)
    assert "open the page anew" in refusal(session, "net.pkl", b"x")
    second = uploads.begin_session()
    for _ in range(2):
        save(second, "net.pkl", b"x" * 1000)
    third = uploads.begin_session()
    assert "when others have left" in refusal(third, "net.pkl", b"x")
    session.close()
    save(third, "net.pkl", b"x")
    assert uploads.num_bytes == 2001


def test_a_session_has_a_limit_of_files_that_are_empty(uploads):
    session = uploads.begin_session()
    for _ in range(MAX_FILES + 1):
        assert "a file can be" in refusal(session, "net.pkl", b"x" * 1001)  # is not counted
    for _ in range(MAX_FILES - 1):
        save(session, "net.pkl")

    async def during_another():
        yield b""
        with pytest.raises(InputError, match=f"b.pkl: you can upload at most {MAX_FILES} files"):
            await session.save("b.pkl", chunks())

    asyncio.run(session.save("a.pkl", during_another()))
    assert len(files_of(uploads)) == len(session) == MAX_FILES


def test_uploads_can_be_switched_off():
    uploads = Uploads(max_bytes=0)
    assert "--max-upload=0" in refusal(uploads.begin_session(), "net.pkl")
    uploads.close()


def test_a_page_that_is_closed_meanwhile_leaves_nothing(uploads):
    session = uploads.begin_session()

    async def closing():
        yield b"x" * 10
        session.close()
        yield b"x" * 10

    with pytest.raises(InputError, match="the page was closed"):
        asyncio.run(session.save("net.pkl", closing()))
    assert (files_of(uploads), uploads.num_bytes, session._num_bytes) == ([], 0, 0)
    assert "the page was closed" in refusal(session, "net.pkl", b"x")


@pytest.mark.parametrize("error", [ConnectionError, asyncio.CancelledError])
def test_an_upload_that_breaks_off_leaves_nothing(uploads, error):
    session = uploads.begin_session()

    async def broken():
        yield b"x" * 10
        raise error

    with pytest.raises(error):
        asyncio.run(session.save("net.pkl", broken()))
    assert (files_of(uploads), uploads.num_bytes) == ([], 0)


def test_parallel_uploads_share_the_limits(uploads):
    session = uploads.begin_session()

    async def run():
        saves = [session.save("net.pkl", chunks(*[b"x" * 100] * 9)) for _ in range(4)]
        return await asyncio.gather(*saves, return_exceptions=True)

    results = asyncio.run(run())
    saved = [result for result in results if isinstance(result, str)]
    assert len(saved) <= 2
    assert all(isinstance(result, (str, InputError)) for result in results)
    assert uploads.num_bytes == 900 * len(saved) == sum(p.stat().st_size for p in files_of(uploads))


def test_a_server_that_ends_leaves_nothing(tmp_path):
    code = (
        "import asyncio\n"
        "from viz.web.uploads import Uploads\n"
        "from tests.viz.web.test_uploads import save\n"
        "print(save(Uploads(1000).begin_session(), 'net.pkl', b'x'))\n"
        "raise SystemExit(1)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert result.stdout.startswith(f"{tmp_path}/viewer-uploads-"), result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [10, 900], ids=["small", "large"])
def test_uploads_of_the_page_are_saved(uploads, monkeypatch, size):
    pytest.importorskip("nicegui", reason="needs requirements-web.txt")
    from nicegui.elements.upload_files import create_file_upload
    from starlette.datastructures import UploadFile
    from starlette.formparsers import MultiPartParser

    monkeypatch.setattr(MultiPartParser, "spool_max_size", 100)  # larger files go to the disk
    session = uploads.begin_session()

    async def receive() -> str:
        file = await create_file_upload(UploadFile(io.BytesIO(b"x" * size), filename="net.pkl"))
        return await session.save(file.name, file.iterate(chunk_size=100))

    assert Path(asyncio.run(receive())).read_bytes() == b"x" * size
