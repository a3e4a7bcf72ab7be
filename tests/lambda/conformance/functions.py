"""Functions: made, shown, listed, changed, deleted."""

import io
import urllib.error
import urllib.request
import zipfile

from kit import REGION, sha256, zipped

CONFIGURATION = (
    "FunctionName FunctionArn Runtime Role Handler CodeSize Description Timeout MemorySize LastModified CodeSha256 "
    "Version TracingConfig RevisionId PackageType Architectures EphemeralStorage SnapStart LoggingConfig"
).split()
SETTLED = [*CONFIGURATION, "RuntimeVersionConfig", "State", "LastUpdateStatus"]
CREATING = [*CONFIGURATION, "RuntimeVersionConfig", "State", "StateReason", "StateReasonCode"]
UPDATING = [*SETTLED, "LastUpdateStatusReason", "LastUpdateStatusReasonCode"]
STALE = (
    "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the "
    "latest Revision Id"
)
MISMATCH = "The derived qualifier from the function name does not match the specified qualifier."
UNZIPPABLE = "Could not unzip uploaded file. Please check your file, then try to upload again."


def run(k):
    made = create(k)
    get(k, made)
    names(k)
    faults(k)
    everything(k)
    update(k)
    lists(k)
    delete(k)


def create(k):
    code = zipped("1")
    made = k.create("plain", code)
    k.shape("create: exactly AWS's members", made, 201, CREATING)
    for member, value in {
        "FunctionName": "plain",
        "FunctionArn": k.arn("plain"),
        "Runtime": "provided.al2023",
        "Handler": "index.handler",
        "Role": k.role,
        "CodeSize": len(code),
        "CodeSha256": sha256(code),
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "Version": "$LATEST",
        "State": "Pending",
        "StateReason": "The function is being created.",
        "StateReasonCode": "Creating",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "TracingConfig": {"Mode": "PassThrough"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/plain"},
    }.items():
        k.same(f"create: {member}", made.at(member), value)
    k.like("create: LastModified", made.at("LastModified"), r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000")
    k.like("create: RevisionId", made.at("RevisionId"), r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    arn = rf"arn:aws:lambda:{REGION}::runtime:[0-9a-f]{{64}}"
    k.like("create: RuntimeVersionArn", made.at("RuntimeVersionConfig", "RuntimeVersionArn"), arn)
    try:
        k.client.get_waiter("function_active_v2").wait(FunctionName="plain", WaiterConfig={"Delay": 0.2, "MaxAttempts": 20})
        waited = True
    except Exception:
        waited = False
    k.check("create: the waiter function_active_v2 ends", waited)
    again = k.create("plain", code)
    k.refused("create: a name that exists", again, 409, "ResourceConflictException", "Function already exist: plain")
    by_arn = k.create(k.arn("by-arn"), code)
    k.same("create: by ARN", (by_arn.status, by_arn.at("FunctionName")), (201, "by-arn"))
    return code


def get(k, code):
    found = k.call("get_function", FunctionName="plain")
    k.shape("get: exactly AWS's members", found, 200, ["Configuration", "Code"])
    k.same("get: the configuration's members", sorted(found.at("Configuration") or {}), sorted(SETTLED))
    k.same("get: State", found.at("Configuration", "State"), "Active")
    k.same("get: LastUpdateStatus", found.at("Configuration", "LastUpdateStatus"), "Successful")
    k.same("get: the code's members", sorted(found.at("Code") or {}), ["Location", "RepositoryType"])
    k.same("get: RepositoryType", found.at("Code", "RepositoryType"), "S3")
    k.same("get: Location gives the zip", download(found.at("Code", "Location")), (200, code))
    location = str(found.at("Code", "Location"))
    status, _ = download(location[:-1] + ("0" if location[-1] != "0" else "1"))
    k.same("get: Location with a broken signature", status, 403)
    configuration = k.call("get_function_configuration", FunctionName="plain")
    k.same("get-configuration: is what get shows", configuration.body, found.at("Configuration"))
    k.same("get: unqualified ARN", found.at("Configuration", "FunctionArn"), k.arn("plain"))
    latest = k.call("get_function", FunctionName="plain", Qualifier="$LATEST")
    k.same("get: $LATEST's ARN", latest.at("Configuration", "FunctionArn"), k.arn("plain", "$LATEST"))


def download(url):
    try:
        with urllib.request.urlopen(str(url), timeout=20) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, None
    except Exception as why:
        return 0, str(why)


def names(k):
    partial = f"{k.account}:function:plain"
    for how, name in {
        "a full ARN": k.arn("plain"),
        "a partial ARN": partial,
        "name:$LATEST": "plain:$LATEST",
        "a partial ARN with a qualifier": f"{partial}:$LATEST",
        "a full ARN with a qualifier": k.arn("plain", "$LATEST"),
    }.items():
        k.same(f"names: {how}", k.call("get_function_configuration", FunctionName=name).at("FunctionName"), "plain")
    encoded = k.raw("GET", "/2015-03-31/functions/plain%3A%24LATEST/configuration")
    k.same("names: percent-encoded", encoded.at("FunctionArn"), k.arn("plain", "$LATEST"))
    slash = k.raw("GET", "/2015-03-31/functions/?MaxItems=1")
    k.same("names: the slash older clients send", slash.status, 200)
    for operation in ("get_function", "get_function_configuration", "delete_function"):
        answer = k.call(operation, FunctionName="plain:1", Qualifier="$LATEST")
        k.invalid(f"names: {operation} with two qualifiers", answer, MISMATCH)
        far = k.call(operation, FunctionName=f"arn:aws:lambda:us-west-2:{k.account}:function:plain")
        text = "Functions from 'us-west-2' are not reachable in this region ('us-east-1')"
        k.not_found(f"names: {operation} of another region", far, text)
    for operation in ("get_function", "get_function_configuration"):
        text = f"Function not found: {k.arn('absent')}"
        k.not_found(f"absent: {operation}", k.call(operation, FunctionName="absent"), text)
        answer = k.call(operation, FunctionName="plain", Qualifier="1221")
        k.not_found(f"absent: {operation} of a version", answer, f"Function not found: {k.arn('plain', '1221')}")
        answer = k.call(operation, FunctionName="absent", Qualifier="$LATEST")
        k.not_found(f"absent: {operation} of $LATEST", answer, f"Function not found: {k.arn('absent', '$LATEST')}")
    answer = k.call("get_function", FunctionName="plain", Qualifier="no-alias")
    k.not_found("absent: get_function of an alias", answer, f"Function not found: {k.arn('plain', 'no-alias')}")
    for operation in ("list_versions_by_function", "get_function_concurrency"):
        answer = k.call(operation, FunctionName="absent")
        k.not_found(f"absent: {operation}", answer, f"Function not found: {k.arn('absent')}")


def faults(k):
    least, most = "Member must have value greater than or equal to", "Member must have value less than or equal to"
    k.violates("fault: too little memory", k.create("f", MemorySize=127), 127, "memorySize", f"{least} 128")
    k.violates("fault: too much memory", k.create("f", MemorySize=10241), 10241, "memorySize", f"{most} 10240")
    k.violates("fault: no timeout", k.create("f", Timeout=0), 0, "timeout", f"{least} 1")
    k.violates("fault: too long a timeout", k.create("f", Timeout=901), 901, "timeout", f"{most} 900")
    pattern = r"Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+"
    k.violates("fault: a role that is no ARN", k.create("f", Role="r1"), "r1", "role", pattern)
    pattern = r"Member must satisfy regular expression pattern: [^\s]+"
    k.violates("fault: a handler with a space", k.create("f", Handler="a b"), "a b", "handler", pattern)
    text = "Member must have length less than or equal to 1"
    k.violates(
        "fault: two architectures", k.create("f", Architectures=["x86_64", "arm64"]), "[x86_64, arm64]", "architectures", text
    )
    text = "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must not be null]"
    k.violates("fault: another architecture", k.create("f", Architectures=["mips"]), "[mips]", "architectures", text)
    text = "Member must have length less than or equal to 256"
    k.violates("fault: too long a description", k.create("f", Description="d" * 257), "d" * 257, "description", text)
    k.violates("fault: too small a /tmp", k.create("f", EphemeralStorage={"Size": 511}), 511, "ephemeralStorage.size", f"{least} 512")
    mandatory = "Runtime and Handler are mandatory parameters for functions created with deployment packages."
    k.invalid("fault: no runtime", k.create("f", Runtime=None), mandatory)
    k.invalid("fault: no handler", k.create("f", Handler=None), mandatory)
    k.invalid("fault: no zip", k.create("f", zipped("1"), Code={}), "Please provide a source for function code.")
    k.invalid("fault: an empty zip", k.create("f", b""), "Uploaded file must be a non-empty zip")
    k.invalid("fault: no zip at all", k.create("f", b"not a zip"), UNZIPPABLE)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("zeros", "w") as entry:
            for _ in range(251):
                entry.write(bytes(1 << 20))
    k.invalid("fault: too large unpacked", k.create("f", bomb.getvalue()), "Unzipped size must be smaller than 262144000 bytes")
    unknown = k.create("f", Runtime="cobol85")
    holds = (
        unknown.status == 400
        and unknown.type == "InvalidParameterValueException"
        and str(unknown.at("message")).startswith(
            "Value cobol85 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: ["
        )
        and str(unknown.at("message")).endswith("] or be a valid ARN")
    )
    k.check("fault: an unknown runtime", holds, unknown)
    two = k.create("f", MemorySize=1, Timeout=0)
    found = (two.status, two.type, str(two.at("message")).split(":")[0])
    k.same("fault: two at once are told together", found, (400, "ValidationException", "2 validation errors detected"))
    first = k.create("f", MemorySize=1, Code={})
    k.same("fault: constraints come before meanings", first.type, "ValidationException")
    large = {"LARGE": "x" * 4096}
    answer = k.create("f", Environment={"Variables": large})
    text = "Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: "
    holds = answer.status == 400 and str(answer.at("message")).startswith(text)
    k.check("fault: too large an environment", holds, answer)
    answer = k.create("f", Environment={"Variables": {"AWS_REGION": "x"}})
    text = "Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: AWS_REGION"
    k.invalid("fault: a reserved variable", answer, text)
    answer = k.create("f", Tags={f"k{n}": "v" for n in range(51)})
    k.invalid("fault: too many tags", answer, "Number of tags exceeds resource tag limit.")
    large = b'{"FunctionName": "f", "Code": {"ZipFile": "' + b"A" * 70_200_000 + b'"}}'
    answer = k.raw("POST", "/2015-03-31/functions", large)
    text = "Request must be smaller than 70167211 bytes for the CreateFunction operation"
    k.refused("fault: too large a request", answer, 413, "RequestEntityTooLargeException", text)
    k.same("fault: none of these made a function", k.call("get_function", FunctionName="f").status, 404)


def everything(k):
    layer = f"arn:aws:lambda:{REGION}:{k.account}:layer:tools:3"
    queue = f"arn:aws:sqs:{REGION}:{k.account}:dead"
    system = {
        "Arn": f"arn:aws:elasticfilesystem:{REGION}:{k.account}:access-point/fsap-0123456789abcdef0",
        "LocalMountPath": "/mnt/data",
    }
    made = k.create(
        "everything",
        Description="all of it",
        Timeout=900,
        MemorySize=10240,
        Environment={"Variables": {"ONE": "1", "TWO_2": "zwei"}},
        VpcConfig={"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        DeadLetterConfig={"TargetArn": queue},
        KMSKeyArn=f"arn:aws:kms:{REGION}:{k.account}:key/1",
        TracingConfig={"Mode": "Active"},
        Layers=[layer],
        FileSystemConfigs=[system],
        EphemeralStorage={"Size": 1024},
        LoggingConfig={"LogFormat": "JSON", "LogGroup": "/my/group"},
        SnapStart={"ApplyOn": "PublishedVersions"},
        Architectures=["arm64"],
        Tags={"team": "payments"},
    )
    found = k.call("get_function", FunctionName="everything")
    for member, value in {
        "Description": "all of it",
        "Timeout": 900,
        "MemorySize": 10240,
        "Environment": {"Variables": {"ONE": "1", "TWO_2": "zwei"}},
        "DeadLetterConfig": {"TargetArn": queue},
        "KMSKeyArn": f"arn:aws:kms:{REGION}:{k.account}:key/1",
        "TracingConfig": {"Mode": "Active"},
        "FileSystemConfigs": [system],
        "EphemeralStorage": {"Size": 1024},
        "Architectures": ["arm64"],
        "LoggingConfig": {
            "LogFormat": "JSON",
            "ApplicationLogLevel": "INFO",
            "SystemLogLevel": "INFO",
            "LogGroup": "/my/group",
        },
    }.items():
        k.same(f"kept: {member}", found.at("Configuration", member), value)
    k.same("kept: VpcConfig", (made.at("VpcConfig") or {}).get("SubnetIds"), ["subnet-1"])
    k.same("kept: Layers", found.at("Configuration", "Layers", 0, "Arn"), layer)
    k.same("kept: SnapStart", found.at("Configuration", "SnapStart", "ApplyOn"), "PublishedVersions")
    k.same("kept: Tags", found.at("Tags"), {"team": "payments"})


def update(k):
    before = k.create("changing").at("RevisionId")
    k.call("get_function", FunctionName="changing")
    changed = k.call(
        "update_function_configuration",
        FunctionName="changing",
        Description="Changed-Description",
        Timeout=10,
        MemorySize=512,
        Environment={"Variables": {"ENV_A": "a"}},
        Runtime="provided.al2",
    )
    k.shape("update-configuration: exactly AWS's members", changed, 200, [*UPDATING, "Environment"])
    for member, value in {
        "Description": "Changed-Description",
        "Timeout": 10,
        "MemorySize": 512,
        "Environment": {"Variables": {"ENV_A": "a"}},
        "Runtime": "provided.al2",
        "State": "Active",
        "LastUpdateStatus": "InProgress",
        "LastUpdateStatusReason": "The function is being created.",
        "LastUpdateStatusReasonCode": "Creating",
    }.items():
        k.same(f"update-configuration: {member}", changed.at(member), value)
    k.check("update-configuration: a new RevisionId", changed.at("RevisionId") not in (None, before), changed)
    wait_updated(k, "changing")
    found = k.call("get_function_configuration", FunctionName="changing")
    k.same("update-configuration: settles", found.at("LastUpdateStatus"), "Successful")
    again = k.call("update_function_configuration", FunctionName="changing", Description="Changed-Description")
    k.check(
        "update-configuration: a redundant one has a new RevisionId too",
        again.status == 200 and again.at("RevisionId") != found.at("RevisionId"),
        again,
    )
    wait_updated(k, "changing")
    answer = k.call("update_function_configuration", FunctionName="changing", RevisionId="stale")
    k.refused("update-configuration: a stale RevisionId", answer, 412, "PreconditionFailedException", STALE)
    latest = k.call("get_function_configuration", FunctionName="changing").at("RevisionId")
    answer = k.call("update_function_configuration", FunctionName="changing", RevisionId=latest, Timeout=11)
    k.same("update-configuration: the latest RevisionId", (answer.status, answer.at("Timeout")), (200, 11))
    wait_updated(k, "changing")
    answer = k.call("update_function_configuration", FunctionName="absent", Timeout=1)
    k.not_found("update-configuration: absent", answer, f"Function not found: {k.arn('absent')}")

    code = zipped("2")
    dry = k.call("update_function_code", FunctionName="changing", ZipFile=code, DryRun=True)
    k.same("update-code: a dry run shows the new code", (dry.status, dry.at("CodeSha256")), (200, sha256(code)))
    found = k.call("get_function_configuration", FunctionName="changing")
    k.same("update-code: a dry run changes nothing", found.at("CodeSha256"), sha256(zipped("1")))
    changed = k.call("update_function_code", FunctionName="changing", ZipFile=code)
    k.shape("update-code: exactly AWS's members", changed, 200, [*UPDATING, "Environment"])
    k.same("update-code: CodeSha256", changed.at("CodeSha256"), sha256(code))
    k.same("update-code: CodeSize", changed.at("CodeSize"), len(code))
    k.same("update-code: LastUpdateStatus", changed.at("LastUpdateStatus"), "InProgress")
    wait_updated(k, "changing")
    location = k.call("get_function", FunctionName="changing").at("Code", "Location")
    k.same("update-code: Location gives the new zip", download(location), (200, code))
    published = k.call("update_function_code", FunctionName="changing", ZipFile=zipped("3"), Publish=True)
    k.same("update-code: publishes", (published.status, published.at("Version")), (200, "1"))
    answer = k.call("update_function_code", FunctionName="changing", ZipFile=code, RevisionId="stale")
    k.refused("update-code: a stale RevisionId", answer, 412, "PreconditionFailedException", STALE)
    answer = k.call("update_function_code", FunctionName="changing", ZipFile=b"no zip")
    k.invalid("update-code: no zip", answer, UNZIPPABLE)
    answer = k.call("update_function_code", FunctionName="changing", ImageUri="image")
    text = "Please don't provide ImageUri when updating a function with packageType Zip."
    k.invalid("update-code: an image for a zip", answer, text)
    answer = k.call("update_function_code", FunctionName="absent", ZipFile=code)
    k.not_found("update-code: absent", answer, f"Function not found: {k.arn('absent')}")


def wait_updated(k, name):
    try:
        waiter = k.client.get_waiter("function_updated_v2")
        waiter.wait(FunctionName=name, WaiterConfig={"Delay": 0.2, "MaxAttempts": 20})
    except Exception:
        pass


def lists(k):
    for n in range(3):
        k.create(f"listed-{n}", Publish=n == 0)
    seen, marker, pages = [], None, 0
    while pages < 40:
        params = {"MaxItems": 2, **({"Marker": marker} if marker else {})}
        answer = k.call("list_functions", **params)
        seen += [item.get("FunctionName") for item in answer.at("Functions") or []]
        pages, marker = pages + 1, answer.at("NextMarker")
        if not marker:
            break
    k.check("list: pages end, with every function once", len(seen) == len(set(seen)) and pages < 40, seen)
    k.check("list: all are there", {"plain", "listed-0", "listed-2"} <= set(seen), seen)
    k.check("list: pages have MaxItems", pages >= len(seen) / 2 > 1, (pages, len(seen)))
    listed = {item["FunctionName"]: item for item in k.call("list_functions").at("Functions") or []}
    k.same("list: an item's members", sorted(listed.get("plain", {})), sorted(CONFIGURATION))
    k.same("list: an item's ARN", listed.get("plain", {}).get("FunctionArn"), k.arn("plain"))
    every = k.call("list_functions", FunctionVersion="ALL").at("Functions") or []
    arns = [item.get("FunctionArn") for item in every]
    k.check("list: ALL has versions", {k.arn("listed-0", "1"), k.arn("listed-0", "$LATEST")} <= set(arns), arns)
    least = "Member must have value greater than or equal to 1"
    k.violates("list: no items", k.call("list_functions", MaxItems=0), 0, "maxItems", least)
    text = "Member must satisfy enum value set: [ALL]"
    k.violates("list: another FunctionVersion", k.call("list_functions", FunctionVersion="ANY"), "ANY", "functionVersion", text)


def delete(k):
    k.create("doomed", Publish=True)
    k.call("create_alias", FunctionName="doomed", Name="live", FunctionVersion="1")
    answer = k.call("delete_function", FunctionName="doomed", Qualifier="$LATEST")
    k.invalid("delete: $LATEST", answer, "$LATEST version cannot be deleted without deleting the function.")
    answer = k.call("delete_function", FunctionName="doomed", Qualifier="live")
    k.invalid("delete: an alias", answer, "Deletion of aliases is not currently supported.")
    k.empty("delete: an absent version", k.call("delete_function", FunctionName="doomed", Qualifier="42"), 204)
    answer = k.call("delete_function", FunctionName="doomed", Qualifier="1")
    text = "Unable to delete version because the following aliases reference it: [live]"
    k.refused("delete: a version that an alias names", answer, 409, "ResourceConflictException", text)
    k.call("delete_alias", FunctionName="doomed", Name="live")
    k.empty("delete: a version", k.call("delete_function", FunctionName="doomed", Qualifier="1"), 204)
    k.same("delete: the version is gone", k.call("get_function", FunctionName="doomed", Qualifier="1").status, 404)
    k.empty("delete: a function", k.call("delete_function", FunctionName="doomed"), 204)
    answer = k.call("get_function", FunctionName="doomed")
    k.not_found("delete: the function is gone", answer, f"Function not found: {k.arn('doomed')}")
    text = f"Function not found: {k.arn('doomed')}"
    k.not_found("delete: an absent function", k.call("delete_function", FunctionName="doomed"), text)
    answer = k.call("delete_function", FunctionName="doomed", Qualifier="1")
    k.not_found("delete: a version of an absent function", answer, text)
