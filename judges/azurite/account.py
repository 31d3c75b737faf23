"""What is in a storage account before Switchyard uses it, by the vendor's own SDKs.

Usage: account.py FOLDER [deployment], with STORAGE in the environment: a connection string with the account's key.
Makes container `contract` and writes two signatures to FOLDER: of that container, and of the account.

With `deployment` also what a deployment makes once: the container of facts with its catalogue, queues and a
pool. Needs BATCH_ENDPOINT, BATCH_ACCOUNT_NAME, BATCH_ACCOUNT_KEY and SWITCHYARD_MODEL_DIR too, and writes to FOLDER
knobs, a node's worker, which opens the facts by the settings of NODE_SETTINGS, and a ready file that lacks
the address of the host.
"""

import datetime
import hashlib
import json
import os
import pathlib
import secrets
import shlex
import sys

from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import (
    AccountSasPermissions,
    BlobServiceClient,
    ResourceTypes,
    Services,
    generate_account_sas,
    generate_container_sas,
)
from azure.storage.queue import QueueServiceClient

# The newest that Azurite takes.
API_VERSION = "2025-11-05"
MODEL, POOL, DIMENSIONS = "minilm", "judged", 384
TENANT = "judges"
QUEUES = ["batch-inference-queue", "batch-inference-queue-poison", "batch-inference-dlq"]


def catalogue(worker, key):
    folder = pathlib.Path(os.environ["SWITCHYARD_MODEL_DIR"])
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    entry = {"prefix": key.split("-")[1], "sha256": hashlib.sha256(key.encode()).hexdigest()}
    model = {
        "id": MODEL,
        "operations": ["embeddings"],
        "version": "v1.0",
        "digest": f"sha256:{weights}",
        "max_input_tokens": 256,
        "dimensions": DIMENSIONS,
        "owned_by": "judges",
    }
    pool = {
        "name": POOL,
        "region": "local",
        "models": [MODEL],
        "usd_per_node_hour": 0.16,
        "price_date": "2026-11-01",
        "max_nodes": 1,
        "slots_per_node": 1,
        "speed": {"base_ms": 0, "per_item_us": 10_000, "per_token_in_us": 0, "p95_percent": 200},
        "boot_ms": {"p50": 1_000, "p95": 2_000},
        "worker": {"program": str(worker), "folders": {MODEL: str(folder)}},
    }
    tenant = {"id": TENANT, "keys": [{**entry, "permissions": ["submit", "read", "cancel"]}]}
    return {"v": 1, "models": [model], "backends": [], "pools": [pool], "tenants": [tenant], "admins": []}


def node(folder):
    """A node's worker: what opens the store is the node's own and stands in no task."""
    worker, program = folder / "worker", pathlib.Path("target/debug/worker").absolute()
    own = "".join(f"export {name}={shlex.quote(os.environ[name])}\n" for name in os.environ["NODE_SETTINGS"].split())
    worker.touch(mode=0o700)
    worker.write_text(f'#!/bin/sh\n{own}exec {program} "$@"\n')
    return worker


def pool():
    key = AzureNamedKeyCredential(os.environ["BATCH_ACCOUNT_NAME"], os.environ["BATCH_ACCOUNT_KEY"])
    image = models.BatchVmImageReference(publisher="microsoft-dsvm", offer="ubuntu-hpc", sku="2404", version="latest")
    machine = models.VirtualMachineConfiguration(image_reference=image, node_agent_sku_id="batch.node.ubuntu 24.04")
    options = models.BatchPoolCreateOptions(
        id=POOL, vm_size="Standard_NC4as_T4_v3", virtual_machine_configuration=machine, target_low_priority_nodes=1
    )
    BatchClient(os.environ["BATCH_ENDPOINT"], key).create_pool(options)


def signatures(blobs):
    """Of container `contract`, and of all queues and blobs."""
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    name, key = blobs.account_name, blobs.credential.account_key
    everything = AccountSasPermissions(
        read=True, write=True, delete=True, list=True, add=True, create=True, update=True, process=True
    )
    everywhere = ResourceTypes(service=True, container=True, object=True)
    both = Services(blob=True, queue=True)
    return (
        generate_container_sas(name, "contract", key, permission="racwdl", expiry=until),
        generate_account_sas(name, key, everywhere, everything, until, services=both),
    )


def deployment(folder, blobs):
    key = f"sy-{secrets.token_hex(4)}-{secrets.token_hex(16)}"
    facts = blobs.create_container("switchyard")
    facts.upload_blob("config/catalogue.json", json.dumps(catalogue(node(folder), key)))
    queues = QueueServiceClient.from_connection_string(os.environ["STORAGE"], api_version=API_VERSION)
    for name in QUEUES:
        queues.create_queue(name)
    pool()
    (folder / "knobs.json").write_text("{}")
    ready = {"base_url": "HOST/api/v1", "host_url": "HOST", "api_key": key, "tenant": TENANT}
    (folder / "ready.json").write_text(json.dumps(ready))


def main():
    folder = pathlib.Path(sys.argv[1])
    blobs = BlobServiceClient.from_connection_string(os.environ["STORAGE"], api_version=API_VERSION)
    blobs.create_container("contract")
    container, account = signatures(blobs)
    (folder / "container.sas").write_text(container)
    (folder / "account.sas").write_text(account)
    if sys.argv[2:] == ["deployment"]:
        deployment(folder, blobs)


if __name__ == "__main__":
    main()
