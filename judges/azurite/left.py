"""What two ended batches leave in a container, seen by the vendor's own SDK: facts, each once, and no
marker of work.

Usage: left.py, with STORAGE in the environment.
"""

import collections
import json
import os

from azure.storage.blob import ContainerClient

from account import API_VERSION


def main():
    storage = os.environ["STORAGE"]
    facts = ContainerClient.from_connection_string(storage, "switchyard", api_version=API_VERSION)
    keys = [blob.name for blob in facts.list_blobs()]
    tops = collections.Counter(key.split("/")[0] for key in keys)
    ended = [key for key in keys if key.endswith("/end.json")]
    assert len(ended) == 2 and len([key for key in keys if key.endswith("/job.json")]) == 2, keys
    for key in ended:
        end = json.loads(facts.download_blob(key).readall())
        assert end["status"] in ("completed", "cancelled"), end
    waiting = [key for key in keys if key.startswith("ready/")]
    assert not waiting, f"ended jobs wait for a pool: {waiting}"
    assert tops["packs"] >= 1, f"no task ran: {tops}"
    print(f"ok      {len(keys)} objects in the container: {dict(tops)}")


if __name__ == "__main__":
    main()
