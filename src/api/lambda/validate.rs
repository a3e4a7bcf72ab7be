//! Constraint faults in AWS's frame: all of them in one text, before anything is looked up.

use super::error::LambdaError;

/// The constraint faults of one request, in the order they were found.
#[derive(Default)]
pub struct Violations {
    found: Vec<String>,
    /// A fault that is reported when nothing breaks a constraint.
    otherwise: Option<LambdaError>,
}

impl Violations {
    /// Notes that a value breaks a constraint.
    pub fn add(&mut self, member: &str, value: &str, constraint: &str) {
        self.found.push(format!("Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"));
    }

    /// Notes that a required value is missing.
    pub fn missing(&mut self, member: &str) {
        self.found
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

    /// Checks a whole number against its bounds.
    pub fn range(&mut self, member: &str, value: i64, min: i64, max: i64) {
        let shown = value.to_string();
        if value > max {
            self.add(member, &shown, &format!("Member must have value less than or equal to {max}"));
        }
        if value < min {
            self.add(member, &shown, &format!("Member must have value greater than or equal to {min}"));
        }
    }

    /// Checks that a value is one of a few.
    pub fn one_of(&mut self, member: &str, value: &str, values: &[&str]) {
        if !values.contains(&value) {
            let constraint = format!("Member must satisfy enum value set: [{}]", values.join(", "));
            self.add(member, value, &constraint);
        }
    }

    /// Notes a fault that counts only if nothing breaks a constraint; the first one stays.
    pub fn then(&mut self, fault: LambdaError) {
        self.otherwise.get_or_insert(fault);
    }

    /// The same, in the place of what was noted before.
    pub fn instead(&mut self, fault: LambdaError) {
        self.otherwise = Some(fault);
    }

    /// Refuses the request if anything was noted.
    pub fn refuse(self) -> Result<(), LambdaError> {
        let count = self.found.len();
        match count {
            0 => self.otherwise.map_or(Ok(()), Err),
            1 => Err(LambdaError::validation(format!("1 validation error detected: {}", self.found[0]))),
            _ => Err(LambdaError::validation(format!(
                "{count} validation errors detected: {}",
                self.found.join("; ")
            ))),
        }
    }
}

/// Whether a text is letters, digits, hyphens and underscores, at least one.
pub fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

const QUALIFIER_PATTERN: &str = r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+";

/// Holds a qualifier to its constraints; whether there is such a version or alias is asked later.
pub fn check_qualifier(qualifier: &str, violations: &mut Violations) {
    violations.length("qualifier", qualifier, 1, 128);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_$".contains(&byte);
    if qualifier != "$LATEST.PUBLISHED" && !qualifier.bytes().all(plain) {
        violations.pattern("qualifier", qualifier, QUALIFIER_PATTERN);
    }
}

/// Whether a text is twelve digits.
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text is an ARN of some service: `arn:aws:SERVICE:REGION:ACCOUNT:…`, region and account perhaps empty.
pub fn is_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, partition, service, region, account, _] = parts.as_slice() else { return false };
    let is_plain =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    *arn == "arn"
        && partition.starts_with("aws")
        && is_plain(partition)
        && !service.is_empty()
        && is_plain(service)
        && (region.is_empty() || (is_plain(region) && region.contains('-')))
        && (account.is_empty() || is_account(account))
}
