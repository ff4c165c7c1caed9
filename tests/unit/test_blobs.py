"""Blob stores: a folder, and IPFS. What they return is proved; what they cannot do is one line.

The HTTP servers here are real ones that answer wrongly. A real Kubo is spoken to in tests/e2e.
"""

import hashlib
import os
import re
import shutil
import socket
import stat
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmchain.blobs import BlobRef, BlobStore, DirectoryStore, LimitedStore, open_store
from hmchain.cid import CHUNK_SIZE, Cid, cid_of
from hmchain.errors import BlobError, DaemonError, HMChainError, Reason, StorageError, UsageError
from hmchain.ipfs import IpfsStore
from tests.unit.full_disk import files_of_at_most

BLOB = bytes(range(256)) * 4
REF = BlobRef.of(BLOB)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "blobs")


def refused(get: Callable[[], bytes]) -> Reason:
    with pytest.raises(BlobError) as caught:
        get()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return caught.value.reason


@given(st.binary(max_size=1000))
def test_a_reference_is_what_the_chain_records(data: bytes) -> None:
    assert BlobRef.of(data) == BlobRef(hashlib.sha256(data).digest(), cid_of(data), len(data))


# A folder


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE, CHUNK_SIZE + 1, 1_000_000])
def test_a_folder_gives_back_what_was_put(store: DirectoryStore, size: int) -> None:
    data = os.urandom(size)
    ref = store.put(data)
    assert ref == BlobRef.of(data)
    assert store.get(ref, limit=size) == data


def test_a_blob_is_one_file_named_by_its_cid(tmp_path: Path) -> None:
    DirectoryStore(tmp_path, fsync=True).put(BLOB)
    assert [path.name for path in tmp_path.iterdir()] == [str(REF.cid)]


@pytest.mark.parametrize("durable", [True, False])
def test_a_durable_blob_and_then_its_name_are_on_the_disk_when_it_was_put(
    durable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / str(REF.cid), []

    def watched(handle: int) -> None:
        about = os.fstat(handle)
        synced.append(("folder", path.exists()) if stat.S_ISDIR(about.st_mode) else (about.st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", watched)
    open_store(tmp_path, durable=durable).put(BLOB)
    assert synced == ([(len(BLOB), False), ("folder", True)] if durable else [])


def test_putting_a_blob_again_mends_it(store: DirectoryStore, tmp_path: Path) -> None:
    path = tmp_path / "blobs" / str(store.put(BLOB).cid)
    path.write_bytes(b"damaged")
    store.put(BLOB)
    assert store.get(REF, 1024) == BLOB


def test_many_writers_of_one_blob_do_not_disturb_its_readers(store: DirectoryStore) -> None:
    store.put(BLOB)
    with ThreadPoolExecutor(8) as pool:
        writes = [pool.submit(store.put, BLOB) for _ in range(100)]
        reads = [pool.submit(store.get, REF, 1024) for _ in range(100)]
        assert all(write.result() == REF for write in writes)
        assert all(read.result() == BLOB for read in reads)


def test_a_blob_that_is_not_there_is_unavailable(store: DirectoryStore) -> None:
    assert refused(lambda: store.get(REF, 1024)) is Reason.UNAVAILABLE


def test_a_blob_beyond_the_limit_is_not_even_looked_for(store: DirectoryStore) -> None:
    assert refused(lambda: store.get(REF, 1023)) is Reason.TOO_LARGE


@pytest.mark.parametrize("found", [b"", BLOB[:-1], BLOB + b"x", BLOB[:-1] + b"x"])
def test_a_file_with_other_bytes_is_refused(store: DirectoryStore, tmp_path: Path, found: bytes) -> None:
    (tmp_path / "blobs" / str(REF.cid)).write_bytes(found)
    assert refused(lambda: store.get(REF, 1024)) is Reason.WRONG_DIGEST


@pytest.mark.parametrize("false", [{"sha256": bytes(32)}, {"size": 1023}, {"size": 1025}], ids=str)
def test_a_false_record_is_refused(store: DirectoryStore, false: dict[str, object]) -> None:
    store.put(BLOB)
    assert refused(lambda: store.get(replace(REF, **false), 9999)) is Reason.WRONG_DIGEST


def test_a_record_with_the_cid_of_other_bytes_is_refused(store: DirectoryStore, tmp_path: Path) -> None:
    false = replace(REF, cid=Cid(REF.cid.codec, bytes(32)))
    (tmp_path / "blobs" / str(false.cid)).write_bytes(BLOB)
    assert refused(lambda: store.get(false, 9999)) is Reason.WRONG_DIGEST


def test_a_giant_file_is_not_read_whole(store: DirectoryStore, tmp_path: Path) -> None:
    with (tmp_path / "blobs" / str(REF.cid)).open("wb") as file:
        file.truncate(1 << 34)
    tracemalloc.start()
    try:
        assert refused(lambda: store.get(REF, 1024)) is Reason.WRONG_DIGEST
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_disk_that_is_full_is_one_line_and_leaves_nothing_behind(store: DirectoryStore, tmp_path: Path) -> None:
    with files_of_at_most(100), pytest.raises(StorageError, match=r"^cannot write a blob to .*blobs: ") as caught:
        store.put(BLOB)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "blobs").iterdir())


def test_a_failed_write_does_not_touch_the_blob_that_was_there(store: DirectoryStore) -> None:
    store.put(BLOB)
    with files_of_at_most(100), pytest.raises(StorageError):
        store.put(BLOB)
    assert store.get(REF, 1024) == BLOB


def test_a_folder_that_vanished_is_a_storage_error(store: DirectoryStore, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "blobs")
    with pytest.raises(StorageError):
        store.put(BLOB)


def test_a_file_where_the_folder_should_be_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="folder of blobs"):
            DirectoryStore(root)


@pytest.mark.parametrize("written_to", [False, True])
def test_a_pipe_where_a_blob_should_be_keeps_nobody_waiting(
    written_to: bool, store: DirectoryStore, tmp_path: Path
) -> None:
    path = tmp_path / "blobs" / str(REF.cid)
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR) if written_to else None
    try:
        assert refused(lambda: store.get(REF, 1024)) is Reason.WRONG_DIGEST
    finally:
        if writer is not None:
            os.close(writer)


def test_a_folder_where_a_blob_should_be_is_a_storage_error(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "blobs" / str(REF.cid)).mkdir()
    with pytest.raises(StorageError):
        store.get(REF, 1024)


# Which store


def test_a_store_is_opened_by_its_name(tmp_path: Path) -> None:
    assert isinstance(open_store(tmp_path), DirectoryStore)
    assert isinstance(open_store(str(tmp_path / "new" / "folder")), DirectoryStore)
    assert isinstance(open_store("ipfs:/ip4/127.0.0.1/tcp/5001"), IpfsStore)


@pytest.mark.parametrize(
    "address", ["", "nonsense", "/ip4/127.0.0.1", "/ip4/127.0.0.1/udp/5001", "http://localhost:5001"]
)
def test_an_address_that_is_none_is_a_usage_error(address: str) -> None:
    with pytest.raises(UsageError, match="address of an IPFS daemon"):
        open_store(f"ipfs:{address}")


@pytest.mark.parametrize("address", ["/ip4/127.0.0.1/tcp/5001", "http://127.0.0.1:5001", "IPFS:/ip4/127.0.0.1/tcp/1"])
def test_an_address_without_its_prefix_is_not_taken_for_a_folder(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="named with ipfs: and its multiaddr"):
        open_store(address)
    assert list(tmp_path.iterdir()) == []


# IPFS daemons that misbehave

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def daemon(answer: Answer, timeout: float = 5.0) -> Iterator[IpfsStore]:
    """A store whose daemon gives this answer to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                while (length := int(self.rfile.readline(), 16)) > 0:
                    self.rfile.read(length + 2)
                self.rfile.readline()
            try:
                answer(self)
            except OSError:  # the client has heard enough
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield IpfsStore(f"/ip4/127.0.0.1/tcp/{server.server_port}", timeout)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def say(body: bytes, status: int = 200, length: int | None = None) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body) if length is None else length))
        request.end_headers()
        request.wfile.write(body)

    return answer


def well(answer: Answer) -> Answer:
    """What a daemon answers that works; only to a request for a blob it gives this answer."""

    def choose(request: BaseHTTPRequestHandler) -> None:
        about_blob = re.match("/api/v0/(cat|dag|block)", request.path)
        (answer if about_blob else say(b'{"RepoSize":1,"Hash":"%s","Keys":{}}' % str(REF.cid).encode()))(request)

    return choose


def says_why(reason: bytes) -> Answer:
    """A blob's beginning; its blocks; and, asked for one of them, an error."""
    links = say(b'{"Links":[{"Hash":{"/":"%s"}}]}' % str(REF.cid).encode())
    answers = {"cat": say(BLOB[:-1]), "dag": links, "block": say(b'{"Message":"%s"}' % reason, 500)}

    def answer(request: BaseHTTPRequestHandler) -> None:
        answers[request.path.split("/")[3].partition("?")[0]](request)

    return answer


def drip(pause: float, chunked: bool = True) -> Answer:
    """A byte after the other, for ever, or for as many as a blob has."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(REF.size))))
        request.end_headers()
        while True:
            request.wfile.write(b"1\r\nx\r\n" if chunked else b"x")
            time.sleep(pause)

    return answer


def test_a_daemon_that_answers_well_is_believed() -> None:
    with daemon(say(BLOB)) as store:
        assert store.get(REF, 1024) == BLOB
    with daemon(say(b'{"Name":"x","Hash":"%s","Size":"1"}' % str(REF.cid).encode())) as store:
        assert store.put(BLOB) == REF


def test_a_limit_is_kept_before_the_daemon_is_asked() -> None:
    assert refused(lambda: IpfsStore("/ip4/127.0.0.1/tcp/1").get(REF, 1023)) is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(say(BLOB[:-1] + b"x"), Reason.WRONG_DIGEST, id="other bytes"),
        pytest.param(say(BLOB + b"x"), Reason.WRONG_DIGEST, id="more bytes"),
        pytest.param(drip(0), Reason.WRONG_DIGEST, id="bytes without end"),
        pytest.param(say(BLOB[:-1]), Reason.UNAVAILABLE, id="fewer bytes"),
        pytest.param(say(BLOB[:-1], length=1024), Reason.UNAVAILABLE, id="fewer bytes than announced"),
        pytest.param(say(b""), Reason.UNAVAILABLE, id="nothing"),
        pytest.param(say(b'{"Message":"block was not found\\nlocally","Code":0}', 500), Reason.UNAVAILABLE, id="500"),
        pytest.param(say(b"<html>" * 1000, 404), Reason.UNAVAILABLE, id="404"),
        pytest.param(say(b"[" * 10**6, 500), Reason.UNAVAILABLE, id="nested deep"),
    ],
)
def test_a_daemon_that_answers_badly_stops_nobody(answer: Answer, reason: Reason) -> None:
    with daemon(answer) as store:
        assert refused(lambda: store.get(REF, 1024)) is reason


@pytest.mark.parametrize("act", [lambda store: store.get(REF, 1024), lambda store: store.put(BLOB)], ids=["get", "put"])
@pytest.mark.parametrize("chunked", [True, False], ids=["in chunks", "of a known length"])
@pytest.mark.parametrize("pause", [0.1, 0.8], ids=["too slow", "silent"])
def test_the_timeout_covers_the_whole_answer(pause: float, chunked: bool, act: Callable[[BlobStore], object]) -> None:
    with daemon(drip(pause, chunked), timeout=0.5) as store:
        started = time.monotonic()
        with pytest.raises(BlobError):
            act(store)
        assert time.monotonic() - started < 10.0  # the whole blob would take minutes


@pytest.mark.parametrize(
    "body",
    [
        b'{"Name":"x","Hash":"%s"}' % str(cid_of(b"other")).encode(),
        b'{"Name":"x","Hash":"QmdCootquw4nU55HmwdaCM1AzsvJYgpMRH2Tgrz9RRYk3s"}',
        b'{"jsonrpc":"2.0","error":{}}',
        b"[]",
        b"{",
        b"<html>",
        b"",
    ],
)
def test_a_daemon_that_stores_something_else_is_refused(body: bytes) -> None:
    with daemon(say(body)) as store, pytest.raises(HMChainError) as caught:
        store.put(BLOB)
    assert isinstance(caught.value, BlobError)
    assert "\n" not in str(caught.value)


def test_a_daemon_that_is_not_there_is_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        store = open_store(f"ipfs:/ip4/127.0.0.1/tcp/{free.getsockname()[1]}")
    with pytest.raises(BlobError, match=r"^the IPFS daemon at \S+ cannot store \S+: it is not reachable$"):
        store.put(BLOB)
    assert refused(lambda: store.get(REF, 1024)) is Reason.UNAVAILABLE


# Whose fault it is


@contextmanager
def nobody() -> Iterator[IpfsStore]:
    """A store whose daemon is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield IpfsStore(f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}")


@pytest.mark.parametrize(
    "act", [lambda s: s.put(BLOB), lambda s: s.get(REF, 1024), lambda s: s.used()], ids=["put", "get", "used"]
)
def test_a_daemon_that_is_gone_is_its_hospitals_fault_and_no_blobs(act: Callable[[BlobStore], object]) -> None:
    with nobody() as store, pytest.raises(DaemonError, match="it is not reachable"):
        act(store)


def test_a_daemon_that_gives_other_bytes_for_a_cid_is_at_fault() -> None:
    """It had to refuse them itself, whoever sent them: they are no evidence against an update."""
    with daemon(say(BLOB[:-1] + b"x")) as store:
        with pytest.raises(DaemonError, match=f"gives other bytes for {REF.cid}") as caught:
            store.get(REF, 1024)
        assert caught.value.reason is Reason.WRONG_DIGEST


@pytest.mark.parametrize(
    ("answer", "ref"),
    [
        pytest.param(say(b'{"Message":"block was not found locally"}', 500), REF, id="not found"),
        pytest.param(say(BLOB[:-1]), REF, id="a block of it not found"),
        pytest.param(says_why(b"block was not found locally"), REF, id="a block of it not found, as it says itself"),
        pytest.param(drip(0.3), REF, id="not found in time"),
        pytest.param(say(BLOB + b"x"), REF, id="another size than recorded"),
        pytest.param(say(BLOB), replace(REF, sha256=bytes(32)), id="another digest than recorded"),
    ],
)
def test_a_blob_that_is_missing_or_falsely_recorded_is_not_the_daemons_fault(answer: Answer, ref: BlobRef) -> None:
    with daemon(well(answer), timeout=0.2) as store, pytest.raises(BlobError) as caught:
        store.get(ref, 1024)
    assert not isinstance(caught.value, DaemonError)


FULL = b"write /data/ipfs/blocks/.temp/temp-1: no space left on device"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(drip(0.3), id="answers nothing in time"),
        pytest.param(say(b'{"Message":"datastore is closed"}', 500), id="refuses everything"),
        pytest.param(well(say(b'{"Message":"%s"}' % FULL, 500)), id="disk full"),
        pytest.param(well(says_why(FULL)), id="disk full amid a blob"),
    ],
)
def test_a_daemon_that_does_not_work_is_at_fault_and_not_the_blob(answer: Answer) -> None:
    with daemon(answer, timeout=0.2) as store, pytest.raises(DaemonError, match="cannot fetch") as caught:
        store.get(REF, 1024)
    assert caught.value.reason is Reason.UNAVAILABLE


def test_a_daemon_that_stores_and_does_not_pin_is_at_fault() -> None:
    """Kubo does so where its disk is full in between; with status 200, and the reason in a trailer."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        pins = request.path.startswith("/api/v0/pin")
        refusal = say(b'{"Message":"path \'%s\' is not pinned"}' % str(REF.cid).encode(), 500)
        (refusal if pins else say(b'{"Hash":"%s"}' % str(REF.cid).encode()))(request)

    with daemon(answer) as store, pytest.raises(DaemonError, match=r"cannot keep \S+: path '\S+' is not pinned$"):
        store.put(BLOB)


@pytest.mark.parametrize("answer", [say(b"", 500), say(b"{}"), say(b'{"Hash":"x"}'), drip(0.3)], ids=range(4))
def test_a_daemon_that_does_not_store_is_at_fault(answer: Answer) -> None:
    with daemon(answer, timeout=0.2) as store, pytest.raises(DaemonError):
        store.put(BLOB)


# How much it holds


def test_a_folder_holds_its_blobs(store: DirectoryStore, tmp_path: Path) -> None:
    assert store.used() == 0
    for blob in (BLOB, BLOB, b"other"):
        store.put(blob)
    assert store.used() == len(BLOB) + len(b"other")
    shutil.rmtree(tmp_path / "blobs")
    with pytest.raises(StorageError, match=r"cannot read .*blobs: No such file"):
        store.used()


def test_a_daemon_says_what_it_holds() -> None:
    with daemon(say(b'{"RepoSize":123456,"StorageMax":9,"RepoPath":"/x"}')) as store:
        assert store.used() == 123_456


@pytest.mark.parametrize(
    "answer",
    [say(b"", 500), say(b"<html>"), say(b"[]"), say(b"{}"), say(b'{"RepoSize":"x"}'), say(b'{"RepoSize":null}')],
    ids=range(6),
)
def test_a_daemon_that_cannot_say_what_it_holds_is_at_fault(answer: Answer) -> None:
    with daemon(answer) as store, pytest.raises(DaemonError, match="cannot say what it holds") as caught:
        store.used()
    assert "\n" not in str(caught.value)


def test_a_limited_store_takes_what_fits_and_gives_all_it_has(store: DirectoryStore) -> None:
    limited = LimitedStore(store, 2 * len(BLOB))
    ref = limited.put(BLOB)
    other = limited.put(bytes(len(BLOB)))
    with pytest.raises(StorageError, match=r"^the blob store holds 2,048 bytes, its limit is 2,048$"):
        limited.put(b"x")
    assert (limited.get(ref, 1024), limited.get(other, 1024)) == (BLOB, bytes(1024))
    assert limited.used() == store.used() == 2048


def test_what_others_made_the_daemon_fetch_counts_as_well() -> None:
    with daemon(say(b'{"RepoSize":1000,"Hash":"%s"}' % str(REF.cid).encode())) as store:
        with pytest.raises(StorageError, match="holds 1,000 bytes, its limit is 1,500"):
            LimitedStore(store, 1500).put(BLOB)
        assert LimitedStore(store, 2024).put(BLOB) == REF


def test_a_limited_store_whose_daemon_is_gone_stores_nothing() -> None:
    with nobody() as store, pytest.raises(DaemonError):
        LimitedStore(store, 10**9).put(BLOB)


def test_a_store_is_limited_where_a_limit_is_named(tmp_path: Path) -> None:
    assert isinstance(open_store(tmp_path), DirectoryStore)
    limited = open_store(tmp_path, limit=1000)
    with pytest.raises(StorageError, match="its limit is 1,000"):
        limited.put(BLOB)
