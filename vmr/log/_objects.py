"""What is too large for an event: blobs under their SHA-256, in a JetStream object store that the ``nats`` tool reads as well.

An object is a run of chunks on a subject of its own and one record that names them. The record is written last, so an object
is there as a whole or not at all. Contents never change: one that is there already is not sent again.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import structlog
import uuid_utils

from vmr.errors import DataError, InvalidInputError, LogUnavailableError, PublishError
from vmr.log._connection import Connection
from vmr.log._feed import Feed
from vmr.log._stream import open_stream
from vmr.log._wire import ApiError, ApiRefusedError, ConnectionLostError, NoAnswerError, NobodyListensError
from vmr.schedule import ObjectRef

_log = structlog.get_logger(__name__)
_CHUNK: Final = 1024 * 1024
_ROOM: Final = 4096
_IN_FLIGHT: Final = 8
_TRIES: Final = 5
_ACK_SECONDS: Final = 30.0
_NO_MESSAGE: Final = 10037
Progress = Callable[[int, int], None]
"""Told the bytes that are done, and how many there are; called on the connection's loop."""
_RETRIED: Final = (ConnectionLostError, NoAnswerError, NobodyListensError)


class _Options(msgspec.Struct, frozen=True):
    max_chunk_size: int


class _Info(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The object store's own record of an object (NATS ADR-20)."""

    name: str
    bucket: str
    nuid: str
    size: int
    chunks: int
    digest: str = ""
    mtime: str = ""
    deleted: bool = False
    options: _Options | None = None


class _Message(msgspec.Struct, frozen=True):
    data: bytes = b""


class _MessageAnswer(msgspec.Struct, frozen=True):
    message: _Message


class _Ack(msgspec.Struct, frozen=True):
    error: ApiError | None = None


class ObjectStore:
    """The object store of one database. The bucket is made by the first object."""

    def __init__(self, connection: Connection, db: str) -> None:
        self._connection = connection
        self._db = db
        self._bucket = f"VMR_{db}_objects"
        self._stream = f"OBJ_{self._bucket}"
        self._ready = False
        self._opening = asyncio.Lock()

    async def put(self, content: bytes | Path, progress: Progress | None = None) -> ObjectRef:
        """Store ``content`` and return its reference. Raises `InvalidInputError` for a file that cannot be read."""
        ref = await asyncio.to_thread(_hash, content)
        await self._open()
        if await self._find(ref) is not None:
            return ref
        abandoned: list[str] = []
        try:
            return await self._send_until_stored(content, ref, abandoned, progress)
        finally:
            for subject in abandoned:
                await self._forget(subject)

    async def _send_until_stored(
        self, content: bytes | Path, ref: ObjectRef, abandoned: list[str], progress: Progress | None
    ) -> ObjectRef:
        for tried in range(1, _TRIES + 1):
            identity = uuid_utils.uuid7().hex
            abandoned.append(self._chunk_subject(identity))
            try:
                await self._send(content, ref, identity, progress)
            except _RETRIED as error:
                _log.warning("object is sent again", sha256=ref.sha256, tried=tried, reason=str(error))
                await self._connection.until_connected(_ACK_SECONDS)
            else:
                abandoned.pop()
                return ref
        raise PublishError(f"object {ref.sha256} was not stored in {_TRIES} tries: see the server's log")

    async def get(self, ref: ObjectRef) -> bytes:
        """Return an object's content; raise `DataError` when it is missing or wrong."""
        chunks: list[bytes] = []
        async with aclosing(self._chunks(ref)) as parts:
            async for part in parts:
                chunks.extend(part)
        return b"".join(chunks)

    async def fetch(self, ref: ObjectRef, path: Path, progress: Progress | None = None) -> None:
        """Write an object's content to ``path``, which appears when all of it is there and right."""
        try:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        except OSError as error:
            raise InvalidInputError(f"{path} cannot be written: {error.strerror}") from error
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                async with aclosing(self._chunks(ref)) as parts:
                    async for part in parts:
                        await asyncio.to_thread(file.writelines, part)
                        if progress is not None:
                            progress(file.tell(), ref.size)
            await asyncio.to_thread(_publish_file, temporary, path)
        except BaseException:
            await asyncio.to_thread(temporary.unlink, missing_ok=True)
            raise

    async def _open(self) -> None:
        async with self._opening:
            if not self._ready:
                await open_stream(self._connection, "objects.json", self._db, create=True)
                self._ready = True

    async def _find(self, ref: ObjectRef) -> _Info | None:
        wanted = {"last_by_subj": self._record_subject(ref)}
        try:
            answer = await self._connection.api(f"STREAM.MSG.GET.{self._stream}", wanted, answer=_MessageAnswer)
        except ApiRefusedError as refusal:
            if refusal.error.code == 404:
                return None
            raise
        try:
            info = msgspec.json.decode(answer.message.data, type=_Info)
        except msgspec.MsgspecError as error:
            raise DataError(f"the object store's record of {ref.sha256} does not decode: {error}") from error
        return None if info.deleted else info

    def _record_subject(self, ref: ObjectRef) -> str:
        return f"$O.{self._bucket}.M.{base64.urlsafe_b64encode(ref.sha256.encode()).decode()}"

    def _chunk_subject(self, identity: str) -> str:
        return f"$O.{self._bucket}.C.{identity}"

    async def _send(self, content: bytes | Path, ref: ObjectRef, identity: str, progress: Progress | None) -> None:
        size = min(_CHUNK, self._connection.max_payload - _ROOM)
        info = _Info(
            name=ref.sha256,
            bucket=self._bucket,
            nuid=identity,
            size=ref.size,
            chunks=await self._send_chunks(content, ref, self._chunk_subject(identity), size, progress),
            digest=f"SHA-256={base64.urlsafe_b64encode(bytes.fromhex(ref.sha256)).decode()}",
            mtime=datetime.now(UTC).isoformat(),
            options=_Options(size),
        )
        await self._store(self._record_subject(ref), msgspec.json.encode(info), {"Nats-Rollup": "sub"})

    async def _send_chunks(
        self, content: bytes | Path, ref: ObjectRef, subject: str, size: int, progress: Progress | None
    ) -> int:
        digest, count = hashlib.sha256(), 0
        flying: list[asyncio.Task[None]] = []
        with io.BytesIO(content) if isinstance(content, bytes) else await asyncio.to_thread(content.open, "rb") as file:
            try:
                while chunk := await asyncio.to_thread(_read, file, size, digest):
                    flying.append(asyncio.create_task(self._store(subject, chunk)))
                    count += 1
                    if progress is not None:
                        progress(min(count * size, ref.size), ref.size)
                    if len(flying) >= _IN_FLIGHT:
                        await flying.pop(0)
                for task in flying:
                    await task
            finally:
                for task in flying:
                    task.cancel()
                await asyncio.gather(*flying, return_exceptions=True)
        if digest.hexdigest() != ref.sha256:
            raise InvalidInputError(f"{content!s} changed while it was read: try again")
        return count

    async def _store(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> None:
        answer = await self._connection.request(subject, payload, headers=headers, timeout=_ACK_SECONDS)
        error = msgspec.json.decode(answer, type=_Ack).error
        if error is not None:
            raise PublishError(f"the object store refuses it: {error.description} ({error.err_code})")

    async def _forget(self, subject: str) -> None:
        """Remove the chunks of an object that will never be complete; what stays is only wasted space."""
        with suppress(LogUnavailableError):
            await self._connection.api(f"STREAM.PURGE.{self._stream}", {"filter": subject}, answer=dict[str, object])

    async def _chunks(self, ref: ObjectRef) -> AsyncGenerator[list[bytes], None]:
        """Yield the chunks as they come; raise `DataError` at the end unless all of them match the hash."""
        await self._open()
        info = await self._find(ref)
        if info is None:
            raise DataError(f"object {ref.sha256} ({ref.size:,} bytes) is not in the object store of {self._db!r}")
        digest, size, count = hashlib.sha256(), 0, 0
        feed = Feed(self._connection, self._stream, [self._chunk_subject(info.nuid)], 1, max_batch=8)
        if info.chunks:
            async with aclosing(feed.batches()) as batches:
                async for batch in batches:
                    part = [raw.data for raw in batch]
                    count, size = count + len(part), size + sum(map(len, part))
                    await asyncio.to_thread(_update, digest, part)
                    yield part
                    if count >= info.chunks:
                        break
        if digest.hexdigest() != ref.sha256 or size != ref.size:
            raise DataError(
                f"object {ref.sha256} does not match its hash: {size:,} bytes with SHA-256 {digest.hexdigest()} are stored"
            )


def _hash(content: bytes | Path) -> ObjectRef:
    if isinstance(content, bytes):
        return ObjectRef(hashlib.sha256(content).hexdigest(), len(content))
    try:
        with content.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return ObjectRef(digest, file.tell())
    except OSError as error:
        raise InvalidInputError(f"{content} cannot be read: {error.strerror}") from error


def _read(file: BinaryIO, size: int, digest: hashlib._Hash) -> bytes:
    chunk = file.read(size)
    digest.update(chunk)
    return chunk


def _update(digest: hashlib._Hash, parts: list[bytes]) -> None:
    for part in parts:
        digest.update(part)


def _publish_file(temporary: Path, path: Path) -> None:
    temporary.chmod(0o666 & ~_umask())
    temporary.replace(path)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
