//! YAML and JSON of other tools → trees that remember where everything stood, tags and all.
//!
//! It lets in more than a plan may have, because the files are others': several documents, tags such as `!Ref`, and any
//! amount that a person keeps in one file. Aliases are refused, for what they stand for is said in another place.

use serde_yaml::granit_parser::{self, Event, Marker, Parser, ScalarStyle, Span};

use serin_core::plan::{Fault, Severity};

/// The largest file that is read, in bytes.
pub const BYTES_MAX: usize = 1024 * 1024;
/// The deepest nesting of maps and lists.
const DEPTH_MAX: usize = 64;
/// The most maps, lists, keys and values.
const NODES_MAX: usize = 100_000;
/// How long a value in a report is, in characters.
const BRIEF_MAX: usize = 40;

/// Why a file is not read, and where; in a box, because it is seldom.
pub type Refusal = Box<Fault>;

/// Where something stands in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The first byte.
    pub start: usize,
    /// The byte after the last one of its first line.
    pub end: usize,
}

impl Place {
    /// What is wrong here, and what to write instead.
    pub fn fault(self, file: &str, message: impl Into<String>, help: impl Into<String>) -> Refusal {
        Box::new(Fault {
            severity: Severity::Error,
            file: file.to_owned(),
            line: self.line.max(1),
            column: self.column.max(1),
            span: self.start..self.end,
            message: message.into(),
            help: Some(help.into()),
            related: Vec::new(),
        })
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it stands.
    pub place: Place,
    /// The tag before it without its `!`, as in `Ref`; empty where there is none.
    pub tag: String,
    /// What it is made of.
    pub content: Content,
}

/// What a value is made of.
#[derive(Clone, Debug)]
pub enum Content {
    /// A text, a number, a truth or nothing, as it was written.
    Text(String),
    /// Items in their order.
    List(Vec<Node>),
    /// Entries in their order.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// The entries of a map; none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            Content::Text(_) | Content::List(_) => &[],
        }
    }

    /// The items of a list; none of anything else.
    pub fn items(&self) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            Content::Text(_) | Content::Map(_) => &[],
        }
    }

    /// The text, where it is one that stands for itself and is not empty.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) if self.tag.is_empty() && !matches!(text.as_str(), "" | "~" | "null") => {
                Some(text)
            }
            Content::Text(_) | Content::List(_) | Content::Map(_) => None,
        }
    }

    /// The entry of a key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The value behind several keys.
    pub fn at(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The text behind several keys.
    pub fn text_at(&self, keys: &[&str]) -> Option<&str> {
        self.at(keys)?.text()
    }

    /// The value as somebody would write it in one short line.
    pub fn brief(&self) -> String {
        let text = self.in_one_line();
        if text.chars().count() <= BRIEF_MAX {
            return text;
        }
        let tag = self.tag_text();
        match &self.content {
            Content::Text(_) => text.chars().take(BRIEF_MAX).collect::<String>() + "…",
            Content::List(_) => format!("{tag}[…]"),
            Content::Map(_) => format!("{tag}{{…}}"),
        }
    }

    fn tag_text(&self) -> String {
        if self.tag.is_empty() { String::new() } else { format!("!{} ", self.tag) }
    }

    fn in_one_line(&self) -> String {
        let tag = self.tag_text();
        match &self.content {
            Content::Text(text) => tag + &text.split_whitespace().collect::<Vec<_>>().join(" "),
            Content::List(items) => {
                let items: Vec<String> = items.iter().map(Node::in_one_line).collect();
                format!("{tag}[{}]", items.join(", "))
            }
            Content::Map(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|entry| format!("{}: {}", entry.key, entry.value.in_one_line()))
                    .collect();
                format!("{tag}{{{}}}", entries.join(", "))
            }
        }
    }
}

/// Reads every document of a file, or says what is wrong with it and where.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Vec<Node>, Refusal> {
    let start = Place { line: 1, column: 1, start: 0, end: 0 };
    if bytes.len() > BYTES_MAX {
        let said = format!("the file is larger than {} KiB", BYTES_MAX / 1024);
        return Err(start.fault(file, said, "give the one manifest that describes the canary"));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| start.fault(file, "the file is not UTF-8", "save it as UTF-8"))?;
    let mut options = granit_parser::options! {
        emit_unresolved_aliases: true,
        emit_anchor_events: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    options.set_emit_comments(false);
    let mut builder = Builder { file, text, open: Vec::new(), documents: Vec::new(), nodes: 0 };
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                let place = builder.place(error.marker(), error.marker());
                let is_template = text.contains("{{");
                let help = if is_template {
                    "this looks like a template; give what comes of it, as `helm template` prints it"
                } else {
                    "look at this line and the one above it"
                };
                return Err(place.fault(file, format!("not valid YAML: {}", error.kind()), help));
            }
        }
    }
    let documents: Vec<Node> = (builder.documents.into_iter())
        .filter(|document| !matches!(&document.content, Content::Text(text) if text.is_empty()))
        .collect();
    if documents.is_empty() {
        return Err(start.fault(file, "the file is empty", "give the manifest that describes the canary"));
    }
    Ok(documents)
}

/// A map or list whose end has not been seen.
struct Open {
    place: Place,
    tag: String,
    content: OpenContent,
}

enum OpenContent {
    List(Vec<Node>),
    Map(Vec<Entry>, Option<(String, Place)>),
}

struct Builder<'a> {
    file: &'a str,
    text: &'a str,
    open: Vec<Open>,
    documents: Vec<Node>,
    nodes: usize,
}

impl Builder<'_> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's events, which may grow")]
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Refusal> {
        match event {
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let place = self.place(&span.start, &span.end);
                let help = "write what the alias stands for in its place, or quote a text that begins with *";
                return Err(place.fault(
                    self.file,
                    "an alias (*) stands here, and aliases are not followed",
                    help,
                ));
            }
            Event::Scalar(value, style, _, tag) => {
                let place = self.place(&span.start, &span.end);
                self.count(place)?;
                let is_nothing = style == ScalarStyle::Plain && matches!(&*value, "~" | "null");
                let text = if is_nothing { String::new() } else { value.into_owned() };
                let tag = tag.map(|tag| tag.suffix().to_owned()).unwrap_or_default();
                self.finish(Node { place, tag, content: Content::Text(text) })?;
            }
            Event::SequenceStart(_, _, tag) => {
                let tag = tag.map(|tag| tag.suffix().to_owned()).unwrap_or_default();
                self.begin(span, tag, OpenContent::List(Vec::new()))?;
            }
            Event::MappingStart(_, _, tag) => {
                let tag = tag.map(|tag| tag.suffix().to_owned()).unwrap_or_default();
                self.begin(span, tag, OpenContent::Map(Vec::new(), None))?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { place, tag, content }) = self.open.pop() {
                    let content = match content {
                        OpenContent::List(items) => Content::List(items),
                        OpenContent::Map(entries, _) => Content::Map(entries),
                    };
                    self.finish(Node { place, tag, content })?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, span: Span, tag: String, content: OpenContent) -> Result<(), Refusal> {
        let place = self.place(&span.start, &span.end);
        self.count(place)?;
        if self.open.len() == DEPTH_MAX {
            let said = format!("nested deeper than {DEPTH_MAX} levels");
            return Err(place.fault(self.file, said, "no manifest of a canary is that deep"));
        }
        self.open.push(Open { place, tag, content });
        Ok(())
    }

    fn count(&mut self, place: Place) -> Result<(), Refusal> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let said = format!("more than {NODES_MAX} keys and values in one file");
            return Err(place.fault(self.file, said, "give the one manifest that describes the canary"));
        }
        Ok(())
    }

    /// Puts a finished node where it belongs: as a key or value into the open map, into the open list, or as a document.
    fn finish(&mut self, node: Node) -> Result<(), Refusal> {
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.documents.push(node),
            Some(OpenContent::List(items)) => items.push(node),
            Some(OpenContent::Map(entries, key)) => match key.take() {
                Some((text, place)) => {
                    if entries.iter().any(|entry| entry.key == text) {
                        let said = format!("the key `{text}` stands here a second time");
                        return Err(place.fault(self.file, said, "keep one of them"));
                    }
                    entries.push(Entry { key: text, place, value: node });
                }
                None => {
                    let Content::Text(text) = node.content else {
                        let said = "a key must be a text, but a map or list stands here";
                        return Err(node.place.fault(
                            self.file,
                            said,
                            "is this a template that was not rendered?",
                        ));
                    };
                    *key = Some((text, node.place));
                }
            },
        }
        Ok(())
    }

    fn place(&self, start: &Marker, end: &Marker) -> Place {
        let offset = |marker: &Marker| {
            let wanted = marker.byte_offset().unwrap_or(0).min(self.text.len());
            self.text.floor_char_boundary(wanted)
        };
        let (first, last) = (offset(start), offset(end));
        let line_end = self.text[first..].find(['\n', '\r']).map_or(self.text.len(), |length| first + length);
        Place {
            line: u32::try_from(start.line().max(1)).unwrap_or(u32::MAX),
            column: u32::try_from(start.col() + 1).unwrap_or(u32::MAX),
            start: first,
            end: last.clamp(first, line_end.max(first)),
        }
    }
}
