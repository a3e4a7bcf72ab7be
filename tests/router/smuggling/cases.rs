//! Cases by hand: each a way in which two readers have disagreed somewhere, and what may come of it here.

use super::judge::Case;
use super::judge::Outcome::{self, Agreed, Declined, One, OneThenClosed, Refused, Two, TwoThenClosed};

/// A request that is hidden in what should be a body.
pub const SMUGGLED: &str = "GET /shop:live/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
/// What cases begin with.
pub const POST: &str = "POST /shop:live/case HTTP/1.1\r\nHost: a\r\n";
const GET: &str = "GET /shop:live/case HTTP/1.1\r\nHost: a\r\n";

/// A body in one chunk.
pub fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

/// All of them.
pub fn by_hand() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |kind: &str, allowed: &[Outcome], requests: &[String]| {
        for (index, request) in requests.iter().enumerate() {
            let name = format!("{kind} {}", index + 1);
            cases.push(Case { name, bytes: request.clone().into_bytes(), allowed: allowed.to_vec() });
        }
    };
    let lines = |lines: &str, body: &str| format!("{POST}{lines}\r\n{body}");
    let length = SMUGGLED.len();
    let chunks = chunked(SMUGGLED);

    // Lengths and codings; the cross product of their spellings is made in mutations.rs.
    add(
        "a good body",
        &[One],
        &[
            lines(&format!("Content-Length: {length}\r\n"), SMUGGLED),
            lines("Transfer-Encoding: chunked\r\n", &chunks),
            lines("Content-Length: 0\r\n", ""),
            lines("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            lines("", ""),
            format!("{GET}Content-Length: {length}\r\n\r\n{SMUGGLED}"),
            format!("{GET}Transfer-Encoding: chunked\r\n\r\n{chunks}"),
            format!("{}Content-Length: {length}\r\n\r\n{SMUGGLED}", GET.replace("GET", "HEAD")),
            format!("{}Content-Length: {length}\r\n\r\n{SMUGGLED}", GET.replace("GET", "DELETE")),
            format!("{}Content-Length: {length}\r\n\r\n{SMUGGLED}", GET.replace("GET", "OPTIONS")),
            format!("{}Transfer-Encoding: chunked\r\n\r\n{chunks}", GET.replace("GET", "DELETE")),
        ],
    );
    add(
        "the next request in a pipeline",
        &[Two],
        &[
            format!("{GET}\r\n{SMUGGLED}"),
            format!("{POST}Content-Length: 3\r\n\r\nabc{SMUGGLED}"),
            format!("{POST}Transfer-Encoding: chunked\r\n\r\n{}{SMUGGLED}", chunked("abc")),
            format!("{}\r\n{SMUGGLED}", GET.replace("GET", "HEAD")),
            format!("{}\r\n{SMUGGLED}", GET.replace("GET", "OPTIONS")),
            format!("{GET}Content-Length: 0\r\n\r\n{SMUGGLED}"),
            format!("{GET}Expect: 100-continue\r\n\r\n{SMUGGLED}"),
            format!("{GET}\r\n\r\n{SMUGGLED}"),
            format!("{GET}\r\n\r\n\r\n\r\n{SMUGGLED}"),
            format!("\r\n{GET}\r\n{SMUGGLED}"),
            format!("\r\n\r\n\r\n{GET}\r\n{SMUGGLED}"),
            format!("{GET}Connection: keep-alive\r\n\r\n{SMUGGLED}"),
        ],
    );
    add(
        "bytes behind the last request",
        &[OneThenClosed],
        &[
            format!("{GET}Connection: close\r\n\r\n{SMUGGLED}"),
            format!("{GET}Connection: Close\r\n\r\n{SMUGGLED}"),
            format!("{GET}Connection: keep-alive, close\r\n\r\n{SMUGGLED}"),
            format!("{GET}Connection: close\r\nConnection: keep-alive\r\n\r\n{SMUGGLED}"),
            format!("{GET}Connection: keep-alive\r\nConnection: close\r\n\r\n{SMUGGLED}"),
            format!("{POST}Connection: close\r\nContent-Length: 3\r\n\r\nabc{SMUGGLED}"),
            format!("{GET}\r\n\0\0\0\0"),
            format!("{GET}\r\nabc("),
            format!("{GET}\r\n: \r\n"),
            format!("{GET}\r\n\r\n HTTP/1.1\r\n"),
            format!("{POST}Content-Length: 3\r\n\r\nabc("),
            format!("{POST}Content-Length: 0\r\n\r\nabc("),
            format!("{POST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n0\r\n\r\n"),
        ],
    );
    add(
        "several lengths",
        &[Refused],
        &[
            lines("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"),
            lines("Content-Length: 0\r\nContent-Length: 4\r\n", "abcd"),
            lines("Content-Length: 4\r\nContent-Length: 0\r\n", "abcd"),
            lines("Content-Length: 3\r\nX: 1\r\nContent-Length: 4\r\n", "abcd"),
            lines("Content-Length: 3\r\ncontent-length: 4\r\n", "abcd"),
            lines("Content-Length: 3\r\nContent-Length: 3\r\nContent-Length: 4\r\n", "abcd"),
            lines("Content-Length: 3\r\nContent-Length: +3\r\n", "abc"),
            lines("Content-Length: 3\r\nContent-Length: \r\n", "abc"),
            lines("Content-Length: 3\r\nContent-Length: abc\r\n", "abc"),
            lines("Content-Length: 3, 4\r\n", "abcd"),
            lines("Content-Length: 3, 3\r\n", "abc"),
            lines("Content-Length: 3,\r\n", "abc"),
            lines("Content-Length: ,3\r\n", "abc"),
            lines("Content-Length: 3 3\r\n", "abc"),
            lines("Content-Length: 3;3\r\n", "abc"),
        ],
    );
    add(
        "one length, said again",
        &[One],
        &[
            lines("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
            lines("Content-Length: 3\r\nContent-Length: 03\r\n", "abc"),
            lines("Content-Length: 03\r\nContent-Length: 3\r\n", "abc"),
            lines("Content-Length: 3\r\nCONTENT-LENGTH: 3\r\ncontent-length: 3\r\n", "abc"),
        ],
    );
    add(
        "a length and a coding",
        &[Refused, OneThenClosed],
        &[
            lines("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            lines("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
            lines("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{SMUGGLED}")),
            lines(
                &format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", 5 + length),
                &format!("0\r\n\r\n{SMUGGLED}"),
            ),
            lines("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", &chunks),
            lines("Content-Length: 4\r\nX: y\r\nTransfer-Encoding: chunked\r\n", &chunks),
            lines("Content-Length: 4\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n", &chunks),
            lines(
                "Content-Length: 4\r\nConnection: content-length\r\nTransfer-Encoding: chunked\r\n",
                &chunks,
            ),
            lines(
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n",
                &format!("{chunks}{SMUGGLED}"),
            ),
        ],
    );
    add(
        "a coding that is not plain",
        &[Refused],
        &[
            lines("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &chunks),
            lines("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", &chunks),
            lines("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &chunks),
            lines("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", &chunks),
            lines("Transfer-Encoding: xchunked\r\nTransfer-Encoding: chunked\r\n", &chunks),
            lines("Transfer-Encoding: chunked\r\nTransfer-Encoding: xchunked\r\n", &chunks),
            lines("Transfer-Encoding: \r\nTransfer-Encoding: chunked\r\n", &chunks),
            lines("Transfer-Encoding: chunked\r\nTransfer-Encoding: \r\n", &chunks),
            lines("Content-Length: 3\r\nTransfer-Encoding: identity\r\n", "abc"),
            lines("Content-Length: 3\r\nTransfer-Encoding: gzip\r\n", "abc"),
            lines("Content-Length: 3\r\nTransfer-Encoding: \r\n", "abc"),
        ],
    );
    for version in ["1.0", "1.2", "1.9", "2.0", "0.9", "1.1.1", "1", "01.1", "1.01", "1,1", "11"] {
        let is_old = version == "1.0";
        let of = |request: String| request.replacen("HTTP/1.1", &format!("HTTP/{version}"), 1);
        let name = format!("HTTP/{version}");
        let alone = [if is_old { OneThenClosed } else { Refused }];
        add(
            &name,
            &alone,
            &[
                of(format!("{GET}\r\n")),
                of(lines("Content-Length: 3\r\n", "abc")),
                of(format!("{GET}\r\n{SMUGGLED}")),
            ],
        );
        let kept = [if is_old { One } else { Refused }];
        add(
            &format!("{name}, kept"),
            &kept,
            &[of(lines("Connection: keep-alive\r\nContent-Length: 3\r\n", "abc"))],
        );
        add(
            &format!("{name} and a coding"),
            &[Refused],
            &[
                of(lines("Transfer-Encoding: chunked\r\n", &chunks)),
                of(lines("Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n", &chunks)),
                of(lines("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "abc")),
                of(lines("Transfer-Encoding: identity\r\nContent-Length: 3\r\n", "abc")),
            ],
        );
    }
    let request_line = |line: &str| format!("{line}Host: a\r\n\r\n");
    add(
        "a request line that is none",
        &[Refused],
        &[
            request_line("GET /shop:live/case\r\n"),
            request_line("GET /shop:live/case \r\n"),
            request_line("GET /shop:live/case HTTP\r\n"),
            request_line("GET /shop:live/case HTTP/\r\n"),
            request_line("GET /shop:live/case http/1.1\r\n"),
            request_line("GET /shop:live/case HTTPS/1.1\r\n"),
            request_line("GET /shop:live/case HTTP/1.1 \r\n"),
            request_line("GET /shop:live/case HTTP/1.1 HTTP/1.1\r\n"),
            request_line("GET /shop:live/case HTTP/1.1x\r\n"),
            request_line("GET /shop:live/case x HTTP/1.1\r\n"),
            request_line("GET /shop:live/case\tHTTP/1.1\r\n"),
            request_line("GET\t/shop:live/case HTTP/1.1\r\n"),
            request_line("GET /shop:live/case HTTP/1.1\r"),
            request_line("GET /shop:live/case\rHTTP/1.1\r\n"),
            request_line(" GET /shop:live/case HTTP/1.1\r\n"),
            request_line("/shop:live/case HTTP/1.1\r\n"),
            request_line("GET HTTP/1.1\r\n"),
            request_line("GET  HTTP/1.1\r\n"),
            request_line("\tGET /shop:live/case HTTP/1.1\r\n"),
            request_line("G ET /shop:live/case HTTP/1.1\r\n"),
            request_line("G(ET /shop:live/case HTTP/1.1\r\n"),
            request_line("G:ET /shop:live/case HTTP/1.1\r\n"),
            "GET /shop:live/case\r\n\r\n".to_owned(),
            "GET /shop:live/case\r\n".to_owned(),
            "GET /shop:live/case".to_owned(),
            "\r\r\nGET /shop:live/case HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "\0GET /shop:live/case HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        ],
    );
    add(
        "blanks in a request line",
        &[Refused, One],
        &[
            request_line("GET  /shop:live/case HTTP/1.1\r\n"),
            request_line("GET /shop:live/case  HTTP/1.1\r\n"),
        ],
    );
    add(
        "odd methods",
        &[One],
        &[
            request_line("get /shop:live/case HTTP/1.1\r\n"),
            request_line("Get /shop:live/case HTTP/1.1\r\n"),
            request_line("PATCH /shop:live/case HTTP/1.1\r\n"),
            request_line("TRACE /shop:live/case HTTP/1.1\r\n"),
            request_line("PROPFIND /shop:live/case HTTP/1.1\r\n"),
            request_line("M-SEARCH /shop:live/case HTTP/1.1\r\n"),
            request_line("!#$%&'*+-.^_`|~ /shop:live/case HTTP/1.1\r\n"),
            request_line("head /shop:live/case HTTP/1.1\r\n"),
            request_line("connect /shop:live/case HTTP/1.1\r\n"),
            request_line(&format!("{} /shop:live/case HTTP/1.1\r\n", "M".repeat(1000))),
        ],
    );
    add(
        "a tunnel",
        &[Refused, Declined],
        &[
            request_line("CONNECT /shop:live/case HTTP/1.1\r\n"),
            request_line("CONNECT a:443 HTTP/1.1\r\n"),
            request_line("CONNECT shop:live HTTP/1.1\r\n"),
            request_line("CONNECT http://a/shop:live/case HTTP/1.1\r\n"),
            format!("CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"),
        ],
    );
    add(
        "absolute form",
        &[One],
        &[
            request_line("GET http://a/shop:live/case HTTP/1.1\r\n"),
            request_line("GET http://other/shop:live/case HTTP/1.1\r\n"),
            request_line("GET http://other:8080/shop:live/case HTTP/1.1\r\n"),
            request_line("GET https://other/shop:live/case HTTP/1.1\r\n"),
            request_line("GET HTTP://a/shop:live/case HTTP/1.1\r\n"),
            request_line("GET http://[::1]/shop:live/case HTTP/1.1\r\n"),
        ],
    );
    add(
        "a target that is none",
        &[Refused, Declined],
        &[
            request_line("GET http://user@a/shop:live/case HTTP/1.1\r\n"),
            request_line("GET http://user:word@a/shop:live/case HTTP/1.1\r\n"),
            request_line("GET http://a@b@c/shop:live/case HTTP/1.1\r\n"),
            request_line("GET http:///shop:live/case HTTP/1.1\r\n"),
            request_line("GET http:/shop:live/case HTTP/1.1\r\n"),
            request_line("GET http:shop:live/case HTTP/1.1\r\n"),
            request_line("GET ://a/shop:live/case HTTP/1.1\r\n"),
            request_line("GET http://a b/shop:live/case HTTP/1.1\r\n"),
            request_line("GET http://a,b/shop:live/case HTTP/1.1\r\n"),
            request_line("GET a:80 HTTP/1.1\r\n"),
            request_line("GET shop:live HTTP/1.1\r\n"),
            request_line("GET shop:live/case HTTP/1.1\r\n"),
            request_line("GET * HTTP/1.1\r\n"),
            request_line("OPTIONS * HTTP/1.1\r\n"),
            request_line("OPTIONS http://a HTTP/1.1\r\n"),
            request_line("GET *shop:live/case HTTP/1.1\r\n"),
            request_line("GET ?/shop:live/case HTTP/1.1\r\n"),
            request_line("GET #/shop:live/case HTTP/1.1\r\n"),
            request_line("GET //shop:live/case HTTP/1.1\r\n"),
            request_line("GET \\shop:live\\case HTTP/1.1\r\n"),
            request_line("GET /shop:live\\case HTTP/1.1\r\n"),
            request_line("GET /../shop:live/case HTTP/1.1\r\n"),
            request_line("GET /shop%2Flive/case HTTP/1.1\r\n"),
        ],
    );
    add(
        "paths that look like others",
        &[Agreed],
        &[
            request_line("GET /shop:live/case/../x HTTP/1.1\r\n"),
            request_line("GET /shop:live/case%0d%0aX:%201 HTTP/1.1\r\n"),
            request_line("GET /shop:live/case%00 HTTP/1.1\r\n"),
            request_line("GET /shop:live/case#part HTTP/1.1\r\n"),
            request_line("GET /shop:live/case?a#b HTTP/1.1\r\n"),
            request_line("GET /shop:live/case?a?b HTTP/1.1\r\n"),
            request_line("GET /shop:live//a/case HTTP/1.1\r\n"),
            request_line("GET /shop:live/case;v=1.1 HTTP/1.1\r\n"),
            request_line("GET /shop:live/\"<>^`{|} HTTP/1.1\r\n"),
            request_line("GET /shop:live/%zz HTTP/1.1\r\n"),
            request_line("GET /shop:live/\u{e9} HTTP/1.1\r\n"),
        ],
    );
    let hosts = |hosts: &str| format!("GET /shop:live/case HTTP/1.1\r\n{hosts}\r\n");
    add(
        "hosts that are none",
        &[Refused],
        &[
            hosts(""),
            hosts("Host: a\r\nHost: b\r\n"),
            hosts("Host: a\r\nHost: a\r\n"),
            hosts("Host: a\r\nhost: b\r\n"),
            hosts("Host: a\r\nX: 1\r\nHOST: b\r\n"),
            hosts("Host: a, b\r\n"),
            hosts("Host: a b\r\n"),
            hosts("Host: a\tb\r\n"),
            hosts("Host: a,b\r\n"),
            hosts("Host: user@a\r\n"),
            hosts("Host: a/b\r\n"),
            hosts("Host: a?b\r\n"),
            hosts("Host: a#b\r\n"),
            hosts("Host: a\\b\r\n"),
            hosts("Host: http://a\r\n"),
            hosts("Host: \"a\"\r\n"),
            hosts("Host: <a>\r\n"),
            hosts("Host: \u{e9}\r\n"),
            hosts("Host : a\r\n"),
            hosts("Host\t: a\r\n"),
            hosts(" Host: a\r\n"),
            hosts("Host: a\r\n b\r\n"),
            hosts("Host:\r\n a\r\n"),
            hosts("Host; a\r\n"),
            hosts("Hos: a\r\n"),
            hosts("Host_: a\r\n"),
            hosts("X-Forwarded-Host: a\r\n"),
            "GET http://b/shop:live/case HTTP/1.1\r\n\r\n".to_owned(),
            "GET http://b/shop:live/case HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
        ],
    );
    add(
        "hosts",
        &[One],
        &[
            hosts("Host:a\r\n"),
            hosts("Host: \r\n"),
            hosts("Host:\r\n"),
            hosts("hOST: a\r\n"),
            hosts("Host: \t a \t\r\n"),
            hosts("Host: a:80\r\n"),
            hosts("Host: [::1]:80\r\n"),
            hosts("Host: A.example.\r\n"),
            hosts("Host: xn--a_b.example\r\n"),
        ],
    );
    add(
        "odd lines in a head",
        &[Refused],
        &[
            lines("X: a\r\n b\r\n", ""),
            lines("X: a\r\n\tb\r\n", ""),
            lines("X:\r\n b\r\n", ""),
            lines("Content-Length:\r\n 3\r\n", "abc"),
            lines("Transfer-Encoding:\r\n chunked\r\n", &chunks),
            lines("Transfer-Encoding: chunked\r\n , identity\r\n", &chunks),
            lines("X: a\r\n \r\nTransfer-Encoding: chunked\r\n", &chunks),
            lines(" Transfer-Encoding: chunked\r\n", &chunks),
            lines("\tTransfer-Encoding: chunked\r\n", &chunks),
            lines("Transfer-Encoding : chunked\r\n", &chunks),
            lines("Transfer-Encoding\t: chunked\r\n", &chunks),
            lines("Transfer-Encoding\u{b}: chunked\r\n", &chunks),
            lines("Transfer-Encoding\0: chunked\r\n", &chunks),
            lines("Transfer Encoding: chunked\r\n", &chunks),
            lines("Transfer-Encoding chunked\r\n", &chunks),
            lines("Transfer-Encoding= chunked\r\n", &chunks),
            lines("Transfer-Encoding\r\n: chunked\r\n", &chunks),
            lines("Content-Length : 3\r\n", "abc"),
            lines("Content-Length\t: 3\r\n", "abc"),
            lines("Content Length: 3\r\n", "abc"),
            lines(" Content-Length: 3\r\n", "abc"),
            lines("Content-Length 3\r\n", "abc"),
            lines("(Content-Length): 3\r\n", "abc"),
            lines("\"Content-Length\": 3\r\n", "abc"),
            lines("X\u{e9}: 1\r\n", ""),
            lines(": 1\r\n", ""),
            lines("X\r\n", ""),
            lines("X: a\rContent-Length: 3\r\n", "abc"),
            lines("X: a\rTransfer-Encoding: chunked\r\n", &chunks),
            lines("X: a\0\r\n", ""),
            lines("X: a\u{7f}b\r\n", ""),
            lines("X: \u{1b}[2J\r\n", ""),
            format!("{}\rX: 1\r\n\r\n", &GET[..GET.len() - 2]),
            format!("{}\r\r\n\r\n", &GET[..GET.len() - 2]),
        ],
    );
    add(
        "a bare line feed",
        &[Refused, One],
        &[
            lines(&format!("Content-Length: {length}\r\n"), SMUGGLED).replacen("\r\n", "\n", 1),
            lines(&format!("Content-Length: {length}\n"), SMUGGLED),
            lines(&format!("X: a\nContent-Length: {length}\r\n"), SMUGGLED),
            format!("{POST}Content-Length: {length}\r\n\n{SMUGGLED}"),
            format!("{POST}Content-Length: {length}\n\n{SMUGGLED}"),
            format!("{POST}Content-Length: {length}\n\r\n{SMUGGLED}"),
            format!("{}\n", GET.replace("\r\n", "\n")),
            format!("\n{GET}\r\n"),
            format!("\n\n\r\n{GET}\r\n"),
        ],
    );
    add(
        "a bare line feed before a coding",
        &[Refused, One],
        &[
            lines("X: a\nTransfer-Encoding: chunked\r\n", &chunks),
            lines("Transfer-Encoding: chunked\n", &chunks),
            format!("{POST}Transfer-Encoding: chunked\r\n\n{chunks}"),
        ],
    );
    // Read as another header each, which no server behind must read otherwise.
    add(
        "names that are almost others",
        &[Two],
        &[
            format!("{GET}Content_Length: {length}\r\n\r\n{SMUGGLED}"),
            format!("{GET}content_length: {length}\r\n\r\n{SMUGGLED}"),
            format!("{GET}Transfer_Encoding: chunked\r\n\r\n{SMUGGLED}"),
            format!("{GET}X-Forwarded_For: 1.2.3.4\r\n\r\n{SMUGGLED}"),
            format!("{GET}X_Forwarded_For: 1.2.3.4\r\n\r\n{SMUGGLED}"),
            format!("{GET}X_Forwarded-Host: b\r\n\r\n{SMUGGLED}"),
            format!("{GET}X_Amz_Executed_Version: 9\r\n\r\n{SMUGGLED}"),
            format!("{GET}X-Serin_Error: x\r\n\r\n{SMUGGLED}"),
            format!("{GET}Proxy_Connection: close\r\n\r\n{SMUGGLED}"),
            format!("{GET}Keep_Alive: 1\r\n\r\n{SMUGGLED}"),
            format!("{GET}X-Content-Length: {length}\r\n\r\n{SMUGGLED}"),
            format!("{GET}Content-Lengthx: {length}\r\n\r\n{SMUGGLED}"),
            format!("{GET}TransferEncoding: chunked\r\n\r\n{SMUGGLED}"),
            format!("{GET}Content-Length-: {length}\r\n\r\n{SMUGGLED}"),
        ],
    );
    add(
        "forged",
        &[One],
        &[
            lines("X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n", ""),
            lines("X-Forwarded-Host: b\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 1\r\n", ""),
            lines("Forwarded: for=1.2.3.4\r\n", ""),
            lines("X-Amz-Executed-Version: 9\r\n", ""),
            lines("X-Serin-Error: x\r\n", ""),
            lines("Proxy-Connection: keep-alive\r\nKeep-Alive: timeout=9\r\n", ""),
            lines("TE: gzip, trailers\r\n", ""),
            lines("TE: chunked\r\nTE: trailers;q=0.5\r\n", ""),
            lines("Trailer: Content-Length\r\nTransfer-Encoding: chunked\r\n", &chunks),
        ],
    );
    add(
        "connection options",
        &[One],
        &[
            lines(&format!("Connection: content-length\r\nContent-Length: {length}\r\n"), SMUGGLED),
            lines(
                &format!("Connection: Content-Length, keep-alive\r\nContent-Length: {length}\r\n"),
                SMUGGLED,
            ),
            lines("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", &chunks),
            lines("Connection: x-own\r\nX-Own: 1\r\n", ""),
            lines("Connection: te, keep-alive\r\nTE: trailers\r\n", ""),
            lines("Connection: cookie\r\nCookie: a=1\r\n", ""),
            lines("Connection: connection\r\n", ""),
            lines("Connection: \r\n", ""),
            lines("Connection: ,,,\r\n", ""),
            lines("Connection: expect\r\nExpect: x\r\n", ""),
            lines("Connection: trailer\r\nTrailer: x\r\n", ""),
        ],
    );
    let invoke = "POST /2015-03-31/functions/shop/invocations?Qualifier=live HTTP/1.1\r\nHost: a\r\n";
    add(
        "an Invoke in doubt",
        &[Refused],
        &[
            format!("{invoke}Transfer-Encoding: gzip, chunked\r\n\r\n{chunks}"),
            format!("{invoke}Transfer-Encoding: chunked, chunked\r\n\r\n{chunks}"),
            format!("{invoke}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
            format!("{invoke}Transfer-Encoding: identity\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"),
            format!("{invoke}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
            format!("{invoke}Content-Length: +3\r\n\r\nabc"),
            format!("{invoke}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        ],
    );
    add(
        "nominated",
        &[Refused, Declined],
        &[
            lines("Connection: host\r\n", ""),
            lines("Connection: close, Host\r\n", ""),
            lines("Connection: x-forwarded-for\r\n", ""),
            lines("Connection: X-Forwarded-Host\r\n", ""),
            lines("Connection: forwarded\r\n", ""),
            lines("Connection: x-amz-executed-version\r\n", ""),
            lines("Connection: keep-alive\r\nConnection: x-amzn-trace-id\r\n", ""),
            lines(&format!("Connection: host\r\nContent-Length: {length}\r\n"), SMUGGLED),
        ],
    );
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    add(
        "bytes behind an upgrade that is passed over",
        &[Two, OneThenClosed],
        &[
            format!("{GET}{upgrade}\r\n{SMUGGLED}"),
            format!("{GET}{upgrade}Content-Length: 0\r\n\r\n{SMUGGLED}"),
            format!(
                "{GET}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n{SMUGGLED}"
            ),
            format!("{GET}Upgrade: websocket\r\n\r\n{SMUGGLED}"),
            format!("{GET}Connection: upgrade\r\n\r\n{SMUGGLED}"),
            format!("{GET}Connection: upgrade\r\nUpgrade: websocket, irc\r\n\r\n{SMUGGLED}"),
            format!("{GET}Connection: upgrade\r\nUpgrade: \r\n\r\n{SMUGGLED}"),
        ],
    );
    add(
        "an old upgrade",
        &[OneThenClosed],
        &[format!("{}{upgrade}\r\n{SMUGGLED}", GET.replace("1.1", "1.0"))],
    );
    add(
        "an upgrade with a body",
        &[Refused],
        &[
            format!("{GET}{upgrade}Content-Length: {length}\r\n\r\n{SMUGGLED}"),
            format!("{GET}{upgrade}Transfer-Encoding: chunked\r\n\r\n{chunks}"),
            format!("{GET}{upgrade}Content-Length: 00\r\n\r\n{SMUGGLED}"),
            format!("{POST}{upgrade}Content-Length: {length}\r\n\r\n{SMUGGLED}"),
            format!("{POST}{upgrade}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        ],
    );
    add(
        "expectations",
        &[One],
        &[
            lines(&format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"), SMUGGLED),
            lines("Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", &chunks),
            lines(
                &format!("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n"),
                SMUGGLED,
            ),
            lines(&format!("Expect: x\r\nContent-Length: {length}\r\n"), SMUGGLED),
            lines(&format!("Expect: 100-continue, x\r\nContent-Length: {length}\r\n"), SMUGGLED),
            lines(&format!("Expect: \r\nContent-Length: {length}\r\n"), SMUGGLED),
            lines(&format!("Expect: 100-continuex\r\nContent-Length: {length}\r\n"), SMUGGLED),
            lines("Expect: 100-continue\r\nContent-Length: 0\r\n", ""),
        ],
    );
    add(
        "an old expectation",
        &[OneThenClosed],
        &[lines(&format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"), SMUGGLED)
            .replacen("1.1", "1.0", 1)],
    );
    add(
        "two requests and no more",
        &[TwoThenClosed],
        &[
            format!("{GET}\r\n{SMUGGLED}GET\r\n\r\n"),
            format!("{GET}\r\n{SMUGGLED}{}", lines("Content-Length: x\r\n", "")),
            format!("{GET}\r\n{}", SMUGGLED.replace("Host", "Connection: close\r\nHost")),
        ],
    );
    add(
        "what is never whole",
        &[Refused],
        &[
            lines("Content-Length: 100000\r\n", SMUGGLED),
            lines("Content-Length: 9223372036854775807\r\n", SMUGGLED),
            lines("Transfer-Encoding: chunked\r\n", "ffff\r\nabc"),
            lines("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n"),
            GET.to_owned(),
            format!("{GET}X: "),
            "GET /shop:live/case HT".to_owned(),
        ],
    );
    cases
}
