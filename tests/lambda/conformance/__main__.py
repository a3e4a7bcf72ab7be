"""Lambda's control plane, checked by name: python3 tests/lambda/conformance --endpoint URL [--account ID] [--verbose]

Prints what fails and a score, and exits 1 unless everything held. `--floor N` is for other servers: only fewer than N
are a failure then. The endpoint should be empty; every function is deleted first.
"""

import argparse
import sys

import boto3

import beside
import functions
import permissions
import promises
import versions
from kit import REGION, Kit


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--endpoint", required=True)
    words.add_argument("--account", default="000000000000")
    words.add_argument("--name", default="serin")
    words.add_argument("--moto", action="store_true", help="make roles and queues first, which moto wants to see")
    words.add_argument("--floor", type=int)
    words.add_argument("--verbose", action="store_true")
    asked = words.parse_args()
    k = Kit(asked.endpoint, asked.account, asked.verbose)
    k.has_queues = asked.moto
    if asked.moto:
        for role in ("conformance", "another"):
            k.iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}", Path="/")
        keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret", "region_name": REGION}
        queues = boto3.client("sqs", endpoint_url=asked.endpoint, **keys)
        k.make_queue = lambda name: queues.create_queue(QueueName=name)
    for mapping in k.call("list_event_source_mappings").at("EventSourceMappings") or []:
        k.call("delete_event_source_mapping", UUID=mapping["UUID"])
    for function in k.call("list_functions").at("Functions") or []:
        k.call("delete_function", FunctionName=function["FunctionName"])
    for part in (functions, versions, permissions, beside, promises):
        part.run(k)
    total = k.passed + len(k.failed)
    print(f"{asked.name}: {k.passed} of {total} named checks hold")
    return 1 if (k.passed < asked.floor if asked.floor is not None else k.failed) else 0


if __name__ == "__main__":
    sys.exit(main())
