//! CloudWatch Logs of `/aws/lambda/FUNCTION`: groups, streams and lines.
//!
//! A function's group is there once something was said in it, as on AWS. Lines are ordered by time; tokens say where a
//! page ended.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{AwsError, input, log_pattern, offset};
use crate::api::Api;
use crate::store::logs::{Cursor, LineFilter, LogReader, StoredLine, StreamFilter};
use serin_core::model::arn::Place;
use serin_core::model::time::Timestamp;

const PREFIX: &str = "/aws/lambda/";
/// Groups and streams in one page.
const DESCRIBED_MAX: usize = 50;
/// Lines in one page.
const EVENTS_MAX: u32 = 10_000;
/// As on AWS; each of its words is a condition of the question to the log's database.
const PATTERN_CHARS_MAX: usize = 1024;
/// The text of one page.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Answers an operation.
pub(super) fn answer(api: &Api, place: &Place, operation: &str, body: &[u8]) -> Result<Value, AwsError> {
    let reader = &api.logs.reader;
    // What was said just now is part of the answer.
    api.logs.flush();
    match operation {
        "DescribeLogGroups" => groups(reader, place, &input(body)?),
        "DescribeLogStreams" => streams(reader, place, &input(body)?),
        "GetLogEvents" => events(reader, &input(body)?),
        "FilterLogEvents" => filtered(reader, &input(body)?),
        other => Err(AwsError::unknown_operation(
            "CloudWatch Logs",
            other,
            "DescribeLogGroups, DescribeLogStreams, GetLogEvents, FilterLogEvents",
        )),
    }
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::user("InvalidParameterException", message)
}

fn bad_token() -> AwsError {
    invalid("The specified nextToken is invalid.")
}

fn no_group() -> AwsError {
    AwsError::user("ResourceNotFoundException", "The specified log group does not exist.")
}

/// A page's size, within what AWS allows.
fn page_size(asked: Option<u32>, most: u32) -> Result<u32, AwsError> {
    let size = asked.unwrap_or(most);
    if (1..=most).contains(&size) {
        Ok(size)
    } else {
        Err(invalid(format!("limit is 1 to {most}, not {size}")))
    }
}

/// The function of a group that is named or identified by its ARN.
fn function(reader: &LogReader, name: Option<&str>, identifier: Option<&str>) -> Result<String, AwsError> {
    let group = match (name, identifier) {
        (Some(name), None) => name,
        (None, Some(identifier)) => {
            let named = identifier.split_once(":log-group:").map_or(identifier, |(_, name)| name);
            named.strip_suffix(":*").unwrap_or(named)
        }
        _ => return Err(invalid("exactly one of logGroupName and logGroupIdentifier is wanted")),
    };
    let function = group.strip_prefix(PREFIX).ok_or_else(no_group)?;
    let filter = StreamFilter { function: function.to_owned(), limit: 1, ..StreamFilter::default() };
    if reader.streams(&filter)?.is_empty() { Err(no_group()) } else { Ok(function.to_owned()) }
}

fn group_arn(place: &Place, function: &str) -> String {
    format!("arn:{}:logs:{}:{}:log-group:{PREFIX}{function}", place.partition(), place.region, place.account)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupsInput {
    log_group_name_prefix: Option<String>,
    log_group_name_pattern: Option<String>,
    next_token: Option<String>,
    limit: Option<u32>,
    include_linked_accounts: Option<bool>,
    account_identifiers: Option<Vec<String>>,
    log_group_class: Option<String>,
    log_group_identifiers: Option<Vec<String>>,
}

fn groups(reader: &LogReader, place: &Place, input: &GroupsInput) -> Result<Value, AwsError> {
    if input.include_linked_accounts == Some(true) || input.account_identifiers.is_some() {
        return Err(invalid(
            "serin has one account: includeLinkedAccounts and accountIdentifiers are not supported",
        ));
    }
    if input.log_group_name_prefix.is_some() && input.log_group_name_pattern.is_some() {
        return Err(invalid(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        ));
    }
    let limit = page_size(input.limit, DESCRIBED_MAX as u32)? as usize;
    let skipped = offset(input.next_token.as_deref(), bad_token)?;
    let is_wanted = |name: &str, arn: &str| {
        let (prefix, pattern) =
            (input.log_group_name_prefix.as_deref(), input.log_group_name_pattern.as_deref());
        let identified = |identifiers: &Vec<String>| {
            identifiers
                .iter()
                .any(|wanted| wanted == name || wanted.strip_suffix(":*").unwrap_or(wanted) == arn)
        };
        prefix.is_none_or(|prefix| name.starts_with(prefix))
            && pattern.is_none_or(|pattern| name.to_lowercase().contains(&pattern.to_lowercase()))
            && input.log_group_class.as_deref().is_none_or(|class| class == "STANDARD")
            && input.log_group_identifiers.as_ref().is_none_or(identified)
    };
    let mut groups = Vec::new();
    for (function, first_at, bytes) in reader.functions()? {
        let (name, arn) = (format!("{PREFIX}{function}"), group_arn(place, &function));
        if is_wanted(&name, &arn) {
            groups.push(json!({
                "logGroupName": name,
                "creationTime": first_at.0,
                "metricFilterCount": 0,
                "arn": format!("{arn}:*"),
                "storedBytes": bytes,
                "logGroupClass": "STANDARD",
                "logGroupArn": arn,
            }));
        }
    }
    let page: Vec<&Value> = groups.iter().skip(skipped).take(limit).collect();
    let mut answer = json!({ "logGroups": page });
    let next = skipped.saturating_add(limit);
    if next < groups.len() {
        answer["nextToken"] = json!(next.to_string());
    }
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StreamsInput {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name_prefix: Option<String>,
    order_by: Option<String>,
    #[serde(default)]
    descending: bool,
    next_token: Option<String>,
    limit: Option<u32>,
}

fn streams(reader: &LogReader, place: &Place, input: &StreamsInput) -> Result<Value, AwsError> {
    let by_time = match input.order_by.as_deref() {
        None | Some("LogStreamName") => false,
        Some("LastEventTime") => true,
        Some(other) => {
            return Err(invalid(format!("orderBy is LogStreamName or LastEventTime, not {other:?}")));
        }
    };
    if by_time && input.log_stream_name_prefix.is_some() {
        return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let limit = page_size(input.limit, DESCRIBED_MAX as u32)?;
    let skip = u32::try_from(offset(input.next_token.as_deref(), bad_token)?).map_err(|_| bad_token())?;
    let function = function(reader, input.log_group_name.as_deref(), input.log_group_identifier.as_deref())?;
    let arn = group_arn(place, &function);
    let prefix = input.log_stream_name_prefix.clone().unwrap_or_default();
    let filter =
        StreamFilter { function, prefix, by_time, descending: input.descending, skip, limit: limit + 1 };
    let mut found = reader.streams(&filter)?;
    let has_more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let streams: Vec<Value> = found
        .iter()
        .map(|stream| {
            json!({
                "logStreamName": stream.name,
                "creationTime": stream.first_at.0,
                "firstEventTimestamp": stream.first_at.0,
                "lastEventTimestamp": stream.last_at.0,
                "lastIngestionTime": stream.last_at.0,
                "arn": format!("{arn}:log-stream:{}", stream.name),
                "storedBytes": 0,
            })
        })
        .collect();
    let mut answer = json!({ "logStreams": streams });
    if has_more {
        answer["nextToken"] = json!((skip + limit).to_string());
    }
    Ok(answer)
}

/// Lines until a page is full of text, from the front or from the end.
fn fill(lines: Vec<StoredLine>, from_end: bool) -> (Vec<StoredLine>, bool) {
    let mut bytes = 0;
    let mut fits = |line: &StoredLine| {
        // What AWS adds for each event.
        bytes += line.text.len() + 26;
        bytes <= PAGE_BYTES_MAX
    };
    let count = lines.len();
    let mut kept: Vec<StoredLine> = if from_end {
        let mut kept: Vec<_> = lines.into_iter().rev().take_while(&mut fits).collect();
        kept.reverse();
        kept
    } else {
        lines.into_iter().take_while(&mut fits).collect()
    };
    kept.shrink_to_fit();
    let is_cut = kept.len() < count;
    (kept, is_cut)
}

fn time(at_ms: i64) -> Timestamp {
    Timestamp(at_ms)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventsInput {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name: String,
    start_time: Option<i64>,
    end_time: Option<i64>,
    next_token: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    start_from_head: bool,
}

fn events(reader: &LogReader, input: &EventsInput) -> Result<Value, AwsError> {
    let limit = page_size(input.limit, EVENTS_MAX)?;
    let function = function(reader, input.log_group_name.as_deref(), input.log_group_identifier.as_deref())?;
    if reader.stream(&function, &input.log_stream_name)?.is_none() {
        return Err(AwsError::user("ResourceNotFoundException", "The specified log stream does not exist."));
    }
    let mut filter = LineFilter {
        streams: vec![input.log_stream_name.clone()],
        from: input.start_time.map_or(Timestamp(0), time),
        until: input.end_time.map_or(Timestamp(i64::MAX), time),
        newest: !input.start_from_head,
        ..LineFilter::of(&function, limit)
    };
    let token =
        input.next_token.as_deref().map(|token| read_token(token).ok_or_else(bad_token)).transpose()?;
    match token {
        Some((true, cursor)) => (filter.newest, filter.after) = (false, Some(cursor)),
        Some((false, cursor)) => (filter.newest, filter.before) = (true, Some(cursor)),
        None => {}
    }
    let (lines, _) = fill(reader.lines(&filter)?, filter.newest);
    let start = Cursor { at: filter.from, id: 0 };
    // A page without lines ends where it began: who gets the token back that they sent has seen all.
    let edge = token.map_or(start, |(_, cursor)| cursor);
    let (first, last) =
        (lines.first().map_or(edge, |line| line.cursor), lines.last().map_or(edge, |line| line.cursor));
    let events: Vec<Value> = lines
        .iter()
        .map(|line| json!({ "timestamp": line.cursor.at.0, "message": message(&line.text), "ingestionTime": line.cursor.at.0 }))
        .collect();
    Ok(json!({
        "events": events,
        "nextForwardToken": write_token('f', last),
        "nextBackwardToken": write_token('b', first),
    }))
}

fn write_token(direction: char, cursor: Cursor) -> String {
    format!("{direction}/{:015}/{:020}", cursor.at.0, cursor.id)
}

/// Whether a token goes forward, and from where.
fn read_token(token: &str) -> Option<(bool, Cursor)> {
    let (direction, cursor) = token.split_once('/')?;
    let is_forward = match direction {
        "f" => true,
        "b" => false,
        _ => return None,
    };
    Some((is_forward, read_cursor(cursor)?))
}

/// A line as an event's message: ended as AWS's are, and with the lines' ends in it that Python's client writes as `\r`.
fn message(line: &str) -> String {
    let folded = if line.starts_with("[ERROR]") { line.replace('\r', "\n") } else { line.to_owned() };
    folded + "\n"
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let (at, id) = text.split_once('/')?;
    Some(Cursor { at: Timestamp(at.parse().ok()?), id: id.parse().ok()? })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FilterInput {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_names: Option<Vec<String>>,
    log_stream_name_prefix: Option<String>,
    start_time: Option<i64>,
    end_time: Option<i64>,
    filter_pattern: Option<String>,
    next_token: Option<String>,
    limit: Option<u32>,
}

fn filtered(reader: &LogReader, input: &FilterInput) -> Result<Value, AwsError> {
    if input.log_stream_names.is_some() && input.log_stream_name_prefix.is_some() {
        return Err(invalid("logStreamNames and logStreamNamePrefix are mutually exclusive."));
    }
    let limit = page_size(input.limit, EVENTS_MAX)?;
    let pattern = input.filter_pattern.as_deref().unwrap_or_default();
    if pattern.chars().count() > PATTERN_CHARS_MAX {
        return Err(invalid(format!(
            "1 validation error detected: Value at 'filterPattern' failed to satisfy constraint: Member must have length \
             less than or equal to {PATTERN_CHARS_MAX}"
        )));
    }
    let terms = log_pattern::read(pattern).map_err(invalid)?;
    let after =
        input.next_token.as_deref().map(|token| read_cursor(token).ok_or_else(bad_token)).transpose()?;
    let function = function(reader, input.log_group_name.as_deref(), input.log_group_identifier.as_deref())?;
    let filter = LineFilter {
        streams: input.log_stream_names.clone().unwrap_or_default(),
        stream_prefix: input.log_stream_name_prefix.clone(),
        from: input.start_time.map_or(Timestamp(0), time),
        // Here AWS counts the end in.
        until: input.end_time.map_or(Timestamp(i64::MAX), |end| time(end.saturating_add(1))),
        after,
        terms,
        ..LineFilter::of(&function, limit)
    };
    let found = reader.lines(&filter)?;
    let is_full = found.len() == limit as usize;
    let (lines, is_cut) = fill(found, false);
    let events: Vec<Value> = lines
        .iter()
        .map(|line| {
            json!({
                "logStreamName": line.stream,
                "timestamp": line.cursor.at.0,
                "message": message(&line.text),
                "ingestionTime": line.cursor.at.0,
                "eventId": format!("{:056}", line.cursor.id),
            })
        })
        .collect();
    let mut answer = json!({ "events": events, "searchedLogStreams": [] });
    if let Some(last) = lines.last().filter(|_| is_full || is_cut) {
        answer["nextToken"] = json!(format!("{:015}/{:020}", last.cursor.at.0, last.cursor.id));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_say_where_a_page_ended() {
        let cursor = Cursor { at: Timestamp(1_764_000_000_123), id: 42 };
        assert_eq!(read_token(&write_token('f', cursor)), Some((true, cursor)));
        assert_eq!(read_token(&write_token('b', cursor)), Some((false, cursor)));
        for bad in ["", "f", "x/1/2", "f/a/2", "f/1", "1/2"] {
            assert_eq!(read_token(bad), None, "{bad}");
        }
    }

    #[test]
    fn pages_hold_a_mebibyte() {
        let line = |id: i64| StoredLine {
            cursor: Cursor { at: Timestamp(id), id },
            stream: String::new(),
            version: String::new(),
            text: "x".repeat(400_000),
        };
        let ids = |lines: &[StoredLine]| lines.iter().map(|line| line.cursor.id).collect::<Vec<_>>();
        let lines: Vec<_> = (1..=4).map(line).collect();
        let (front, is_cut) = fill(lines.clone(), false);
        assert_eq!((ids(&front), is_cut), (vec![1, 2], true));
        assert_eq!(ids(&fill(lines, true).0), [3, 4]);
    }
}
