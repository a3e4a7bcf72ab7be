//! AWS Lambda's API: recorded answers word for word, and the real `aws` client.

mod aws;
mod recorded;
