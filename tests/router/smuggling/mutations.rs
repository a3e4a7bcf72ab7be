//! Cases by the thousand: every spelling of a length with every spelling of a coding, every end of a line and every
//! byte where it should not be, each with what may come of it by RFC 9112.

use super::cases::{POST, SMUGGLED, chunked};
use super::judge::Case;
use super::judge::Outcome::{self, Agreed, Declined, One, OneThenClosed, Refused, Two};

/// All of them.
pub fn made() -> Vec<Case> {
    [framings(), chunk_sizes(), line_ends(), bytes(), trailers()].concat()
}

/// How a reader takes a header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// It is not there, or is another header.
    Absent,
    Good,
    Bad,
}

/// Spellings of `Content-Length: N`.
fn lengths() -> Vec<(Reading, String)> {
    let header = |reading, values: &[&str]| -> Vec<(Reading, String)> {
        values.iter().map(|value| (reading, format!("Content-Length:{value}\r\n"))).collect()
    };
    let good =
        header(Reading::Good, &[" N", "N", "  N", "\tN", " N ", " N\t", " \t N \t ", " 0N", " 0000000000N"]);
    let bad = header(
        Reading::Bad,
        &[
            "",
            " ",
            " +N",
            " -N",
            " 0xN",
            " 0oN",
            " N.0",
            " N.",
            " .N",
            " N,",
            " ,N",
            " N, N",
            " N,N",
            " N N",
            " N;N",
            " Ne0",
            " N_0",
            " 'N'",
            " \"N\"",
            " (N)",
            " N\u{a0}",
            " \u{663}N",
            " N\0",
            " \u{b}N",
            " \u{c}N",
            " N\u{7f}",
            " NN\u{8}",
            " N\r",
            " N\rX",
            " 18446744073709551615",
            " 18446744073709551616",
            " 1844674407370955161N",
            " 99999999999999999999999999999999",
            " -0",
            " +0",
            " 0x0",
            " NaN",
            " N%20",
            " ^N",
            " =N",
        ],
    );
    let folded = vec![
        (Reading::Bad, "Content-Length:\r\n N\r\n".to_owned()),
        (Reading::Bad, "Content-Length: N\r\n \r\n".to_owned()),
    ];
    let names = [
        " Content-Length: N",
        "Content-Length : N",
        "Content-Length\t: N",
        "Content-Length\0: N",
        "Content-Length\u{b}: N",
    ]
    .map(|line| (Reading::Bad, format!("{line}\r\n")));
    let other = [
        "Content-Length-: N",
        "Content_Length: N",
        "X-Content-Length: N",
        "ContentLength: N",
        "Content-Lengt: N",
    ]
    .map(|line| (Reading::Absent, format!("{line}\r\n")));
    let twice = vec![
        (Reading::Good, "Content-Length: N\r\nCONTENT-LENGTH: N\r\n".to_owned()),
        (Reading::Bad, "Content-Length: N\r\nContent-Length: 0\r\n".to_owned()),
        (Reading::Bad, "Content-Length: 0\r\ncontent-length: N\r\n".to_owned()),
    ];
    let absent = vec![(Reading::Absent, String::new())];
    [absent, good, bad, folded, names.to_vec(), other.to_vec(), twice].concat()
}

/// Spellings of `Transfer-Encoding: chunked`.
fn codings() -> Vec<(Reading, String)> {
    let header = |reading, values: &[&str]| -> Vec<(Reading, String)> {
        values.iter().map(|value| (reading, format!("Transfer-Encoding:{value}\r\n"))).collect()
    };
    let good = header(
        Reading::Good,
        &[
            " chunked",
            "chunked",
            "  chunked",
            "\tchunked",
            " chunked ",
            " chunked\t",
            " Chunked",
            " CHUNKED",
            " cHuNkEd",
        ],
    );
    let bad = header(
        Reading::Bad,
        &[
            "",
            " ",
            " xchunked",
            " chunkedx",
            " chunke",
            " identity",
            " gzip",
            " x",
            " chunked, identity",
            " identity, chunked",
            " gzip, chunked",
            " chunked, gzip",
            " chunked, chunked",
            " chunked,chunked",
            " ,chunked",
            " , chunked",
            " chunked,",
            " chunked;q=1",
            " chunked;",
            " ;chunked",
            " chunked x",
            " x chunked",
            " chun ked",
            " \"chunked\"",
            " 'chunked'",
            " (chunked)",
            " chunked\0",
            " \u{b}chunked",
            " \u{c}chunked",
            " chunked\u{b}",
            " chunked\u{7f}",
            " chunked\u{a0}",
            " \u{ff43}hunked",
            " chunKed\u{301}",
            " c\u{335}hunked",
            " chunked\r",
            " chunked\rX: 1",
            " =chunked",
            " :chunked",
            " \\chunked",
            " %63hunked",
        ],
    );
    let folded = vec![
        (Reading::Bad, "Transfer-Encoding:\r\n chunked\r\n".to_owned()),
        (Reading::Bad, "Transfer-Encoding: chunked\r\n \r\n".to_owned()),
        (Reading::Bad, "Transfer-Encoding: chunked\r\n\t, identity\r\n".to_owned()),
    ];
    let names = [
        " Transfer-Encoding: chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding\0: chunked",
        "Transfer\u{2010}Encoding: chunked",
        "Transfer Encoding: chunked",
    ]
    .map(|line| (Reading::Bad, format!("{line}\r\n")));
    let other = [
        "Transfer_Encoding: chunked",
        "TransferEncoding: chunked",
        "X-Transfer-Encoding: chunked",
        "Transfer-Encodin: chunked",
    ]
    .map(|line| (Reading::Absent, format!("{line}\r\n")));
    let twice = vec![
        (Reading::Bad, "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n".to_owned()),
        (Reading::Bad, "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n".to_owned()),
        (Reading::Bad, "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n".to_owned()),
    ];
    let absent = vec![(Reading::Absent, String::new())];
    [absent, good, bad, folded, names.to_vec(), other.to_vec(), twice].concat()
}

/// What may come of a length and a coding before a body in a chunk or as it is.
fn framed(length: Reading, coding: Reading, is_chunked: bool) -> Vec<Outcome> {
    match (length, coding) {
        (_, Reading::Bad) | (Reading::Bad, Reading::Absent) => vec![Refused],
        (_, Reading::Good) if !is_chunked => vec![Refused],
        (Reading::Absent, Reading::Good) | (Reading::Good, Reading::Absent) => vec![One],
        // Refused, or the length is passed over and the connection ends with the answer (RFC 9112, 6.3).
        (Reading::Good | Reading::Bad, Reading::Good) => vec![Refused, OneThenClosed],
        // No body: what follows is the next request, if it is one.
        (Reading::Absent, Reading::Absent) if is_chunked => vec![OneThenClosed],
        (Reading::Absent, Reading::Absent) => vec![Two],
    }
}

fn framings() -> Vec<Case> {
    let mut cases = Vec::new();
    for (length, length_line) in lengths() {
        for (coding, coding_line) in codings() {
            for is_chunked in [false, true] {
                let body = if is_chunked { chunked(SMUGGLED) } else { SMUGGLED.to_owned() };
                let length_line = length_line.replace('N', &body.len().to_string());
                let allowed = framed(length, coding, is_chunked);
                for lines in [[&length_line, &coding_line], [&coding_line, &length_line]] {
                    let lines = lines.map(String::as_str).concat();
                    let bytes = format!("{POST}{lines}\r\n{body}").into_bytes();
                    let name = format!("{lines:?}, {}", if is_chunked { "chunked" } else { "plain" });
                    cases.push(Case { name, bytes, allowed: allowed.clone() });
                    if length == Reading::Absent && coding == Reading::Absent
                        || is_chunked && length == Reading::Bad
                    {
                        break;
                    }
                }
            }
        }
    }
    // The same before HTTP/1.0, where there are no codings.
    for (coding, coding_line) in codings() {
        let allowed = if coding == Reading::Absent { vec![OneThenClosed] } else { vec![Refused] };
        let bytes =
            format!("{}{coding_line}\r\n{}", POST.replace("1.1", "1.0"), chunked(SMUGGLED)).into_bytes();
        cases.push(Case { name: format!("HTTP/1.0 and {coding_line:?}"), bytes, allowed });
    }
    cases
}

fn chunk_sizes() -> Vec<Case> {
    let mut cases = Vec::new();
    // For a chunk of `abc`.
    let good = ["3", "03", "000000003"];
    let padded =
        ["3 ", "3\t", "3;", "3;a", "3;a=b", "3;a=\"b\"", "3 ; a = b", "3;a=\";\"", "3;\t", "3;a;b;c=d"];
    let bad = [
        "",
        " ",
        " 3",
        "\t3",
        "+3",
        "-3",
        "0x3",
        "3h",
        "3g",
        "3.",
        "3.0",
        "3,",
        "3,3",
        "3 3",
        "'3'",
        "\"3\"",
        "3\0",
        "\u{0}3",
        "3\u{b}",
        "3\u{7f}",
        "\u{663}",
        "x",
        "zz",
        "10000000000000003",
        "ffffffffffffffff3",
        "fffffffffffffffff",
        "8000000000000000",
        "ffffffffffffffff",
        "3\r",
        "3\rX",
        "3;\r",
        "3;a\rb",
        "3;\n",
        "3;a\nb",
        "3;a\n\rb",
        "3;\0",
        "3;\u{1}",
    ];
    // hyper passes extensions over without a look; those with a control byte go no further, either.
    let passed_over = ["3;\0", "3;\u{1}"];
    for before in ["", "1\r\nx\r\n"] {
        for (sizes, allowed) in [(&good[..], &[One][..]), (&padded, &[One, Refused]), (&bad, &[Refused])] {
            for size in sizes {
                let allowed = if passed_over.contains(size) { vec![One, Refused] } else { allowed.to_vec() };
                let body = format!("{before}{size}\r\nabc\r\n0\r\n\r\n");
                let bytes = format!("{POST}Transfer-Encoding: chunked\r\n\r\n{body}").into_bytes();
                cases.push(Case {
                    name: format!("a chunk's size of {size:?} after {before:?}"),
                    bytes,
                    allowed,
                });
            }
        }
    }
    for (last, allowed) in [
        ("0", vec![One]),
        ("000", vec![One]),
        ("0;a", vec![One, Refused]),
        ("0 ", vec![One, Refused]),
        ("-0", vec![Refused]),
        ("+0", vec![Refused]),
        ("0x0", vec![Refused]),
        (" 0", vec![Refused]),
        ("0\0", vec![Refused]),
        ("", vec![Refused]),
        ("00000000000000000000", vec![One, Refused]),
    ] {
        let bytes =
            format!("{POST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n{last}\r\n\r\n").into_bytes();
        cases.push(Case { name: format!("a last chunk of {last:?}"), bytes, allowed });
    }
    // hyper takes what follows this line feed for trailers, and passes over them: nothing in them is ever served.
    cases.push(Case {
        name: "a bare line feed after the last chunk".to_owned(),
        bytes: format!("{POST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\n{SMUGGLED}").into_bytes(),
        allowed: vec![Refused, One, OneThenClosed],
    });
    // Chunks that are longer or shorter than they say.
    for body in [
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc\r0\r\n\r\n",
        "3\r\nabc\r\r\n0\r\n\r\n",
        "3\r\nabc\n\r0\r\n\r\n",
        "3\r\nabc\0\n0\r\n\r\n",
        "3\r\nabcXX0\r\n\r\n",
        "3\r\nabc\r\n\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\rabc\r\n0\r\n\r\n",
        "3\n\rabc\r\n0\r\n\r\n",
        "3\r\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\n\n",
        "3\r\nabc\r\n0\n\r\n",
        "3\r\nabc\r\n0\r\n\rX",
        "3\r\nabc\r\n0\r\r\n",
        "\r\n3\r\nabc\r\n0\r\n\r\n",
        "abc",
        "",
    ] {
        let bytes = format!("{POST}Transfer-Encoding: chunked\r\n\r\n{body}").into_bytes();
        cases.push(Case { name: format!("chunks {body:?}"), bytes, allowed: vec![Refused] });
    }
    cases
}

/// Every end of a line in a good request, ended otherwise.
fn line_ends() -> Vec<Case> {
    let mut cases = Vec::new();
    let plain = format!("{POST}X: 1\r\nContent-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len());
    let in_chunks =
        format!("{POST}X: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n");
    for (request, ends) in [(plain, 5), (in_chunks, 10)] {
        let places: Vec<usize> = request.match_indices("\r\n").map(|(place, _)| place).take(ends).collect();
        for (index, place) in places.into_iter().enumerate() {
            let is_head = index < 5;
            for (end, allowed) in [
                ("\n", if is_head { vec![Refused, One] } else { vec![Refused, One, Agreed] }),
                ("\r", vec![Refused]),
                ("\r\r\n", vec![Refused]),
                ("\n\r", if index == 4 { vec![Refused, One] } else { vec![Refused] }),
                ("\0\r\n", vec![Refused]),
                ("\u{b}\r\n", vec![Refused]),
                ("\u{c}", vec![Refused]),
                ("\u{85}", vec![Refused, Agreed, Two]),
                ("\u{2028}", vec![Refused, Agreed, Two]),
                ("\r\n ", vec![Refused, Agreed]),
                ("\r\n\t", vec![Refused, Agreed]),
                ("\r\0\n", vec![Refused]),
                ("", vec![Refused, Agreed, Two]),
            ] {
                let mut bytes = request.clone();
                bytes.replace_range(place..place + 2, end);
                let name = format!("the end of line {} as {end:?}", index + 1);
                cases.push(Case { name, bytes: bytes.into_bytes(), allowed });
            }
        }
    }
    cases
}

/// Every byte that is neither a letter nor a digit, in every part of a head.
fn bytes() -> Vec<Case> {
    let mut cases = Vec::new();
    let all = (0..=255_u8).filter(|byte| !byte.is_ascii_alphanumeric());
    for byte in all {
        let is_control = byte < 0x20 && !b"\t\n".contains(&byte) || byte == 0x7f;
        for (place, before, after) in [
            ("method", "PO", "ST /shop:live/case HTTP/1.1\r\nHost: a\r\n"),
            ("path", "POST /shop:live/case?a", "b HTTP/1.1\r\nHost: a\r\n"),
            ("version", "POST /shop:live/case HTTP/1.", "1\r\nHost: a\r\n"),
            ("host", "POST /shop:live/case HTTP/1.1\r\nHost: a", "b\r\n"),
            ("name", "POST /shop:live/case HTTP/1.1\r\nHost: a\r\nX", "Y: 1\r\n"),
            ("name's end", "POST /shop:live/case HTTP/1.1\r\nHost: a\r\nTransfer-Encoding", ": chunked\r\n"),
            ("value", "POST /shop:live/case HTTP/1.1\r\nHost: a\r\nX: a", "b\r\n"),
            ("line's beginning", "POST /shop:live/case HTTP/1.1\r\nHost: a\r\n", "X: a\r\n"),
        ] {
            let mut bytes = before.as_bytes().to_vec();
            bytes.push(byte);
            bytes.extend_from_slice(
                format!("{after}Content-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len()).as_bytes(),
            );
            let allowed = match place {
                _ if is_control => vec![Refused],
                "version" => vec![Refused],
                // A good request of another header, target or method; a line feed ends a line.
                _ => vec![Agreed],
            };
            let name = format!("byte {:?} in the {place}", (byte as char).escape_default().to_string());
            cases.push(Case { name, bytes, allowed });
        }
    }
    cases
}

/// Trailers, which are read where headers are.
fn trailers() -> Vec<Case> {
    let mut cases = Vec::new();
    for (lines, allowed) in [
        ("X-Sum: 1\r\n", vec![One]),
        ("Content-Length: 5\r\n", vec![One, Refused]),
        ("Transfer-Encoding: chunked\r\n", vec![One, Refused]),
        ("Host: b\r\n", vec![One, Refused]),
        ("Connection: close\r\n", vec![One, Refused]),
        ("Content_Length: 5\r\n", vec![One, Refused]),
        ("X-Forwarded-For: 1.2.3.4\r\n", vec![One, Refused]),
        ("X_Forwarded_For: 1.2.3.4\r\n", vec![One, Refused]),
        ("X-Forwarded-Host: b\r\n", vec![One, Refused]),
        ("Forwarded: for=1.2.3.4\r\n", vec![One, Refused]),
        ("X-Amz-Executed-Version: 9\r\n", vec![One, Refused]),
        ("X-Serin-Error: x\r\n", vec![One, Refused]),
        ("Authorization: x\r\n", vec![One, Refused]),
        ("Cookie: a=1\r\n", vec![One, Refused]),
        ("TE: trailers\r\n", vec![One, Refused]),
        ("Upgrade: x\r\n", vec![One, Refused]),
        ("Trailer: x\r\n", vec![One, Refused]),
        ("Expect: 100-continue\r\n", vec![One, Refused]),
        ("X-Sum : 1\r\n", vec![Refused]),
        ("X-Sum: 1\r\n 2\r\n", vec![Refused]),
        (" X-Sum: 1\r\n", vec![Refused]),
        ("X-Sum\r\n", vec![Refused]),
        (": 1\r\n", vec![Refused]),
        ("X-Sum: \0\r\n", vec![Refused]),
        ("X\0: 1\r\n", vec![Refused]),
        ("X-Sum: 1\rX: 2\r\n", vec![Refused]),
        ("X-Sum: 1\nX: 2\r\n", vec![One, Refused]),
        ("X-Sum: 1\n\nGET /shop:live/smuggled HTTP/1.1\r\nHost: a\r\n", vec![Agreed, Refused]),
        ("X-Sum: 1\n\r\n", vec![One, Refused, OneThenClosed, Declined]),
        ("GET /shop:live/smuggled HTTP/1.1\r\n", vec![One, Refused]),
    ] {
        for announced in ["", "Trailer: *\r\n"] {
            let names: Vec<&str> =
                lines.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
            let is_plain = names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_graphic()));
            if !announced.is_empty() && !is_plain {
                continue;
            }
            let announced = announced.replace('*', &names.join(", "));
            let bytes =
                format!("{POST}{announced}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{lines}\r\n");
            let name = format!("trailers {lines:?} announced as {announced:?}");
            cases.push(Case { name, bytes: bytes.into_bytes(), allowed: allowed.clone() });
        }
    }
    cases
}
