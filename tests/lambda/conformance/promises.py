"""What AWS's own page on aliases promises, as far as the control plane keeps it."""

from kit import REGION, zipped


def run(k):
    f = "promising"
    k.create(f, Publish=True)
    k.call("update_function_code", FunctionName=f, ZipFile=zipped("2"), Publish=True)
    dead = {"TargetArn": f"arn:aws:sqs:{REGION}:{k.account}:dead"}
    k.call("update_function_configuration", FunctionName=f, DeadLetterConfig=dead)
    k.call("publish_version", FunctionName=f)

    def create(name, version, weights=None):
        routing = {} if weights is None else {"RoutingConfig": {"AdditionalVersionWeights": weights}}
        return k.call("create_alias", FunctionName=f, Name=name, FunctionVersion=version, **routing)

    live, other = create("live", "1", {"2": 0.1}), create("other", "1", {"2": 0.1})
    arns = {live.at("AliasArn"), other.at("AliasArn")}
    k.same("promise: each alias has an ARN of its own", arns, {k.arn(f, "live"), k.arn(f, "other")})
    answer = create("nested", "live")
    pattern = r"Member must satisfy regular expression pattern: (\$LATEST(\.PUBLISHED)?|[0-9]+)"
    k.violates("promise: an alias never points to an alias", answer, "live", "functionVersion", pattern)
    answer = create("three", "1", {"2": 0.1, "3": 0.1})
    k.invalid("promise: at most two versions", answer, "Number of items in AdditionalVersionWeights cannot be greater than 1")
    answer = create("unpublished", "$LATEST", {"1": 0.1})
    text = "$LATEST is not supported for an alias pointing to more than 1 version"
    k.invalid("promise: both are published", answer, text, has_type=False)
    answer = create("letters", "1", {"3": 0.1})
    found = (answer.status, answer.type, "dead" in str(answer.at("message")).lower())
    k.same("promise: of one dead-letter configuration", found, (400, "InvalidParameterValueException", True))
    queue = f"arn:aws:sqs:{REGION}:{k.account}:promised"
    if k.has_queues:
        k.make_queue("promised")
    made = k.call("create_event_source_mapping", FunctionName=f"{f}:live", EventSourceArn=queue)
    k.call("update_alias", FunctionName=f, Name="live", FunctionVersion="2", RoutingConfig={})
    found = k.call("get_event_source_mapping", UUID=made.at("UUID") or "none")
    k.same("promise: a mapping to an alias needs no change", found.at("FunctionArn"), k.arn(f, "live"))
    k.call("add_permission", FunctionName=f, Qualifier="live", StatementId="s", Principal="*", Action="lambda:InvokeFunction")
    for where, params in {"function": {}, "version": {"Qualifier": "2"}}.items():
        answer = k.call("get_policy", FunctionName=f, **params)
        text = "The resource you requested does not exist."
        k.not_found(f"promise: a permission on the alias is none on the {where}", answer, text)
