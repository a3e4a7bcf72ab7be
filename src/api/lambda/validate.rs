//! Constraint faults in AWS's frame: all of them in one text, before anything is looked up.

use super::error::LambdaError;

/// The constraint faults of one request, in the order they were found.
#[derive(Default)]
pub struct Violations(Vec<String>);

impl Violations {
    /// Notes that a value breaks a constraint.
    pub fn add(&mut self, member: &str, value: &str, constraint: &str) {
        self.0.push(format!("Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"));
    }

    /// Notes that a required value is missing.
    pub fn missing(&mut self, member: &str) {
        self.0
            .push(format!("Value null at '{member}' failed to satisfy constraint: Member must not be null"));
    }

    /// Notes that a value does not match a pattern.
    pub fn pattern(&mut self, member: &str, value: &str, pattern: &str) {
        self.add(member, value, &format!("Member must satisfy regular expression pattern: {pattern}"));
    }

    /// Checks a value's length in characters.
    pub fn length(&mut self, member: &str, value: &str, min: usize, max: usize) {
        let length = value.chars().count();
        if length > max {
            self.add(member, value, &format!("Member must have length less than or equal to {max}"));
        }
        if length < min {
            self.add(member, value, &format!("Member must have length greater than or equal to {min}"));
        }
    }

    /// Refuses the request if anything was noted.
    pub fn refuse(self) -> Result<(), LambdaError> {
        let count = self.0.len();
        match count {
            0 => Ok(()),
            1 => Err(LambdaError::validation(format!("1 validation error detected: {}", self.0[0]))),
            _ => Err(LambdaError::validation(format!(
                "{count} validation errors detected: {}",
                self.0.join("; ")
            ))),
        }
    }
}

/// Whether a text is letters, digits, hyphens and underscores, at least one.
pub fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
