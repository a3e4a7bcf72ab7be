//! A stand-in of SQS for tests: moto's server, and a client of it.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::house::agent;
use super::in_time;

/// Moto's server: a stand-in of SQS that outlives daemons.
pub struct Sqs {
    /// Where it answers.
    pub url: String,
    agent: ureq::Agent,
    child: Child,
}

impl Sqs {
    /// Starts it, and waits until it answers.
    #[expect(clippy::disallowed_methods, reason = "a tool of the test run, not of serin; waits in real time")]
    pub fn start() -> Sqs {
        let python =
            std::env::var("SERIN_TEST_PYTHON").expect("SERIN_TEST_PYTHON names Python; scripts/test sets it");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .env("MOTO_ALLOW_NONEXISTENT_REGION", "false")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let sqs = Sqs { url: format!("http://127.0.0.1:{port}"), agent: agent(), child };
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "moto's server does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        sqs
    }

    fn call(&self, operation: &str, body: &Value) -> Value {
        let headers = [
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", &*format!("AmazonSQS.{operation}")),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, \
                 Signature=00",
            ),
        ];
        let mut request = ureq::http::Request::post(format!("{}/", self.url));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut response = self.agent.run(request.body(body.to_string()).unwrap()).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        assert_eq!(response.status(), 200, "{operation}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Makes a queue and gives its URL and its ARN.
    pub fn queue(&self, name: &str, visibility_timeout_s: u32) -> Queue<'_> {
        let attributes = json!({ "VisibilityTimeout": visibility_timeout_s.to_string() });
        let made = self.call("CreateQueue", &json!({ "QueueName": name, "Attributes": attributes }));
        let url = made["QueueUrl"].as_str().unwrap().to_owned();
        let asked = json!({ "QueueUrl": url, "AttributeNames": ["QueueArn"] });
        let arn =
            self.call("GetQueueAttributes", &asked)["Attributes"]["QueueArn"].as_str().unwrap().to_owned();
        Queue { sqs: self, url, arn }
    }
}

impl Drop for Sqs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A queue of it.
pub struct Queue<'a> {
    sqs: &'a Sqs,
    url: String,
    /// Its ARN.
    pub arn: String,
}

impl Queue<'_> {
    /// Sends messages and gives their ids with their bodies.
    pub fn send(&self, bodies: &[String]) -> BTreeMap<String, String> {
        let mut sent = BTreeMap::new();
        for bodies in bodies.chunks(10) {
            let entry = |(id, body): (usize, &String)| json!({ "Id": id.to_string(), "MessageBody": body });
            let entries: Vec<Value> = bodies.iter().enumerate().map(entry).collect();
            let answer =
                self.sqs.call("SendMessageBatch", &json!({ "QueueUrl": self.url, "Entries": entries }));
            for done in answer["Successful"].as_array().unwrap() {
                let index: usize = done["Id"].as_str().unwrap().parse().unwrap();
                sent.insert(done["MessageId"].as_str().unwrap().to_owned(), bodies[index].clone());
            }
        }
        sent
    }

    /// Sends so many messages, never far ahead of who takes them, and gives their ids: moto slows down with the length
    /// of a queue.
    pub fn send_slowly(&self, messages: usize) -> Vec<String> {
        const AHEAD_MAX: u64 = 150;
        let bodies: Vec<String> = (0..messages).map(|number| format!("order {number}")).collect();
        let mut sent = Vec::new();
        for bodies in bodies.chunks(10) {
            in_time("there is room in the queue", || self.left() < AHEAD_MAX);
            sent.extend(self.send(bodies).into_keys());
        }
        sent
    }

    /// Takes up to ten messages out of the queue, with their attributes.
    pub fn take(&self) -> Vec<Value> {
        let asked = json!({
            "QueueUrl": self.url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0, "MessageAttributeNames": ["All"],
        });
        let answer = self.sqs.call("ReceiveMessage", &asked);
        let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
        for message in &messages {
            let asked = json!({ "QueueUrl": self.url, "ReceiptHandle": message["ReceiptHandle"] });
            self.sqs.call("DeleteMessage", &asked);
        }
        messages
    }

    /// How many messages are left, waiting or given out.
    pub fn left(&self) -> u64 {
        let attributes =
            self.sqs.call("GetQueueAttributes", &json!({ "QueueUrl": self.url, "AttributeNames": ["All"] }));
        ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
            .iter()
            .map(|name| attributes["Attributes"][name].as_str().unwrap().parse::<u64>().unwrap())
            .sum()
    }
}
