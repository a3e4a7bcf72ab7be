"""A canary by the SAM CLI: `sam build`, `sam remote invoke` and `sam logs`; what is between them is done by boto3.

Usage: with_sam.py ENDPOINT SAM APP SEARCH RUNTIME; SEARCH is where that Python is.
"""

import io
import json
import os
import pathlib
import sys
import zipfile

from steps import Canary, await_lines, run

# Sixty throws of a coin that all fall on one side are no chance.
THROWS = 60

endpoint, program, app, search, runtime = sys.argv[1:]
environment = {
    "AWS_ENDPOINT_URL": endpoint,
    "SAM_CLI_TELEMETRY": "0",
    "HOME": app,
    "PATH": f"{search}:{os.environ['PATH']}",
}
canary = Canary(endpoint, "canary")
ARN = "arn:aws:lambda:us-east-1:000000000000:function:canary"


def sam(*words):
    return run(program, *words, directory=app, environment=environment)


def build():
    """Builds the app, and gives the zip of what was built."""
    sam("build", "--parameter-overrides", f"Runtime={runtime}")
    built = pathlib.Path(app, ".aws-sam", "build", "Canary")
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for path in sorted(built.rglob("*")):
            archive.write(path, path.relative_to(built))
    return written.getvalue()


def invoke_once(alias):
    """The alias in the ARN, or beside it."""
    event = json.dumps({"what": "a version"})
    place = [ARN, "--parameter", f"Qualifier={alias}"] if alias == "beta" else [f"{ARN}:{alias}"]
    told = json.loads(sam("remote", "invoke", *place, "--event", event, "--output", "json"))
    assert "FunctionError" not in told, told
    return told["ExecutedVersion"], json.loads(told["Payload"])


canary.client.create_function(
    FunctionName="canary",
    Runtime=runtime,
    Handler="app.answer",
    Role="arn:aws:iam::000000000000:role/canary",
    Timeout=20,
    Code={"ZipFile": build()},
)
canary.publish("1")
canary.make_aliases()
for alias in ["beta", "live"]:
    assert canary.invoke(alias, 1, invoke_once) == {"1"}
assert json.loads(sam("remote", "invoke", ARN, "--event", '{"what": "the newest"}')) == {
    "code": "one",
    "version": "$LATEST",
}

source = pathlib.Path(app, "app.py")
source.write_text(source.read_text().replace('"one"', '"two"'))
canary.client.update_function_code(FunctionName="canary", ZipFile=build())
canary.publish("2")
canary.shift(0.5)
seen = set()
for _ in range(THROWS):
    seen |= canary.invoke("beta", 1, invoke_once)
    if seen == {"1", "2"}:
        break
assert seen == {"1", "2"}, seen
canary.promote()
canary.await_the_plan()

group = ["--cw-log-group", "/aws/lambda/canary"]
await_lines(
    lambda: sam("logs", *group),
    ["asked for the newest", "asked for a version", "Version: 1\n", "Version: 2\n", "REPORT "],
)
found = sam("logs", *group, "--filter", "newest", "--output", "json")
assert [json.loads(line)["message"] for line in found.splitlines()] == ["asked for the newest\n"], found
canary.end(invoke_once)

