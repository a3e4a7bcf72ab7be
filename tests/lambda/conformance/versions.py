"""Versions and aliases."""

from functions import CONFIGURATION, SETTLED, STALE
from kit import sha256, zipped

ALIAS = ["AliasArn", "Name", "FunctionVersion", "Description", "RevisionId"]


def run(k):
    publish(k)
    aliases(k)


def publish(k):
    k.create("published", Description="No version :(")
    before = k.call("get_function_configuration", FunctionName="published").at("RevisionId")
    first = k.call("publish_version", FunctionName="published", Description="First version description :)")
    k.shape("publish: exactly AWS's members", first, 201, SETTLED)
    k.same("publish: Version", first.at("Version"), "1")
    k.same("publish: FunctionArn", first.at("FunctionArn"), k.arn("published", "1"))
    k.same("publish: Description", first.at("Description"), "First version description :)")
    k.same("publish: State", (first.at("State"), first.at("LastUpdateStatus")), ("Active", "Successful"))
    after = k.call("get_function_configuration", FunctionName="published")
    k.check("publish: $LATEST has a new RevisionId", after.at("RevisionId") not in (None, before), after)
    k.same("publish: $LATEST keeps its description", after.at("Description"), "No version :(")
    again = k.call("publish_version", FunctionName="published", Description="Other description")
    k.same("publish: unchanged is the same version", (again.status, again.at("Version")), (201, "1"))
    k.same("publish: unchanged keeps RevisionId and description", again.body, first.body)
    answer = k.call("publish_version", FunctionName="published", CodeSha256="x")
    latest = sha256(zipped("1"))
    text = (
        f"CodeSHA256 (x) is different from current CodeSHA256 in $LATEST ({latest}). Please try again with the CodeSHA256 "
        "in $LATEST."
    )
    k.invalid("publish: another CodeSha256", answer, text)
    answer = k.call("publish_version", FunctionName="published", RevisionId="stale")
    k.refused("publish: a stale RevisionId", answer, 412, "PreconditionFailedException", STALE)
    answer = k.call("publish_version", FunctionName="absent")
    k.not_found("publish: absent", answer, f"Function not found: {k.arn('absent')}")

    k.call("update_function_code", FunctionName="published", ZipFile=zipped("2"))
    second = k.call("publish_version", FunctionName="published", CodeSha256=sha256(zipped("2")))
    k.same("publish: changed code is a new version", (second.status, second.at("Version")), (201, "2"))
    one = k.call("get_function_configuration", FunctionName="published", Qualifier="1")
    k.same("versions: are immutable", (one.at("CodeSha256"), one.at("Description")), (latest, "First version description :)"))
    k.call("update_function_configuration", FunctionName="published", Description="only this")
    third = k.call("publish_version", FunctionName="published")
    k.same("publish: a changed description is a new version", third.at("Version"), "3")
    k.same("publish: the description of $LATEST", third.at("Description"), "only this")

    listed = k.call("list_versions_by_function", FunctionName="published")
    versions = listed.at("Versions") or []
    k.shape("versions: list", listed, 200, ["Versions"])
    k.same("versions: order", [item.get("Version") for item in versions], ["$LATEST", "1", "2", "3"])
    arns = [item.get("FunctionArn") for item in versions]
    expected = [k.arn("published", version) for version in ("$LATEST", "1", "2", "3")]
    k.same("versions: qualified ARNs", arns, expected)
    k.same("versions: an item's members", sorted(versions[0]) if versions else None, sorted(CONFIGURATION))
    page = k.call("list_versions_by_function", FunctionName="published", MaxItems=3)
    rest = k.call("list_versions_by_function", FunctionName="published", MaxItems=3, Marker=page.at("NextMarker") or "?")
    found = [item.get("Version") for item in (page.at("Versions") or []) + (rest.at("Versions") or [])]
    k.same("versions: pages", (found, rest.at("NextMarker")), (["$LATEST", "1", "2", "3"], None))
    k.call("delete_function", FunctionName="published", Qualifier="3")
    k.call("update_function_code", FunctionName="published", ZipFile=zipped("4"))
    fourth = k.call("publish_version", FunctionName="published")
    k.same("versions: numbers are not used again", fourth.at("Version"), "4")

    made = k.create("born-published", Publish=True)
    k.same("create published: Version and ARN", (made.at("Version"), made.at("FunctionArn")), ("1", k.arn("born-published")))
    k.same("create published: State", (made.status, made.at("State")), (201, "Pending"))
    repeated = k.call("publish_version", FunctionName="born-published")
    k.same("create published: publishing again", (repeated.status, repeated.at("Version")), (201, "1"))
    for qualifier, version in (("1", "1"), ("$LATEST", "$LATEST")):
        found = k.call("get_function", FunctionName="born-published", Qualifier=qualifier)
        got = (found.at("Configuration", "FunctionArn"), found.at("Configuration", "Version"))
        k.same(f"create published: get {qualifier}", got, (k.arn("born-published", qualifier), version))


def aliases(k):
    f = "aliased"
    k.create(f, Publish=True)
    k.call("update_function_code", FunctionName=f, ZipFile=zipped("2"), Publish=True)
    k.call("update_function_configuration", FunctionName=f, Role=k.other_role)
    k.call("publish_version", FunctionName=f)

    def create(name, version, weights=None, **params):
        routing = {} if weights is None else {"RoutingConfig": {"AdditionalVersionWeights": weights}}
        return k.call("create_alias", FunctionName=f, Name=name, FunctionVersion=version, **routing, **params)

    latest = k.call("get_function_configuration", FunctionName=f).at("RevisionId")
    made = create("live", "1", {"2": 0.05}, Description="d")
    k.shape("create-alias: exactly AWS's members", made, 201, [*ALIAS, "RoutingConfig"])
    k.same("create-alias: AliasArn", made.at("AliasArn"), k.arn(f, "live"))
    k.same("create-alias: weights", made.at("RoutingConfig"), {"AdditionalVersionWeights": {"2": 0.05}})
    found = k.call("get_function_configuration", FunctionName=f).at("RevisionId")
    k.same("create-alias: changes no function's RevisionId", found, latest)
    plain = create("plain", "1")
    k.shape("create-alias: without weights", plain, 201, ALIAS)
    k.same("create-alias: Description", plain.at("Description"), "")
    k.shape("create-alias: an empty map of weights", create("no-weights", "1", {}), 201, ALIAS)
    k.shape("create-alias: on $LATEST", create("latest", "$LATEST"), 201, ALIAS)
    k.same("create-alias: a name of digits and hyphens", create("2024-01-02", "1").status, 201)
    text = "$LATEST is not supported for an alias pointing to more than 1 version"
    k.invalid("create-alias: $LATEST with weights", create("x", "$LATEST", {"1": 0.5}), text, has_type=False)
    text = "Number of items in AdditionalVersionWeights cannot be greater than 1"
    k.invalid("create-alias: two weights", create("x", "1", {"1": 0.1, "2": 0.1}), text)
    text = "Invalid function version 1. Function version 1 is already included in routing configuration."
    k.invalid("create-alias: weight on the primary", create("x", "1", {"1": 0.5}), text)
    member = "routingConfig.additionalVersionWeights"
    value = "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must have value greater than or equal to 0.0, Member must not be null]"
    k.violates("create-alias: weight 2", create("x", "1", {"2": 2}), "{2=2.0}", member, value)
    k.violates("create-alias: weight -1", create("x", "1", {"2": -1}), "{2=-1.0}", member, value)
    keys = "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [0-9]+]"
    k.violates("create-alias: weight on $LATEST", create("x", "1", {"$LATEST": 0.5}), "{$LATEST=0.5}", member, keys)
    text = "Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)"
    k.violates("create-alias: a name of digits", create("2024", "1"), "2024", "name", text)
    text = "Specified versions must be associated with the same execution role"
    k.invalid("create-alias: versions of two roles", create("x", "1", {"3": 0.5}), text)
    text = f"Function not found: {k.arn(f, '10')}"
    k.not_found("create-alias: an absent version", create("x", "10"), text)
    k.not_found("create-alias: an absent weighted version", create("x", "1", {"10": 0.5}), text)
    answer = k.call("create_alias", FunctionName="absent", Name="x", FunctionVersion="1")
    k.not_found("create-alias: an absent function", answer, f"Function not found: {k.arn('absent', '1')}")
    text = f"Alias already exists: {k.arn(f, 'live')}"
    k.refused("create-alias: a name that exists", create("live", "1"), 409, "ResourceConflictException", text)

    found = k.call("get_alias", FunctionName=f, Name="live")
    k.same("get-alias: is what create showed", (found.status, found.body), (200, made.body))
    answer = k.call("get_alias", FunctionName=f, Name="x")
    k.not_found("get-alias: absent", answer, f"Cannot find alias arn: {k.arn(f, 'x')}")
    by_alias = k.call("get_function", FunctionName=f, Qualifier="live")
    one = k.call("get_function_configuration", FunctionName=f, Qualifier="1")
    k.same("get-function by alias: ARN", by_alias.at("Configuration", "FunctionArn"), k.arn(f, "live"))
    k.same("get-function by alias: Version", by_alias.at("Configuration", "Version"), "1")
    k.same("get-function by alias: RevisionId", by_alias.at("Configuration", "RevisionId"), one.at("RevisionId"))
    by_arn = k.call("get_function_configuration", FunctionName=k.arn(f, "live"))
    k.same("get-function by alias ARN", (by_arn.status, by_arn.at("FunctionArn")), (200, k.arn(f, "live")))

    revision = made.at("RevisionId")
    touched = k.call("update_alias", FunctionName=f, Name="live")
    same = {key: value for key, value in (touched.body or {}).items() if key != "RevisionId"}
    expected = {key: value for key, value in (made.body or {}).items() if key != "RevisionId"}
    k.same("update-alias: without members nothing changes", (touched.status, same), (200, expected))
    k.check("update-alias: without members, a new RevisionId", touched.at("RevisionId") not in (None, revision), touched)
    answer = k.call("update_alias", FunctionName=f, Name="live", RevisionId=revision or "old")
    k.refused("update-alias: a stale RevisionId", answer, 412, "PreconditionFailedException", STALE)
    latest = k.call("get_alias", FunctionName=f, Name="live").at("RevisionId") or "?"
    weights = {"AdditionalVersionWeights": {"2": 0.5}}
    answer = k.call("update_alias", FunctionName=f, Name="live", RoutingConfig=weights, RevisionId=latest)
    k.same("update-alias: weights", (answer.status, answer.at("RoutingConfig")), (200, weights))
    cleared = k.call("update_alias", FunctionName=f, Name="live", RoutingConfig={"AdditionalVersionWeights": {}})
    k.shape("update-alias: an empty map clears the weights", cleared, 200, ALIAS)
    k.call("update_alias", FunctionName=f, Name="live", RoutingConfig=weights)
    k.shape("update-alias: an empty object does too", k.call("update_alias", FunctionName=f, Name="live", RoutingConfig={}), 200, ALIAS)
    moved = k.call("update_alias", FunctionName=f, Name="live", FunctionVersion="2", Description="new")
    k.same("update-alias: version and description", (moved.at("FunctionVersion"), moved.at("Description")), ("2", "new"))
    answer = k.call("update_alias", FunctionName=f, Name="x", FunctionVersion="1")
    k.not_found("update-alias: absent", answer, f"Alias not found: {k.arn(f, 'x')}")

    listed = k.call("list_aliases", FunctionName=f)
    names = [item.get("Name") for item in listed.at("Aliases") or []]
    k.same("list-aliases: all", sorted(names), ["2024-01-02", "latest", "live", "no-weights", "plain"])
    listed = k.call("list_aliases", FunctionName=f, FunctionVersion="1")
    names = sorted(item.get("Name") for item in listed.at("Aliases") or [])
    k.same("list-aliases: of a version", names, ["2024-01-02", "no-weights", "plain"])
    page = k.call("list_aliases", FunctionName=f, MaxItems=3)
    rest = k.call("list_aliases", FunctionName=f, MaxItems=3, Marker=page.at("NextMarker") or "?")
    counts = (len(page.at("Aliases") or []), len(rest.at("Aliases") or []), rest.at("NextMarker"))
    k.same("list-aliases: pages", counts, (3, 2, None))
    answer = k.call("list_aliases", FunctionName="absent")
    k.not_found("list-aliases: absent", answer, f"Function not found: {k.arn('absent')}")
    k.empty("delete-alias: present", k.call("delete_alias", FunctionName=f, Name="plain"), 204)
    k.empty("delete-alias: absent", k.call("delete_alias", FunctionName=f, Name="plain"), 204)
