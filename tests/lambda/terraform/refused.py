"""What the provider's other acceptance tests need and serin does not do: each is refused with a sentence that says so."""

import platform

from kinds import Function

from kit import zipped

INVALID = ("InvalidParameterValueException",)
ABSENT = ("NotImplementedException",)
NOT_IMPLEMENTED = "serin does not implement the Lambda operation"


def Refused_members(tf):
    asked = {"FunctionName": "refused", "Role": tf.role, "Runtime": "nodejs20.x", "Handler": "h"}
    code = {"ZipFile": zipped("one")}
    arn = "arn:aws:lambda:us-east-1:000000000000"
    for member, value in {
        "CodeSigningConfigArn": f"{arn}:code-signing-config:csc-0123456789abcdefg",
        "ImageConfig": {"Command": ["app.handler"]},
        "DurableConfig": {"ExecutionTimeout": 300},
        "TenancyConfig": {"TenantIsolationMode": "PER_TENANT"},
        "PublishTo": "LATEST_PUBLISHED",
        "CapacityProviderConfig": {"LambdaManagedInstancesCapacityProviderConfig": {"CapacityProviderArn": f"{arn}:capacity-provider:c"}},
    }.items():
        tf.refuses(member, "create_function", f"{member} is not supported: serin", INVALID, Code=code, **{member: value}, **asked)
    for what, text, told in (
        ("an image", "PackageType Image is not supported: serin runs functions from zips", {"ImageUri": "0.dkr.ecr.us-east-1.amazonaws.com/i:latest"}),
        ("S3", "is not supported: serin reads code from ZipFile alone", {"S3Bucket": "bucket", "S3Key": "key"}),
    ):
        kind = {"PackageType": "Image"} if what == "an image" else {}
        tf.refuses(f"code from {what}", "create_function", text, INVALID, Code=told, **asked, **kind)
    for runtime in ("java21", "dotnet8", "ruby3.3"):
        text = f"The runtime {runtime} is not supported: serin runs"
        tf.refuses(runtime, "create_function", text, INVALID, Code=code, **{**asked, "Runtime": runtime})
    topic = f"arn:aws:sns:us-east-1:{tf.account}:topic"
    text = f"The dead-letter target {topic} is not supported"
    tf.refuses("a topic for dead letters", "create_function", text, INVALID, Code=code, DeadLetterConfig={"TargetArn": topic}, **asked)


def Refused_machines(tf):
    """Code for another machine is taken, never becomes active, and says why; the provider ends with that sentence."""
    own = {"aarch64": "arm64"}.get(platform.machine(), "x86_64")
    other = "arm64" if own == "x86_64" else "x86_64"
    asked = {"Role": tf.role, "Runtime": "provided.al2", "Handler": "h", "Code": {"ZipFile": zipped("one")}}
    tf.ask("create_function", FunctionName="foreign", Architectures=[other], **asked)
    shown = tf.ask("get_function", FunctionName="foreign")["Configuration"]
    tf.refused.append("code for another machine")
    tf.is_so("code for another machine", shown["State"], "Failed")
    text = f"serin cannot run the function here: the code is made for {other}, and this machine is {own}."
    tf.is_so("and the reason", shown["StateReason"], text)
    tf.ask("update_function_code", FunctionName="foreign", ZipFile=zipped("one"), Architectures=[own])
    Function().wait_updated(tf, "foreign")
    tf.is_so("once it is made for this one", Function().state(tf, "foreign", "State"), "Active")
    tf.ask("delete_function", FunctionName="foreign")


def Refused_sources_and_destinations(tf):
    tf.ask("create_function", FunctionName="sources", Role=tf.role, Runtime="nodejs20.x", Handler="h", Code={"ZipFile": zipped("one")})
    sources = {
        "Kinesis": f"arn:aws:kinesis:us-east-1:{tf.account}:stream/s",
        "DynamoDB": f"arn:aws:dynamodb:us-east-1:{tf.account}:table/t/stream/2026-11-29T00:00:00.000",
        "MSK": f"arn:aws:kafka:us-east-1:{tf.account}:cluster/c/7e1f60cc-0000-4000-8000-000000000001-1",
        "MQ": f"arn:aws:mq:us-east-1:{tf.account}:broker:b:b-7e1f60cc-0000-4000-8000-000000000001",
        "DocumentDB": f"arn:aws:rds:us-east-1:{tf.account}:cluster:c",
    }
    for what, arn in sources.items():
        text = f"Unrecognized event source. {arn} is not supported: serin polls SQS queues alone."
        tf.refuses(what, "create_event_source_mapping", text, INVALID, FunctionName="sources", EventSourceArn=arn)
    asked = {"FunctionName": "sources", "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["k:9092"]}}}
    tf.refuses("Apache Kafka", "create_event_source_mapping", "Unrecognized event source.", INVALID, Topics=["t"], **asked)
    topic = f"arn:aws:sns:us-east-1:{tf.account}:topic"
    told = {"OnFailure": {"Destination": topic}}
    text = f"The destination {topic} is not supported"
    tf.refuses("a topic for events", "put_function_event_invoke_config", text, INVALID, FunctionName="sources", DestinationConfig=told)
    tf.ask("delete_function", FunctionName="sources")


def Refused_operations(tf):
    csc = "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdefg"
    for operation, asked in {
        "create_function_url_config": {"FunctionName": "f", "AuthType": "NONE"},
        "publish_layer_version": {"LayerName": "l", "Content": {"ZipFile": zipped("one")}},
        "get_layer_version": {"LayerName": "l", "VersionNumber": 1},
        "create_code_signing_config": {"AllowedPublishers": {"SigningProfileVersionArns": [csc]}},
        "put_function_code_signing_config": {"FunctionName": "f", "CodeSigningConfigArn": csc},
        "put_function_recursion_config": {"FunctionName": "f", "RecursiveLoop": "Allow"},
        "put_runtime_management_config": {"FunctionName": "f", "UpdateRuntimeOn": "Auto"},
    }.items():
        tf.refuses(operation, operation, NOT_IMPLEMENTED, ABSENT, **asked)


SCENARIOS = [Refused_members, Refused_machines, Refused_sources_and_destinations, Refused_operations]
