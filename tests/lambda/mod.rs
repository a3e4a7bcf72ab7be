//! AWS Lambda's API: recorded answers word for word, named checks through boto3, the real `aws` client, and queues.

mod aws;
mod conformance;
mod durable;
mod first_day;
mod queues;
mod recorded;
