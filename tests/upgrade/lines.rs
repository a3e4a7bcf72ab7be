//! A process that takes over from a stranger: what it says over its line, told in bytes, as another version would.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::serin::command;
use crate::support::until;
use crate::support::users::service;

/// A predecessor made by hand.
struct Stranger {
    line: UnixStream,
    child: Child,
    api: SocketAddr,
    router: SocketAddr,
}

impl Stranger {
    fn start(dir: &Path, table_format: u32, table: &Value) -> Stranger {
        std::fs::create_dir_all(dir.join("data")).unwrap();
        let (line, theirs) = UnixStream::pair().unwrap();
        line.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut serve = command();
        serve.env("SERIN_HANDOVER", "1").stdin(Stdio::from(OwnedFd::from(theirs)));
        serve.args(["serve", "--workers", "1", "--data-dir"]).arg(dir.join("data"));
        let child = serve.stderr(Stdio::inherit()).spawn().unwrap();
        drop(serve);
        let [router, api] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let stranger =
            Stranger { line, child, api: api.local_addr().unwrap(), router: router.local_addr().unwrap() };
        stranger.say(
            &json!({ "table_format": table_format, "serin": "9.9.9", "pid": 1, "routers": 1, "new": {} }),
        );
        let descriptors = [router.as_fd(), api.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        assert!(beside.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(&stranger.line, &[IoSlice::new(&[0])], &mut beside, SendFlags::empty()).unwrap();
        stranger.say(table);
        stranger
    }

    fn say(&self, message: &Value) {
        let text = message.to_string();
        (&self.line).write_all(&(text.len() as u32).to_be_bytes()).unwrap();
        (&self.line).write_all(text.as_bytes()).unwrap();
    }

    fn hear(&self) -> String {
        let mut length = [0; 4];
        (&self.line).read_exact(&mut length).unwrap();
        let mut text = vec![0; u32::from_be_bytes(length) as usize];
        (&self.line).read_exact(&mut text).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["say"].as_str().unwrap().to_owned()
    }

    fn has_api(&self) -> bool {
        let answer = ureq::get(format!("http://{}/readyz", self.api)).call();
        answer.is_ok_and(|answer| answer.status() == 200)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // Gone already where the test ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn table(upstream: SocketAddr) -> Value {
    let target = json!({ "kind": "http", "url": format!("http://{upstream}") });
    json!({ "say": "table", "edits": [{ "Function": { "name": "f", "latest": target, "added": "later" } }] })
}

#[test]
fn a_table_is_served_before_the_store_is_free_and_follows_its_edits() {
    let dir = tempfile::tempdir().unwrap();
    let stranger = Stranger::start(dir.path(), 1, &table(service("$LATEST")));
    assert_eq!(stranger.hear(), "serving");
    let mut client = Client::connect(stranger.router);
    assert_eq!(client.get("/f:$LATEST/").text(), "$LATEST");
    stranger.say(&json!({ "say": "something that only later versions know" }));
    stranger.say(&json!({ "say": "table", "edits": [{ "RemoveFunction": "f" }] }));
    until("the edit is made", || client.get("/f:$LATEST/").status == 404);
    stranger.say(&json!({ "say": "released" }));
    assert_eq!(stranger.hear(), "settled");
    stranger.say(&json!({ "say": "farewell" }));
    until("its API answers", || stranger.has_api());
}

#[test]
fn a_table_of_another_format_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    for (format, table) in
        [(2, table(service("$LATEST"))), (1, json!({ "say": "table", "edits": [{ "Unheard": "of" }] }))]
    {
        let stranger = Stranger::start(dir.path(), format, &table);
        assert_eq!(stranger.hear(), "needsStore");
        // Whoever gave the socket still accepts from it; nobody does here.
        stranger.say(&json!({ "say": "table", "edits": [{ "RemoveFunction": "f" }] }));
        stranger.say(&json!({ "say": "released" }));
        assert_eq!((stranger.hear(), stranger.hear()), ("serving".to_owned(), "settled".to_owned()));
        assert_eq!(
            Client::connect(stranger.router).get("/f:$LATEST/").status,
            404,
            "by the store, which is empty"
        );
    }
}

#[test]
fn a_process_that_hears_no_more_goes_on_alone_and_one_that_is_told_to_leave_goes() {
    let dir = tempfile::tempdir().unwrap();
    let owned = serin::store::Store::open(&dir.path().join("data"), "the test, pid 1").unwrap();
    let mut stranger = Stranger::start(dir.path(), 1, &table(service("$LATEST")));
    assert_eq!(stranger.hear(), "serving");
    stranger.say(&json!({ "say": "released" }));
    let mut client = Client::connect(stranger.router);
    assert_eq!(client.get("/f:$LATEST/").status, 200, "although the store is held");
    stranger.say(&json!({ "say": "leave" }));
    until("it sees off who is here", || {
        let answer = client.get("/f:$LATEST/");
        assert_eq!(answer.status, 200);
        answer.header("connection") == Some("close")
    });
    until("it ends", || stranger.child.try_wait().unwrap().is_some());

    let alone = Stranger::start(dir.path(), 1, &table(service("$LATEST")));
    assert_eq!(alone.hear(), "serving");
    alone.line.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(Client::connect(alone.router).get("/f:$LATEST/").status, 200);
    drop(owned);
    until("it decides when the store is free", || alone.has_api());
}
