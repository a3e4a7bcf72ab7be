//! Pages in browsers: a name that was made to point here, and a page of elsewhere, get nothing without credentials.

use std::net::SocketAddr;

use super::house;
use crate::support::client::Client;
use crate::support::house::House;
use crate::support::service::Service;

const INVOKE: &str = "POST /2015-03-31/functions/f:live/invocations";

fn status(addr: SocketAddr, request: &str, host: &str, lines: &[&str]) -> u16 {
    let mut client = Client::connect(addr);
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    client.send(format!(
        "{request} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\nContent-Type: application/json\r\n{lines}\r\n{{}}"
    ));
    client.answer_to(request.split(' ').next().unwrap()).status
}

fn api(house: &House) -> SocketAddr {
    house.url().trim_start_matches("http://").parse().unwrap()
}

#[test]
fn without_credentials_no_page_reads_changes_or_invokes() {
    let house = House::start();
    let service = Service::start(0.0, 1);
    house.publish("f", &service.url());
    house.alias("f", "live", "1");
    let (api, router) = (api(&house), house.router());
    let here = format!("127.0.0.1:{}", api.port());
    for request in
        ["GET /v1/functions", "GET /metrics", "GET /readyz", "POST /v1/functions/f/versions", INVOKE]
    {
        assert_eq!(status(api, request, "evil.example.com", &[]), 403, "{request}");
        assert_eq!(status(api, request, "rebound.evil.com", &["Authorization: Bearer x"]), 403, "{request}");
        assert_eq!(status(api, request, &here, &["Origin: http://evil.com"]), 403, "{request}");
        assert_eq!(status(api, request, &here, &["Sec-Fetch-Site: cross-site"]), 403, "{request}");
    }
    assert_eq!(status(api, INVOKE, &here, &[]), 200);
    assert_eq!(status(api, INVOKE, &here, &[&format!("Origin: http://{here}")]), 200);
    // The router's listener is reached by more names, and still by none that a page can have had point here.
    let there = format!("127.0.0.1:{}", router.port());
    for host in ["rebound.evil.com", "10.0.0.5.nip.io:7412"] {
        assert_eq!(status(router, INVOKE, host, &[]), 403, "{host}");
    }
    for host in [there.as_str(), "10.0.0.5:7412", "serin:7412", "serin.prod.svc.cluster.local"] {
        assert_eq!(status(router, INVOKE, host, &[]), 200, "{host}");
    }
    assert_eq!(status(router, INVOKE, &there, &["Origin: http://evil.com"]), 403);
    assert_eq!(status(router, INVOKE, &there, &["Sec-Fetch-Site: cross-site"]), 403);
    // Its HTTP face is a load balancer's.
    for lines in [&[][..], &["Origin: http://evil.com", "Sec-Fetch-Site: cross-site"]] {
        assert_eq!(status(router, "POST /f:live/x", "rebound.evil.com", lines), 200);
    }
}

#[test]
fn with_credentials_what_asks_nobody_is_kept_from_pages_too() {
    for house in
        [house(), House::start_with(|config| config.token = Some("ana:a-secret-of-hers-alone".to_owned()))]
    {
        let api = api(&house);
        for path in ["/livez", "/readyz", "/"] {
            let get = format!("GET {path}");
            for host in ["rebound.evil.com", "10.0.0.5.nip.io"] {
                assert_eq!(status(api, &get, host, &[]), 403, "{get} {host}");
            }
            // Who looks after a machine asks it by its address.
            for host in ["10.0.0.5:7411", "[fd00::1]:7411", "serin", "localhost"] {
                assert_eq!(status(api, &get, host, &[]), 200, "{get} {host}");
            }
            assert_eq!(status(api, &get, "10.0.0.5", &["Origin: http://evil.com"]), 403, "{get}");
        }
        let link = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"];
        assert_eq!(status(api, "GET /", "10.0.0.5", &link), 200, "a link leads to the page");
        for request in ["GET /v1/functions", "GET /metrics", "GET /openapi.json", INVOKE] {
            let found = status(api, request, "127.0.0.1", &[]);
            assert!(matches!(found, 401 | 403), "{request}: {found}");
        }
    }
}

#[test]
fn whoever_shows_credentials_may_use_any_name() {
    let house = house();
    let api = api(&house);
    for host in ["serin.example.com", "rebound.evil.com", "10.0.0.5"] {
        let bearer = "Authorization: Bearer the-token-of-owner";
        assert_eq!(status(api, "GET /v1/functions", host, &[bearer]), 200, "{host}");
    }
}
