//! Host names and path prefixes that stand for an alias, so that users of a service need not know what it is called here.
//!
//! A binding is written `HOST=f:a`, `HOST/PREFIX=f:a` or `/PREFIX=f:a`. The path is passed on whole, prefix included. Of
//! the bindings that fit, those that name the host come first, and of these the longest prefix. On a host that is bound
//! as a whole nothing else can be reached: there `/function:alias/…` is a path of the service like any other.

use std::collections::HashMap;

use serin_core::lambda::alias::AliasId;

/// Which requests go to which alias without naming it.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    /// By host in lower case, and by "" for any; each with its longest prefix first.
    hosts: HashMap<String, Vec<(String, String)>>,
}

/// Why a binding cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// It is not written as one.
    #[error("--route {0:?} is not HOST=FUNCTION:ALIAS, HOST/PREFIX=FUNCTION:ALIAS or /PREFIX=FUNCTION:ALIAS")]
    Shape(String),
    /// Its alias is none.
    #[error("--route {text:?}: {alias:?} is not FUNCTION:ALIAS")]
    Alias {
        /// The binding.
        text: String,
        /// What should be an alias.
        alias: String,
    },
    /// The same requests are bound twice.
    #[error("--route {0:?} binds what another --route binds already; leave one of them out")]
    Twice(String),
}

impl Bindings {
    /// Reads bindings, in any order.
    pub fn read<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Bindings, BindingError> {
        let mut bindings = Bindings::default();
        for text in texts {
            let shape = || BindingError::Shape(text.to_owned());
            let (place, alias) = text.split_once('=').ok_or_else(shape)?;
            let (host, prefix) = place.split_at(place.find('/').unwrap_or(place.len()));
            // A port is no part of a service's name, and an address in brackets is none.
            let is_host =
                |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
            let prefix = prefix.trim_end_matches('/');
            if !is_host(host)
                || place.is_empty()
                || prefix.contains(['?', '#', '%', ' '])
                || prefix.contains("//")
            {
                return Err(shape());
            }
            if host.is_empty() && prefix.is_empty() {
                return Err(shape());
            }
            let alias: AliasId = alias
                .parse()
                .map_err(|_| BindingError::Alias { text: text.to_owned(), alias: alias.to_owned() })?;
            let of_host = bindings.hosts.entry(host.to_ascii_lowercase()).or_default();
            if of_host.iter().any(|(known, _)| known == prefix) {
                return Err(BindingError::Twice(text.to_owned()));
            }
            of_host.push((prefix.to_owned(), alias.to_string()));
            of_host.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        }
        Ok(bindings)
    }

    /// Whether there are none, which is all that a request pays for them then.
    pub(super) fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// The alias, as `function:alias`, that a request for a host and a path goes to.
    pub(super) fn find(&self, authority: Option<&str>, path: &str) -> Option<&str> {
        let host = authority.map(|authority| authority.split_once(':').map_or(authority, |(host, _)| host));
        let host = host.map(|host| host.trim_end_matches('.').to_ascii_lowercase());
        let of_host = host.and_then(|host| self.hosts.get(&host));
        let of_any = self.hosts.get("");
        let fits = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
        };
        let all = of_host.into_iter().chain(of_any).flatten();
        all.into_iter().find(|(prefix, _)| fits(prefix)).map(|(_, alias)| alias.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_comes_first_and_then_the_longest_prefix() {
        let bindings = Bindings::read([
            "/api=any:live",
            "shop.example=shop:live",
            "Shop.Example/api/=api:live",
            "shop.example/api/v2=api:beta",
        ])
        .unwrap();
        let find = |host, path| bindings.find(host, path);
        for (host, path, alias) in [
            ("shop.example", "/", Some("shop:live")),
            ("SHOP.example:8080", "/x?y", Some("shop:live")),
            ("shop.example.", "/", Some("shop:live")),
            ("shop.example", "/api", Some("api:live")),
            ("shop.example", "/api?x", Some("api:live")),
            ("shop.example", "/api/v2/x", Some("api:beta")),
            ("shop.example", "/apiary", Some("shop:live")),
            ("shop.example", "/other:live/", Some("shop:live")),
            ("other.example", "/api/x", Some("any:live")),
            ("other.example", "/other:live/", None),
            ("xshop.example", "/", None),
        ] {
            assert_eq!(find(Some(host), path), alias, "{host} {path}");
        }
        assert_eq!((find(None, "/api"), find(None, "/")), (Some("any:live"), None));
        assert!(Bindings::default().is_empty() && !bindings.is_empty());
    }

    #[test]
    fn what_is_no_binding_is_refused() {
        let read = |texts: &[&str]| Bindings::read(texts.iter().copied()).unwrap_err();
        for bad in [
            "",
            "=",
            "=f:a",
            "/=f:a",
            "shop.example",
            "a b=f:a",
            "shop:80=f:a",
            "[::1]=f:a",
            "h/%41=f:a",
            "h//a=f:a",
        ] {
            assert_eq!(read(&[bad]), BindingError::Shape(bad.to_owned()), "{bad}");
        }
        for bad in ["h=", "h=f", "h=f:", "h=f:7"] {
            assert!(matches!(read(&[bad]), BindingError::Alias { .. }), "{bad}");
        }
        assert_eq!(read(&["h/a=f:a", "H/a/=g:a"]), BindingError::Twice("H/a/=g:a".to_owned()));
    }
}
