//! What a daemon says, heard line by line: for tests and for what measures it.

use std::io::{BufRead, BufReader};
use std::process::ChildStderr;
use std::thread::JoinHandle;

use serde_json::{Value, json};

/// Hands on each log line as it comes, until the daemon and all it started have ended; what is no JSON comes as a
/// message.
pub fn hear(stderr: ChildStderr, mut each: impl FnMut(Value) + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            each(serde_json::from_str(&line).unwrap_or_else(|_| json!({ "message": line })));
        }
    })
}
