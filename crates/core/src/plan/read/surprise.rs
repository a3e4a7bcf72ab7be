//! Texts without quotes that some YAML reader takes for something else.

/// How a text is misread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Surprise {
    /// A clause for a fault: "YAML 1.1 reads `010` as 8".
    pub reading: String,
    /// Whether even somebody who writes a number would be surprised; `3` and `0.5` are no surprise.
    pub is_odd: bool,
}

/// How other readers take a text without quotes, where not as the text it is.
pub(super) fn surprise(text: &str) -> Option<Surprise> {
    const TEXT_MAX: usize = 40;
    if text.is_empty() || text.len() > TEXT_MAX {
        return None;
    }
    let odd = |version: &str, meaning: String| {
        Some(Surprise { reading: format!("{version} reads `{text}` as {meaning}"), is_odd: true })
    };
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "y" | "yes" | "on" => return odd("YAML 1.1", "true".to_owned()),
        "n" | "no" | "off" => return odd("YAML 1.1", "false".to_owned()),
        "true" | "false" => return odd("YAML", format!("the truth value {lower}")),
        "null" | "~" => return odd("YAML", "nothing".to_owned()),
        ".nan" | ".inf" | "+.inf" | "-.inf" => return odd("YAML", "a number that is none".to_owned()),
        _ => {}
    }
    let unsigned = lower.strip_prefix(['-', '+']).unwrap_or(&lower);
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = unsigned.strip_prefix(prefix)
            && let Ok(value) = i64::from_str_radix(&digits.replace('_', ""), radix)
        {
            return odd("YAML", value.to_string());
        }
    }
    if is_digits(unsigned) && unsigned.len() > 1 && unsigned.starts_with('0') {
        return match i64::from_str_radix(unsigned, 8) {
            Ok(value) => odd("YAML 1.1", value.to_string()),
            Err(_) => odd("YAML 1.2", unsigned.trim_start_matches('0').to_owned()),
        };
    }
    if unsigned.contains('_') && unsigned.starts_with(|first: char| first.is_ascii_digit()) {
        let without = unsigned.replace('_', "");
        if without.parse::<f64>().is_ok() {
            return odd("YAML 1.1", without);
        }
    }
    if let Some(value) = in_sixties(unsigned) {
        return odd("YAML 1.1", format!("{value}, counting in sixties"));
    }
    let starts_like_number = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    if starts_like_number && let Ok(value) = unsigned.parse::<f64>() {
        if unsigned.contains('e') {
            return odd("YAML", format!("the number {value}"));
        }
        return Some(Surprise { reading: "YAML reads this as a number".to_owned(), is_odd: false });
    }
    if lower.parse::<jiff::civil::Date>().is_ok()
        && lower.get(..4).is_some_and(is_digits)
        && lower.len() == 10
    {
        return odd("YAML 1.1", "a date".to_owned());
    }
    None
}

/// YAML 1.1 takes `17:30` for 17 times 60 plus 30, but `09:30`, which begins with 0, for a text.
fn in_sixties(text: &str) -> Option<u64> {
    let is_sixtieth = |part: &&str| {
        let short = part.len() <= 2 && !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        short && part.parse::<u64>().is_ok_and(|value| value < 60)
    };
    let (first, rest) = text.split_once(':')?;
    let whole: u64 = first.parse().ok().filter(|_| !first.starts_with(['0', '+']))?;
    let parts: Vec<&str> = rest.split(':').collect();
    let all = parts.iter().all(is_sixtieth);
    all.then(|| {
        parts.iter().fold(whole, |sum, part| sum.saturating_mul(60).saturating_add(part.parse().unwrap_or(0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_readers_make_of_texts() {
        for (text, reading) in [
            ("no", "YAML 1.1 reads `no` as false"),
            ("On", "YAML 1.1 reads `On` as true"),
            ("010", "YAML 1.1 reads `010` as 8"),
            ("089", "YAML 1.2 reads `089` as 89"),
            ("1_0", "YAML 1.1 reads `1_0` as 10"),
            ("0x10", "YAML reads `0x10` as 16"),
            ("1e3", "YAML reads `1e3` as the number 1000"),
            ("22:30", "YAML 1.1 reads `22:30` as 1350, counting in sixties"),
            (".inf", "YAML reads `.inf` as a number that is none"),
            ("~", "YAML reads `~` as nothing"),
            ("2026-12-20", "YAML 1.1 reads `2026-12-20` as a date"),
            ("42", "YAML reads this as a number"),
            ("-0.5", "YAML reads this as a number"),
        ] {
            assert_eq!(surprise(text).map(|found| found.reading).as_deref(), Some(reading), "{text}");
        }
        for text in [
            "", "checkout", "3%", "5m", "v1.2.3", "none", "nope", "é", "1.2.3", "a:b", "09:00", "1:60",
            "1:2:", "x_1", "-", "e5",
        ] {
            assert_eq!(surprise(text), None, "{text}");
        }
    }
}
