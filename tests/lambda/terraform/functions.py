"""The acceptance tests of aws_lambda_function and of what is read of functions: versions, and the data sources."""

import platform

from provider import Wrong
from kinds import Alias, Function

from kit import zipped

ONE, TWO, THREE = zipped("one"), zipped("two"), zipped("three")
SUBNETS, GROUPS = ["subnet-1a2b", "subnet-3c4d"], ["sg-1a2b"]
KEYS = [f"arn:aws:kms:us-east-1:000000000000:key/7e1f60cc-0000-4000-8000-00000000000{n}" for n in (1, 2)]


def function(tf, name=None, **configured):
    # The tests say nodejs20.x, which this machine may not have; these it has.
    asked = {"code": ONE, "handler": "lambdatest.handler", "runtime": "provided.al2", "role": tf.role, **configured}
    return tf.resource(Function, function_name=name or tf.scenario.lower(), **asked)


def again(made, **configured):
    """The same configuration with something else in it."""
    kept = ("function_name", "code", "handler", "runtime", "role")
    made.apply(**{**{name: made[name] for name in kept}, **configured})


def Function_basic(tf):
    made = function(tf)
    arn = tf.arn("function_basic")
    made.has(
        arn=arn,
        qualified_arn=f"{arn}:$LATEST",
        version="$LATEST",
        architectures=["x86_64"],
        ephemeral_storage={"Size": 512},
        logging_config={"LogFormat": "Text", "LogGroup": "/aws/lambda/function_basic"},
        tracing_config={"Mode": "PassThrough"},
        package_type="Zip",
        reserved_concurrent_executions=-1,
        code_signing_config_arn="",
        image_uri="",
        source_code_size=len(ONE),
    )
    made.imported()


def Function_disappears(tf):
    function(tf).disappears()


def Function_tags(tf):
    made = function(tf, tags={"key1": "value1"})
    made.imported()
    again(made, tags={"key1": "value1updated", "key2": "value2"})
    again(made, tags={"key2": "value2"})
    made.has(tags={"key2": "value2"})
    again(made)
    made.has(tags={})


def Function_unpublishedCodeUpdate(tf):
    made = function(tf)
    first = (made["last_modified"], made["code_sha256"])
    again(made, code=TWO)
    tf.holds("last_modified is later", made["last_modified"] > first[0], first)
    tf.holds("another code_sha256", made["code_sha256"] != first[1], first)
    made.has(version="$LATEST", qualified_arn=tf.arn("function_unpublishedcodeupdate", "$LATEST"))
    made.imported()


def Function_concurrency(tf):
    made = function(tf, reserved_concurrent_executions=111)
    made.imported()
    again(made, reserved_concurrent_executions=222)
    again(made, reserved_concurrent_executions=222, publish=True)
    made.has(reserved_concurrent_executions=222, version="1")


def Function_concurrencyCycle(tf):
    made = function(tf)
    again(made, reserved_concurrent_executions=222)
    again(made)
    made.has(reserved_concurrent_executions=-1)
    again(made, reserved_concurrent_executions=0)
    made.has(reserved_concurrent_executions=0)


def Function_envVariables(tf):
    made = function(tf)
    made.has(environment=None)
    made.imported()
    again(made, environment={"Variables": {"foo": "bar"}})
    again(made, environment={"Variables": {"foo": "baz", "foo1": "bar1"}})
    again(made)
    made.has(environment=None)


def Function_EnvironmentVariables_noValue(tf):
    made = function(tf, environment={"Variables": {"key1": ""}})
    made.imported()


def Function_encryptedEnvVariables(tf):
    foo = {"Variables": {"foo": "bar"}}
    made = function(tf, environment=foo, kms_key_arn=KEYS[0])
    made.imported()
    again(made, environment=foo, kms_key_arn=KEYS[1])
    again(made, environment=foo)
    made.has(kms_key_arn="")


def Function_KMSKeyARN_noEnvironmentVariables(tf):
    made = function(tf, kms_key_arn=KEYS[0])
    made.has(environment=None)
    made.imported()


def Function_versioned(tf):
    made = function(tf, publish=True)
    made.has(version="1", qualified_arn=tf.arn("function_versioned", "1"), arn=tf.arn("function_versioned"))
    made.imported()


def Function_versionedUpdate(tf):
    made = function(tf, publish=True)
    first = made["last_modified"]
    again(made, publish=True, code=TWO)
    made.has(version="2", runtime="provided.al2")
    tf.holds("last_modified is later", made["last_modified"] > first, first)
    again(made, publish=True, runtime="provided.al2023")
    made.has(version="3", qualified_arn=tf.arn("function_versionedupdate", "3"), runtime="provided.al2023")
    made.imported()


def Function_enablePublish(tf):
    made = function(tf)
    made.has(version="$LATEST")
    again(made, publish=True)
    made.has(version="1")
    made.imported()
    again(made, publish=True)
    made.has(version="1")


def Function_disablePublish(tf):
    made = function(tf, publish=True)
    again(made, publish=False)
    made.has(version="1")
    made.imported()


def Function_deadLetter(tf):
    made = function(tf, dead_letter_config={"TargetArn": tf.queue("dead-1")})
    made.imported()
    again(made, dead_letter_config={"TargetArn": tf.queue("dead-2")})
    made.has(dead_letter_config={"TargetArn": tf.queue("dead-2")})
    again(made)
    made.has(dead_letter_config=None)


def Function_architectures(tf):
    # The tests' arm64 is what this machine may not be; it would run no code for it.
    machine = {"aarch64": "arm64"}.get(platform.machine(), "x86_64")
    made = function(tf, architectures=[machine])
    made.imported()
    # Taken out of the configuration it stays.
    again(made)
    made.has(architectures=[machine])
    again(made, architectures=[machine], code=TWO)
    made.imported()


def Function_ephemeralStorage(tf):
    made = function(tf, ephemeral_storage={"Size": 1024})
    made.imported()
    again(made, ephemeral_storage={"Size": 2048})
    made.has(ephemeral_storage={"Size": 2048})


def Function_loggingConfig(tf):
    text = {"LogFormat": "Text", "LogGroup": "/aws/lambda/another"}
    made = function(tf, logging_config=text)
    made.imported()
    levels = {"ApplicationLogLevel": "TRACE", "SystemLogLevel": "DEBUG"}
    again(made, logging_config={"LogFormat": "JSON", "LogGroup": "/aws/lambda/another", **levels})
    made.imported()
    again(made, logging_config=text)
    made.has(logging_config=text)


def Function_tracing(tf):
    made = function(tf, tracing_config={"Mode": "Active"})
    made.imported()
    again(made, tracing_config={"Mode": "PassThrough"})


def Function_layers(tf):
    layer = "arn:aws:lambda:us-east-1:000000000000:layer:{}:1"
    made = function(tf, layers=[layer.format("one")])
    made.imported()
    again(made, layers=[layer.format("one"), layer.format("two")])
    again(made)
    made.has(layers=[])


def Function_VPC(tf):
    vpc = {"SubnetIds": SUBNETS, "SecurityGroupIds": GROUPS, "Ipv6AllowedForDualStack": False}
    made = function(tf, vpc_config=vpc)
    made.imported()
    again(made, vpc_config={**vpc, "SecurityGroupIds": [*GROUPS, "sg-5e6f"]})
    again(made, vpc_config={**vpc, "Ipv6AllowedForDualStack": True})
    # With the versions of before in its way, too.
    again(made, vpc_config=vpc, publish=True)
    again(made)
    made.has(vpc_config=None)
    again(made, environment={"Variables": {"foo": "bar"}})
    made.has(vpc_config=None)


def Function_fileSystem(tf):
    def mounted(n, path):
        arn = f"arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-{n:017}"
        return [{"Arn": arn, "LocalMountPath": path}]

    vpc = {"SubnetIds": SUBNETS, "SecurityGroupIds": GROUPS, "Ipv6AllowedForDualStack": False}
    made = function(tf, vpc_config=vpc, file_system_config=mounted(1, "/mnt/efs"))
    made.imported()
    again(made, vpc_config=vpc, file_system_config=mounted(2, "/mnt/lambda"))
    again(made)
    made.has(file_system_config=[])


def Function_snapStart(tf):
    made = function(tf, snap_start={"ApplyOn": "PublishedVersions"})
    made.imported()
    again(made)
    made.has(snap_start=None)


def Function_runtimes(tf):
    for runtime in ("provided.al2", "provided.al2023"):
        name = "runtimes_" + runtime.replace(".", "_")
        function(tf, name, runtime=runtime).has(runtime=runtime, version="$LATEST")


def Function_localUpdate(tf):
    made = function(tf)
    again(made, code=TWO)
    made.has(source_code_size=len(TWO))
    again(made, code=TWO, publish=True)
    made.has(version="1")
    # Code and configuration in one step make one version.
    again(made, code=THREE, publish=True, timeout=30, memory_size=256, description="both")
    made.has(version="2", timeout=30, memory_size=256, description="both")
    again(made, publish=True, handler="other.handler", role=tf.other_role)
    made.has(version="3", handler="other.handler", role=tf.other_role, timeout=3, memory_size=128, description="")
    made.imported()


def FunctionDataSource_versions(tf):
    """data "aws_lambda_function", by each of the qualifiers that its tests have."""
    made = function(tf, publish=True, reserved_concurrent_executions=2, tags={"key1": "value1"})
    name, state = made["function_name"], made.state
    alias = tf.resource(Alias, function_name=name, name="alias-name", function_version="1", description="one")
    for qualifier, version in {None: "$LATEST", "1": "1", "alias-name": "1", "$LATEST": "$LATEST"}.items():
        asked = {} if qualifier is None else {"Qualifier": qualifier}
        found = tf.ask("get_function", FunctionName=name, **asked)
        shown = found["Configuration"]
        said = f"by {qualifier}"
        tf.is_so(f"{said}: version", shown["Version"], version)
        tf.is_so(f"{said}: arn", shown["FunctionArn"], tf.arn(name, qualifier))
        tf.is_so(f"{said}: code_sha256", shown["CodeSha256"], state["code_sha256"])
        tf.is_so(f"{said}: role", shown["Role"], state["role"])
        tf.is_so(f"{said}: tags", found.get("Tags"), {"key1": "value1"})
        # What GetFunction leaves out by qualifier is asked for by itself.
        reserved = found.get("Concurrency") or tf.ask("get_function_concurrency", FunctionName=name)
        tf.is_so(f"{said}: reserved", reserved["ReservedConcurrentExecutions"], 2)
    listed = tf.client.get_paginator("list_functions").paginate().build_full_result()["Functions"]
    shown = [(one["FunctionName"], one["FunctionArn"]) for one in listed if one["FunctionName"] == name]
    tf.is_so("it is in data.aws_lambda_functions", shown, [(name, tf.arn(name))])
    found = tf.ask("get_alias", FunctionName=name, Name="alias-name")
    shown = (found["AliasArn"], found["FunctionVersion"], found["Description"])
    tf.is_so("data.aws_lambda_alias", shown, (alias["arn"], "1", "one"))


def FunctionDataSource_unpublished(tf):
    function(tf, "unpublished")
    found = tf.ask("get_function", FunctionName="unpublished")["Configuration"]
    tf.is_so("version", found["Version"], "$LATEST")
    try:
        tf.wait(lambda: Function().state(tf, "none", "State"), (), ("Active",))
    except Wrong as why:
        tf.is_so("one that is not there is not waited for", "gone" in str(why), True)


SCENARIOS = [play for name, play in list(globals().items()) if name.startswith("Function") and callable(play) and play is not Function]
