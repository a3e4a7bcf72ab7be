"""Permissions on functions, versions and aliases."""

import json

from kit import zipped

STALE = (
    "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the latest Revision Id"
)


def run(k):
    f = "permitted"
    k.create(f, Publish=True)
    k.call("update_function_code", FunctionName=f, ZipFile=zipped("2"), Publish=True)
    alias = k.call("create_alias", FunctionName=f, Name="live", FunctionVersion="1")
    bucket = "arn:aws:s3:::examplebucket"

    def add(sid, principal="s3.amazonaws.com", action="lambda:InvokeFunction", **params):
        params = {"FunctionName": f, "StatementId": sid, "Principal": principal, "Action": action, **params}
        return k.call("add_permission", **params)

    def statement(answer):
        text = answer.at("Statement")
        return json.loads(text) if isinstance(text, str) else None

    none = k.call("get_policy", FunctionName=f)
    k.not_found("policy: none", none, "The resource you requested does not exist.")
    added = add("s3", SourceArn=bucket, SourceAccount="123456789012")
    k.shape("add: the statement as text", added, 201, ["Statement"])
    expected = {
        "Sid": "s3",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": k.arn(f),
        "Condition": {
            "StringEquals": {"AWS:SourceAccount": "123456789012"},
            "ArnLike": {"AWS:SourceArn": bucket},
        },
    }
    k.same("add: the statement", statement(added), expected)
    k.same("add: the order of its keys", list(statement(added) or {}), list(expected))
    k.same("add: on an alias", (statement(add("s3", Qualifier="live")) or {}).get("Resource"), k.arn(f, "live"))
    k.same("add: on a version", (statement(add("s3", Qualifier="1")) or {}).get("Resource"), k.arn(f, "1"))
    account = statement(add("account", principal="123456789012")) or {}
    k.same("add: an account", account.get("Principal"), {"AWS": "arn:aws:iam::123456789012:root"})
    k.same("add: everybody", (statement(add("all", principal="*")) or {}).get("Principal"), "*")
    user = "arn:aws:iam::123456789012:user/ana"
    k.same("add: a user", (statement(add("user", principal=user)) or {}).get("Principal"), {"AWS": user})
    text = "The statement id (s3) provided already exists. Please provide a new statement id, or remove the existing statement."
    k.refused("add: a sid that exists", add("s3"), 409, "ResourceConflictException", text)
    text = "We currently do not support adding policies for $LATEST."
    k.invalid("add: on $LATEST", add("x", Qualifier="$LATEST"), text)
    text = "The derived qualifier from the function name does not match the specified qualifier."
    k.invalid("add: two qualifiers", add("x", FunctionName=f"{f}:1", Qualifier="2"), text)
    k.not_found("add: an absent alias", add("x", Qualifier="no"), f"Cannot find alias arn: {k.arn(f, 'no')}")
    k.not_found("add: an absent version", add("x", Qualifier="42"), f"Function not found: {k.arn(f, '42')}")
    k.not_found("add: an absent function", add("x", FunctionName="absent"), f"Function not found: {k.arn('absent')}")
    text = "Member must satisfy regular expression pattern: ([a-zA-Z0-9-_]+)"
    k.violates("add: a bad sid", add("example.com"), "example.com", "statementId", text)
    text = r"Member must satisfy regular expression pattern: (lambda:[*]|lambda:[a-zA-Z]+|[*])"
    k.violates("add: a bad action", add("x", action="s3:Get"), "s3:Get", "action", text)
    answer = add("x", RevisionId="00000000-0000-0000-0000-000000000000")
    k.refused("add: a stale RevisionId", answer, 412, "PreconditionFailedException", STALE)
    answer = k.call("create_alias", FunctionName=f, Name="fresh", FunctionVersion="1")
    answer = add("by-alias", Qualifier="fresh", RevisionId=answer.at("RevisionId") or "?")
    k.same("add: the alias's RevisionId is taken", answer.status, 201)

    policy = k.call("get_policy", FunctionName=f)
    k.shape("policy: exactly AWS's members", policy, 200, ["Policy", "RevisionId"])
    text = json.loads(policy.at("Policy")) if isinstance(policy.at("Policy"), str) else {}
    k.same("policy: Version and Id", (text.get("Version"), text.get("Id")), ("2012-10-17", "default"))
    sids = [one.get("Sid") for one in text.get("Statement", [])]
    k.same("policy: statements in their order", sids, ["s3", "account", "all", "user"])
    answer = k.call("get_policy", FunctionName=f, Qualifier="live")
    text = json.loads(answer.at("Policy")) if isinstance(answer.at("Policy"), str) else {}
    k.same("policy: an alias has its own", [one.get("Sid") for one in text.get("Statement", [])], ["s3"])
    answer = k.call("get_policy", FunctionName=f, Qualifier="2")
    k.not_found("policy: a version has its own", answer, "The resource you requested does not exist.")

    def remove(sid, **params):
        return k.call("remove_permission", **{"FunctionName": f, "StatementId": sid, **params})

    k.not_found("remove: an unknown sid", remove("x"), "Statement x is not found in resource policy.")
    text = "No policy is associated with the given resource."
    k.not_found("remove: no policy", remove("x", Qualifier="2"), text)
    k.not_found("remove: an absent function", remove("x", FunctionName="absent"), f"No policy found for: {k.arn('absent')}")
    k.not_found("remove: an absent alias", remove("x", Qualifier="no"), f"Cannot find alias arn: {k.arn(f, 'no')}")
    k.not_found("remove: an absent version", remove("x", Qualifier="42"), f"Function not found: {k.arn(f, '42')}")
    answer = remove("s3", RevisionId="00000000-0000-0000-0000-000000000000")
    k.refused("remove: a stale RevisionId", answer, 412, "PreconditionFailedException", STALE)
    k.empty("remove: on an alias", remove("s3", Qualifier="live"), 204)
    answer = k.call("get_policy", FunctionName=f, Qualifier="live")
    k.not_found("remove: the last one takes the policy along", answer, "The resource you requested does not exist.")
    k.empty("remove: on the function", remove("s3"), 204)
    k.same("remove: the alias itself stays", k.call("get_alias", FunctionName=f, Name="live").at("Name"), alias.at("Name"))
