"""Signs requests to serin with botocore and the aws command, and says what came of each; any failure ends it."""

import datetime
import io
import json
import os
import random
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from unittest import mock

import boto3
import botocore.auth
import botocore.config
import botocore.session
from botocore import UNSIGNED
from botocore.exceptions import ClientError

API, ROUTER, AWS = sys.argv[1:4]
OWNER = ("AKIAOWNER", "the-secret-of-owner")
ANA = ("AKIAANA", "the-secret-of-ana")
S3 = ("AKIASTHREE", "the-secret-of-s3")
ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
MISMATCH = "The request signature we calculated does not match the signature you provided."


def client(key, url=API, service="lambda", token=None, config=None):
    config = config or botocore.config.Config(retries={"total_max_attempts": 1})
    return boto3.client(
        service, endpoint_url=url, region_name="us-east-1", config=config,
        aws_access_key_id=key[0], aws_secret_access_key=key[1], aws_session_token=token,
    )


def ok(name, holds, what=""):
    if not holds:
        raise SystemExit(f"FAILED {name}: {what}")
    print("ok", name)


def refused(name, call, code, text="", status=403):
    try:
        answer = call()
    except ClientError as error:
        found = (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        message = error.response["Error"]["Message"] or ""
        ok(name, found == (code, status) and text in message, f"{found} {message}")
    else:
        raise SystemExit(f"FAILED {name}: accepted with {answer}")


def at(offset_s):
    """Moves botocore's clock."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) + datetime.timedelta(seconds=offset_s)
    return mock.patch.object(botocore.auth, "get_current_datetime", lambda *_, **__: now)


def invoke(key, target, url=API, **more):
    answer = client(key, url).invoke(FunctionName=target, Payload=b'{"a": 1}', **more)
    return answer["StatusCode"], answer.get("ExecutedVersion")


# Right keys, on both listeners, with names that are percent-encoded.
owner = client(OWNER)
ok("the owner lists", len(owner.list_aliases(FunctionName="f")["Aliases"]) == 2)
ok("the owner changes", owner.create_alias(FunctionName="f", Name="made", FunctionVersion="1")["Name"] == "made")
ok("a description of many characters", owner.update_alias(
    FunctionName="f", Name="made", Description="ä ö ~ ' \" \\ + % / ?")["Description"].startswith("ä"))
for url, where in ((API, "API"), (ROUTER, "router")):
    for target in ("f", "f:live", "f:1", "f:$LATEST", ARN, ARN + ":live", "000000000000:function:f:beta"):
        ok(f"the owner invokes {target} at the {where}", invoke(OWNER, target, url)[0] == 200)
    ok(f"a qualifier in the query at the {where}", invoke(OWNER, "f", url, Qualifier="$LATEST") == (200, "$LATEST"))
    ok(f"with client context and log at the {where}",
       invoke(OWNER, "f", url, Qualifier="live", LogType="Tail", ClientContext="e30=") == (200, "1"))

# Keys that are not right.
for url, where in ((API, "API"), (ROUTER, "router")):
    def call(key, url=url, **more):
        return lambda: client(key, url, **more).invoke(FunctionName="f:live", Payload=b"{}")
    refused(f"a wrong secret at the {where}", call(("AKIAOWNER", "guess")), "InvalidSignatureException", MISMATCH)
    refused(f"an unknown key at the {where}", call(("AKIANOBODY", "x")), "UnrecognizedClientException",
            "The security token included in the request is invalid.")
    refused(f"a session of somebody's at the {where}", call(OWNER, token="session"), "UnrecognizedClientException")
    unsigned = botocore.config.Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1})
    refused(f"no signature at the {where}", call(OWNER, config=unsigned), "MissingAuthenticationTokenException",
            "Missing Authentication Token")
    for offset_s in (-290, 290):
        with at(offset_s):
            ok(f"a clock {offset_s} s off at the {where}", call(OWNER)()["StatusCode"] == 200)
    for offset_s, text in ((-330, "Signature expired: "), (330, "Signature not yet current: ")):
        with at(offset_s):
            refused(f"a clock {offset_s} s off at the {where}", call(OWNER), "InvalidSignatureException", text)
refused("a wrong secret for a change", lambda: client(("AKIAOWNER", "guess")).delete_alias(FunctionName="f", Name="made"),
        "InvalidSignatureException", MISMATCH)
ok("and nothing was changed", owner.get_alias(FunctionName="f", Name="made")["Name"] == "made")


# What is changed on the way.
def tampering(key, url, change):
    tampered = client(key, url)
    tampered.meta.events.register("before-send.lambda", change)
    return tampered


def other_body(request, **_):
    request.body = request.body.replace(b"1", b"2")


def other_header(request, **_):
    request.headers["X-Amz-Invocation-Type"] = "DryRun"


for url, where in ((API, "API"), (ROUTER, "router")):
    refused(f"another body at the {where}",
            lambda: tampering(OWNER, url, other_body).invoke(FunctionName="f", Payload=b'{"a": 1}'),
            "InvalidSignatureException", MISMATCH)
    refused(f"another signed header at the {where}",
            lambda: tampering(OWNER, url, other_header).invoke(
                FunctionName="f", Payload=b"{}", InvocationType="RequestResponse"),
            "InvalidSignatureException", MISMATCH)
def added_header(request, **_):
    request.headers["X-Amz-Invocation-Type"] = "DryRun"


for url, where in ((API, "API"), (ROUTER, "router")):
    refused(f"a header that was added at the {where}",
            lambda: tampering(OWNER, url, added_header).invoke(FunctionName="f", Payload=b"{}"),
            "InvalidSignatureException", "not signed: x-amz-invocation-type")
    for name in ("arn:aws:lambda:us-east-1:111111111111:function:f", "111111111111:function:f:live"):
        refused(f"a function of another account at the {where}", lambda: invoke(OWNER, name, url), "AccessDeniedException")
    refused(f"a function of another region at the {where}",
            lambda: invoke(OWNER, ARN.replace("us-east-1", "eu-central-1"), url), "ResourceNotFoundException",
            "Functions from 'eu-central-1' are not reachable in this region ('us-east-1')", 404)
refused("another body of a change",
        lambda: tampering(OWNER, API, other_body).update_alias(FunctionName="f", Name="made", FunctionVersion="1"),
        "InvalidSignatureException", MISMATCH)


# Presigned.
def send(url, method="POST", body=None, headers=None):
    request = urllib.request.Request(url, method=method, data=body, headers=headers or {})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def presigned(key, url=API, expires_s=60, method="get_alias", **params):
    params = params or {"FunctionName": "f", "Name": "live"}
    return client(key, url).generate_presigned_url(method, Params=params, ExpiresIn=expires_s)


ok("a presigned question", send(presigned(OWNER), "GET")[0] == 200)
ok("presigned by a wrong secret", send(presigned(("AKIAOWNER", "guess")), "GET")[0] == 403)
ok("presigned for another method", send(presigned(OWNER), "DELETE")[0] == 403)
ok("presigned for another path", send(presigned(OWNER).replace("/live?", "/made?"), "GET")[0] == 403)
ok("presigned with more in the query", send(presigned(OWNER) + "&Qualifier=1", "GET")[0] == 403)
ok("presigned for longer than it says", send(presigned(OWNER).replace("Expires=60", "Expires=600"), "GET")[0] == 403)
with at(-120):
    late = presigned(OWNER)
status, text = send(late, "GET")
ok("presigned and expired", status == 403 and "Signature expired" in text, text)
with at(-120):
    ok("presigned for long enough", send(presigned(OWNER, expires_s=600), "GET")[0] == 200)
with at(330):
    ok("presigned in the future", send(presigned(OWNER), "GET")[0] == 403)
for url, where in ((API, "API"), (ROUTER, "router")):
    # botocore presigns an invocation without a payload.
    link = presigned(ANA, url, method="invoke", FunctionName="f", Qualifier="live")
    status, text = send(link, body=b"")
    ok(f"a presigned invocation at the {where}", status == 200, (status, text))
    ok(f"presigned for another payload at the {where}", send(link, body=b'{"a": 2}')[0] == 403)
    ok(f"presigned for another qualifier at the {where}",
       send(link.replace("Qualifier=live", "Qualifier=beta"), body=b"")[0] == 403)
    ok(f"a payload left unsigned at the {where}", send(
        link, body=b"", headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})[0] == 403)

# What policies allow.
for url, where in ((API, "API"), (ROUTER, "router")):
    ok(f"ana invokes the alias at the {where}", invoke(ANA, "f:live", url) == (200, "1"))
    for target, resource in (("f", ARN), ("f:1", ARN + ":1"), ("f:$LATEST", ARN + ":$LATEST"), ("f:beta", ARN + ":beta")):
        refused(f"ana and {target} at the {where}", lambda: invoke(ANA, target, url), "AccessDeniedException",
                "User: arn:aws:iam::000000000000:user/ana is not authorized to perform: lambda:InvokeFunction on "
                f"resource: {resource} because no resource-based policy allows the lambda:InvokeFunction action")

    def sourced(arn, is_signed=True, url=url):
        s3 = client(S3, url)

        def add(request, **_):
            request.headers["x-amz-source-arn"] = arn
            request.headers["x-amz-source-account"] = "123456789012"
        s3.meta.events.register("before-sign.lambda" if is_signed else "before-send.lambda", add)
        return lambda: s3.invoke(FunctionName="f:beta", Payload=b"{}")["StatusCode"]
    ok(f"S3 calls for its bucket at the {where}", sourced("arn:aws:s3:::examplebucket")() == 200)
    refused(f"S3 calls for another bucket at the {where}", sourced("arn:aws:s3:::other"), "AccessDeniedException")
    refused(f"S3's claim is not signed at the {where}", sourced("arn:aws:s3:::examplebucket", False),
            "InvalidSignatureException", "which were not signed: x-amz-source-a")
refused("ana changes nothing", lambda: client(ANA).update_alias(FunctionName="f", Name="live", FunctionVersion="2"),
        "AccessDeniedException", "lambda:UpdateAlias")
refused("nor gives permissions", lambda: client(ANA).add_permission(
    FunctionName="f", StatementId="x", Action="lambda:*", Principal="*"), "AccessDeniedException", "lambda:AddPermission")
refused("nor lists", lambda: client(ANA).list_functions(), "AccessDeniedException", "no identity-based policy")
refused("nor reads metrics", lambda: client(ANA, service="cloudwatch").list_metrics(), "AccessDeniedException",
        "cloudwatch:ListMetrics")
refused("nor logs", lambda: client(ANA, service="logs").describe_log_groups(), "AccessDeniedException",
        "logs:DescribeLogGroups")
ok("the owner reads metrics", "Metrics" in client(OWNER, service="cloudwatch").list_metrics())
ok("and logs", "logGroups" in client(OWNER, service="logs").describe_log_groups())
refused("a wrong secret reads no metrics", lambda: client(("AKIAOWNER", "x"), service="cloudwatch").list_metrics(),
        "InvalidSignatureException", MISMATCH)

# A body as long as a function's code.
archive = io.BytesIO()
with zipfile.ZipFile(archive, "w") as zipped:
    zipped.writestr("bootstrap", random.Random(1).randbytes(3 << 20))
code = {"FunctionName": "big", "Runtime": "provided.al2023", "Handler": "h", "Role": "arn:aws:iam::000000000000:role/r",
        "Code": {"ZipFile": archive.getvalue()}}
refused("a long body signed with a wrong secret", lambda: client(("AKIAOWNER", "guess")).create_function(**code),
        "InvalidSignatureException", MISMATCH)
refused("a long body of somebody unknown", lambda: client(("AKIANOBODY", "x")).create_function(**code),
        "UnrecognizedClientException")
refused("a long body of ana's", lambda: client(ANA).create_function(**code), "AccessDeniedException",
        "lambda:CreateFunction")
made = owner.create_function(**code)
ok("a long body of the owner's", made["CodeSize"] == len(archive.getvalue()), made["CodeSize"])
location = owner.get_function(FunctionName="big")["Code"]["Location"]
ok("and its link needs no signature", len(urllib.request.urlopen(location).read()) == made["CodeSize"])
owner.delete_function(FunctionName="big")


# The aws command.
def aws(key, *words):
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": key[0], "AWS_SECRET_ACCESS_KEY": key[1],
                   "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run([AWS, *words, "--endpoint-url", API, "--output", "json"], env=environment,
                          capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


code, out, err = aws(OWNER, "lambda", "get-alias", "--function-name", "f", "--name", "live")
ok("aws with the owner's key", code == 0 and json.loads(out)["FunctionVersion"] == "1", err)
code, out, err = aws(("AKIAOWNER", "guess"), "lambda", "get-alias", "--function-name", "f", "--name", "live")
ok("aws with a wrong secret", code != 0 and "(InvalidSignatureException)" in err and MISMATCH in err, err)
code, out, err = aws(ANA, "lambda", "invoke", "--function-name", "f:live", "/dev/null")
ok("aws as ana on the alias", code == 0 and json.loads(out)["ExecutedVersion"] == "1", err)
code, out, err = aws(ANA, "lambda", "invoke", "--function-name", "f", "/dev/null")
ok("aws as ana on the function", code != 0 and "(AccessDeniedException)" in err, err)
print("done")
