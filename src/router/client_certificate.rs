//! What versions are told of a client's certificate: `x-forwarded-client-cert`, in the words that Envoy uses.
//!
//! `Hash=…;Subject="CN=…,O=…";URI=…;DNS=…`: the SHA-256 of the certificate, whom it is of, and by which other names. The
//! authorities who signed it say what is in it, and their users have a word in that; so nothing in it may look like another
//! part. A certificate is trusted before it comes here; here it is only read.

use hyper::header::HeaderValue;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::Oid;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The most that the names in it may take; what is beyond is left out name by name.
const NAMES_BYTES_MAX: usize = 4096;

/// Words a certificate, given in DER.
pub(super) fn described(der: &[u8]) -> HeaderValue {
    let mut text = format!("Hash={}", hex(&Sha256::digest(der)));
    if let Ok((_, certificate)) = X509Certificate::from_der(der) {
        for part in parts(&certificate) {
            if text.len() + part.len() < NAMES_BYTES_MAX {
                text.push(';');
                text.push_str(&part);
            }
        }
    }
    HeaderValue::try_from(text).expect("everything else than visible ASCII is escaped")
}

fn parts(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut parts = vec![format!("Subject={}", quoted(&subject(certificate.subject())))];
    let names = certificate.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::URI(uri) => parts.push(format!("URI={}", quoted_if_needed(uri))),
            GeneralName::DNSName(name) => parts.push(format!("DNS={}", quoted_if_needed(name))),
            _ => {}
        }
    }
    parts
}

/// A distinguished name as RFC 4514 writes it: the last part first, all but visible ASCII as bytes in hex.
fn subject(name: &X509Name<'_>) -> String {
    let parts: Vec<String> =
        name.iter_rdn().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    match (short_name(attribute.attr_type()), attribute.as_str()) {
        (Some(name), Ok(value)) => format!("{name}={}", escaped(value)),
        (None, Ok(value)) => format!("{}={}", attribute.attr_type().to_id_string(), escaped(value)),
        (_, Err(_)) => {
            let (name, value) = (attribute.attr_type().to_id_string(), attribute.as_slice());
            format!("{name}=#{}", hex(value))
        }
    }
}

/// The names of attributes in RFC 4514, section 3.
fn short_name(oid: &Oid<'_>) -> Option<&'static str> {
    Some(match oid.to_id_string().as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        _ => return None,
    })
}

/// The value of an attribute (RFC 4514, 2.4).
fn escaped(value: &str) -> String {
    let mut text = String::new();
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let is_at_an_end = at == 0 || at == last;
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'=' | b'>' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b'#' if at == 0 => text.push_str("\\#"),
            b' ' if is_at_an_end => text.push_str("\\ "),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\{byte:02X}")),
        }
    }
    text
}

/// A value between quotes, in which a quote or a backslash has one before it.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A name that may have to be quoted; of a name, all but visible ASCII is as in a URI.
fn quoted_if_needed(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'!'..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    if text.contains([',', ';', '=', '"', '\\']) { quoted(&text) } else { text }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn said(names: &[(DnType, &str)], others: Vec<SanType>) -> String {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = others;
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let said = described(certificate.der());
        let said = said.to_str().unwrap().to_owned();
        let (hash, rest) = said.split_once(';').unwrap();
        assert_eq!(hash, format!("Hash={}", hex(&Sha256::digest(certificate.der()))));
        rest.to_owned()
    }

    #[test]
    fn names_are_as_rfc_4514_has_them() {
        let names = [(DnType::OrganizationName, "Shop"), (DnType::CommonName, "till 7")];
        assert_eq!(said(&names, Vec::new()), r#"Subject="CN=till 7,O=Shop""#);
        let dns = SanType::DnsName("till.example".try_into().unwrap());
        let uri = SanType::URI("spiffe://shop/till?a=b".try_into().unwrap());
        assert_eq!(
            said(&names[1..], vec![dns, uri]),
            r#"Subject="CN=till 7";DNS=till.example;URI="spiffe://shop/till?a=b""#
        );
        let other = DnType::CustomDnType(vec![1, 2, 3]);
        assert_eq!(said(&[(other, "x")], Vec::new()), r#"Subject="1.2.3=x""#);
    }

    #[test]
    fn nothing_in_a_name_looks_like_another_part() {
        for (name, says) in [
            ("x,O=Admins", r#""CN=x\\,O\\=Admins""#),
            (r#"x";URI=spiffe://admin"#, r#""CN=x\\\"\\;URI\\=spiffe://admin""#),
            ("x\r\nx-admin: 1", r#""CN=x\\0D\\0Ax-admin: 1""#),
            ("Jürgen", r#""CN=J\\C3\\BCrgen""#),
            (" # ", r##""CN=\\ #\\ ""##),
            ("#1", r##""CN=\\#1""##),
        ] {
            assert_eq!(said(&[(DnType::CommonName, name)], Vec::new()), format!("Subject={says}"));
        }
        let uri = SanType::URI("a;Subject=\"CN=admin\"".try_into().unwrap());
        assert_eq!(said(&[], vec![uri]), r#"Subject="";URI="a;Subject=\"CN=admin\"""#);
    }

    #[test]
    fn a_crowd_of_names_fits_into_a_header() {
        let name = |index: usize| SanType::DnsName(format!("host-{index}.example").try_into().unwrap());
        let said = said(&[], (0..1000).map(name).collect());
        assert!(said.len() < NAMES_BYTES_MAX && said.contains("host-100.example"));
    }

    #[test]
    fn what_is_no_certificate_has_a_hash() {
        let hash = "Hash=2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
        assert_eq!(described(b"x"), hash);
    }
}
