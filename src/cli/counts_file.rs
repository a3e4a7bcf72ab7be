//! Files of recorded counts: an object a line, one JSON list of such objects, or CSV with a line of heads.

use std::io::{BufRead, Read};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::simulate::replay::{Prior, Recorded, RecordedCounts};

/// What one line or item says.
pub(super) enum Line {
    /// The stable version's traffic before.
    Prior(Prior),
    /// What came since the one before.
    Block(Recorded),
}

/// A line longer than this is no counts.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// A list longer than this is not read into memory.
const LIST_BYTES_MAX: u64 = 256 * 1024 * 1024;

const SHAPE: &str =
    "a line is {\"t\", \"weight\", \"stable\": {\"requests\", \"failures\"}, \"canary\": {…}}";
const CSV_SHAPE: &str = "a row is t,weight,stable_requests,stable_failures,canary_requests,canary_failures, or prior with the \
                         stable version's two numbers in their columns";
const HEADS: [&str; 6] =
    ["t", "weight", "stable_requests", "stable_failures", "canary_requests", "canary_failures"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriorLine {
    prior: Prior,
}

/// Reads a file in whichever form it has; `see` is told where each thing stands.
pub(super) fn read(
    mut input: impl BufRead,
    name: &str,
    mut see: impl FnMut(&str, Line) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut line = String::new();
    let mut columns: Option<Vec<usize>> = None;
    let mut is_first = true;
    for number in 1.. {
        line.clear();
        let read = (&mut input).take(LINE_BYTES_MAX).read_line(&mut line);
        if read.with_context(|| format!("cannot read line {number} of {name}"))? == 0 {
            return Ok(());
        }
        let text = line.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            continue;
        }
        let place = format!("line {number} of {name}");
        if is_first && text.starts_with('[') {
            return read_list(&line, input, name, see);
        }
        if is_first && !text.starts_with('{') && text.contains(',') {
            columns = Some(heads(text).context(place)?);
            is_first = false;
            continue;
        }
        is_first = false;
        let read = match &columns {
            Some(columns) => of_row(text, columns),
            None => of_line(text),
        };
        see(&place, read.with_context(|| place.clone())?)?;
    }
    Ok(())
}

fn read_list(
    begun: &str,
    input: impl BufRead,
    name: &str,
    mut see: impl FnMut(&str, Line) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut text = begun.to_owned();
    let read = input.take(LIST_BYTES_MAX).read_to_string(&mut text);
    if read.with_context(|| format!("cannot read {name}"))? as u64 == LIST_BYTES_MAX {
        bail!("{name} is a list of more than 256 MiB; with an object a line there is no limit");
    }
    let text = text.trim_start_matches('\u{feff}');
    let items: Vec<Value> =
        serde_json::from_str(text).with_context(|| format!("{name} is no JSON list; {SHAPE}"))?;
    for (index, item) in items.into_iter().enumerate() {
        let place = format!("item {} of {name}", index + 1);
        see(&place, of_value(item).with_context(|| place.clone())?)?;
    }
    Ok(())
}

fn of_line(text: &str) -> anyhow::Result<Line> {
    of_value(serde_json::from_str(text).context(format!("this is no JSON; {SHAPE}"))?)
}

fn of_value(value: Value) -> anyhow::Result<Line> {
    let read = if value.get("prior").is_some() {
        serde_json::from_value(value).map(|line: PriorLine| Line::Prior(line.prior))
    } else {
        serde_json::from_value(value).map(Line::Block)
    };
    read.map_err(|why| anyhow::anyhow!("{why}; {SHAPE}"))
}

/// Where each number stands; the heads may come in any order, and each once.
fn heads(text: &str) -> anyhow::Result<Vec<usize>> {
    let found: Vec<String> = cells(text).map(str::to_ascii_lowercase).collect();
    if let Some(unknown) = found.iter().find(|head| !HEADS.contains(&head.as_str())) {
        bail!("no column is called {unknown:?}; {CSV_SHAPE}");
    }
    let place = |head: &&str| {
        let mut of_head = found.iter().enumerate().filter(|(_, known)| known == head);
        match (of_head.next(), of_head.next()) {
            (Some((at, _)), None) => Ok(at),
            (None, _) => bail!("the column {head} is missing; {CSV_SHAPE}"),
            (Some(_), Some(_)) => bail!("the column {head} stands there twice; {CSV_SHAPE}"),
        }
    };
    HEADS.iter().map(place).collect()
}

fn cells(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(|cell| cell.trim().trim_matches('"'))
}

fn of_row(text: &str, columns: &[usize]) -> anyhow::Result<Line> {
    let row: Vec<&str> = cells(text).collect();
    if row.len() != columns.len() {
        bail!("this row has {} cells and the line of heads {}; {CSV_SHAPE}", row.len(), columns.len());
    }
    let cell = |head: usize| row[columns[head]];
    let number = |head: usize| {
        cell(head).parse::<f64>().map_err(|_| {
            anyhow::anyhow!("{} is {:?}, which is no number; {CSV_SHAPE}", HEADS[head], cell(head))
        })
    };
    let whole = |head: usize| {
        cell(head).parse::<u64>().map_err(|_| {
            anyhow::anyhow!("{} is {:?}, and a count is 0, 1, 2 …; {CSV_SHAPE}", HEADS[head], cell(head))
        })
    };
    if cell(0) == "prior" {
        return Ok(Line::Prior(Prior { requests: number(2)?, failures: number(3)?, ..Prior::default() }));
    }
    Ok(Line::Block(Recorded {
        t: number(0)?,
        weight: number(1)?,
        stable: RecordedCounts { requests: whole(2)?, failures: whole(3)? },
        canary: RecordedCounts { requests: whole(4)?, failures: whole(5)? },
    }))
}
