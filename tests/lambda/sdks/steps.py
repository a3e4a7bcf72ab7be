"""A canary's steps by boto3, which Chalice and SAM leave to others: versions, aliases and their weights."""

import json
import os
import subprocess
import time

import boto3

# More than the plan asks for by far.
INVOCATIONS_MAX = 50_000


def run(program, *arguments, said="", directory, environment):
    """Runs a client's program, with the credentials that are in the environment, and gives what it printed."""
    done = subprocess.run(
        [program, *arguments],
        input=said,
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def await_lines(print_logs, lines):
    """Waits until all of these have come to the logs."""
    missing = lines
    for _ in range(60):
        logs = print_logs()
        missing = [line for line in lines if line not in logs]
        if not missing:
            return
        time.sleep(0.5)
    raise AssertionError(f"{missing} are not in {logs}")


class Canary:
    """A function, and how many invocations each version of it answered by alias."""

    def __init__(self, endpoint, function):
        self.function = function
        self.answered = {"beta": {}, "live": {}}
        self.client = boto3.client("lambda", endpoint_url=endpoint)

    def invoke_once(self, alias):
        """Invokes an alias by boto3; other clients do it in their own way. Gives the version and the answer."""
        payload = json.dumps({"what": "a version"})
        told = self.client.invoke(FunctionName=self.function, Qualifier=alias, Payload=payload)
        assert "FunctionError" not in told, told
        return told["ExecutedVersion"], json.load(told["Payload"])

    def invoke(self, alias, times, invoke_once=None):
        """Invokes an alias so many times, and gives the versions that answered."""
        versions = set()
        for _ in range(times):
            version, answer = (invoke_once or self.invoke_once)(alias)
            assert answer == {"code": {"1": "one", "2": "two"}[version], "version": version}, (version, answer)
            self.answered[alias][version] = self.answered[alias].get(version, 0) + 1
            versions.add(version)
        return versions

    def publish(self, version):
        """Publishes what was deployed, once it is."""
        for waiter in ["function_active_v2", "function_updated_v2"]:
            self.client.get_waiter(waiter).wait(FunctionName=self.function, WaiterConfig={"Delay": 1})
        assert self.client.publish_version(FunctionName=self.function)["Version"] == version

    def make_aliases(self):
        """Makes both aliases on version 1."""
        for alias in self.answered:
            self.client.create_alias(FunctionName=self.function, Name=alias, FunctionVersion="1")
            assert self.invoke(alias, 5) == {"1"}

    def shift(self, weight):
        """Gives version 2 a share of what comes to `beta`."""
        routing = {"AdditionalVersionWeights": {"2": weight}}
        changed = self.client.update_alias(FunctionName=self.function, Name="beta", RoutingConfig=routing)
        assert changed["RoutingConfig"] == routing, changed

    def promote(self):
        """Gives version 2 all of it."""
        routing = {"AdditionalVersionWeights": {}}
        self.client.update_alias(
            FunctionName=self.function, Name="beta", FunctionVersion="2", RoutingConfig=routing
        )

    def is_promoted(self, alias):
        found = self.client.get_alias(FunctionName=self.function, Name=alias)
        return found["FunctionVersion"] == "2" and "RoutingConfig" not in found

    def await_the_plan(self):
        """Invokes `live` until serin's plan, which began with version 2, has promoted it."""
        seen = set()
        while not self.is_promoted("live"):
            assert sum(self.answered["live"].values()) < INVOCATIONS_MAX, f"not promoted: {self.answered}"
            seen |= self.invoke("live", 5)
        assert seen == {"1", "2"}, seen

    def end(self, invoke_once=None):
        """Asserts that both aliases are on version 2 alone, and tells who answered."""
        for alias in self.answered:
            assert self.is_promoted(alias), alias
            assert self.invoke(alias, 2, invoke_once) == {"2"}
        print(json.dumps(self.answered))
