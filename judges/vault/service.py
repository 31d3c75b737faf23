"""The vendor's own Key Vault client against a vault: public calls only.

Usage: service.py, with VAULT in the environment: JSON with `url` and `authority` (PEM).
"""

import json
import os
import tempfile
import time

from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.keyvault.secrets import SecretClient

VAULT = json.loads(os.environ["VAULT"])


class Token:
    """Gives the token that the stand-in lets in, and keeps what it was asked for."""

    def __init__(self):
        self.scopes = []

    def get_token(self, *scopes, **_):
        self.scopes.append(scopes)
        return AccessToken("faketoken", int(time.time()) + 3600)


def main():
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as authority:
        authority.write(VAULT["authority"])
        authority.flush()
        judge(authority.name)
    print("judged: azure-keyvault-secrets")


def judge(authority):
    token = Token()
    client = SecretClient(
        VAULT["url"], token, verify_challenge_resource=False, connection_verify=authority
    )
    first = client.set_secret("realtime-threshold-ms", "1500")
    assert first.value == "1500" and first.properties.enabled, first
    assert token.scopes == [("https://vault.azure.net/.default",)], token.scopes

    second = client.set_secret("realtime-threshold-ms", "1600")
    assert client.get_secret("realtime-threshold-ms").value == "1600"
    older = client.get_secret("realtime-threshold-ms", first.properties.version)
    assert older.value == "1500" and older.properties.version != second.properties.version
    versions = list(client.list_properties_of_secret_versions("realtime-threshold-ms"))
    assert len(versions) == 2, versions

    client.update_secret_properties("realtime-threshold-ms", enabled=False)
    try:
        client.get_secret("realtime-threshold-ms")
        raise AssertionError("a secret that is switched off was given")
    except HttpResponseError as error:
        assert error.status_code == 403, error
    listed = {found.name: found.enabled for found in client.list_properties_of_secrets()}
    assert listed == {"realtime-threshold-ms": False}, listed

    for number in range(30):
        client.set_secret(f"s{number}", "x")
    assert len(list(client.list_properties_of_secrets())) == 31, "pages"

    try:
        client.get_secret("missing")
        raise AssertionError("a secret that is not there was given")
    except ResourceNotFoundError as error:
        assert error.error.code == "SecretNotFound", error


if __name__ == "__main__":
    main()
