//! AWS Lambda's API: recorded answers word for word, named checks through boto3, the real `aws` client, other SDKs, events,
//! queues, and Terraform's calls.

mod aws;
mod conformance;
mod durable;
mod events;
mod fields;
mod first_day;
mod queues;
mod recorded;
mod sdks;
mod terraform;
