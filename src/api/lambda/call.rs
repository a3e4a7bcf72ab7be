//! What a request asks of Lambda's API, read once: whoever checks it and whoever acts on it are given the same.

use std::sync::Arc;

use axum::http::{Method, Uri};

use super::error::LambdaError;
use super::operations::{self, Operation};
use crate::access::parameters::Parameters;
use serin_core::model::arn::FunctionRef;

/// What aliases and versions are told by operations on functions.
const FUNCTIONS_ONLY: &str = "This operation is permitted on Lambda functions only. Aliases and versions do not support \
                              this operation. Please specify either a function name or an unqualified function ARN.";
const NO_TAGS: &str =
    "Tags on function aliases and versions are not supported. Please specify a function ARN.";

/// One call of one operation.
#[derive(Debug)]
pub struct Call {
    /// Which operation.
    pub operation: &'static Operation,
    /// The function that the path names, with the version or alias wherever it stands; `None` where the path names none,
    /// or not as functions are named.
    pub function: Option<FunctionRef>,
    path: Vec<(String, String)>,
    query: Parameters,
}

impl Call {
    /// Reads a request to a path of the route table, whose placeholders `path` has decoded; `None` if there is no such
    /// operation.
    ///
    /// Refuses what could be read in two ways, and a version or an alias where the operation takes none.
    pub fn read(
        method: &Method,
        route: &str,
        path: Vec<(String, String)>,
        uri: &Uri,
    ) -> Result<Option<Arc<Call>>, LambdaError> {
        let mut operations = operations::at(method, route).peekable();
        if operations.peek().is_none() {
            return Ok(None);
        }
        let invalid = |why: &dyn std::fmt::Display| LambdaError::invalid(why.to_string());
        let query = Parameters::read(uri.query()).map_err(|why| invalid(&why))?;
        let is_marked = |operation: &&Operation| {
            operation.marked_by.is_none_or(|(name, value)| query.all(name).any(|given| given == value))
        };
        let Some(operation) = operations.find(is_marked) else { return Ok(None) };
        let query = query.without_repeats(operation.lists).map_err(|why| invalid(&why))?;
        let named = path.iter().find(|(name, _)| name == "function" || name == "resource");
        // What has tags may be something else than a function.
        let is_function =
            |name: &str, text: &str| name != "resource" || text.split(':').nth(5) == Some("function");
        let named = named.filter(|(name, text)| is_function(name, text));
        let function: Option<FunctionRef> = named.and_then(|(_, text)| text.parse().ok());
        let given = query.get("Qualifier");
        let has_qualifier =
            given.is_some() || function.as_ref().is_some_and(|function| function.qualifier.is_some());
        if has_qualifier && !operation.takes_qualifier {
            return Err(LambdaError::invalid(match named {
                Some((name, _)) if name == "resource" => NO_TAGS.to_owned(),
                Some(_) => FUNCTIONS_ONLY.to_owned(),
                None => format!("{} takes no Qualifier.", operation.name),
            }));
        }
        let function = function.map(|function| function.with_qualifier(given)).transpose();
        let function = function.map_err(|why| invalid(&why))?;
        Ok(Some(Arc::new(Call { operation, function, path, query })))
    }

    /// A part of the path.
    pub fn path(&self, name: &str) -> &str {
        self.path.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The parameters of the query.
    pub fn query(&self) -> &Parameters {
        &self.query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, route: &str, name: &str, query: &str) -> Result<Arc<Call>, LambdaError> {
        let key = if route.contains("{resource}") { "resource" } else { "function" };
        let path = vec![(key.to_owned(), name.to_owned())];
        let uri: Uri = format!("/x?{query}").parse().unwrap();
        Call::read(&method.parse().unwrap(), route, path, &uri).map(|call| call.expect("an operation"))
    }

    #[test]
    fn the_version_or_alias_is_the_same_wherever_and_however_it_stands() {
        let (get, put) =
            ("/2015-03-31/functions/{function}", "/2015-03-31/functions/{function}/configuration");
        for (name, query, qualifier) in [
            ("f", "", None),
            ("f", "Marker=x", None),
            ("f:live", "", Some("live")),
            ("f", "Qualifier=live", Some("live")),
            ("f", "%51ualifier=l%69ve", Some("live")),
            ("f:live", "Qualifier=live", Some("live")),
            ("000000000000:function:f:7", "", Some("7")),
        ] {
            let function = read("GET", get, name, query).unwrap().function.clone().unwrap();
            assert_eq!(
                (function.name.as_str(), function.qualifier.as_deref()),
                ("f", qualifier),
                "{name} {query}"
            );
            assert_eq!(read("PUT", put, name, query).is_ok(), qualifier.is_none(), "{name} {query}");
        }
        for (name, query) in [
            ("f:live", "Qualifier=beta"),
            ("f", "Qualifier=live&Qualifier=live"),
            ("f", "%51ualifier=prod&Qualifier=live"),
            ("f", "Marker=a&M%61rker=b"),
            ("f", "Qualifier=%ff"),
        ] {
            assert!(read("GET", get, name, query).is_err(), "{name} {query}");
        }
        assert!(read("GET", get, "not a name", "Qualifier=live").unwrap().function.is_none());
    }

    #[test]
    fn rows_are_found_by_method_route_and_mark() {
        let name =
            |method, route, query| read(method, route, "f", query).map(|call| call.operation.name).ok();
        let provisioned = "/2019-09-30/functions/{function}/provisioned-concurrency";
        assert_eq!(name("GET", provisioned, "Qualifier=1"), Some("GetProvisionedConcurrencyConfig"));
        assert_eq!(name("GET", provisioned, "L%69st=ALL"), Some("ListProvisionedConcurrencyConfigs"));
        assert_eq!(name("GET", provisioned, "List=ALL&Qualifier=1"), None);
        assert_eq!(name("HEAD", "/2015-03-31/functions/", ""), Some("ListFunctions"));
        let tags = "/2017-03-31/tags/{resource}";
        assert_eq!(name("DELETE", tags, "tagKeys=a&tagKeys=b"), Some("UntagResource"));
        assert_eq!(name("GET", tags, "tagKeys=a&tagKeys=b"), None);
        let none = Call::read(&Method::PATCH, tags, Vec::new(), &"/x".parse().unwrap());
        assert!(none.is_ok_and(|call| call.is_none()));
    }
}
