"""Hostile input on every operation of Lambda's API that serin serves: python3 tests/lambda/hostile.py --endpoint URL

Requests are made from botocore's own service model: for each operation its members get wrong types, huge numbers, odd
texts and deep nesting; paths and queries get broken percent-encodings; bodies are cut, oversized and no JSON; zips are
bombs, climb out, link out, lie about themselves. The seed is fixed. Whatever comes, the answer is no 5xx (501 only for
what serin does not serve at all) and comes at all, every error is worded as Lambda words them, and serin is ready
afterwards. Exits 1 otherwise.
"""

import argparse
import base64
import io
import json
import random
import socket
import struct
import sys
import zipfile
from urllib.parse import quote, urlparse

import botocore.session

# Those that serin refuses by name with 501.
ELSEWHERE = {"InvokeAsync", "InvokeWithResponseStream"}

ODD_TEXTS = [
    "", " ", "\0", "x" * 300, "x" * 70_000, "../../../etc/passwd", "%2e%2e%2f", "%", "%zz", "$LATEST", "$NEWEST", "-1", "0",
    "99999999999999999999", "NaN", "null", "é", "日本語", "🦀" * 50, "\u202e", "a\r\nX-Injected: 1", "'; DROP TABLE functions; --",
    "arn:aws:lambda", "arn:aws:lambda:us-east-1:000000000000:function:" + "f" * 200, ":::::", "f:live:live", "{}", "[]",
    "arn:aws:sqs:us-east-1:000000000000:q", "\ud800",
]
ODD_NUMBERS = [-1, 0, 2, 2**31, 2**63, 2**64, 10**30, 1.5, -0.0, 1e308, 65535]


def deep(depth):
    return "[" * depth + "]" * depth


class Fuzz:
    def __init__(self, endpoint, seed):
        self.chance = random.Random(seed)
        place = urlparse(endpoint)
        self.address = (place.hostname, place.port)
        self.count, self.statuses, self.faults = 0, {}, []

    def send(self, method, target, body=b"", headers=(), announce=None):
        """One request on a connection of its own, byte by byte as given; gives status, headers, body."""
        self.count += 1
        length = len(body) if announce is None else announce
        head = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {length}"]
        head += ["Content-Type: application/json", *headers]
        request = "\r\n".join(head).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body
        answer = b""
        try:
            with socket.create_connection(self.address, timeout=60) as connection:
                try:
                    connection.sendall(request)
                    if announce is not None and announce > len(body):
                        connection.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # refused before all was read; the answer counts
                while chunk := connection.recv(1 << 16):
                    answer += chunk
        except OSError as why:
            if not answer:
                return self.note(method, target, body, None, str(why).encode())
        status = int(answer[9:12]) if answer[:5] == b"HTTP/" else None
        return self.note(method, target, body, status, answer)

    def note(self, method, target, body, status, answer, cut_off=False):
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status is None or (500 <= status and status != 501):
            self.faults.append((method, target[:200], body[:200], status, answer[-300:]))
        elif status >= 400 and status != 501 and target.startswith("/20") and b"x-amzn-errortype" not in answer.lower():
            if status not in (400, 414, 431) or b"content-length: 0" not in answer.lower():
                self.faults.append((method, target[:200], body[:200], "not in Lambda's words", answer[-300:]))
        return status

    # Values of a shape, right or wrong.

    def value(self, shape, depth=0):
        dice = self.chance.random()
        if dice < 0.12:
            return self.chance.choice([None, True, 7, "text", [], {}, [[]], {"a": {"b": []}}, 1e300])
        kind = shape.type_name
        if kind == "structure":
            if depth > 4:
                return {}
            members = {}
            for name, member in shape.members.items():
                if self.chance.random() < 0.5:
                    members[member.serialization.get("name", name)] = self.value(member, depth + 1)
            if dice > 0.9:
                members["Unknown" * 3] = self.value(shape, depth + 1)
            return members
        if kind == "list":
            return [self.value(shape.member, depth + 1) for _ in range(self.chance.choice([0, 1, 2, 3, 60]))] if depth < 5 else []
        if kind == "map":
            return {str(self.text(shape.key)): self.value(shape.value, depth + 1) for _ in range(self.chance.choice([0, 1, 2, 60]))}
        if kind in ("integer", "long", "float", "double", "timestamp"):
            return self.chance.choice([*ODD_NUMBERS, shape.metadata.get("min", 1), shape.metadata.get("max", 10)])
        if kind == "boolean":
            return self.chance.choice([True, False, "true", 1])
        if kind == "blob":
            return self.chance.choice(["", "====", "not base64!", "UEsDBA==", "\u00ff", base64.b64encode(b"PK\5\6" + bytes(18)).decode()])
        return self.text(shape)

    def text(self, shape):
        known = ["fuzzed", "live", "1", "fuzzed:live", "arn:aws:iam::000000000000:role/r", "provided.al2023"]
        choices = [*ODD_TEXTS, *known, *known, *known, *shape.metadata.get("enum", [])]
        return self.chance.choice(choices)

    def header(self, shape):
        """A value that a head can carry, right or wrong: what ends lines would be another request."""
        coded = ["e30=", "bnVsbA==", "====", base64.b64encode(deep(3000).encode()).decode(), "A" * 7000]
        text = self.chance.choice([str(self.text(shape)), *shape.metadata.get("enum", []), *coded])
        return text.replace("\r", "").replace("\n", "").replace("\0", "")[:7000]

    def operation(self, model):
        method, target = model.http["method"], model.http["requestUri"]
        path, _, fixed = target.partition("?")
        query, body = ([fixed] if fixed else []), {}
        members = model.input_shape.members if model.input_shape else {}
        headers = []
        for name, member in members.items():
            place, wire = member.serialization.get("location"), member.serialization.get("name", name)
            if place == "uri":
                text = self.chance.choice(["fuzzed", "fuzzed", "fuzzed", str(self.text(member))])
                encoded = quote(text.encode("utf-8", "surrogatepass"), safe="")
                if self.chance.random() < 0.1:
                    encoded = self.chance.choice(["%", "%zz", "%ff%fe", "%00", "..", "a%2f..%2f..%2fb", "a%"])
                path = path.replace("{" + wire + "}", encoded).replace("{" + wire + "+}", encoded)
            elif place == "querystring":
                if self.chance.random() < 0.5:
                    text = quote(str(self.text(member)).encode("utf-8", "surrogatepass"), safe="")
                    query.append(f"{wire}=" + self.chance.choice([text, text, "%zz", "%ff"]))
            elif place == "header":
                if self.chance.random() < 0.5:
                    headers.append(f"{wire}: {self.header(member)}")
            elif place is None and self.chance.random() < 0.8:
                body[wire] = self.value(member)
        target = path + ("?" + "&".join(query) if query else "")
        data = json.dumps(body).encode() if body or method in ("POST", "PUT") else b""
        if data and self.chance.random() < 0.15:
            data = self.chance.choice([
                data[: len(data) // 2], b"\xff\xfe" + data, deep(50_000).encode(), ('{"a":' * 20_000).encode(), b"null", b"7",
                b'"text"', b"[1]", b"", b"{" + b'"a":1,' * 1000 + b'"a":2}', data + b"garbage", b"\0" * 100,
            ])
        self.send(method, target, data, headers)


    def invocation(self):
        """An Invoke of a function that is there, with heads and payloads of every kind."""
        function = self.chance.choice(["fuzzed", "fuzzed:live", "fuzzed:1", "fuzzed%3A%24LATEST", "fuzzed?Qualifier=live"])
        name, _, query = function.partition("?")
        target = f"/2015-03-31/functions/{name}/invocations" + (f"?{query}" if query else "")
        headers = []
        for head, values in {
            "X-Amz-Invocation-Type": ["Event", "Event", "Event", "RequestResponse", "DryRun", "event", "", "x" * 5000],
            "X-Amz-Log-Type": ["Tail", "None", "tail", ""],
            "X-Amz-Client-Context": ["e30=", "bnVsbA==", "====", "W10=", "A" * 7000, "\u00ff"],
            "X-Amzn-Trace-Id": ["Root=1-5759e988-bd862e3fe1be46a994272793", "\u00e9", "x" * 7000],
            "traceparent": ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "", "\u202e"],
            "x-amzn-requestid": ["00000000-0000-0000-0000-000000000000", "../../x"],
        }.items():
            if self.chance.random() < 0.5:
                headers.append(f"{head}: {self.chance.choice(values)}")
        payload = self.chance.choice([
            b"", b"{}", b"null", b"7", b'"text"', b"{", b"\xff\xfe{}", b"\0", b" ", b"{}{}", b"1e999999", b"-0", b'"\\ud800"',
            deep(50_000).encode(), ('{"a":' * 20_000).encode(), b'{"a":1,' * 3 + b'"a":2' + b"}" * 3,
            b'"' + b"x" * ((1 << 20) - 2) + b'"', b'"' + b"x" * (1 << 20) + b'"', b'"' + b"x" * (6 << 20) + b'"',
        ])
        self.send("POST", target, payload, headers)


def entry(name, data=b"x", mode=0o644):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info, data


def zip_of(*entries, compression=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for info, data in entries:
            info.compress_type = compression
            archive.writestr(info, data)
    return out.getvalue()


def lying(size):
    """A zip whose directory claims another size than its entry has."""
    data = bytearray(zip_of(entry("a", b"y" * 5000)))
    at = data.rindex(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(data)


def overlapping():
    """Many names for one entry, so that little becomes much."""
    one = zip_of(entry("n000", bytes(1 << 20)))
    start = one.index(b"PK\1\2")
    record = one[start : one.index(b"PK\5\6")]
    records = b"".join(record[:46] + b"n%03d" % n + record[50:] for n in range(400))
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 400, 400, len(records), start, 0)
    return one[:start] + records + end


def zips():
    link = 0o120777
    yield "climbs", zip_of(entry("../climbed"))
    yield "climbs deep", zip_of(entry("a/b/../../../climbed"))
    yield "absolute", zip_of(entry("/tmp/serin-hostile-absolute"))
    yield "backslashes", zip_of(entry("..\\climbed"))
    yield "links out", zip_of(entry("l", b"/etc/passwd", link))
    yield "links up", zip_of(entry("l", b"../../..", link))
    yield "through a link", zip_of(entry("l", b"/tmp", link), entry("l/serin-hostile-linked"))
    yield "link chain", zip_of(entry("a/b", b"..", link), entry("a/b/c", b"../..", link), entry("a/b/c/d"))
    yield "a link of a megabyte", zip_of(entry("l", b"a/" * 500_000, link))
    yield "a device", zip_of(entry("d", b"", 0o020666))
    yield "a pipe", zip_of(entry("p", b"", 0o010666))
    yield "set-user-id", zip_of(entry("bootstrap", b"#!/bin/sh\n", 0o104755))
    yield "no name", zip_of(entry("", b"x"))
    yield "a dot", zip_of(entry(".", b"x"))
    yield "a long name", zip_of(entry("n" * 60_000))
    yield "a deep name", zip_of(entry("d/" * 20_000 + "f"))
    yield "twice", zip_of(entry("a"), entry("a"))
    yield "file and directory", zip_of(entry("a"), entry("a/b"))
    yield "many", zip_of(*[entry(f"f{n}", b"") for n in range(60_000)])
    yield "bomb", zip_of(entry("zeros", bytes(300 << 20)))
    yield "overlapping bomb", overlapping()
    yield "lies small", lying(1)
    yield "lies large", lying(0xFFFFFFF0)
    yield "bzip2", zip_of(entry("a"), compression=zipfile.ZIP_BZIP2)
    yield "lzma", zip_of(entry("a"), compression=zipfile.ZIP_LZMA)
    yield "empty", zip_of()
    yield "cut", zip_of(entry("a", b"z" * 9000))[:-30]
    yield "half", zip_of(entry("a", b"z" * 9000))[:50]
    yield "noise", random.Random(1).randbytes(100_000)
    yield "a zip after noise", b"#!/bin/sh\n" * 100 + zip_of(entry("a"))
    yield "zip64 lies", zip_of(entry("a")).replace(b"PK\5\6", b"PK\6\6")


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--endpoint", required=True)
    words.add_argument("--rounds", type=int, default=60)
    words.add_argument("--seed", type=int, default=20261122)
    asked = words.parse_args()
    fuzz = Fuzz(asked.endpoint, asked.seed)
    create = {"FunctionName": "fuzzed", "Runtime": "provided.al2023", "Handler": "h", "Role": "arn:aws:iam::000000000000:role/r"}

    def upload(name, data):
        body = {**create, "FunctionName": name, "Code": {"ZipFile": base64.b64encode(data).decode()}}
        return fuzz.send("POST", "/2015-03-31/functions", json.dumps(body).encode())

    assert upload("fuzzed", zip_of(entry("bootstrap", b"#!/bin/sh\n", 0o755))) == 201
    fuzz.send("POST", "/2015-03-31/functions/fuzzed/versions", b"{}")
    alias = {"Name": "live", "FunctionVersion": "1"}
    fuzz.send("POST", "/2015-03-31/functions/fuzzed/aliases", json.dumps(alias).encode())
    for number, (name, data) in enumerate(zips()):
        status = upload(f"zip-{number}", data)
        if status not in (201, 400):
            fuzz.faults.append(("zip", name, b"", status, b""))
        if name in ("climbs", "climbs deep", "absolute", "links out", "links up", "through a link", "bomb", "overlapping bomb"):
            if status != 400:
                fuzz.faults.append(("zip taken", name, b"", status, b""))
    fuzz.send("POST", "/2015-03-31/functions", b"[" * 80_000_000)
    fuzz.send("POST", "/2015-03-31/functions/fuzzed/aliases", b" " * 3_000_000)
    fuzz.send("PUT", "/2015-03-31/functions/fuzzed/code", b'{"ZipFile":"' + b"A" * 69_000_000 + b'"}')
    fuzz.send("GET", "/code/" + "0" * 64 + ".zip?Expires=99999999999999&Signature=" + "0" * 64)
    fuzz.send("GET", "/code/..%2f..%2fserin.db?Expires=1&Signature=x")
    model = botocore.session.get_session().get_service_model("lambda")
    operations = [model.operation_model(name) for name in model.operation_names if name not in ELSEWHERE]
    for destination in ("arn:aws:sqs:us-east-1:000000000000:q", "arn:aws:lambda:us-east-1:000000000000:function:zip-0"):
        config = {"MaximumRetryAttempts": 0, "DestinationConfig": {"OnFailure": {"Destination": destination}}}
        path = "/2019-09-25/functions/fuzzed/event-invoke-config?Qualifier=live"
        fuzz.send("PUT", path, json.dumps(config).encode())
    for _ in range(asked.rounds * 5):
        fuzz.invocation()
    for _ in range(asked.rounds):
        for operation in operations:
            fuzz.operation(operation)
    ready = fuzz.send("GET", "/readyz")
    if ready != 200:
        fuzz.faults.append(("GET", "/readyz", b"", ready, b""))
    for fault in fuzz.faults[:20]:
        print("FAULT", *fault)
    shown = ", ".join(f"{status}: {count}" for status, count in sorted(fuzz.statuses.items(), key=str))
    print(f"{fuzz.count} hostile requests to {len(operations)} operations, {len(fuzz.faults)} faults; statuses {shown}")
    return 1 if fuzz.faults else 0


if __name__ == "__main__":
    sys.exit(main())
