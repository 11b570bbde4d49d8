"""The worker process of a function app: a program that stands alone, started by ``tests/worker.py``.

In Azure the host starts such a process and speaks with it in messages of its own protocol. All that this
file does is to receive them, to hand each to Microsoft's worker code (``azure-functions-runtime``), and to
send back what that answers: over stdin and stdout here, over gRPC there.

    python -P tests/worker_process.py PROTOCOL APP

``PROTOCOL`` is the folder that ``make setup`` makes. It doesn't stay on ``sys.path``: one of its wheels ships
a top-level ``tests``. ``APP`` is the function app's folder. As in Azure, it comes last on ``sys.path``.
"""

import asyncio
import importlib
import logging
import os
import struct
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, BinaryIO

_LENGTH = struct.Struct(">I")
_PACKAGE = "functions_host_protocol"
_SDK_LOGGERS = ("azure", "azure_functions")


def load_protocol(folder: Path) -> Any:
    """The protocol's classes: ``StreamingMessage``, ``TypedData`` …, as the worker code wants them."""
    if _PACKAGE not in sys.modules:
        package = ModuleType(_PACKAGE)
        package.__path__ = [str(folder / "tests/protos")]
        sys.modules[_PACKAGE] = package
    sys.path.insert(0, str(folder))  # for protobuf itself
    try:
        messages, nullable = (
            importlib.import_module(f"{_PACKAGE}.{name}")
            for name in ("FunctionRpc_pb2", "shared.NullableTypes_pb2")
        )
    finally:
        sys.path.remove(str(folder))
    return SimpleNamespace(**{**vars(nullable), **vars(messages)})


class Wire:
    """Messages of the protocol, each behind its length, over two pipes. Threads may send at the same time."""

    def __init__(self, protocol: Any, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._protocol = protocol
        self._incoming = incoming
        self._outgoing = outgoing
        self._lock = threading.Lock()

    def send(self, request_id: str = "", **content: Any) -> None:
        """Send a message with this content."""
        data = self._protocol.StreamingMessage(request_id=request_id, **content).SerializeToString()
        with self._lock:
            self._outgoing.write(_LENGTH.pack(len(data)) + data)
            self._outgoing.flush()

    def receive(self) -> Any:
        """The next message; ``None`` if the other side has gone."""
        head = self._incoming.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            return None
        return self._protocol.StreamingMessage.FromString(self._incoming.read(*_LENGTH.unpack(head)))


class _ToHost(logging.Handler):
    """Log records as the host gets them: a message, a category, a level, and whose invocation it was."""

    def __init__(self, wire: Wire, protocol: Any, invocation_id: Any) -> None:
        super().__init__()
        self._wire = wire
        self._log = protocol.RpcLog
        self._invocation_id = invocation_id

    def emit(self, record: logging.LogRecord) -> None:
        level = {"WARNING": "Warning", "ERROR": "Error", "CRITICAL": "Critical", "DEBUG": "Debug"}
        self._wire.send(
            rpc_log=self._log(
                invocation_id=self._invocation_id.get() or "",
                category=record.name,
                level=getattr(self._log, level.get(record.levelname, "Information")),
                message=self.format(record),
                log_category=1 if record.name.startswith(_SDK_LOGGERS) else 0,  # system's, or the user's
            )
        )


async def _serve(wire: Wire, protocol: Any, runtime: Any) -> None:
    async def answer(message: Any) -> None:
        kind = message.WhichOneof("content")
        request = SimpleNamespace(request=message, properties={"host": "127.0.0.1", "protos": protocol})
        response = await getattr(runtime, kind)(request)
        wire.send(message.request_id, **{_RESPONSES[kind]: response})

    running: set[asyncio.Task[None]] = set()
    while message := await asyncio.to_thread(wire.receive):
        task = asyncio.create_task(answer(message))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)


_RESPONSES = {
    "worker_init_request": "worker_init_response",
    "functions_metadata_request": "function_metadata_response",
    "function_load_request": "function_load_response",
    "invocation_request": "invocation_response",
}


def main() -> None:
    """Serve the host until it closes stdin."""
    protocol = load_protocol(Path(sys.argv[1]))
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the app prints is no message
    wire = Wire(protocol, sys.stdin.buffer, outgoing)
    runtime: Any = importlib.import_module("azure_functions_runtime")
    sys.path.append(sys.argv[2])
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger().addHandler(_ToHost(wire, protocol, runtime.invocation_id_cv))
    runtime.start_threadpool_executor()
    try:
        asyncio.run(_serve(wire, protocol, runtime))
    finally:
        runtime.stop_threadpool_executor()


if __name__ == "__main__":
    main()
