"""Terraform's acceptance tests of Lambda, by the calls of its provider for AWS: python3 tests/lambda/terraform --endpoint URL

The provider itself is not here; what it asks, in which order, what it waits for and what it compares was read from its source
(internal/service/lambda) and is asked by boto3. With `--sqs URL` queues are made there first. Prints what fails, what serin
refuses with a sentence, and a score, and exits 1 unless everything held.
"""

import argparse
import sys

import boto3
from provider import Terraform

import beside
import functions
import refused
from kit import REGION


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--endpoint", required=True)
    words.add_argument("--sqs", help="where queues are made; without it nobody looks whether there are any")
    words.add_argument("--account", default="000000000000")
    words.add_argument("--only", default="", help="the beginning of scenarios' names")
    words.add_argument("--verbose", action="store_true")
    asked = words.parse_args()
    tf = Terraform(asked.endpoint, asked.account, asked.verbose)
    keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret", "region_name": REGION}
    queues = boto3.client("sqs", endpoint_url=asked.sqs, **keys) if asked.sqs else None

    def queue(name):
        if queues:
            queues.create_queue(QueueName=name)
        return f"arn:aws:sqs:{REGION}:{asked.account}:{name}"

    tf.queue = queue
    tests = [one for one in (*functions.SCENARIOS, *beside.SCENARIOS) if one.__name__.startswith(asked.only)]
    whole = sum(tf.play(scenario) for scenario in tests)
    for scenario in refused.SCENARIOS:
        if scenario.__name__.startswith(asked.only):
            tf.play(scenario)
    print(f"refused with a sentence: {', '.join(sorted(set(tf.refused)))}")
    print(f"{whole} of {len(tests)} acceptance tests pass; {tf.passed} checks hold, {len(tf.failed)} failed")
    return 1 if tf.failed else 0


if __name__ == "__main__":
    sys.exit(main())
