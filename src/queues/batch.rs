//! Messages as SQS gives them, as functions get them, and what a function's answer says of each.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use serin_core::lambda::event_filter::Filter;
use serin_core::lambda::event_source::{EventSource, QueueArn};

/// No event of a batch is longer, so that it is a payload: 6 MiB less a little for what is around the records.
const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024 - 64;

/// A message of ReceiveMessage's answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Message {
    pub(super) message_id: String,
    pub(super) receipt_handle: String,
    #[serde(default)]
    body: String,
    #[serde(default, rename = "MD5OfBody")]
    md5_of_body: String,
    #[serde(default, rename = "MD5OfMessageAttributes")]
    md5_of_message_attributes: Option<String>,
    #[serde(default)]
    attributes: Map<String, Value>,
    #[serde(default)]
    message_attributes: Map<String, Value>,
}

impl Message {
    /// The message as a function gets it.
    fn record(&self, queue: &QueueArn) -> Value {
        let attribute = |(name, value): (&String, &Value)| {
            let mut attribute = Map::new();
            for (from, to) in [("StringValue", "stringValue"), ("BinaryValue", "binaryValue")] {
                if let Some(value) = value.get(from).filter(|value| !value.is_null()) {
                    attribute.insert(to.to_owned(), value.clone());
                }
            }
            attribute.insert("stringListValues".to_owned(), json!([]));
            attribute.insert("binaryListValues".to_owned(), json!([]));
            attribute.insert("dataType".to_owned(), value.get("DataType").cloned().unwrap_or_default());
            (name.clone(), Value::Object(attribute))
        };
        json!({
            "messageId": self.message_id,
            "receiptHandle": self.receipt_handle,
            "body": self.body,
            "attributes": self.attributes,
            "messageAttributes": self.message_attributes.iter().map(attribute).collect::<Map<_, _>>(),
            // As on Lambda, null where the message has no attributes.
            "md5OfMessageAttributes": self.md5_of_message_attributes,
            "md5OfBody": self.md5_of_body,
            "eventSource": "aws:sqs",
            "eventSourceARN": queue,
            "awsRegion": queue.region(),
        })
    }

    /// Whether one of a mapping's filters wants it; without filters every message is wanted.
    pub(super) fn is_wanted(&self, filters: &[Filter], queue: &QueueArn) -> bool {
        if filters.is_empty() {
            return true;
        }
        let mut record = self.record(queue);
        if let Ok(body @ Value::Object(_)) = serde_json::from_str(&self.body) {
            record["body"] = body;
        }
        filters.iter().any(|filter| filter.wants(&record))
    }
}

/// Messages of one invocation, and its payload.
pub(super) struct Batch {
    pub(super) messages: Vec<Message>,
    pub(super) event: String,
}

/// Makes batches of messages in their order, none with more than the mapping's size nor longer than a payload.
pub(super) fn batches(source: &EventSource, messages: Vec<Message>) -> Vec<Batch> {
    let size_max = source.batch_size as usize;
    let mut batches: Vec<(Vec<Message>, Vec<String>, usize)> = Vec::new();
    for message in messages {
        let record = message.record(&source.source).to_string();
        match batches.last_mut() {
            Some((messages, records, bytes))
                if messages.len() < size_max && *bytes + record.len() < EVENT_BYTES_MAX =>
            {
                *bytes += record.len() + 1;
                messages.push(message);
                records.push(record);
            }
            _ => {
                let bytes = record.len();
                batches.push((vec![message], vec![record], bytes));
            }
        }
    }
    let batch = |(messages, records, _): (_, Vec<String>, _)| Batch {
        messages,
        event: format!(r#"{{"Records":[{}]}}"#, records.join(",")),
    };
    batches.into_iter().map(batch).collect()
}

/// What a function that reports failures says of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// All messages but these are done.
    AllBut(BTreeSet<String>),
    /// Nothing is done, because the report cannot be read; why.
    Nothing(&'static str),
}

/// Reads the answer of a function that reports which messages failed.
///
/// No list, or an empty one, is success. What cannot be read, or names a message that is not of the batch, fails the
/// whole batch, as on Lambda ("Reporting batch item failures").
pub(super) fn report(answer: &[u8], messages: &[Message]) -> Report {
    if answer.is_empty() {
        return Report::AllBut(BTreeSet::new());
    }
    let failures = match serde_json::from_slice::<Value>(answer) {
        Ok(Value::Null) => Value::Null,
        Ok(Value::Object(mut answer)) => answer.remove("batchItemFailures").unwrap_or_default(),
        Ok(_) | Err(_) => return Report::Nothing("the function's answer is no report of item failures"),
    };
    let failures = match failures {
        Value::Null => Vec::new(),
        Value::Array(failures) => failures,
        _ => return Report::Nothing("batchItemFailures is not a list"),
    };
    let mut failed = BTreeSet::new();
    for failure in &failures {
        let identifier = failure.get("itemIdentifier").and_then(Value::as_str).unwrap_or_default();
        if !messages.iter().any(|message| message.message_id == identifier) {
            return Report::Nothing("an itemIdentifier is not of the batch");
        }
        failed.insert(identifier.to_owned());
    }
    Report::AllBut(failed)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use serin_core::model::time::Timestamp;

    fn message(id: &str, body: &str) -> Message {
        let text = json!({
            "MessageId": id, "ReceiptHandle": format!("r-{id}"), "Body": body, "MD5OfBody": "m",
            "Attributes": {"ApproximateReceiveCount": "1"},
            "MessageAttributes": {"kind": {"StringValue": "x", "DataType": "String"}},
        });
        serde_json::from_value(text).unwrap()
    }

    fn source(batch_size: u32) -> EventSource {
        EventSource {
            id: Uuid::nil(),
            source: "arn:aws:sqs:eu-west-1:000000000000:q".parse().unwrap(),
            function: "f".parse().unwrap(),
            qualifier: Some("live".to_owned()),
            is_enabled: true,
            batch_size,
            batching_window_s: 0,
            reports_item_failures: true,
            concurrency_max: None,
            filters: Vec::new(),
            tags: Default::default(),
            modified_at: Timestamp(0),
        }
    }

    #[test]
    fn an_event_has_awss_shape() {
        let batches = batches(&source(10), vec![message("a", "hello")]);
        let event: Value = serde_json::from_str(&batches[0].event).unwrap();
        let expected = json!({"Records": [{
            "messageId": "a", "receiptHandle": "r-a", "body": "hello",
            "attributes": {"ApproximateReceiveCount": "1"},
            "messageAttributes": {"kind": {
                "stringValue": "x", "stringListValues": [], "binaryListValues": [], "dataType": "String",
            }},
            "md5OfMessageAttributes": null, "md5OfBody": "m", "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:q", "awsRegion": "eu-west-1",
        }]});
        assert_eq!(event, expected);
    }

    #[test]
    fn batches_keep_order_size_and_length() {
        let sizes = |size, bodies: &[&str]| {
            let messages =
                bodies.iter().enumerate().map(|(id, body)| message(&id.to_string(), body)).collect();
            let batches = batches(&source(size), messages);
            assert!(batches.iter().all(|batch| batch.event.len() <= 6 * 1024 * 1024));
            let ids: Vec<&String> =
                batches.iter().flat_map(|batch| &batch.messages).map(|m| &m.message_id).collect();
            assert!(ids.is_sorted_by_key(|id| id.parse::<u32>().unwrap()));
            batches.iter().map(|batch| batch.messages.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(2, &["x"; 5]), [2, 2, 1]);
        assert_eq!(sizes(10, &["x"; 5]), [5]);
        let long = "x".repeat(1 << 20);
        assert_eq!(sizes(10, &[long.as_str(); 7]), [5, 2]);
        assert!(sizes(1, &[]).is_empty());
    }

    #[test]
    fn reports_are_read_as_on_lambda() {
        let messages = [message("a", ""), message("b", "")];
        let failed = |ids: &[&str]| Report::AllBut(ids.iter().map(|id| (*id).to_owned()).collect());
        for (answer, expected) in [
            ("", failed(&[])),
            ("null", failed(&[])),
            ("{}", failed(&[])),
            (r#"{"batchItemFailures": []}"#, failed(&[])),
            (r#"{"batchItemFailures": null}"#, failed(&[])),
            (r#"{"batchItemFailures": [{"itemIdentifier": "b"}]}"#, failed(&["b"])),
        ] {
            assert_eq!(report(answer.as_bytes(), &messages), expected, "{answer}");
        }
        for answer in [
            "done",
            "[]",
            "\"a\"",
            r#"{"batchItemFailures": "a"}"#,
            r#"{"batchItemFailures": ["a"]}"#,
            r#"{"batchItemFailures": [{"itemIdentifier": ""}]}"#,
            r#"{"batchItemFailures": [{"itemIdentifier": null}]}"#,
            r#"{"batchItemFailures": [{"id": "a"}]}"#,
            r#"{"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "c"}]}"#,
        ] {
            assert!(matches!(report(answer.as_bytes(), &messages), Report::Nothing(_)), "{answer}");
        }
    }

    #[test]
    fn filters_look_into_bodies_of_json() {
        let queue: QueueArn = "arn:aws:sqs:eu-west-1:000000000000:q".parse().unwrap();
        let filter = |pattern: &str| [Filter::parse(pattern).unwrap()];
        let json = filter(r#"{"body": {"kind": ["order"]}}"#);
        assert!(message("a", r#"{"kind": "order"}"#).is_wanted(&json, &queue));
        assert!(!message("a", r#"{"kind": "refund"}"#).is_wanted(&json, &queue));
        assert!(!message("a", "order").is_wanted(&json, &queue));
        let text = filter(r#"{"body": [{"prefix": "order"}]}"#);
        assert!(message("a", "order 7").is_wanted(&text, &queue));
        assert!(!message("a", r#"{"kind": "order"}"#).is_wanted(&text, &queue));
        assert!(message("a", "x").is_wanted(&[], &queue));
        let attribute = filter(r#"{"messageAttributes": {"kind": {"stringValue": ["x"]}}}"#);
        assert!(message("a", "x").is_wanted(&attribute, &queue));
    }
}
