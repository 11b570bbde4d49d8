"""The name of the flow logs' account, which is part of a blob's place, comes from the service's address."""

import re

import pytest

from shared.blobs import account_name


@pytest.mark.parametrize(
    ("address", "account"),
    [
        ("https://mylogs.blob.core.windows.net", "mylogs"),
        ("https://mylogs.blob.core.windows.net/", "mylogs"),
        ("https://MyLogs.blob.core.chinacloudapi.cn:443", "mylogs"),
        ("https://mylogs-secondary.blob.core.windows.net", "mylogs"),
        ("https://mylogs.z01.blob.storage.azure.net", "mylogs"),
        ("https://mylogs.privatelink.blob.core.windows.net", "mylogs"),
        ("http://127.0.0.1:10000/devstoreaccount1/", "devstoreaccount1"),
        ("http://[::1]:10000/devstoreaccount1", "devstoreaccount1"),
        ("http://azurite:10000/devstoreaccount1", "devstoreaccount1"),
        ("http://azurite:10000", "azurite"),
    ],
)
def test_the_account_is_the_hosts_first_label_or_the_path(address: str, account: str) -> None:
    assert account_name(address) == account


def test_the_account_is_safe_in_table_keys() -> None:
    assert re.fullmatch(r"[A-Za-z0-9._()!\-]+", account_name("http://azurite/a%23%2Fb%3Fc"))
