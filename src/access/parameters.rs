//! The parameters of a request's query, decoded once: whoever checks a request and whoever acts on it get the same.
//!
//! A name may be written in many ways (`Qualifier`, `%51ualifier`), so names are compared once they are decoded. What
//! stands twice is refused wherever it is not a list, because two readers could take one each.

use percent_encoding::percent_decode;

/// Why a query cannot be acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// It is no text.
    #[error("the query is not percent-encoded UTF-8")]
    Encoding,
    /// A name stands more than once.
    #[error("the query names {0} more than once")]
    Repeated(String),
}

/// The parameters of a query, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Decodes a query as forms are encoded: `+` is a space.
    pub fn read(query: Option<&str>) -> Result<Parameters, ParameterError> {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        };
        pairs.map(pair).collect::<Option<_>>().map(Parameters).ok_or(ParameterError::Encoding)
    }

    /// The same, unless a name that is none of `lists` stands twice.
    pub fn without_repeats(self, lists: &[&str]) -> Result<Parameters, ParameterError> {
        let is_list = |name: &str| lists.contains(&name);
        let mut names = std::collections::BTreeSet::new();
        match self.0.iter().find(|(name, _)| !is_list(name) && !names.insert(name.as_str())) {
            Some((name, _)) => Err(ParameterError::Repeated(name.clone())),
            None => Ok(self),
        }
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of a list.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes()).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_however_they_are_written() {
        for query in ["Qualifier=live", "%51ualifier=live", "Qu%61lifier=l%69ve", "x=1&&%51%75alifier=live&y"]
        {
            assert_eq!(Parameters::read(Some(query)).unwrap().get("Qualifier"), Some("live"), "{query}");
        }
        let read = Parameters::read(Some("a=1+2&b=1%2B2&c&=d")).unwrap();
        assert_eq!(
            (read.get("a"), read.get("b"), read.get("c"), read.get("")),
            (Some("1 2"), Some("1+2"), Some(""), Some("d"))
        );
        assert_eq!(Parameters::read(None), Ok(Parameters::default()));
        assert_eq!(Parameters::read(Some("a=%ff")), Err(ParameterError::Encoding));
    }

    #[test]
    fn what_stands_twice_is_refused_but_for_lists() {
        let read = |query, lists: &[&str]| Parameters::read(Some(query)).unwrap().without_repeats(lists);
        for query in ["a=1&a=2", "a=1&a=1", "a=1&%61=2", "%61&b&a"] {
            assert_eq!(read(query, &["b"]), Err(ParameterError::Repeated("a".to_owned())), "{query}");
        }
        let tags = read("tagKeys=a&tagKeys=b&x=1", &["tagKeys"]).unwrap();
        assert_eq!(tags.all("tagKeys").collect::<Vec<_>>(), ["a", "b"]);
    }
}
