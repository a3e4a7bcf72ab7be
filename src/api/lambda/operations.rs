//! Lambda's operations, a row each: what policies call it, where it is asked, and what its query may say.
//!
//! From this table a request is read (`call`), whoever sends it is checked (`actions`), and the test is made that tries
//! every operation with every kind of credentials.

use axum::http::Method;

/// One operation.
#[derive(Debug)]
pub struct Operation {
    /// As policies call it, after `lambda:`.
    pub name: &'static str,
    /// Its method.
    pub method: &'static str,
    /// Its path, as the route table has it.
    pub path: &'static str,
    /// A parameter and its value that make it this operation and not the next one of the same path.
    pub marked_by: Option<(&'static str, &'static str)>,
    /// Whether it acts on a version or an alias, named in the path or as `Qualifier`; otherwise it refuses one.
    pub takes_qualifier: bool,
    /// The parameters that may stand more than once.
    pub lists: &'static [&'static str],
}

const fn on_function(name: &'static str, method: &'static str, path: &'static str) -> Operation {
    Operation { name, method, path, marked_by: None, takes_qualifier: false, lists: &[] }
}

const fn on_qualified(name: &'static str, method: &'static str, path: &'static str) -> Operation {
    Operation { takes_qualifier: true, ..on_function(name, method, path) }
}

const FUNCTIONS: &str = "/2015-03-31/functions";
const FUNCTION: &str = "/2015-03-31/functions/{function}";
const CONFIGURATION: &str = "/2015-03-31/functions/{function}/configuration";
const CODE: &str = "/2015-03-31/functions/{function}/code";
const VERSIONS: &str = "/2015-03-31/functions/{function}/versions";
const ALIASES: &str = "/2015-03-31/functions/{function}/aliases";
const ALIAS: &str = "/2015-03-31/functions/{function}/aliases/{alias}";
const POLICY: &str = "/2015-03-31/functions/{function}/policy";
const STATEMENT: &str = "/2015-03-31/functions/{function}/policy/{sid}";
const MAPPINGS: &str = "/2015-03-31/event-source-mappings";
const MAPPING: &str = "/2015-03-31/event-source-mappings/{uuid}";
const TAGS: &str = "/2017-03-31/tags/{resource}";
const RESERVED: &str = "/2017-10-31/functions/{function}/concurrency";
const RESERVED_NOW: &str = "/2019-09-30/functions/{function}/concurrency";
const PROVISIONED: &str = "/2019-09-30/functions/{function}/provisioned-concurrency";
const EVENT_INVOKE: &str = "/2019-09-25/functions/{function}/event-invoke-config";
const EVENT_INVOKES: &str = "/2019-09-25/functions/{function}/event-invoke-config/list";

const CODE_SIGNING: &str = "/2020-06-30/functions/{function}/code-signing-config";
const RECURSION: &str = "/2024-08-31/functions/{function}/recursion-config";
const INVOKE_ASYNC: &str = "/2014-11-13/functions/{function}/invoke-async";

/// Where Invoke is asked; the router alone answers it, on both listeners.
pub const INVOCATIONS: &str = "/2015-03-31/functions/{function}/invocations";

/// Where it is asked with an answer that comes piece by piece.
pub const STREAMING_INVOCATIONS: &str = "/2021-11-15/functions/{function}/response-streaming-invocations";

/// Whether the router judges who may.
pub fn is_invoke(route: &str) -> bool {
    route == INVOCATIONS || route == STREAMING_INVOCATIONS
}

/// Every operation that serin has.
pub const OPERATIONS: &[Operation] = &[
    on_qualified("InvokeFunction", "POST", INVOCATIONS),
    on_qualified("InvokeWithResponseStream", "POST", STREAMING_INVOCATIONS),
    on_qualified("InvokeAsync", "POST", INVOKE_ASYNC),
    on_function("ListFunctions", "GET", FUNCTIONS),
    on_function("CreateFunction", "POST", FUNCTIONS),
    on_qualified("GetFunction", "GET", FUNCTION),
    on_qualified("DeleteFunction", "DELETE", FUNCTION),
    on_qualified("GetFunctionConfiguration", "GET", CONFIGURATION),
    on_function("UpdateFunctionConfiguration", "PUT", CONFIGURATION),
    on_function("UpdateFunctionCode", "PUT", CODE),
    on_function("ListVersionsByFunction", "GET", VERSIONS),
    on_function("PublishVersion", "POST", VERSIONS),
    on_function("ListAliases", "GET", ALIASES),
    on_function("CreateAlias", "POST", ALIASES),
    on_function("GetAlias", "GET", ALIAS),
    on_function("UpdateAlias", "PUT", ALIAS),
    on_function("DeleteAlias", "DELETE", ALIAS),
    on_qualified("GetPolicy", "GET", POLICY),
    on_qualified("AddPermission", "POST", POLICY),
    on_qualified("RemovePermission", "DELETE", STATEMENT),
    on_function("GetFunctionConcurrency", "GET", RESERVED_NOW),
    on_function("PutFunctionConcurrency", "PUT", RESERVED),
    on_function("DeleteFunctionConcurrency", "DELETE", RESERVED),
    Operation {
        marked_by: Some(("List", "ALL")),
        ..on_function("ListProvisionedConcurrencyConfigs", "GET", PROVISIONED)
    },
    on_qualified("GetProvisionedConcurrencyConfig", "GET", PROVISIONED),
    on_qualified("PutProvisionedConcurrencyConfig", "PUT", PROVISIONED),
    on_qualified("DeleteProvisionedConcurrencyConfig", "DELETE", PROVISIONED),
    on_qualified("GetFunctionEventInvokeConfig", "GET", EVENT_INVOKE),
    on_qualified("PutFunctionEventInvokeConfig", "PUT", EVENT_INVOKE),
    on_qualified("UpdateFunctionEventInvokeConfig", "POST", EVENT_INVOKE),
    on_qualified("DeleteFunctionEventInvokeConfig", "DELETE", EVENT_INVOKE),
    on_function("ListFunctionEventInvokeConfigs", "GET", EVENT_INVOKES),
    on_function("ListEventSourceMappings", "GET", MAPPINGS),
    on_function("CreateEventSourceMapping", "POST", MAPPINGS),
    on_function("GetEventSourceMapping", "GET", MAPPING),
    on_function("UpdateEventSourceMapping", "PUT", MAPPING),
    on_function("DeleteEventSourceMapping", "DELETE", MAPPING),
    on_qualified("GetFunctionCodeSigningConfig", "GET", CODE_SIGNING),
    on_function("GetFunctionRecursionConfig", "GET", RECURSION),
    on_function("GetAccountSettings", "GET", "/2016-08-19/account-settings"),
    on_function("ListTags", "GET", TAGS),
    on_function("TagResource", "POST", TAGS),
    Operation { lists: &["tagKeys"], ..on_function("UntagResource", "DELETE", TAGS) },
];

/// The operations of a method at a path of the route table, those first that a parameter tells from the others.
pub(super) fn at<'a>(method: &'a Method, path: &'a str) -> impl Iterator<Item = &'static Operation> + 'a {
    // Where the one is answered, so is the other.
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    // Older clients end some with a slash.
    let path = path.trim_end_matches('/');
    OPERATIONS.iter().filter(move |operation| operation.method == method && operation.path == path)
}
