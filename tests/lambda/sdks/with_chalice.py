"""A canary by Chalice: `chalice deploy` twice, with the versions and aliases that Chalice does not make by boto3.

Usage: with_chalice.py ENDPOINT CHALICE APP. AWS_ENDPOINT_URL is that of an IAM.
"""

import json
import pathlib
import sys

from steps import Canary, await_lines, run

endpoint, program, app = sys.argv[1:]
environment = {"AWS_ENDPOINT_URL_LAMBDA": endpoint, "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": endpoint}


def chalice(*words, said=""):
    return run(program, *words, said=said, directory=app, environment=environment)


def deploy(code):
    """Deploys the app, and asks what it deployed."""
    deployed = chalice("deploy")
    assert "Lambda ARN: arn:aws:lambda:us-east-1:000000000000:function:canary-dev-answer" in deployed, deployed
    answer = json.loads(chalice("invoke", "--name", "answer", said=json.dumps({"what": code})))
    assert answer == {"code": code, "version": "$LATEST"}, answer


canary = Canary(endpoint, "canary-dev-answer")
deploy("one")
canary.publish("1")
canary.make_aliases()

source = pathlib.Path(app, "app.py")
source.write_text(source.read_text().replace('"one"', '"two"'))
deploy("two")
await_lines(
    lambda: chalice("logs", "--name", "answer", "--include-lambda-messages"),
    ["asked for one", "asked for two", "asked for a version", "Version: 1\n", "Version: $LATEST\n", "REPORT "],
)

canary.publish("2")
canary.shift(0.5)
assert canary.invoke("beta", 60) == {"1", "2"}
canary.promote()
canary.await_the_plan()
canary.end()
