"""What is kept beside the versions: tags, concurrency, the handling of events, event sources, the account."""

import platform
import time

from kit import IDLE, REGION, zipped

MISMATCH = "The derived qualifier from the function name does not match the specified qualifier."
GONE = "The resource you requested does not exist."


def run(k):
    tags(k)
    reserved(k)
    provisioned(k)
    event_invoke(k)
    events(k)
    event_sources(k)
    account(k)


def tags(k):
    k.create("tagged", Tags={"testtag": "one"})
    arn = k.arn("tagged")

    def listed():
        return k.call("list_tags", Resource=arn).at("Tags")

    k.same("tags: from creation", listed(), {"testtag": "one"})
    k.same("tags: get-function shows them", k.call("get_function", FunctionName="tagged").at("Tags"), {"testtag": "one"})
    k.empty("tags: add", k.call("tag_resource", Resource=arn, Tags={"A": "a", "B": "b"}), 204)
    k.same("tags: are added", listed(), {"testtag": "one", "A": "a", "B": "b"})
    k.call("tag_resource", Resource=arn, Tags={"B": "new", "C": "c"})
    k.same("tags: replace those of one name", listed(), {"testtag": "one", "A": "a", "B": "new", "C": "c"})
    k.empty("tags: remove", k.call("untag_resource", Resource=arn, TagKeys=["A", "C"]), 204)
    k.empty("tags: remove what is not there", k.call("untag_resource", Resource=arn, TagKeys=["A", "none"]), 204)
    k.same("tags: are removed", listed(), {"testtag": "one", "B": "new"})
    answer = k.call("tag_resource", Resource=arn, Tags={})
    k.invalid("tags: add none", answer, "An error occurred and the request cannot be processed.")
    answer = k.call("untag_resource", Resource=arn, TagKeys=[])
    text = "1 validation error detected: Value null at 'tagKeys' failed to satisfy constraint: Member must not be null"
    k.refused("tags: remove none", answer, 400, "ValidationException", text)
    answer = k.call("tag_resource", Resource=arn, Tags={f"k{n}": "v" for n in range(51)})
    k.invalid("tags: too many", answer, "Number of tags exceeds resource tag limit.")
    k.empty("tags: as many as may be", k.call("tag_resource", Resource=arn, Tags={f"k{n}": "v" for n in range(48)}), 204)
    answer = k.call("tag_resource", Resource=arn, Tags={"a": "v", "b": "v", "c": "v"})
    k.invalid("tags: too many with those there are", answer, "Number of tags exceeds resource tag limit.")
    answer = k.call("tag_resource", Resource=k.arn("tagged", "live"), Tags={"a": "b"})
    text = "Tags on function aliases and versions are not supported. Please specify a function ARN."
    k.invalid("tags: on an alias", answer, text)
    for operation, params in (("tag_resource", {"Tags": {"a": "b"}}), ("untag_resource", {"TagKeys": ["a"]}), ("list_tags", {})):
        answer = k.call(operation, Resource=k.arn("absent"), **params)
        k.not_found(f"tags: {operation} of an absent function", answer, f"Function not found: {k.arn('absent')}")
    answer = k.call("tag_resource", Resource="arn:aws:something", Tags={"a": "b"})
    k.same("tags: on no function's ARN", (answer.status, answer.type), (400, "ValidationException"))


def reserved(k):
    k.create("reserved", Publish=True)
    for executions in (0, 1):
        answer = k.call("put_function_concurrency", FunctionName="reserved", ReservedConcurrentExecutions=executions)
        expected = (200, {"ReservedConcurrentExecutions": executions})
        k.same(f"reserved: put {executions}", (answer.status, answer.body), expected)
    answer = k.call("get_function_concurrency", FunctionName="reserved")
    k.same("reserved: get", (answer.status, answer.body), (200, {"ReservedConcurrentExecutions": 1}))
    answer = k.call("get_function", FunctionName="reserved")
    k.same("reserved: get-function shows it", answer.at("Concurrency"), {"ReservedConcurrentExecutions": 1})
    k.empty("reserved: delete", k.call("delete_function_concurrency", FunctionName="reserved"), 204)
    answer = k.call("get_function_concurrency", FunctionName="reserved")
    k.same("reserved: gone", (answer.status, answer.body), (200, {}))
    answer = k.call("put_function_concurrency", FunctionName="absent", ReservedConcurrentExecutions=1)
    k.not_found("reserved: absent", answer, f"Function not found: {k.arn('absent', '$LATEST')}")
    answer = k.call("put_function_concurrency", FunctionName=k.arn("reserved", "1"), ReservedConcurrentExecutions=1)
    text = "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN."
    k.invalid("reserved: on a version", answer, text)
    answer = k.call("put_function_concurrency", FunctionName="reserved", ReservedConcurrentExecutions=-1)
    text = "Member must have value greater than or equal to 0"
    k.violates("reserved: less than none", answer, -1, "reservedConcurrentExecutions", text)
    answer = k.call("put_function_concurrency", FunctionName="reserved", ReservedConcurrentExecutions=1000)
    text = "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100]."
    k.invalid("reserved: more than may be", answer, text, has_type=False)


def provisioned(k):
    f = "provisioned"
    machine = {"aarch64": "arm64"}.get(platform.machine(), "x86_64")
    k.create(f, zipped(IDLE), Publish=True, Architectures=[machine])
    k.call("create_alias", FunctionName=f, Name="live", FunctionVersion="1")
    k.call("create_alias", FunctionName=f, Name="latest", FunctionVersion="$LATEST")

    def put(qualifier, executions, function=f):
        params = {"FunctionName": function, "Qualifier": qualifier, "ProvisionedConcurrentExecutions": executions}
        return k.call("put_provisioned_concurrency_config", **params)

    members = "RequestedProvisionedConcurrentExecutions AllocatedProvisionedConcurrentExecutions Status LastModified"
    made = put("1", 1)
    shown = {key: made.at(key) for key in members.split()[:3]}
    expected = dict(zip(members.split()[:3], (1, 0, "IN_PROGRESS")))
    k.same("provisioned: put", (made.status, shown), (202, expected))
    for _ in range(100):
        time.sleep(0.1)
        found = k.call("get_provisioned_concurrency_config", FunctionName=f, Qualifier="1")
        if found.at("Status") != "IN_PROGRESS":
            break
    every = [*members.split(), "AvailableProvisionedConcurrentExecutions"]
    k.shape("provisioned: get", found, 200, every)
    k.same("provisioned: becomes ready", (found.at("Status"), found.at(every[4])), ("READY", 1))
    # Its bootstrap ends at once.
    k.create("lame", Publish=True)
    put("1", 1, "lame")
    answer = k.call("get_provisioned_concurrency_config", FunctionName="lame", Qualifier="1")
    shown = (answer.at(members.split()[1]), answer.at("Status") in ("IN_PROGRESS", "FAILED"))
    k.same("provisioned: what does not begin is not ready", shown, (0, True))
    listed = k.call("list_provisioned_concurrency_configs", FunctionName=f)
    arns = [one.get("FunctionArn") for one in listed.at("ProvisionedConcurrencyConfigs") or []]
    k.same("provisioned: list", arns, [k.arn(f, "1")])
    text = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
    k.refused("provisioned: an alias of a provisioned version", put("live", 1), 409, "ResourceConflictException", text)
    k.empty("provisioned: delete", k.call("delete_provisioned_concurrency_config", FunctionName=f, Qualifier="1"), 204)
    answer = k.call("delete_provisioned_concurrency_config", FunctionName=f, Qualifier="1")
    k.empty("provisioned: delete what is not there", answer, 204)
    answer = k.call("get_provisioned_concurrency_config", FunctionName=f, Qualifier="1")
    code, text = "ProvisionedConcurrencyConfigNotFoundException", "No Provisioned Concurrency Config found for this function"
    k.refused("provisioned: none", answer, 404, code, text)
    text = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
    k.invalid("provisioned: $LATEST", put("$LATEST", 1), text)
    k.invalid("provisioned: an alias of $LATEST", put("latest", 1), text)
    text = "Member must have value greater than or equal to 1"
    k.violates("provisioned: none at all", put("1", 0), 0, "provisionedConcurrentExecutions", text)
    k.not_found("provisioned: an absent version", put("7", 1), f"Function not found: {k.arn(f, '7')}")
    k.not_found("provisioned: an absent alias", put("no", 1), f"Cannot find alias arn: {k.arn(f, 'no')}")
    k.not_found("provisioned: an absent function", put("1", 1, "absent"), f"Function not found: {k.arn('absent', '1')}")
    k.call("put_function_concurrency", FunctionName=f, ReservedConcurrentExecutions=1)
    text = "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
    k.invalid("provisioned: more than is reserved", put("1", 2), text)


def event_invoke(k):
    f = "eventful"
    k.create(f, Publish=True)
    k.create("listener")
    k.call("create_alias", FunctionName=f, Name="live", FunctionVersion="1")
    none = {"OnSuccess": {}, "OnFailure": {}}
    missing = "The function {} doesn't have an EventInvokeConfig"

    def put(operation="put", **params):
        return k.call(f"{operation}_function_event_invoke_config", **{"FunctionName": f, **params})

    made = put(MaximumRetryAttempts=0)
    k.shape("event-invoke: put", made, 200, ["LastModified", "FunctionArn", "MaximumRetryAttempts", "DestinationConfig"])
    k.same("event-invoke: the bare function is $LATEST", made.at("FunctionArn"), k.arn(f, "$LATEST"))
    k.same("event-invoke: empty destinations", made.at("DestinationConfig"), none)
    k.check("event-invoke: LastModified in seconds", isinstance(made.at("LastModified"), (int, float)), made)
    made = put(MaximumEventAgeInSeconds=60)
    keys = ["LastModified", "FunctionArn", "MaximumEventAgeInSeconds", "DestinationConfig"]
    k.shape("event-invoke: put replaces all", made, 200, keys)
    made = put("update", MaximumRetryAttempts=1)
    found = (made.at("MaximumEventAgeInSeconds"), made.at("MaximumRetryAttempts"))
    k.same("event-invoke: update keeps the rest", (made.status, found), (200, (60, 1)))
    k.same("event-invoke: get", put("get").body, made.body)
    destination = {"OnSuccess": {"Destination": k.arn("listener")}}
    made = put(DestinationConfig=destination, Qualifier="1")
    expected = (k.arn(f, "1"), {**destination, "OnFailure": {}})
    k.same("event-invoke: on a version", (made.at("FunctionArn"), made.at("DestinationConfig")), expected)
    queue = f"arn:aws:sqs:{REGION}:{k.account}:dead"
    made = put(DestinationConfig={"OnFailure": {"Destination": queue}}, FunctionName=f"{f}:live")
    expected = (k.arn(f, "live"), {"OnSuccess": {}, "OnFailure": {"Destination": queue}})
    k.same("event-invoke: on an alias", (made.at("FunctionArn"), made.at("DestinationConfig")), expected)
    listed = k.call("list_function_event_invoke_configs", FunctionName=f)
    arns = [one.get("FunctionArn") for one in listed.at("FunctionEventInvokeConfigs") or []]
    k.same("event-invoke: list", arns, [k.arn(f, "$LATEST"), k.arn(f, "1"), k.arn(f, "live")])
    text = "You must specify at least one of error handling or destination setting."
    k.invalid("event-invoke: nothing", put(), text)
    text = f"The destination ARN {k.arn('absent')} is invalid."
    k.invalid("event-invoke: an absent destination", put(DestinationConfig={"OnSuccess": {"Destination": k.arn("absent")}}), text)
    text = "You can't specify the function as a destination for itself."
    k.invalid("event-invoke: itself", put(DestinationConfig={"OnSuccess": {"Destination": k.arn(f)}}), text)
    wrong = f"arn:aws:iam:{REGION}:{k.account}:function:x"
    text = f"The provided destination config DestinationConfig(onSuccess=OnSuccess(destination={wrong}), onFailure=null) is invalid."
    k.invalid("event-invoke: another service", put(DestinationConfig={"OnSuccess": {"Destination": wrong}}), text)
    k.invalid("event-invoke: two qualifiers", put(FunctionName=f"{f}:1", Qualifier="live", MaximumRetryAttempts=1), MISMATCH)
    text = "Member must have value less than or equal to 2"
    k.violates("event-invoke: three retries", put(MaximumRetryAttempts=3), 3, "maximumRetryAttempts", text)
    text = "Member must have value greater than or equal to 60"
    k.violates("event-invoke: too young", put(MaximumEventAgeInSeconds=59), 59, "maximumEventAgeInSeconds", text)
    for how, params in {"function": {"FunctionName": "absent"}, "alias": {"Qualifier": "no"}}.items():
        answer = put(MaximumRetryAttempts=1, **params)
        k.not_found(f"event-invoke: put on an absent {how}", answer, "The function doesn't exist.")
    answer = k.call("list_function_event_invoke_configs", FunctionName="absent")
    k.not_found("event-invoke: list of an absent function", answer, "The function doesn't exist.")
    text = missing.format(k.arn("absent", "$LATEST"))
    k.not_found("event-invoke: get of an absent function", put("get", FunctionName="absent"), text)
    answer = put("update", FunctionName="absent", MaximumRetryAttempts=1)
    k.not_found("event-invoke: update of an absent function", answer, "The function doesn't exist.")
    k.empty("event-invoke: delete", put("delete", Qualifier="live"), 204)
    text = missing.format(k.arn(f, "live"))
    k.not_found("event-invoke: get what is not there", put("get", Qualifier="live"), text)
    k.not_found("event-invoke: delete what is not there", put("delete", Qualifier="live"), text)
    answer = put("update", Qualifier="live", MaximumRetryAttempts=1)
    k.not_found("event-invoke: update what is not there", answer, text)


def events(k):
    """Invocations that nobody waits for."""
    f = "eventful"
    k.create(f, Publish=True)
    k.call("create_alias", FunctionName=f, Name="live", FunctionVersion="1")
    for where, params in {"the function": {}, "an alias": {"Qualifier": "live"}, "a version": {"Qualifier": "1"}}.items():
        answer = k.call("invoke", FunctionName=f, InvocationType="Event", Payload=b'{"n": 1}', **params)
        k.empty(f"event: {where} answers 202 and nothing", answer, 202)
        named = [name for name in answer.headers if name in ("x-amz-executed-version", "x-amz-function-error", "x-amz-log-result")]
        k.same(f"event: {where} names no version", named, [])
        k.check(f"event: {where} has a request id", answer.headers.get("x-amzn-requestid"), answer.headers)
    k.empty("event: without a payload", k.call("invoke", FunctionName=f, InvocationType="Event"), 202)
    answer = k.call("invoke", FunctionName=f, InvocationType="Event", Payload=b"{")
    found = (answer.status, (answer.type or "").split(":")[0])
    k.same("event: what is no JSON", found, (400, "InvalidRequestContentException"))
    answer = k.call("invoke", FunctionName=f, InvocationType="Event", Payload=b'"' + b"x" * (1 << 20) + b'"')
    text = "Request must be smaller than 1048576 bytes for the InvokeFunction operation"
    k.refused("event: more than a mebibyte", answer, 413, "RequestTooLargeException", text)
    answer = k.call("invoke", FunctionName="absent", InvocationType="Event", Payload=b"{}")
    k.not_found("event: an absent function", answer, f"Function not found: {k.arn('absent', '$LATEST')}")
    answer = k.call("invoke", FunctionName=f, Qualifier="absent", InvocationType="Event", Payload=b"{}")
    k.not_found("event: an absent alias", answer, f"Function not found: {k.arn(f, 'absent')}")
    answer = k.call("invoke", FunctionName=f, InvocationType="Later", Payload=b"{}")
    text = "Member must satisfy enum value set: [Event, RequestResponse, DryRun]"
    k.violates("event: another type", answer, "Later", "invocationType", text)


def event_sources(k):
    f = "fed"
    k.create(f, Publish=True)
    k.call("create_alias", FunctionName=f, Name="live", FunctionVersion="1")
    k.call("update_function_code", FunctionName=f, ZipFile=zipped("2"))
    queue = f"arn:aws:sqs:{REGION}:{k.account}:queue"
    if k.has_queues:
        k.make_queue("queue")

    def create(**params):
        return k.call("create_event_source_mapping", **{"EventSourceArn": queue, "FunctionName": f"{f}:live", **params})

    made = create(BatchSize=5)
    uuid = made.at("UUID") or "00000000-0000-0000-0000-000000000000"
    keys = (
        "UUID BatchSize MaximumBatchingWindowInSeconds EventSourceArn EventSourceMappingArn FunctionArn LastModified State "
        "StateTransitionReason FunctionResponseTypes"
    ).split()
    k.shape("mapping: create", made, 202, keys)
    for member, value in {
        "BatchSize": 5,
        "MaximumBatchingWindowInSeconds": 0,
        "EventSourceArn": queue,
        "FunctionArn": k.arn(f, "live"),
        "State": "Creating",
        "StateTransitionReason": "USER_INITIATED",
        "FunctionResponseTypes": [],
    }.items():
        k.same(f"mapping: {member}", made.at(member), value)
    found = k.call("get_event_source_mapping", UUID=uuid)
    k.same("mapping: get", (found.status, found.at("State"), found.at("UUID")), (200, "Enabled", made.at("UUID")))
    listed = k.call("list_event_source_mappings", EventSourceArn=queue)
    k.same("mapping: list", [one.get("UUID") for one in listed.at("EventSourceMappings") or []], [made.at("UUID")])
    again = create()
    text = f'An event source mapping with SQS arn (" {queue} ") and function (" {f} ") already exists. Please update or delete the existing mapping with UUID {uuid}'
    k.refused("mapping: the same again", again, 409, "ResourceConflictException", text)
    changed = k.call("update_event_source_mapping", UUID=uuid, BatchSize=2, FunctionName=f, Enabled=False)
    found = (changed.status, changed.at("BatchSize"), changed.at("FunctionArn"))
    k.same("mapping: update", found, (202, 2, k.arn(f)))
    found = k.call("get_event_source_mapping", UUID=uuid)
    k.same("mapping: disabled", (found.at("State"), found.at("BatchSize")), ("Disabled", 2))
    k.violates("mapping: an empty batch", create(BatchSize=0), 0, "batchSize", "Member must have value greater than or equal to 1")
    k.invalid("mapping: an absent function", create(FunctionName="absent"), "Function does not exist")
    answer = k.call("create_event_source_mapping", FunctionName=f)
    k.invalid("mapping: no source", answer, "Unrecognized event source.")
    deleted = k.call("delete_event_source_mapping", UUID=uuid)
    k.same("mapping: delete", (deleted.status, deleted.at("State"), deleted.at("UUID")), (202, "Deleting", made.at("UUID")))
    absent = "00000000-0000-4000-8000-000000000000"
    for operation in ("get", "update", "delete"):
        answer = k.call(f"{operation}_event_source_mapping", UUID=absent)
        k.not_found(f"mapping: {operation} an absent one", answer, GONE)


def account(k):
    found = k.call("get_account_settings")
    k.shape("account: members", found, 200, ["AccountLimit", "AccountUsage"])
    keys = "CodeSizeUnzipped CodeSizeZipped ConcurrentExecutions TotalCodeSize UnreservedConcurrentExecutions".split()
    k.same("account: limits", sorted(found.at("AccountLimit") or {}), keys)
    k.same("account: usage", sorted(found.at("AccountUsage") or {}), ["FunctionCount", "TotalCodeSize"])
    sizes = (found.at("AccountLimit", "CodeSizeUnzipped"), found.at("AccountLimit", "CodeSizeZipped"))
    k.same("account: sizes of code", sizes, (262144000, 52428800))
