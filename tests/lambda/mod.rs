//! AWS Lambda's API: recorded answers word for word, named checks through boto3, and the real `aws` client.

mod aws;
mod conformance;
mod durable;
mod first_day;
mod recorded;
