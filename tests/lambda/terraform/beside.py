"""The acceptance tests of what stands beside a function: aliases, permissions, event handling, mappings, provisioned concurrency."""

import platform

from functions import ONE, TWO, again, function
from kinds import Alias, EventInvokeConfig, Mapping, Permission, Provisioned

from kit import IDLE, zipped


def Alias_basic(tf):
    made = function(tf, publish=True)
    told = {"function_name": made["arn"], "name": "testalias", "function_version": "1", "description": "a sample description"}
    alias = tf.resource(Alias, **told)
    alias.has(arn=tf.arn("alias_basic", "testalias"), routing_config=None)
    alias.imported()


def Alias_FunctionName_name(tf):
    function(tf, "byname", publish=True)
    alias = tf.resource(Alias, function_name="byname", name="testalias", function_version="1")
    alias.has(arn=tf.arn("byname", "testalias"), description="")
    alias.imported()


def Alias_nameUpdate(tf):
    made = function(tf, publish=True)
    alias = tf.resource(Alias, function_name=made["arn"], name="before", function_version="1")
    alias.apply(function_name=made["arn"], name="after", function_version="1")
    alias.has(arn=f"{made['arn']}:after")
    left = tf.find("get_alias", FunctionName=made["arn"], Name="before")
    tf.is_so("the one of before is gone", left, None)


def Alias_routing(tf):
    made = function(tf, publish=True)
    told = {"function_name": made["arn"], "name": "testalias", "function_version": "1", "description": "a sample description"}
    alias = tf.resource(Alias, **told)
    again(made, publish=True, code=TWO)
    alias.settled()
    weights = {"AdditionalVersionWeights": {"2": 0.5}}
    alias.apply(**told, routing_config=weights)
    alias.has(routing_config=weights)
    alias.imported()
    alias.apply(**told)
    alias.has(routing_config=None)
    alias.apply(**{**told, "function_version": "2", "description": "moved"})
    alias.has(function_version="2", description="moved")


def Alias_disappears(tf):
    function(tf, "lost", publish=True)
    tf.resource(Alias, function_name="lost", name="live", function_version="$LATEST").disappears()


def granted(tf, function_name, sid="AllowExecutionFromCloudWatch", **told):
    asked = {"action": "lambda:InvokeFunction", "principal": "events.amazonaws.com", **told}
    made = tf.resource(Permission, function_name=function_name, statement_id=sid, **asked)
    made.imported()
    return made


def Permission_basic(tf):
    made = function(tf)
    granted(tf, made["function_name"], event_source_token="test-event-source-token").has(qualifier="")


def Permission_principalOrgID(tf):
    made = function(tf)
    told = {"principal": "*", "principal_org_id": "o-1234567890", "event_source_token": "test-event-source-token"}
    granted(tf, made["function_name"], **told).has(**told)


def Permission_statementIDDuplicate(tf):
    made = function(tf)
    granted(tf, made["function_name"], "twice")
    text = "The statement id (twice) provided already exists."
    asked = {"FunctionName": made["function_name"], "StatementId": "twice", "Action": "lambda:InvokeFunction"}
    codes = ("ResourceConflictException",)
    tf.refuses("a second one", "add_permission", text, codes, Principal="events.amazonaws.com", **asked)


def Permission_rawFunctionName(tf):
    made = function(tf)
    granted(tf, made["arn"], "AllowExecutionWithRawFuncName").has(function_name=made["arn"])


def Permission_statementIDPrefix(tf):
    made = function(tf)
    granted(tf, made["function_name"], "AllowExecutionWithStatementIdPrefix-20261129124200000000000001")


def Permission_qualifier(tf):
    made = function(tf, publish=True)
    name = made["function_name"]
    tf.resource(Alias, function_name=name, name="qualified", function_version="1")
    for qualifier in ("qualified", "1"):
        one = granted(tf, name, "AllowExecutionWithQualifier", qualifier=qualifier)
        one.has(qualifier=qualifier, function_name=name)
    granted(tf, made["arn"], "ByArn", qualifier="qualified").has(function_name=made["arn"], qualifier="qualified")


def Permission_disappears(tf):
    made = function(tf)
    granted(tf, made["function_name"], "AllowExecutionFromCloudWatch").disappears()


def Permission_multiplePerms(tf):
    made = function(tf)
    name = made["function_name"]
    first = granted(tf, name, "AllowExecutionFirst")
    second = granted(tf, name, "AllowExecutionSecond")
    granted(tf, name, "AllowExecutionThird")
    first.settled()
    second.disappears()
    first.settled()


def Permission_s3(tf):
    made = function(tf)
    bucket = "arn:aws:s3:::tf-acc-test-bucket"
    told = {"principal": "s3.amazonaws.com", "source_arn": bucket, "source_account": tf.account}
    granted(tf, made["arn"], "AllowExecutionFromS3", **told).has(**told)


def Permission_sns(tf):
    made = function(tf)
    told = {"principal": "sns.amazonaws.com", "source_arn": f"arn:aws:sns:us-east-1:{tf.account}:topic"}
    granted(tf, made["arn"], "AllowExecutionFromSNS", **told).has(**told)


def Permission_iamRole(tf):
    made = function(tf)
    granted(tf, made["arn"], "AllowExecutionFromIAMRole", principal=tf.role).has(principal=tf.role)


def Permission_FunctionURLs(tf):
    made = function(tf)
    name = made["function_name"]
    for sid, principal, kind in (("Iam", "arn:aws:iam::000000000000:root", "AWS_IAM"), ("None", "*", "NONE")):
        told = {"action": "lambda:InvokeFunctionUrl", "principal": principal, "function_url_auth_type": kind}
        granted(tf, name, f"AllowExecution{sid}", **told).has(**told)
    told = {"principal": "*", "invoked_via_function_url": True}
    granted(tf, name, "ViaUrl", **told).has(**told)


def EventInvokeConfig_basic(tf):
    made = function(tf)
    one = tf.resource(EventInvokeConfig, function_name=made["function_name"])
    one.has(destination_config=None, maximum_event_age_in_seconds=0, maximum_retry_attempts=2, qualifier="")
    one.imported()


def EventInvokeConfig_disappears(tf):
    made = function(tf)
    tf.resource(EventInvokeConfig, function_name=made["function_name"]).disappears()
    other = tf.resource(EventInvokeConfig, function_name=made["function_name"])
    made.disappears()
    other.is_gone()


def EventInvokeConfig_destinations(tf):
    made = function(tf)
    other = function(tf, "destination")
    name, queue = made["function_name"], tf.queue("destination-1")
    failure, success = ({way: {"Destination": queue}} for way in ("OnFailure", "OnSuccess"))
    one = tf.resource(EventInvokeConfig, function_name=name, destination_config=failure)
    one.imported()
    one.apply(function_name=name, destination_config={"OnFailure": {"Destination": other["arn"]}})
    one.imported()
    one.apply(function_name=name, destination_config=success)
    one.has(destination_config=success)
    one.apply(function_name=name, destination_config={**failure, "OnSuccess": {"Destination": other["arn"]}})
    one.imported()
    one.apply(function_name=name)
    one.has(destination_config=None)


def EventInvokeConfig_FunctionName_arn(tf):
    made = function(tf)
    tf.resource(EventInvokeConfig, function_name=made["arn"]).imported()


def EventInvokeConfig_maximumEventAge(tf):
    made = function(tf)
    one = tf.resource(EventInvokeConfig, function_name=made["function_name"], maximum_event_age_in_seconds=100)
    one.imported()
    one.apply(function_name=made["function_name"], maximum_event_age_in_seconds=200)
    one.apply(function_name=made["function_name"])
    one.has(maximum_event_age_in_seconds=0)


def EventInvokeConfig_maximumRetryAttempts(tf):
    made = function(tf)
    one = tf.resource(EventInvokeConfig, function_name=made["function_name"], maximum_retry_attempts=0)
    one.imported()
    for attempts in (1, 0, 2):
        one.apply(function_name=made["function_name"], maximum_retry_attempts=attempts)
        one.has(maximum_retry_attempts=attempts)


def EventInvokeConfig_qualifiers(tf):
    made = function(tf, publish=True)
    name = made["function_name"]
    tf.resource(Alias, function_name=name, name="live", function_version="1")
    each = [
        tf.resource(EventInvokeConfig, function_name=name, qualifier=qualifier, maximum_retry_attempts=n)
        for n, qualifier in enumerate(("live", "1", "$LATEST"))
    ]
    for n, one in enumerate(each):
        one.settled()
        one.has(maximum_retry_attempts=n)
        one.imported()


def mapped(tf, n, function_name=None, **told):
    made = function(tf, f"mapped_{tf.scenario.lower()}")
    asked = {"event_source_arn": tf.queue(f"source-{n}"), "function_name": function_name or made["arn"], **told}
    return made, asked, tf.resource(Mapping, **asked)


def Mapping_SQS_basic(tf):
    made, asked, one = mapped(tf, 1)
    one.has(function_arn=made["arn"], state="Enabled", state_transition_reason="USER_INITIATED", filter_criteria=None)
    one.imported()
    other = function(tf, "mapped_other")
    changed = {**asked, "function_name": other["arn"], "batch_size": 5, "enabled": False}
    one.apply(**changed)
    one.has(function_arn=other["arn"], state="Disabled")
    one.imported()
    one.apply(**{**changed, "enabled": True})
    one.has(state="Enabled", batch_size=5)


def Mapping_FunctionName(tf):
    made, asked, one = mapped(tf, 2, "mapped_mapping_functionname")
    one.has(function_arn=made["arn"])
    one.imported()
    again(made, publish=True)
    tf.resource(Alias, function_name=made["arn"], name="live", function_version="1")
    one.apply(**{**asked, "function_name": f"{made['arn']}:live"})
    one.has(function_arn=f"{made['arn']}:live")


def Mapping_SQS_batchWindow(tf):
    _, asked, one = mapped(tf, 3)
    one.has(maximum_batching_window_in_seconds=0)
    one.apply(**asked, maximum_batching_window_in_seconds=100)
    one.imported()
    one.apply(**asked, maximum_batching_window_in_seconds=100, batch_size=1000)
    one.has(batch_size=1000)


def Mapping_disappears(tf):
    mapped(tf, 4, batch_size=7)[2].disappears()


def Mapping_changesInEnabledAreDetected(tf):
    _, asked, one = mapped(tf, 5, batch_size=9)
    tf.ask("update_event_source_mapping", UUID=one.id, Enabled=False)
    tf.wait(lambda: one.kind.state(tf, one.id), ("Disabling", "Updating"), ("Disabled",))
    found = one.kind.read(tf, one.id, one.state)
    tf.is_so("the plan shows it", (found["enabled"], one["enabled"]), (False, True))
    one.state = found
    one.apply(**asked)
    one.has(enabled=True, state="Enabled")


def Mapping_SQS_filterCriteria(tf):
    one, other = ({"Pattern": text} for text in ('{"body": {"a": ["b"]}}', '{"body": {"c": [{"numeric": [">", 1]}]}}'))
    _, asked, mapping = mapped(tf, 6, filter_criteria={"Filters": [one]})
    mapping.imported()
    for filters in ([one, other], [other]):
        mapping.apply(**{**asked, "filter_criteria": {"Filters": filters}})
        mapping.has(filter_criteria={"Filters": filters})
    mapping.apply(**{**asked, "filter_criteria": None})
    mapping.has(filter_criteria=None)


def Mapping_SQS_scalingConfig(tf):
    _, asked, mapping = mapped(tf, 7, scaling_config={"MaximumConcurrency": 2})
    mapping.imported()
    mapping.apply(**{**asked, "scaling_config": {"MaximumConcurrency": 10}})
    mapping.apply(**{**asked, "scaling_config": None})
    mapping.has(scaling_config=None)


def Mapping_functionResponseTypes(tf):
    _, asked, mapping = mapped(tf, 8, function_response_types=["ReportBatchItemFailures"])
    mapping.imported()
    mapping.apply(**{**asked, "function_response_types": []})
    mapping.has(function_response_types=[])


def Mapping_tags(tf):
    _, asked, mapping = mapped(tf, 9, tags={"key1": "value1"})
    mapping.imported()
    for tags in ({"key1": "value1updated", "key2": "value2"}, {"key2": "value2"}, {}):
        mapping.apply(**{**asked, "tags": tags})
        mapping.has(tags=tags)


def provisionable(tf):
    """Its program has to begin, and its zip is of this machine."""
    machine = {"aarch64": "arm64"}.get(platform.machine(), "x86_64")
    return function(tf, code=zipped(IDLE), runtime="provided.al2023", architectures=[machine], publish=True)


def Provisioned_basic(tf):
    made = provisionable(tf)
    told = {"function_name": made["function_name"], "qualifier": made["version"]}
    one = tf.resource(Provisioned, **told, provisioned_concurrent_executions=1)
    one.imported()
    one.apply(**told, provisioned_concurrent_executions=2)
    one.has(provisioned_concurrent_executions=2)


def Provisioned_disappears(tf):
    made = provisionable(tf)
    told = {"function_name": made["function_name"], "qualifier": "1", "provisioned_concurrent_executions": 1}
    tf.resource(Provisioned, **told).disappears()
    other = tf.resource(Provisioned, **told)
    made.disappears()
    other.is_gone()


def Provisioned_Qualifier_aliasName(tf):
    made = provisionable(tf)
    alias = tf.resource(Alias, function_name=made["function_name"], name="live", function_version="1")
    told = {"function_name": made["function_name"], "qualifier": alias["name"]}
    tf.resource(Provisioned, **told, provisioned_concurrent_executions=1).imported()


def Provisioned_FunctionNameArn(tf):
    made = provisionable(tf)
    tf.resource(Provisioned, function_name=made["arn"], qualifier="1", provisioned_concurrent_executions=1).imported()


KINDS = ("Alias_", "Permission_", "EventInvokeConfig_", "Mapping_", "Provisioned_")
SCENARIOS = [play for name, play in list(globals().items()) if name.startswith(KINDS)]
