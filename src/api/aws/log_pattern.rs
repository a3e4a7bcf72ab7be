//! Filter patterns of CloudWatch Logs: words and quoted phrases, all of which a line must have.

/// Reads a pattern; what it has of JSON, columns, expressions and exclusions is refused, in words.
pub(super) fn read(pattern: &str) -> Result<Vec<String>, String> {
    let mut terms = Vec::new();
    let mut rest = pattern.trim_start();
    while let Some(first) = rest.chars().next() {
        let named = match first {
            '{' => "JSON patterns ({ … })",
            '[' => "column patterns ([ … ])",
            '%' => "regular expressions (% … %)",
            '?' => "alternatives (?term)",
            '-' => "exclusions (-term)",
            _ => "",
        };
        if !named.is_empty() {
            return Err(format!(
                "Invalid filter pattern: {named} are not supported by serin; words and \"phrases\" are"
            ));
        }
        let (term, after) = if first == '"' {
            let (term, length) = phrase(&rest[1..]).ok_or("Invalid filter pattern: a quote is not closed")?;
            (term, &rest[1 + length..])
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        if !term.is_empty() {
            terms.push(term);
        }
        rest = after.trim_start();
    }
    Ok(terms)
}

/// What stands before the closing quote, and how many bytes that was with the quote; a backslash keeps what follows.
fn phrase(text: &str) -> Option<(String, usize)> {
    let mut term = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((term, at + 1)),
            '\\' => term.push(chars.next()?.1),
            char => term.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_phrases_are_read_and_the_rest_refused() {
        for (pattern, terms) in [
            ("", vec![]),
            ("  ", vec![]),
            ("ERROR", vec!["ERROR"]),
            ("ERROR  Timeout", vec!["ERROR", "Timeout"]),
            (r#""it broke" x"#, vec!["it broke", "x"]),
            (r#""say \"no\"""#, vec![r#"say "no""#]),
            ("RequestId: a-b?", vec!["RequestId:", "a-b?"]),
            ("ä \"é è\"", vec!["ä", "é è"]),
        ] {
            assert_eq!(read(pattern).unwrap(), terms, "{pattern}");
        }
        for pattern in ["{ $.a = 1 }", "[ip, user]", "%E.*%", "?A ?B", "-x", "a -x", r#""open"#, r#""open\"#]
        {
            assert!(read(pattern).unwrap_err().starts_with("Invalid filter pattern"), "{pattern}");
        }
    }
}
