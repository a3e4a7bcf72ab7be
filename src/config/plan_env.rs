//! What plans may ask of the daemon's environment, which hosts each variable is sent to, and whom to believe there.
//!
//! A plan is written by whoever may start one, and the environment holds what nobody should send anywhere: so a plan is
//! given what is listed here and nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use ureq::http::Uri;

use super::secret;

/// A variable that plans may use: `NAME`, or `NAME=HOST,…` where it is sent to these hosts alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanVariable {
    name: String,
    /// Each `host` or `host:port` in lower case; anywhere without any.
    hosts: Vec<String>,
}

impl FromStr for PlanVariable {
    type Err = String;

    fn from_str(text: &str) -> Result<PlanVariable, String> {
        let (name, hosts) = text.split_once('=').map_or((text, None), |(name, hosts)| (name, Some(hosts)));
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !name.starts_with(|first: char| first.is_ascii_digit());
        let hosts: Vec<String> =
            hosts.into_iter().flat_map(|hosts| hosts.split(',')).map(str::to_ascii_lowercase).collect();
        if is_name && hosts.iter().all(|host| is_host(host)) {
            return Ok(PlanVariable { name: name.to_owned(), hosts });
        }
        Err("a variable for plans is NAME or NAME=HOST,HOST, as in HOOK_TOKEN=ci.example.com".to_owned())
    }
}

/// Whether a text is `host` or `host:port`.
fn is_host(text: &str) -> bool {
    let read: Option<Uri> = format!("http://{text}/").parse().ok();
    let authority = read.as_ref().and_then(Uri::authority);
    !text.contains(['@', '*', '/', '?', '#', ' '])
        && authority.is_some_and(|authority| {
            let has_port = authority.as_str().len() > authority.host().len();
            !authority.host().is_empty()
                && authority.as_str() == text
                && (!has_port || authority.port_u16().is_some())
        })
}

/// Whether what is said of a host means the host and port of a URL.
fn means(host: &str, url: &Uri) -> bool {
    let Some(authority) = url.authority() else { return false };
    let port = authority.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    let asked = authority.host().to_ascii_lowercase();
    host == asked || host == format!("{asked}:{port}")
}

/// Why a plan is not given a variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// It is not listed.
    #[error("the variable {name}, which is not among those that plans are given: {}", advice(.name, .host))]
    Unlisted {
        /// The variable.
        name: String,
        /// Where it would go.
        host: Option<String>,
    },
    /// It is listed, and has no value.
    #[error("the variable {name}, which is not set in the daemon's environment, or to nothing readable")]
    Unset {
        /// The variable.
        name: String,
    },
    /// It is sent to other hosts alone.
    #[error("the variable {name} for {host}, and --plan-env gives it to {hosts} alone")]
    Elsewhere {
        /// The variable.
        name: String,
        /// Where it would go.
        host: String,
        /// Where it may.
        hosts: String,
    },
}

fn advice(name: &str, host: &Option<String>) -> String {
    let hosts = host.as_ref().map(|host| format!("={host}")).unwrap_or_default();
    format!("`serin serve --plan-env {name}{hosts}`")
}

/// The variables that plans may use, with their values of when the daemon started.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PlanEnv(BTreeMap<String, (Vec<String>, Option<String>)>);

/// Shows no value.
impl std::fmt::Debug for PlanEnv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, (hosts, _))| (name, hosts))).finish()
    }
}

impl PlanEnv {
    /// Takes the values of these variables from the environment; one that is listed twice is sent to the hosts of both.
    pub fn read(listed: &[PlanVariable]) -> PlanEnv {
        PlanEnv::with(listed, |name| {
            secret(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        })
    }

    /// Takes their values from elsewhere.
    pub fn with(listed: &[PlanVariable], value: impl Fn(&str) -> Option<String>) -> PlanEnv {
        let mut variables: BTreeMap<String, (Vec<String>, Option<String>)> = BTreeMap::new();
        for PlanVariable { name, hosts } in listed {
            match variables.get_mut(name) {
                // Without hosts it goes anywhere, and so it does when it is also listed with some.
                Some((known, _)) if known.is_empty() || hosts.is_empty() => known.clear(),
                Some((known, _)) => known.extend(hosts.iter().cloned()),
                None => _ = variables.insert(name.clone(), (hosts.clone(), value(name))),
            }
        }
        PlanEnv(variables)
    }

    /// Whether a variable may go to a URL, whether or not it is set; to any, where the URL is not known yet.
    pub fn check(&self, name: &str, url: Option<&str>) -> Result<(), Withheld> {
        let url: Option<Uri> = url.and_then(|url| url.parse().ok());
        let host = || Some(url.as_ref()?.authority()?.as_str().to_ascii_lowercase());
        let Some((hosts, _)) = self.0.get(name) else {
            return Err(Withheld::Unlisted { name: name.to_owned(), host: host() });
        };
        match &url {
            Some(to) if !hosts.is_empty() && !hosts.iter().any(|host| means(host, to)) => {
                let host = host().unwrap_or_default();
                Err(Withheld::Elsewhere { name: name.to_owned(), host, hosts: hosts.join(", ") })
            }
            _ => Ok(()),
        }
    }

    /// The value of a variable that goes to a URL.
    pub fn value(&self, name: &str, url: Option<&str>) -> Result<&str, Withheld> {
        self.check(name, url)?;
        let value = self.0.get(name).and_then(|(_, value)| value.as_deref());
        value.ok_or_else(|| Withheld::Unset { name: name.to_owned() })
    }

    /// Whether anything is listed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whose certificates are believed at hosts that plans ask: `HOST,…=FILE`, a file of authorities in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanCa {
    hosts: Vec<String>,
    /// The file, which is read whenever one of its hosts is asked.
    pub file: PathBuf,
}

impl FromStr for PlanCa {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<PlanCa, &'static str> {
        let shape = "authorities are given as HOST,HOST=FILE, as in prometheus.internal=/etc/serin/ca.pem";
        let (hosts, file) = text.split_once('=').ok_or(shape)?;
        let hosts: Vec<String> = hosts.split(',').map(str::to_ascii_lowercase).collect();
        let is_fine = !file.is_empty() && hosts.iter().all(|host| is_host(host));
        if is_fine { Ok(PlanCa { hosts, file: file.into() }) } else { Err(shape) }
    }
}

impl PlanCa {
    /// Whether it is about the host of a URL.
    pub fn is_for(&self, url: &str) -> bool {
        url.parse().is_ok_and(|url: Uri| self.hosts.iter().any(|host| means(host, &url)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(listed: &[&str]) -> PlanEnv {
        let listed: Vec<PlanVariable> = listed.iter().map(|text| text.parse().unwrap()).collect();
        PlanEnv::with(&listed, |name| (name != "UNSET").then(|| format!("value of {name}")))
    }

    #[test]
    fn a_variable_goes_to_the_hosts_that_are_named_and_nowhere_else() {
        let env = env(&["A=ci.example.com,Hooks.example.com:8443", "ANY", "UNSET", "A=[::1]"]);
        for (name, url, is_given) in [
            ("A", Some("https://ci.example.com/x"), true),
            ("A", Some("https://CI.Example.com:8443/x"), true),
            ("A", Some("https://hooks.example.com:8443"), true),
            ("A", Some("https://hooks.example.com/"), false),
            ("A", Some("http://[::1]:9090/"), true),
            ("A", Some("https://ci.example.com.evil.com/"), false),
            ("A", Some("https://evil.com/ci.example.com"), false),
            ("A", Some("https://ci.example.com@evil.com/"), false),
            ("A", Some("https://evil.com?ci.example.com"), false),
            ("ANY", Some("https://anywhere.example/"), true),
            ("UNSET", Some("https://anywhere.example/"), false),
            ("SERIN_TOKEN", Some("https://ci.example.com/"), false),
            ("AWS_SECRET_ACCESS_KEY", None, false),
        ] {
            assert_eq!(env.value(name, url).is_ok(), is_given, "{name} {url:?}");
        }
        assert_eq!(env.value("A", Some("https://ci.example.com/")), Ok("value of A"));
        assert!(!format!("{env:?}").contains("value"), "{env:?}");
        let said = env.value("B", Some("https://ci.example.com/x?secret")).unwrap_err().to_string();
        assert!(
            said.ends_with("`serin serve --plan-env B=ci.example.com`") && !said.contains("secret"),
            "{said}"
        );
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bad in
            ["", "=h", "A=", "A=h,", "1A", "A B", "A=http://h", "A=h/x", "A=u@h", "A=*.example.com", "A=h:x"]
        {
            assert!(bad.parse::<PlanVariable>().is_err(), "{bad}");
        }
        for bad in ["", "file.pem", "h=", "=file", "http://h=file", "h,=file"] {
            assert!(bad.parse::<PlanCa>().is_err(), "{bad}");
        }
        let ca: PlanCa = "Prom.internal,10.0.0.1:9090=/a=b.pem".parse().unwrap();
        assert_eq!(ca.file, PathBuf::from("/a=b.pem"));
        assert!(ca.is_for("https://prom.internal:9090/x") && ca.is_for("https://10.0.0.1:9090"));
        assert!(!ca.is_for("https://10.0.0.1/") && !ca.is_for("https://other.internal/"));
    }
}
