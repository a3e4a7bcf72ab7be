"""What Terraform's provider for AWS asks of Lambda: for each kind of resource its attributes, and its calls in their order.

A kind has the attributes that a configuration may name, with the value that stands for "not said"; `COMPUTED` is for what
AWS fills in where the configuration says nothing. `create`, `read`, `update` and `delete` make the calls of the provider's
functions of those names, waiters included, and `read` makes of the answers what the provider keeps as the state.
"""

import json
import re

from provider import COMPUTED, GONE, Kind

FUNCTION_ARN = r"(arn:[\w-]+:lambda:)?([a-z]{2}-(?:[a-z]+-){1,2}\d:)?(\d{12}:)?(function:)?([0-9A-Za-z_-]+)(:(\$LATEST|[0-9A-Za-z_-]+))?"


def arn_parts(arn):
    """Function and qualifier of an ARN, read as the provider reads them."""
    found = re.fullmatch(FUNCTION_ARN, arn)
    return (found[5], found[7] or "") if found else ("", "")


class Function(Kind):
    name = "aws_lambda_function"
    key = ("function_name",)
    attributes = {
        "function_name": None,
        "architectures": COMPUTED,
        "code": None,
        "dead_letter_config": None,
        "description": "",
        "environment": None,
        "ephemeral_storage": COMPUTED,
        "file_system_config": [],
        "handler": "",
        "kms_key_arn": "",
        "layers": [],
        "logging_config": COMPUTED,
        "memory_size": 128,
        "package_type": "Zip",
        "publish": False,
        "reserved_concurrent_executions": -1,
        "role": None,
        "runtime": "",
        "snap_start": None,
        "tags": {},
        "timeout": 3,
        "tracing_config": COMPUTED,
        "vpc_config": None,
    }
    # What no answer tells: it stays as it was configured.
    kept = ("code", "publish")
    forces_new = ("function_name", "package_type")
    # In UpdateFunctionConfiguration, and what stands there for "none".
    members = {
        "dead_letter_config": ("DeadLetterConfig", {"TargetArn": ""}),
        "description": ("Description", ""),
        "ephemeral_storage": ("EphemeralStorage", None),
        "file_system_config": ("FileSystemConfigs", []),
        "handler": ("Handler", ""),
        "kms_key_arn": ("KMSKeyArn", ""),
        "layers": ("Layers", []),
        "logging_config": ("LoggingConfig", None),
        "memory_size": ("MemorySize", None),
        "role": ("Role", None),
        "runtime": ("Runtime", None),
        "snap_start": ("SnapStart", {"ApplyOn": "None"}),
        "timeout": ("Timeout", None),
        "tracing_config": ("TracingConfig", None),
        "vpc_config": ("VpcConfig", {"Ipv6AllowedForDualStack": False, "SecurityGroupIds": [], "SubnetIds": []}),
    }

    def create(self, tf, plan):
        asked = {
            "FunctionName": plan["function_name"],
            "Code": {"ZipFile": plan["code"]},
            "PackageType": plan["package_type"],
            "Publish": plan["publish"],
            "Description": plan["description"],
            "Handler": plan["handler"],
            "Runtime": plan["runtime"],
            "Role": plan["role"],
            "MemorySize": plan["memory_size"],
            "Timeout": plan["timeout"],
        }
        for attribute, (member, _) in self.members.items():
            if member not in asked and plan[attribute] not in (None, COMPUTED, "", []):
                asked[member] = plan[attribute]
        if plan["architectures"] is not COMPUTED:
            asked["Architectures"] = plan["architectures"]
        if plan["environment"] and plan["environment"].get("Variables"):
            asked["Environment"] = plan["environment"]
        if plan["tags"]:
            asked["Tags"] = plan["tags"]
        tf.again(("ResourceConflictException",), "create_function", **asked)
        function = plan["function_name"]
        tf.wait(lambda: self.state(tf, function, "State"), ("Pending",), ("Active", "ActiveNonInvocable"))
        if plan["reserved_concurrent_executions"] >= 0:
            reserved = plan["reserved_concurrent_executions"]
            tf.ask("put_function_concurrency", FunctionName=function, ReservedConcurrentExecutions=reserved)
        return function

    def state(self, tf, function, member):
        found = tf.find("get_function", FunctionName=function)
        return GONE if found is None else found["Configuration"].get(member, "")

    def read(self, tf, function, kept):
        found = tf.find("get_function", FunctionName=function)
        if found is None:
            return None
        assert found.get("Code") is not None, "the provider takes an answer without Code for none"
        shown = found["Configuration"]
        # The versions are sorted, and the last is the latest.
        pages = tf.client.get_paginator("list_versions_by_function")
        listed = pages.paginate(FunctionName=function, PaginationConfig={"PageSize": 10000}).build_full_result()["Versions"]
        signing = tf.ask("get_function_code_signing_config", FunctionName=function) if shown["PackageType"] == "Zip" else {}
        return {
            **self.configuration(shown),
            "function_name": function,
            "code": kept.get("code"),
            "publish": kept.get("publish", False),
            "reserved_concurrent_executions": found.get("Concurrency", {}).get("ReservedConcurrentExecutions", -1),
            "tags": found.get("Tags", {}),
            "code_signing_config_arn": signing.get("CodeSigningConfigArn", ""),
            "image_uri": found["Code"].get("ImageUri", ""),
            "arn": shown["FunctionArn"],
            "code_sha256": shown["CodeSha256"],
            "last_modified": shown["LastModified"],
            "source_code_size": shown["CodeSize"],
            "qualified_arn": listed[-1]["FunctionArn"],
            "version": listed[-1]["Version"],
        }

    @staticmethod
    def configuration(shown):
        logging = shown.get("LoggingConfig") or {}
        vpc = shown.get("VpcConfig") or {}
        snap = shown.get("SnapStart") or {}
        return {
            "architectures": shown.get("Architectures", []),
            "dead_letter_config": shown.get("DeadLetterConfig") if shown.get("DeadLetterConfig", {}).get("TargetArn") else None,
            "description": shown.get("Description", ""),
            "environment": shown.get("Environment"),
            "ephemeral_storage": shown.get("EphemeralStorage"),
            "file_system_config": shown.get("FileSystemConfigs", []),
            "handler": shown.get("Handler", ""),
            "kms_key_arn": shown.get("KMSKeyArn", ""),
            "layers": [layer["Arn"] for layer in shown.get("Layers", [])],
            "logging_config": {key: value for key, value in logging.items() if value},
            "memory_size": shown.get("MemorySize"),
            "package_type": shown.get("PackageType"),
            "role": shown.get("Role"),
            "runtime": shown.get("Runtime", ""),
            "snap_start": {"ApplyOn": snap["ApplyOn"]} if snap.get("ApplyOn", "None") != "None" else None,
            "timeout": shown.get("Timeout"),
            "tracing_config": shown.get("TracingConfig", {"Mode": "PassThrough"}),
            "vpc_config": {key: vpc[key] for key in ("SubnetIds", "SecurityGroupIds", "Ipv6AllowedForDualStack")}
            if vpc.get("SubnetIds") or vpc.get("SecurityGroupIds") or vpc.get("VpcId")
            else None,
        }

    def update(self, tf, function, before, plan):
        changed = {attribute for attribute in self.attributes if before[attribute] != plan[attribute]}
        tf.tag(before["arn"], before["tags"], plan["tags"])
        asked = {}
        for attribute in changed & set(self.members):
            member, none = self.members[attribute]
            value = none if plan[attribute] in (None, COMPUTED, "", []) else plan[attribute]
            if value is not None:
                asked[member] = value
        if changed & {"environment", "kms_key_arn"}:
            asked["Environment"] = {"Variables": (plan["environment"] or {}).get("Variables", {})}
        if asked:
            tf.again(("ResourceConflictException",), "update_function_configuration", FunctionName=function, **asked)
            self.wait_updated(tf, function)
        codes = changed & {"code", "architectures"}
        if codes:
            told = {"Architectures": plan["architectures"]} if "architectures" in changed else {}
            tf.ask("update_function_code", FunctionName=function, ZipFile=plan["code"], **told)
            self.wait_updated(tf, function)
        if "reserved_concurrent_executions" in changed:
            reserved = plan["reserved_concurrent_executions"]
            if reserved >= 0:
                tf.ask("put_function_concurrency", FunctionName=function, ReservedConcurrentExecutions=reserved)
            else:
                tf.ask("delete_function_concurrency", FunctionName=function)
        if plan["publish"] and (asked or codes or "publish" in changed):
            made = tf.again(("ResourceConflictException",), "publish_version", FunctionName=function)

            def status():
                # Both the ARN and the qualifier name the version.
                found = tf.find("get_function_configuration", FunctionName=made["FunctionArn"], Qualifier=made["Version"])
                return GONE if found is None else found.get("LastUpdateStatus", "InProgress")

            tf.wait(status, ("InProgress",), ("Successful",))

    def wait_updated(self, tf, function):
        tf.wait(lambda: self.state(tf, function, "LastUpdateStatus"), ("InProgress",), ("Successful",))

    def delete(self, tf, function, _):
        if tf.ask_or_gone("delete_function", FunctionName=function):
            every = ("Active", "ActiveNonInvocable", "Pending", "Inactive", "Failed", "Deleting")
            tf.wait(lambda: self.state(tf, function, "State"), every, (GONE,))


class Alias(Kind):
    name = "aws_lambda_alias"
    key = ("function_name", "name")
    attributes = {"function_name": None, "name": None, "function_version": None, "description": "", "routing_config": None}
    forces_new = ("function_name", "name")

    def create(self, tf, plan):
        return tf.ask("create_alias", **self.asked(plan))["AliasArn"]

    @staticmethod
    def asked(plan):
        return {
            "FunctionName": plan["function_name"],
            "Name": plan["name"],
            "FunctionVersion": plan["function_version"],
            "Description": plan["description"],
            # An empty object where there are no weights.
            "RoutingConfig": {} if plan["routing_config"] is None else plan["routing_config"],
        }

    def read(self, tf, _, kept):
        found = tf.find("get_alias", FunctionName=kept["function_name"], Name=kept["name"])
        return found and {
            "function_name": kept["function_name"],
            "name": found["Name"],
            "function_version": found["FunctionVersion"],
            "description": found.get("Description", ""),
            "routing_config": found.get("RoutingConfig"),
            "arn": found["AliasArn"],
        }

    def update(self, tf, _, before, plan):
        tf.ask("update_alias", **self.asked(plan))
        if plan["routing_config"] is None:

            def weights():
                found = tf.find("get_alias", FunctionName=plan["function_name"], Name=plan["name"])
                is_clear = found is None or not found.get("RoutingConfig", {}).get("AdditionalVersionWeights")
                return "stable" if is_clear else "pending"

            tf.wait(weights, ("pending",), ("stable",))

    def delete(self, tf, _, state):
        tf.ask_or_gone("delete_alias", FunctionName=state["function_name"], Name=state["name"])


class Permission(Kind):
    name = "aws_lambda_permission"
    key = ("function_name", "statement_id", "qualifier")
    members = {
        "action": "Action",
        "principal": "Principal",
        "event_source_token": "EventSourceToken",
        "function_url_auth_type": "FunctionUrlAuthType",
        "invoked_via_function_url": "InvokedViaFunctionUrl",
        "principal_org_id": "PrincipalOrgID",
        "source_account": "SourceAccount",
        "source_arn": "SourceArn",
    }
    attributes = {"function_name": None, "statement_id": None, "qualifier": "", **{name: "" for name in members}}
    attributes["invoked_via_function_url"] = False
    forces_new = tuple(attributes)

    def create(self, tf, plan):
        told = {member: plan[name] for name, member in self.members.items() if plan[name]}
        tf.again(
            ("ResourceConflictException", "ResourceNotFoundException"),
            "add_permission",
            FunctionName=plan["function_name"],
            StatementId=plan["statement_id"],
            **({"Qualifier": plan["qualifier"]} if plan["qualifier"] else {}),
            **told,
        )
        return plan["statement_id"]

    @staticmethod
    def statement(tf, state):
        qualifier = {"Qualifier": state["qualifier"]} if state.get("qualifier") else {}
        found = tf.find("get_policy", FunctionName=state["function_name"], **qualifier)
        statements = json.loads(found["Policy"])["Statement"] if found else []
        return next((one for one in statements if one["Sid"] == state["statement_id"]), None)

    def read(self, tf, _, kept):
        found = self.statement(tf, kept)
        if found is None:
            return None
        function, qualifier = arn_parts(found["Resource"])
        by_arn = kept["function_name"].startswith("arn:")
        principal = found["Principal"]
        conditions = found.get("Condition", {})
        equal, boolean, like = (conditions.get(how, {}) for how in ("StringEquals", "Bool", "ArnLike"))
        return {
            "function_name": found["Resource"].removesuffix(f":{qualifier}") if by_arn else function,
            "statement_id": found["Sid"],
            "qualifier": qualifier,
            "action": found["Action"],
            "principal": principal if isinstance(principal, str) else principal.get("AWS", principal.get("Service")),
            "event_source_token": equal.get("lambda:EventSourceToken", ""),
            "function_url_auth_type": equal.get("lambda:FunctionUrlAuthType", ""),
            "principal_org_id": equal.get("aws:PrincipalOrgID", ""),
            "source_account": equal.get("AWS:SourceAccount", ""),
            "invoked_via_function_url": boolean.get("lambda:InvokedViaFunctionUrl", "").lower() == "true",
            "source_arn": like.get("AWS:SourceArn", ""),
        }

    def delete(self, tf, _, state):
        qualifier = {"Qualifier": state["qualifier"]} if state["qualifier"] else {}
        asked = {"FunctionName": state["function_name"], "StatementId": state["statement_id"], **qualifier}
        if tf.ask_or_gone("remove_permission", **asked):
            tf.wait(lambda: GONE if self.statement(tf, state) is None else "there", ("there",), (GONE,))


class EventInvokeConfig(Kind):
    name = "aws_lambda_function_event_invoke_config"
    key = ("function_name", "qualifier")
    attributes = {
        "function_name": None,
        "qualifier": "",
        "destination_config": None,
        "maximum_event_age_in_seconds": 0,
        "maximum_retry_attempts": 2,
    }
    forces_new = ("function_name", "qualifier")

    @staticmethod
    def named(state):
        return {"FunctionName": state["function_name"], **({"Qualifier": state["qualifier"]} if state.get("qualifier") else {})}

    def create(self, tf, plan):
        self.put(tf, plan)
        return ":".join(part for part in (plan["function_name"], plan["qualifier"]) if part)

    def put(self, tf, plan):
        asked = {**self.named(plan), "MaximumRetryAttempts": plan["maximum_retry_attempts"]}
        if plan["destination_config"] is not None:
            asked["DestinationConfig"] = plan["destination_config"]
        if plan["maximum_event_age_in_seconds"]:
            asked["MaximumEventAgeInSeconds"] = plan["maximum_event_age_in_seconds"]
        tf.ask("put_function_event_invoke_config", **asked)

    def read(self, tf, _, kept):
        found = tf.find("get_function_event_invoke_config", **self.named(kept))
        if found is None:
            return None
        told = {way: told for way, told in found.get("DestinationConfig", {}).items() if told.get("Destination")}
        return {
            "function_name": kept["function_name"],
            "qualifier": kept.get("qualifier", ""),
            "destination_config": told or None,
            "maximum_event_age_in_seconds": found.get("MaximumEventAgeInSeconds", 0),
            "maximum_retry_attempts": found.get("MaximumRetryAttempts", 0),
        }

    def update(self, tf, _, before, plan):
        self.put(tf, plan)

    def delete(self, tf, _, state):
        tf.ask_or_gone("delete_function_event_invoke_config", **self.named(state))


class Mapping(Kind):
    name = "aws_lambda_event_source_mapping"
    key = ("uuid",)
    members = {
        "batch_size": "BatchSize",
        "maximum_batching_window_in_seconds": "MaximumBatchingWindowInSeconds",
        "filter_criteria": "FilterCriteria",
        "function_response_types": "FunctionResponseTypes",
        "scaling_config": "ScalingConfig",
    }
    attributes = {
        "function_name": None,
        "event_source_arn": None,
        "enabled": True,
        # The provider knows the value that SQS stands for, and sees no difference in it.
        "batch_size": 10,
        "maximum_batching_window_in_seconds": 0,
        "filter_criteria": None,
        "function_response_types": [],
        "scaling_config": None,
        "tags": {},
    }
    forces_new = ("event_source_arn",)

    def create(self, tf, plan):
        told = {member: plan[name] for name, member in self.members.items() if plan[name] not in (None, 0, [])}
        if plan["tags"]:
            told["Tags"] = plan["tags"]
        asked = {"FunctionName": plan["function_name"], "EventSourceArn": plan["event_source_arn"], "Enabled": plan["enabled"]}
        made = tf.ask("create_event_source_mapping", **asked, **told)
        pending = ("Creating", "Disabling", "Enabling")
        tf.wait(lambda: self.state(tf, made["UUID"]), pending, ("Disabled", "Enabled"))
        return made["UUID"]

    @staticmethod
    def state(tf, uuid):
        found = tf.find("get_event_source_mapping", UUID=uuid)
        return GONE if found is None else found["State"]

    def read(self, tf, uuid, kept):
        found = tf.find("get_event_source_mapping", UUID=uuid)
        if found is None:
            return None
        tags = tf.ask("list_tags", Resource=found["EventSourceMappingArn"])["Tags"]
        given = kept.get("function_name", "")
        is_same = given == arn_parts(found["FunctionArn"])[0] and not arn_parts(found["FunctionArn"])[1]
        states = {"Enabled": True, "Enabling": True, "Disabled": False, "Disabling": False}
        return {
            "uuid": found["UUID"],
            # A name or its ARN: the provider sees no difference.
            "function_name": given if is_same else found["FunctionArn"],
            "function_arn": found["FunctionArn"],
            "event_source_arn": found["EventSourceArn"],
            "enabled": states[found["State"]],
            "state": found["State"],
            "arn": found["EventSourceMappingArn"],
            "batch_size": found["BatchSize"],
            "maximum_batching_window_in_seconds": found["MaximumBatchingWindowInSeconds"],
            "filter_criteria": found.get("FilterCriteria"),
            "function_response_types": found["FunctionResponseTypes"],
            "scaling_config": found.get("ScalingConfig"),
            "last_modified": found["LastModified"].isoformat(),
            "state_transition_reason": found["StateTransitionReason"],
            "tags": tags,
        }

    def update(self, tf, uuid, before, plan):
        tf.tag(before["arn"], before["tags"], plan["tags"])
        asked = {}
        for name, member in {**self.members, "enabled": "Enabled", "function_name": "FunctionName"}.items():
            if before[name] != plan[name]:
                # What is taken away is an empty object; without it nothing would change.
                asked[member] = {} if plan[name] is None else plan[name]
        if asked:
            tf.ask("update_event_source_mapping", UUID=uuid, **asked)
            pending = ("Disabling", "Enabling", "Updating")
            tf.wait(lambda: self.state(tf, uuid), pending, ("Disabled", "Enabled"))

    def delete(self, tf, uuid, _):
        if tf.again_or_gone(("ResourceInUseException",), "delete_event_source_mapping", UUID=uuid):
            tf.wait(lambda: self.state(tf, uuid), ("Deleting",), (GONE,))


class Provisioned(Kind):
    name = "aws_lambda_provisioned_concurrency_config"
    key = ("function_name", "qualifier")
    attributes = {"function_name": None, "qualifier": None, "provisioned_concurrent_executions": None}
    forces_new = ("function_name", "qualifier")
    gone = ("ResourceNotFoundException", "ProvisionedConcurrencyConfigNotFoundException")

    @staticmethod
    def named(state):
        return {"FunctionName": state["function_name"], "Qualifier": state["qualifier"]}

    def create(self, tf, plan):
        executions = plan["provisioned_concurrent_executions"]
        tf.ask("put_provisioned_concurrency_config", **self.named(plan), ProvisionedConcurrentExecutions=executions)

        def status():
            # FAILED is among neither, and so an end.
            return tf.ask("get_provisioned_concurrency_config", **self.named(plan))["Status"]

        tf.wait(status, ("IN_PROGRESS",), ("READY",))
        return f"{plan['function_name']},{plan['qualifier']}"

    def read(self, tf, _, kept):
        found = tf.find("get_provisioned_concurrency_config", codes=self.gone, **self.named(kept))
        return found and {
            "function_name": kept["function_name"],
            "qualifier": kept["qualifier"],
            "provisioned_concurrent_executions": found["AllocatedProvisionedConcurrentExecutions"],
        }

    def update(self, tf, _, before, plan):
        self.create(tf, plan)

    def delete(self, tf, _, state):
        tf.ask_or_gone("delete_provisioned_concurrency_config", codes=self.gone, **self.named(state))
