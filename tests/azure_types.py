"""Microsoft's own definitions of Azure's resource types, from `azmcp`: offline, by its tool protocol.

One process answers for all types, and what it says is kept beside the package, which is pinned: it takes two
seconds to start. A definition is ``{type name: definition}``; each ``type`` in it is a name in there, a
primitive, a literal, ``X[]``, or several of these joined by `` | ``.
"""

import fcntl
import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

type Definition = dict[str, dict[str, Any]]
"""Everything that one resource type is made of; the resource itself under the key ``""``."""


PACKAGE = Path(__file__).parents[1] / "node_modules" / "@azure" / "mcp-linux-x64"


def definitions(resource_types: Iterable[str]) -> dict[str, Definition]:
    """The definitions of resource types such as ``Microsoft.Web/sites``, without those that azmcp lacks."""
    program = PACKAGE / "dist" / "azmcp"
    assert program.exists(), (
        f"{program} is missing: Microsoft's type definitions come as a program for Linux on x64. "
        "Elsewhere infra/ can't be checked; there, run `make setup` anew if npm left optional packages out"
    )
    kept = PACKAGE / "definitions.json"
    with (PACKAGE / "definitions.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known: dict[str, Definition] = json.loads(kept.read_bytes()) if kept.exists() else {}
        wanted = set(resource_types)
        missing = sorted(wanted - known.keys())
        if missing:
            with _server(program) as server:
                known |= {name: _definition(server, name) for name in missing}
            part = kept.with_suffix(".part")
            part.write_text(json.dumps(known), encoding="utf-8")
            part.replace(kept)
    return {name: known[name] for name in wanted if known[name]}


@contextmanager
def _server(program: Path) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {
        "AZURE_MCP_COLLECT_TELEMETRY": "false",
        "DOTNET_BUNDLE_EXTRACT_BASE_DIR": str(program.parent / "extracted"),
    }
    arguments = [str(program), "server", "start", "--tool", "bicepschema_get"]
    with subprocess.Popen(
        arguments,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        us = {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        }
        _ask(server, "initialize", us)
        yield server
        assert server.stdin is not None
        server.stdin.close()


def _ask(server: subprocess.Popen[str], method: str, parameters: dict[str, Any]) -> Any:
    assert server.stdin is not None
    assert server.stdout is not None
    message = {"jsonrpc": "2.0", "id": method, "method": method, "params": parameters}
    server.stdin.write(json.dumps(message) + "\n")
    server.stdin.flush()
    for line in server.stdout:
        if line.startswith("{"):  # the native libraries in it print as they like
            return json.loads(line)["result"]
    raise EOFError(f"azmcp ended at {method}")


def _definition(server: subprocess.Popen[str], resource_type: str) -> Definition:
    call = {"name": "bicepschema_get", "arguments": {"resource-type": resource_type}}
    answer = json.loads(_ask(server, "tools/call", call)["content"][0]["text"])
    if answer["status"] != 200:
        assert re.search("not supported|not present", answer["message"]), answer
        return {}
    parts = answer["results"]["BicepSchemaResult"]
    return {
        "" if part["$type"] == "Resource" else part["name"]: part
        for part in parts
        if part["$type"] in ("Resource", "Object", "DiscriminatedObject")
    }
