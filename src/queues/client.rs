//! SQS as a client: a few operations by AWS JSON 1.0, signed, each within its time and its size. Event sources take
//! messages by it, and asynchronous invocations send what became of them.
//!
//! Every request goes to one endpoint for a region; what a queue's URL says of hosts is not heeded, so that nobody who
//! answers can send a signed request elsewhere. Redirects are not followed.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use ureq::Agent;
use ureq::http::{Method, Request};

use super::batch::Message;
use crate::clock;
use crate::config::QueueConfig;
use serin_core::lambda::event_source::QueueArn;

/// How long SQS holds a question for messages while there are none: the longest it takes, in seconds.
pub(super) const WAIT_S_MAX: u64 = 20;
/// SQS gives and takes at most so many messages at a time.
pub(super) const MESSAGES_MAX: usize = 10;
/// How long an answer may take beyond what was asked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Ten messages of 1 MiB, and room for what JSON makes of them.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// How much of an error that is no JSON is told.
const QUOTE_CHARS_MAX: usize = 200;

const TARGET: &str = "x-amz-target";
const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// Why SQS did not do what it was asked to, in a sentence without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SqsFault(String);

impl SqsFault {
    /// So many messages were not deleted, although SQS answered.
    pub(super) fn undeleted(messages: usize) -> SqsFault {
        SqsFault(format!("SQS did not delete {messages} messages that are done; they will be done again"))
    }

    /// The question itself failed.
    pub fn internal(why: &tokio::task::JoinError) -> SqsFault {
        SqsFault(format!("asking SQS failed: {why}"))
    }
}

impl SqsFault {
    /// Whether SQS said that there is no such queue.
    pub fn is_no_such_queue(&self) -> bool {
        ["NonExistentQueue", "QueueDoesNotExist"].iter().any(|kind| self.0.contains(kind))
    }
}

/// A queue that is there.
#[derive(Clone, Debug)]
pub struct Queue {
    url: String,
    region: String,
}

/// A client of SQS; its calls block.
pub struct Sqs {
    config: QueueConfig,
    agent: Agent,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Received {
    #[serde(default)]
    messages: Option<Vec<Message>>,
}

impl Sqs {
    /// A client with the daemon's endpoint and keys.
    pub fn new(config: &QueueConfig) -> Sqs {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(Duration::from_secs(WAIT_S_MAX) + PATIENCE))
            // What waits for messages holds a connection each; the others are used again.
            .max_idle_connections_per_host(16)
            .user_agent(concat!("serin/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Sqs { config: config.clone(), agent }
    }

    /// Finds a queue.
    pub fn queue(&self, arn: &QueueArn) -> Result<Queue, SqsFault> {
        let asked = json!({ "QueueName": arn.name(), "QueueOwnerAWSAccountId": arn.account() });
        let answer = self.call(arn.region(), "GetQueueUrl", &asked, Duration::ZERO)?;
        let url = answer.get("QueueUrl").and_then(Value::as_str);
        let url = url.ok_or_else(|| SqsFault("SQS answered GetQueueUrl without a QueueUrl".to_owned()))?;
        Ok(Queue { url: url.to_owned(), region: arn.region().to_owned() })
    }

    /// Takes up to so many messages, and waits for the first one if there is none.
    pub(super) fn receive(
        &self,
        queue: &Queue,
        messages_max: usize,
        wait_s: u64,
    ) -> Result<Vec<Message>, SqsFault> {
        let asked = json!({
            "QueueUrl": queue.url,
            "MaxNumberOfMessages": messages_max.clamp(1, MESSAGES_MAX),
            "WaitTimeSeconds": wait_s.min(WAIT_S_MAX),
            "AttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        });
        let answer = self.call(&queue.region, "ReceiveMessage", &asked, Duration::from_secs(wait_s))?;
        let received: Received = serde_json::from_value(answer).map_err(|why| {
            SqsFault(format!("SQS answered ReceiveMessage with what cannot be read: {why}"))
        })?;
        Ok(received.messages.unwrap_or_default())
    }

    /// Sends a message, with attributes of a type and a value each.
    pub fn send(
        &self,
        queue: &Queue,
        body: &str,
        attributes: &BTreeMap<String, (String, String)>,
    ) -> Result<(), SqsFault> {
        let attribute = |(name, (kind, value)): (&String, &(String, String))| {
            (name.clone(), json!({ "DataType": kind, "StringValue": value }))
        };
        let mut asked = json!({ "QueueUrl": queue.url, "MessageBody": body });
        if !attributes.is_empty() {
            let attributes: Map<String, Value> = attributes.iter().map(attribute).collect();
            asked["MessageAttributes"] = Value::Object(attributes);
        }
        self.call(&queue.region, "SendMessage", &asked, Duration::ZERO).map(|_| ())
    }

    /// Deletes messages by their receipts, and tells how many could not be.
    pub(super) fn delete(&self, queue: &Queue, receipts: &[String]) -> Result<usize, SqsFault> {
        self.in_tens(
            queue,
            "DeleteMessageBatch",
            receipts,
            |id, receipt| json!({ "Id": id.to_string(), "ReceiptHandle": receipt }),
        )
    }

    /// Gives messages back at once, and tells how many could not be.
    pub(super) fn release(&self, queue: &Queue, receipts: &[String]) -> Result<usize, SqsFault> {
        self.in_tens(
            queue,
            "ChangeMessageVisibilityBatch",
            receipts,
            |id, receipt| json!({ "Id": id.to_string(), "ReceiptHandle": receipt, "VisibilityTimeout": 0 }),
        )
    }

    /// Does something with receipts, as many at a time as SQS takes; `Err` is the first fault, after all were tried.
    fn in_tens(
        &self,
        queue: &Queue,
        operation: &str,
        receipts: &[String],
        entry: impl Fn(usize, &String) -> Value,
    ) -> Result<usize, SqsFault> {
        let mut failed = 0;
        let mut fault = None;
        for receipts in receipts.chunks(MESSAGES_MAX) {
            let entries: Vec<Value> =
                receipts.iter().enumerate().map(|(id, receipt)| entry(id, receipt)).collect();
            let asked = json!({ "QueueUrl": queue.url, "Entries": entries });
            match self.call(&queue.region, operation, &asked, Duration::ZERO) {
                Ok(answer) => failed += answer.get("Failed").and_then(Value::as_array).map_or(0, Vec::len),
                Err(why) => fault = fault.or(Some(why)),
            }
        }
        fault.map_or(Ok(failed), Err)
    }

    fn call(&self, region: &str, operation: &str, asked: &Value, wait: Duration) -> Result<Value, SqsFault> {
        let request = self.signed(region, operation, asked)?;
        let request = self.agent.configure_request(request).timeout_global(Some(wait + PATIENCE)).build();
        let unreachable =
            |why: ureq::Error| SqsFault(format!("SQS did not answer {operation}: {}", in_words(&why)));
        let mut response = self.agent.run(request).map_err(unreachable)?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).lossy_utf8(true);
        let body = body.read_to_string().map_err(unreachable)?;
        let answer = serde_json::from_str::<Value>(&body);
        if status.is_success() {
            return answer.map_err(|_| SqsFault(format!("SQS answered {operation} with what is no JSON")));
        }
        let text = |name: &str| answer.as_ref().ok()?.get(name)?.as_str();
        let kind = text("__type").map(|kind| kind.rsplit('#').next().unwrap_or(kind));
        let message = text("message").or(text("Message"));
        let told = match (kind, message) {
            (Some(kind), Some(message)) => format!("{kind}: {message}"),
            (Some(told), None) | (None, Some(told)) => told.to_owned(),
            (None, None) => body.chars().filter(|char| !char.is_control()).take(QUOTE_CHARS_MAX).collect(),
        };
        Err(SqsFault(format!("SQS refused {operation} with {}: {told}", status.as_u16())))
    }

    fn signed(&self, region: &str, operation: &str, asked: &Value) -> Result<Request<Vec<u8>>, SqsFault> {
        let (url, is_loopback) = match &self.config.endpoint {
            Some(endpoint) => (endpoint.url().to_owned(), endpoint.is_loopback()),
            None => (format!("https://sqs.{region}.{}/", domain_of(region)), false),
        };
        let credentials = match &self.config.keys {
            Some(keys) => keys.clone(),
            // Stand-ins of SQS want a signature in the right form, whoever made it.
            None if is_loopback => Credentials::new("serin", "serin", None, None, "loopback"),
            None => {
                let text = "the daemon has no keys for SQS; start it with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
                return Err(SqsFault(text.to_owned()));
            }
        };
        let body = serde_json::to_vec(asked).expect("a JSON value is JSON");
        let target = format!("AmazonSQS.{operation}");
        let unsigned = |_| SqsFault(format!("the request {operation} to SQS could not be signed"));
        let identity = credentials.into();
        let at = Duration::from_millis(u64::try_from(clock::wall_now().0).unwrap_or_default());
        let params = SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("sqs")
            .time(UNIX_EPOCH + at)
            .settings(SigningSettings::default())
            .build()
            .expect("every part of the parameters is given")
            .into();
        let headers = [("content-type", CONTENT_TYPE), (TARGET, target.as_str())];
        let signable =
            SignableRequest::new("POST", url.as_str(), headers.into_iter(), SignableBody::Bytes(&body))
                .map_err(unsigned)?;
        let instructions = sign(signable, &params).map_err(unsigned)?.into_parts().0;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&url)
            .header("content-type", CONTENT_TYPE)
            .header(TARGET, &target)
            .body(body)
            .map_err(|_| SqsFault(format!("{url} is no address of SQS")))?;
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

/// Where a region's services are.
fn domain_of(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// Why there is no answer, without the request's words, which hold a signature.
fn in_words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::HostNotFound => "no such host".to_owned(),
        ureq::Error::BodyExceedsLimit(limit) => format!("the answer is longer than {limit} bytes"),
        ureq::Error::Io(why) => why.kind().to_string(),
        ureq::Error::ConnectionFailed => "the connection failed".to_owned(),
        _ => "the answer is not HTTP that can be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqs(endpoint: Option<&str>, keys: Option<Credentials>) -> Sqs {
        Sqs::new(&QueueConfig { endpoint: endpoint.map(|url| url.parse().unwrap()), keys })
    }

    #[test]
    fn requests_go_to_the_queues_region_and_are_signed_for_it() {
        let keys = Credentials::new("AKIDEXAMPLE", "secret", Some("session".to_owned()), None, "test");
        let request = sqs(None, Some(keys)).signed("eu-west-1", "GetQueueUrl", &json!({})).unwrap();
        assert_eq!(request.uri(), "https://sqs.eu-west-1.amazonaws.com/");
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-amz-target"), "AmazonSQS.GetQueueUrl");
        assert_eq!(header("x-amz-security-token"), "session");
        let authorization = header("authorization");
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{authorization}");
        assert!(authorization.contains("/eu-west-1/sqs/aws4_request"), "{authorization}");
        assert!(authorization.contains("content-type;host;x-amz-date;x-amz-security-token;x-amz-target"));
    }

    #[test]
    fn keys_are_needed_away_from_loopback_alone() {
        let signed = |endpoint| sqs(endpoint, None).signed("us-east-1", "ReceiveMessage", &json!({}));
        for endpoint in ["http://127.0.0.1:5000", "http://localhost:5000/", "http://[::1]:5000"] {
            assert!(signed(Some(endpoint)).is_ok(), "{endpoint}");
        }
        for endpoint in [None, Some("https://sqs.example.org"), Some("http://localhost.example.org")] {
            let why = signed(endpoint).unwrap_err().to_string();
            assert!(why.contains("AWS_ACCESS_KEY_ID"), "{why}");
        }
    }

    #[test]
    fn a_service_that_is_not_there_is_said_in_a_sentence() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arn = "arn:aws:sqs:us-east-1:000000000000:q".parse().unwrap();
        let why = sqs(Some(&format!("http://127.0.0.1:{port}")), None).queue(&arn).unwrap_err();
        assert_eq!(why.to_string(), "SQS did not answer GetQueueUrl: connection refused");
    }
}
