"""Adds to a catalogue a tenant whose one key may do everything, so that one key opens every operation.

Usage: prepare.py CATALOGUE KEY (written by upstream.py; rewritten in place).
"""

import hashlib
import json
import sys

path, key = sys.argv[1:]
with open(path) as file:
    catalogue = json.load(file)
entry = {
    "prefix": key.split("-")[1],
    "sha256": hashlib.sha256(key.encode()).hexdigest(),
    "permissions": ["submit", "read", "cancel", "admin"],
}
catalogue["tenants"] = [{"id": "schema", "keys": [entry]}]
with open(path, "w") as file:
    json.dump(catalogue, file)
