"""What rules and codes mean: said once for each meaning, and of what is there alone."""

from typing import Any

import pytest

from shared.views.explanations import (
    explain_codes,
    explain_denial,
    explain_rules,
    is_denied_by_encryption,
)
from tests.strategies import ENCRYPTIONS

GUID = "01020304-abcd-ef00-1234-102030405060"
ZERO = "00000000-0000-0000-0000-000000000000"


def row(rule: str, group: str = "/subscriptions/s/web", status: str = "Allowed") -> dict[str, Any]:
    return {"AclRule": rule, "AclGroup": group, "Status": status}


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("PlatformRule", "Your own traffic can be among it"),
        ("DefaultRule_DenyAllInBound", "for what no rule of your own decides"),
        ("DefaultRule", "the log doesn't say which"),
        ("UserRule", "the log doesn't say which"),
        ("unspecified", "the log names no rule"),
        (f"Block-SSH_{GUID}", "a security admin rule of Azure Virtual Network Manager"),
        (f"Block_SSH_{GUID.upper()}", "a security admin rule of Azure Virtual Network Manager"),
    ],
)
def test_a_rule_is_explained_by_its_name(rule: str, says: str) -> None:
    (explained,) = explain_rules([row(rule)])
    assert explained.startswith(f"{rule}: ")
    assert says in explained


@pytest.mark.parametrize(
    "rule",
    [
        "UserRule_web",
        f"UserRule_MicrosoftDefenderForCloud-JITRule_{GUID}",
        "BlockHighRiskTCPPortsFromInternet",
        "Platform",
        f"_{GUID}x",
        "",
    ],
)
def test_a_rule_of_ones_own_needs_no_explanation(rule: str) -> None:
    assert [*explain_rules([row(rule)])] == []


def test_each_meaning_is_said_once() -> None:
    rules = [row(f"DefaultRule_{name}") for name in ("A", "B", "A")]
    assert [each.partition(":")[0] for each in explain_rules(rules)] == ["DefaultRule_A, DefaultRule_B"]
    many = [row(f"DefaultRule_{name}") for name in "ABCD"]
    assert [each.partition(":")[0] for each in explain_rules(many)] == ["DefaultRule_A and 3 more"]


def test_a_group_that_is_none_is_explained() -> None:
    platform, group = explain_rules([row("PlatformRule", ZERO)])
    assert platform.startswith("PlatformRule: ")
    assert group.startswith(f"{ZERO}: ")


def test_what_no_rule_denied_is_denied_by_encryption() -> None:
    denied = row("unspecified", "unspecified", "Denied")
    assert is_denied_by_encryption(denied)
    assert not is_denied_by_encryption(row("unspecified"))
    assert not is_denied_by_encryption(row("UserRule_x", status="Denied"))
    assert "encryption is the reason" in next(explain_rules([denied]))


@pytest.mark.parametrize("code", ["NX_NOT_ACCEPTED", "NX_SW_NOT_READY", "NX_NOT_SUPPORTED"])
def test_a_code_says_why_something_was_dropped(code: str) -> None:
    assert f"{code}: dropped, as" in explain_denial(code)


@pytest.mark.parametrize("code", ["", "X", "NX", "NX_LOCAL_DST", "NX_NEW_IN_2027"])
def test_a_code_that_does_not_say_why_is_said_not_to(code: str) -> None:
    assert f"{code or 'none'}, doesn't say why" in explain_denial(code)


def test_every_code_that_is_documented_is_explained() -> None:
    known = [code for code in ENCRYPTIONS if code not in {"NX_NEW_IN_2027", "NX_" + 59 * "z"}]
    explained = [*explain_codes({"Encryption": code} for code in (*ENCRYPTIONS, *ENCRYPTIONS, ""))]
    assert [each.partition(":")[0] for each in explained] == known
