//! A file of principals, and behind a zero byte a request: its target in the first line, its headers in the others.

use std::os::unix::fs::PermissionsExt;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::access::{Access, Asked, BodyHash, bearer};
use serin_core::model::time::Timestamp;

/// Nobody is let in but by a token of the file, for no request here is signed by anybody.
pub(super) fn run(data: &[u8]) {
    let (file, request) = super::halves(data, 0);
    let Ok(dir) = tempfile::tempdir() else { return };
    let path = dir.path().join("principals.yaml");
    std::fs::write(&path, file).expect("a directory that was just made takes files");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("and their modes");
    let access = match Access::default().with_principals(&path) {
        Ok(access) => access,
        Err(why) => {
            assert!(!why.to_string().is_empty());
            Access::from_setting(Some("ana:a-secret-that-is-long")).expect("a token")
        }
    };
    assert!(access.wants_credentials());
    let mut lines = request.split(|byte| *byte == b'\n');
    let target = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok());
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = super::halves(line, b':');
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let asked = Asked {
        method: &Method::POST,
        uri: &target.unwrap_or_default(),
        headers: &headers,
        body: BodyHash::Of(b""),
        service: "lambda",
    };
    let _ = access.introduced(&asked);
    if let Ok(who) = access.who(&asked, Timestamp(1_767_225_600_000)) {
        let bearer = bearer(&headers).expect("nobody can sign");
        assert_eq!(access.holder(bearer).map(|holder| &holder.name), Some(&who.known.name));
    }
}
