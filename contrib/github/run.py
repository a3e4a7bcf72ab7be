#!/usr/bin/env python3
"""What action.yml runs: `serin lint` with an annotation for each fault, or `serin start --wait`.

Inputs come as INPUT_ variables, so nothing of them is ever read by a shell. The exit code is serin's.
"""

import json
import os
import subprocess
import sys

OUTCOMES = {
    0: "succeeded",
    3: "rolledBack",
    4: "aborted",
    5: "superseded",
    6: "timeout",
    7: "waitsForPerson",
}


def given(name):
    return os.environ.get("INPUT_" + name, "").strip()


def escaped(text, of_property=False):
    """As GitHub's workflow commands want it."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if of_property else text


def annotate(finding):
    kind = "warning" if finding["severity"] == "warning" else "error"
    text = finding["message"]
    if finding.get("help"):
        text += "\n" + finding["help"]
    place = f"file={escaped(finding['file'], True)},line={finding['line']},col={finding['column']}"
    print(f"::{kind} {place},title=serin lint::{escaped(text)}")


def lint(serin):
    plans = given("PLANS").split()
    if not plans:
        sys.exit("the input `plans` names no file; say for example `plans: plans`")
    ran = subprocess.run([serin, "lint", *plans, "-o", "json"], stdout=subprocess.PIPE, check=False)
    if not ran.stdout:
        return ran.returncode or 1
    for checked in json.loads(ran.stdout)["files"]:
        for finding in checked["findings"]:
            annotate(finding)
        print(f"{'in order' if checked['ok'] else 'faulty'}: {checked['file']}")
    return ran.returncode


def reason():
    run = [os.environ.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")]
    link = "{}/{}/actions/runs/{}".format(*run) if all(run) else "a workflow"
    return given("REASON") or f"started by {link}"


def start(serin):
    if not given("PLAN"):
        sys.exit("the input `plan` is empty; name a plan of the daemon's, or a plan file")
    command = [serin, "start", given("PLAN"), "--wait", "--reason", reason()]
    for flag in ("TO", "TIMEOUT"):
        if given(flag):
            command += ["--" + flag.lower(), given(flag)]
    code = subprocess.run(command, check=False).returncode
    outcome = OUTCOMES.get(code, "failed")
    if os.environ.get("GITHUB_OUTPUT"):
        with open(os.environ["GITHUB_OUTPUT"], "a", encoding="utf-8") as out:
            out.write(f"outcome={outcome}\n")
    if code:
        print(f"::error title=serin start::{escaped(given('PLAN'))}: {outcome}")
    return code


def main():
    for name in ("SERIN_URL", "SERIN_TOKEN"):
        # An input that was left out is no variable.
        if not os.environ.get(name):
            os.environ.pop(name, None)
    serin = given("SERIN") or "serin"
    commands = {"lint": lint, "start": start}
    command = given("COMMAND") or "lint"
    if command not in commands:
        sys.exit(f"the input `command` is {command!r}; it can be lint or start")
    try:
        sys.stdout.reconfigure(line_buffering=True)
        return commands[command](serin)
    except FileNotFoundError:
        sys.exit(f"there is no program {serin!r}; install serin before this step, or name it in the input `serin`")


if __name__ == "__main__":
    sys.exit(main())
