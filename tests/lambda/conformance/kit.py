"""What the checks are made with: a client that shows raw answers, and named checks that are counted.

Every expectation is what real AWS answered or documents; nothing here is taken from what serin happens to do.
"""

import base64
import hashlib
import io
import json
import re
import urllib.error
import urllib.request
import zipfile

import boto3
from botocore.config import Config

REGION = "us-east-1"


class Answer:
    """One answer: status, error type, and the body as it came over the wire."""

    def __init__(self, status, headers, raw):
        self.status = status
        self.type = headers.get("x-amzn-errortype")
        self.headers = headers
        self.raw = raw
        try:
            self.body = json.loads(raw) if raw else None
        except ValueError:
            self.body = None

    def at(self, *path):
        """A value deep in the body; None where there is none."""
        value = self.body
        for step in path:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def __repr__(self):
        return f"{self.status} {self.type} {self.raw[:600]!r}"


class Kit:
    def __init__(self, endpoint, account, verbose):
        self.endpoint, self.account, self.verbose = endpoint, account, verbose
        self.passed, self.failed, self.names = 0, [], set()
        settings = Config(retries={"max_attempts": 0}, parameter_validation=False, read_timeout=30)
        keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret", "region_name": REGION}
        self.client = boto3.client("lambda", endpoint_url=endpoint, config=settings, **keys)
        self.client.meta.events.register("before-parse.lambda.*", self._saw)
        self.iam = boto3.client("iam", endpoint_url=endpoint, config=settings, **keys)
        self.role = f"arn:aws:iam::{account}:role/conformance"
        self.other_role = f"arn:aws:iam::{account}:role/another"
        self._last = None

    def _saw(self, response_dict, **_):
        self._last = response_dict

    def call(self, operation, **params):
        """Calls an operation by its boto3 name, and gives the answer whatever it is."""
        self._last = None
        try:
            getattr(self.client, operation)(**params)
        except Exception as why:  # the raw answer says more than the exception
            if self._last is None:
                return Answer(0, {}, str(why).encode())
        headers = {name.lower(): value for name, value in self._last["headers"].items()}
        body = self._last["body"]
        # An invocation's answer is a stream.
        return Answer(self._last["status_code"], headers, body.read() if hasattr(body, "read") else body)

    def raw(self, method, path, body=None, headers=None):
        """Sends bytes as they are."""
        request = urllib.request.Request(self.endpoint + path, data=body, method=method)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, response.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())
        except Exception as why:
            return Answer(0, {}, str(why).encode())

    def arn(self, function, qualifier=None):
        arn = f"arn:aws:lambda:{REGION}:{self.account}:function:{function}"
        return arn if qualifier is None else f"{arn}:{qualifier}"

    # Checks.

    def check(self, name, holds, detail=""):
        assert name not in self.names, f"two checks are called {name!r}"
        self.names.add(name)
        if holds:
            self.passed += 1
            if self.verbose:
                print(f"  ok   {name}")
        else:
            self.failed.append(name)
            print(f"  FAIL {name}: {str(detail)[:700]}")

    def same(self, name, found, expected):
        self.check(name, found == expected, f"found {found!r}, expected {expected!r}")

    def like(self, name, found, pattern):
        self.check(name, re.fullmatch(pattern, str(found)) is not None, f"{found!r} is not like {pattern}")

    def shape(self, name, answer, status, keys):
        """A success with exactly these members."""
        found = sorted(answer.body) if isinstance(answer.body, dict) else answer.body
        self.check(name, (answer.status, found) == (status, sorted(keys)), f"{answer}, keys {found}, expected {sorted(keys)}")

    def empty(self, name, answer, status):
        """A success without a body."""
        self.check(name, answer.status == status and not answer.raw, answer)

    def refused(self, name, answer, status, code, text, has_type=True):
        """An error of this type with exactly this text, under the key and beside the Type that AWS uses."""
        capital = code in ("ResourceNotFoundException", "ServiceException", "ResourceInUseException")
        body = {"Message" if capital else "message": text}
        if has_type and code != "ValidationException":
            body["Type"] = "User"
        found = (answer.status, (answer.type or "").split(":")[0], answer.body)
        self.check(name, found == (status, code, body), f"{answer}, expected {status} {code} {body}")

    def not_found(self, name, answer, text):
        self.refused(name, answer, 404, "ResourceNotFoundException", text)

    def invalid(self, name, answer, text, has_type=True):
        self.refused(name, answer, 400, "InvalidParameterValueException", text, has_type)

    def violates(self, name, answer, value, member, constraint):
        text = f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"
        self.refused(name, answer, 400, "ValidationException", text)

    # Functions to try things on.

    def create(self, function, code=None, **params):
        asked = {
            "FunctionName": function,
            "Runtime": "provided.al2023",
            "Handler": "index.handler",
            "Role": self.role,
            "Code": {"ZipFile": code if code is not None else zipped("1")},
        }
        asked.update(params)
        return self.call("create_function", **{key: value for key, value in asked.items() if value is not None})


# A function that begins, and answers nobody.
IDLE = """#!/usr/bin/python3
import os, urllib.request
while True:
    urllib.request.urlopen(f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation/next").read()
"""


def zipped(text, name="bootstrap"):
    """A zip of one executable file; the same text makes the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
        entry.external_attr = 0o755 << 16
        archive.writestr(entry, text if text.startswith("#!") else f"#!/bin/sh\n# {text}\n")
    return out.getvalue()


def sha256(zip_bytes):
    return base64.b64encode(hashlib.sha256(zip_bytes).digest()).decode()
