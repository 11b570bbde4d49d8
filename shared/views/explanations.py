"""What rules and codes of a flow log mean where their names don't tell (pure).

Sources on Microsoft Learn: "Virtual network flow logs" (codes of encryption, what is ``unspecified``),
"Network security groups" (default rules), "Security admin rules in Azure Virtual Network Manager". The first
of these said for a time that own traffic can stand under ``PlatformRule``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_UNSPECIFIED = "unspecified"
_NO_GROUP = "00000000-0000-0000-0000-000000000000"
_ADMIN_RULE = re.compile(
    r"(?!UserRule_|DefaultRule_).+_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE
)

_RULES = {
    "PlatformRule": (
        "Azure's platform decided, no rule of yours. Your own traffic can be among it: load-balanced "
        "connections that are made anew, answers that need no rule. Your own rules' figures lack as much"
    ),
    "DefaultRule": "a rule that comes with each network security group; the log doesn't say which",
    "UserRule": "a rule of your own; the log doesn't say which",
}
_DEFAULT = "in each network security group from the start, for what no rule of your own decides"
_ADMIN = (
    "by name a security admin rule of Azure Virtual Network Manager, asked before network security groups are"
)
_NO_RULE = "the log names no rule"
_ENCRYPTION_DENIES = "the log names no rule: encryption is the reason, and `flowtally why` says more"
_ZERO = "stands where the log names no network security group"

_CODES = {
    "X": "encrypted by the virtual network",
    "NX": "not encrypted, as encryption isn't set up or the other side has none",
    "NX_HW_NOT_SUPPORTED": "not encrypted, as the machine's host lacks the hardware; Microsoft wants to know",
    "NX_SW_NOT_READY": (
        "dropped, as the host's network isn't ready to encrypt: after a start, a move or an update"
    ),
    "NX_NOT_ACCEPTED": (
        "dropped, as both sides are set to drop what isn't encrypted (DropUnencrypted), and encrypting failed"
    ),
    "NX_NOT_SUPPORTED": (
        "dropped, as the host's network can't discover the other side's encryption; Microsoft wants to know"
    ),
    "NX_LOCAL_DST": "not encrypted, by design, as both machines run on the same host",
    "NX_FALLBACK": (
        "not encrypted, as encrypting failed and both sides are set to allow that (AllowUnencrypted)"
    ),
}
"""What each code says; one that isn't here is newer than this program."""


def explain_rules(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Explain the rules and groups in these rows whose names don't tell what they are: a sentence for each
    meaning, with the names that have it.
    """
    yield from _sentences(meaning for row in rows for meaning in _meanings(row))


def explain_codes(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Explain the codes of encryption in these rows, a sentence for each that is known."""
    codes = {row["Encryption"] for row in rows}
    yield from _sentences((code, meaning) for code, meaning in _CODES.items() if code in codes)


def _sentences(meanings: Iterable[tuple[str, str]]) -> Iterator[str]:
    names: dict[str, dict[str, None]] = {}
    for name, meaning in meanings:
        names.setdefault(meaning, {})[name] = None
    for meaning, named in names.items():
        first, *others = named
        more = f", {others[0]}" if len(others) == 1 else f" and {len(others)} more" if others else ""
        yield f"{first}{more}: {meaning}"


def _meanings(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    rule = row["AclRule"]
    if rule in _RULES:
        yield rule, _RULES[rule]
    elif rule == _UNSPECIFIED:
        yield rule, _ENCRYPTION_DENIES if is_denied_by_encryption(row) else _NO_RULE
    elif rule.startswith("DefaultRule_"):
        yield rule, _DEFAULT
    elif _ADMIN_RULE.fullmatch(rule):
        yield rule, _ADMIN
    if row["AclGroup"] == _NO_GROUP:
        yield _NO_GROUP, _ZERO


def is_denied_by_encryption(row: Mapping[str, Any]) -> bool:
    """Whether a flow was denied and the log names no rule, as it does where encryption is the reason."""
    return bool(row["Status"] == "Denied" and row["AclRule"] == _UNSPECIFIED)


def explain_denial(code: str) -> str:
    """Explain by its code of encryption why a flow was denied that no rule denied."""
    meaning = _CODES.get(code, "")
    if meaning.startswith("dropped"):
        return f"because of encryption, not by a rule; {code}: {meaning}"
    return (
        "because of encryption, not by a rule: so Microsoft explains a log that names no rule; "
        f"its code, {code or 'none'}, doesn't say why"
    )
