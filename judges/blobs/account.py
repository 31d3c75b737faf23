"""What a deployment makes once, by the vendor's own SDKs: containers, queues, the catalogue, a pool.

Usage: account.py FOLDER, with AzureWebJobsStorage, BATCH_ENDPOINT, BATCH_ACCOUNT_NAME, BATCH_ACCOUNT_KEY
and SWITCHYARD_MODEL_DIR in the environment. Writes there: knobs, a node's worker, a signature of
container `contract`, and a ready file that lacks the address of the host.
"""

import datetime
import hashlib
import json
import os
import pathlib
import secrets
import sys

from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobServiceClient, generate_container_sas
from azure.storage.queue import QueueServiceClient

# The newest that Azurite takes.
API_VERSION = "2025-11-05"
MODEL, POOL, DIMENSIONS = "minilm", "judged", 384
MODEL_FOLDER = pathlib.Path(os.environ["SWITCHYARD_MODEL_DIR"])
QUEUES = ["batch-inference-queue", "batch-inference-queue-poison", "batch-inference-dlq"]


def catalogue(worker, key):
    weights = hashlib.sha256((MODEL_FOLDER / "model.safetensors").read_bytes()).hexdigest()
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
        "worker": {"program": str(worker), "folders": {MODEL: str(MODEL_FOLDER)}},
    }
    tenant = {"id": "judges", "keys": [{**entry, "permissions": ["submit", "read", "cancel"]}]}
    return {"v": 1, "models": [model], "backends": [], "pools": [pool], "tenants": [tenant], "admins": []}


def node(folder):
    """A node's worker: the key of the store is the node's own and stands in no task."""
    worker = folder / "worker"
    program = pathlib.Path("target/debug/worker").absolute()
    worker.touch(mode=0o700)
    worker.write_text(f'#!/bin/sh\nAZURE_STORAGE_KEY={os.environ["AZURE_STORAGE_KEY"]} exec {program} "$@"\n')
    return worker


def pool():
    key = AzureNamedKeyCredential(os.environ["BATCH_ACCOUNT_NAME"], os.environ["BATCH_ACCOUNT_KEY"])
    image = models.BatchVmImageReference(publisher="microsoft-dsvm", offer="ubuntu-hpc", sku="2404", version="latest")
    machine = models.VirtualMachineConfiguration(image_reference=image, node_agent_sku_id="batch.node.ubuntu 24.04")
    options = models.BatchPoolCreateOptions(
        id=POOL, vm_size="Standard_NC4as_T4_v3", virtual_machine_configuration=machine, target_low_priority_nodes=1
    )
    BatchClient(os.environ["BATCH_ENDPOINT"], key).create_pool(options)


def signature(blobs):
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    key = blobs.credential.account_key
    return generate_container_sas(blobs.account_name, "contract", key, permission="racwdl", expiry=until)


def main():
    folder, storage = pathlib.Path(sys.argv[1]), os.environ["AzureWebJobsStorage"]
    key = f"sy-{secrets.token_hex(4)}-{secrets.token_hex(16)}"
    blobs = BlobServiceClient.from_connection_string(storage, api_version=API_VERSION)
    blobs.create_container("contract")
    facts = blobs.create_container("switchyard")
    facts.upload_blob("config/catalogue.json", json.dumps(catalogue(node(folder), key)))
    queues = QueueServiceClient.from_connection_string(storage, api_version=API_VERSION)
    for name in QUEUES:
        queues.create_queue(name)
    pool()
    (folder / "sas").write_text(signature(blobs))
    (folder / "knobs.json").write_text("{}")
    ready = {"base_url": "HOST/api/v1", "host_url": "HOST", "api_key": key}
    (folder / "ready.json").write_text(json.dumps(ready))


if __name__ == "__main__":
    main()
