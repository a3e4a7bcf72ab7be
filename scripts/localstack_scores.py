"""A plugin of pytest for scripts/compare-localstack: which of LocalStack's tests count, how long one may take, and the scores.

A test counts that LocalStack has validated against AWS. It is equal when it passes with every recorded field compared; what its
markers exempt is compared like the rest.
"""

import os
import signal
import types
from collections import Counter
from pathlib import Path

import pytest

# The longest that one test may take, in seconds, and the longest wait for what AWS needs time for and nobody here does.
TEST_S, PROPAGATION_S = 240, 1

# What serin refuses by name: a word of the test's name, its class or its file, and what it is about.
REFUSED = {
    "TestLambdaUrl": "function URLs",
    "TestLambdaURL": "function URLs",
    "function_url": "function URLs",
    "TestLambdaLayer": "layers",
    "TestCodeSigningConfig": "code signing",
    "TestLambdaImages": "container images",
    "kinesis": "streams of Kinesis",
    "dynamodb": "streams of DynamoDB",
    "kafka": "Kafka",
    "cfn_resource": "CloudFormation",
    "_xray": "X-Ray",
    "TestLambdaMultiAccounts": "several accounts",
    "test_lambda_runtimes": "runtimes that serin does not run",
    "test_lambda_common": "runtimes that serin does not run",
    "developer_tools": "LocalStack's own tools",
}


def area_of(nodeid):
    """The file without what all names have in common, and the class."""
    path, _, rest = nodeid.partition("::")
    file = Path(path).stem.removeprefix("test_").removeprefix("lambda_")
    return f"{file} {rest.split('::')[0]}" if "::" in rest else file


def refused_for(nodeid):
    return next((why for word, why in REFUSED.items() if word in nodeid), None)


class Scores:
    def __init__(self, path, floor):
        self.path, self.floor = path, floor
        self.outcomes, self.left_out = {}, Counter()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        kept, left = [], []
        for item in items:
            is_recorded = item.get_closest_marker("aws_validated") is not None
            (kept if is_recorded else left).append(item)
            for node in item.listchain():
                node.own_markers = [mark for mark in node.own_markers if mark.name != "skip_snapshot_verify"]
        self.left_out["not recorded from AWS"] += len(left)
        items[:] = kept
        config.hook.pytest_deselected(items=left)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        def too_long(*_):
            pytest.fail(f"took longer than {TEST_S} s", pytrace=False)

        signal.signal(signal.SIGALRM, too_long)
        signal.alarm(TEST_S)
        try:
            return (yield)
        finally:
            signal.alarm(0)

    def pytest_runtest_logreport(self, report):
        if report.skipped:
            self.outcomes.setdefault(report.nodeid, "skipped")
        elif report.failed:
            self.outcomes[report.nodeid] = "unequal"
        elif report.when == "call":
            self.outcomes.setdefault(report.nodeid, "equal")

    def pytest_sessionfinish(self):
        if not self.outcomes:
            return
        lines, equal_of_all = self.table()
        if self.floor is not None and equal_of_all < self.floor:
            lines += [f"{equal_of_all} equal, and {self.floor} should be", "fewer than the floor"]
        Path(self.path).write_text("\n".join(lines) + "\n")

    def table(self):
        areas, refused = {}, {}
        skipped = 0
        for nodeid, outcome in self.outcomes.items():
            if outcome == "skipped":
                skipped += 1
                continue
            why = refused_for(nodeid)
            counts = refused.setdefault(why, Counter()) if why else areas.setdefault(area_of(nodeid), Counter())
            counts[outcome] += 1
        width = max(len(name) for name in [*areas, *refused, "all in scope"])
        lines = [f"{'area':{width}}  equal / all"]

        def told(rows):
            for name, counts in sorted(rows.items()):
                lines.append(f"{name:{width}}  {counts['equal']:5} / {counts.total()}")

        told(areas)
        total = sum(areas.values(), Counter())
        lines.append(f"{'all in scope':{width}}  {total['equal']:5} / {total.total()}")
        if refused:
            lines.append("what serin refuses by name, and so is not in scope:")
            told(refused)
        left = [f"{count} {why}" for why, count in self.left_out.items() if count]
        left += [f"{skipped} skipped by themselves"] if skipped else []
        if left:
            lines.append(f"not run: {', '.join(left)}")
        return lines, total["equal"]


def hurry():
    """Roles are there at once here: LocalStack's fixtures wait for AWS's to be everywhere, and need not."""
    try:
        from localstack.testing.pytest import fixtures
    except ImportError:
        return
    real = fixtures.time
    brisk = types.ModuleType("time")
    brisk.__dict__.update(vars(real))
    brisk.sleep = lambda seconds: real.sleep(min(seconds, PROPAGATION_S))
    fixtures.time = brisk


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    hurry()
    floor = os.environ.get("SERIN_FLOOR", "")
    config.pluginmanager.register(Scores(os.environ["SERIN_SCORES"], int(floor) if floor else None), "serin-scores")
