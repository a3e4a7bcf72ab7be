//! Lines of the log as they are asked for and given.

use serin_core::model::time::Timestamp;

/// A line as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLine {
    /// Where it stands.
    pub cursor: Cursor,
    /// Its stream.
    pub stream: String,
    /// The version that ran.
    pub version: String,
    /// What was said.
    pub text: String,
}

/// Where a line stands among those of its function: by time, and by the order in which lines came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// When it was said.
    pub at: Timestamp,
    /// Its number; they rise in the order in which lines came.
    pub id: i64,
}

/// Which lines of a function are asked for.
#[derive(Clone, Debug)]
pub struct LineFilter {
    /// The function.
    pub function: String,
    /// Only of these streams; of all if there is none.
    pub streams: Vec<String>,
    /// Only of streams whose names begin so.
    pub stream_prefix: Option<String>,
    /// Only of these versions; of all if there is none.
    pub versions: Vec<String>,
    /// Not before this.
    pub from: Timestamp,
    /// Before this.
    pub until: Timestamp,
    /// Only what stands after this.
    pub after: Option<Cursor>,
    /// Only what stands before this.
    pub before: Option<Cursor>,
    /// Only what came after the line with this number.
    pub after_id: Option<i64>,
    /// Only lines with all of these words in them.
    pub terms: Vec<String>,
    /// The newest instead of the oldest that fit.
    pub newest: bool,
    /// At most so many.
    pub limit: u32,
}

impl LineFilter {
    /// Every line of a function, the oldest first, at most so many.
    pub fn of(function: &str, limit: u32) -> LineFilter {
        LineFilter {
            function: function.to_owned(),
            streams: Vec::new(),
            stream_prefix: None,
            versions: Vec::new(),
            from: Timestamp(0),
            until: Timestamp(i64::MAX),
            after: None,
            before: None,
            after_id: None,
            terms: Vec::new(),
            newest: false,
            limit,
        }
    }
}

impl LineFilter {
    /// Whether a line that stands here is asked for, as far as its place says.
    pub(super) fn reaches(&self, cursor: Cursor) -> bool {
        cursor.at >= self.from
            && cursor.at < self.until
            && self.after.is_none_or(|after| cursor > after)
            && self.before.is_none_or(|before| cursor < before)
            && self.after_id.is_none_or(|id| cursor.id > id)
    }

    /// Puts lines in order, and leaves as many as are asked for, of those that come first.
    pub(super) fn keep_first(&self, lines: &mut Vec<StoredLine>) {
        let limit = self.limit as usize;
        if self.after_id.is_some() {
            lines.sort_unstable_by_key(|line| line.cursor.id);
        } else {
            lines.sort_unstable_by_key(|line| line.cursor);
        }
        if self.newest && self.after_id.is_none() {
            lines.drain(..lines.len().saturating_sub(limit));
        } else {
            lines.truncate(limit);
        }
    }
}
