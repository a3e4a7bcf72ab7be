//! YAML text → a tree that remembers where everything stood and how it was written.
//!
//! Only the plain part of YAML is let in: maps, lists and texts of one document. Anchors, aliases, merge keys, tags
//! and directives are refused, and so is what is too large, too deep, not UTF-8, or invisible. Nothing is given a
//! type here: `010`, `no` and `3%` are texts until a key asks for a number, so no YAML version can reinterpret them.
//! The parser is the one beneath serde-saphyr, without its serde layer: a visitor is not told of tags, quotes and
//! anchors, and stops at the first fault.

use std::collections::BTreeMap;

use serde_yaml::granit_parser::{self, Event, Marker, Parser, ScalarStyle, Span};

use super::diagnose::{Faults, Place, Source};
use super::syntax;

/// The deepest nesting of maps and lists.
pub(super) const DEPTH_MAX: usize = 32;
/// The most maps, lists, keys and values.
pub(super) const NODES_MAX: usize = 10_000;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub place: Place,
    pub content: Content,
}

/// What a value is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// A text, with quotes and escapes resolved.
    Text {
        text: String,
        style: Style,
    },
    List(Vec<Node>),
    /// Entries in the order of the file; equal keys are all here, and were reported.
    Map(Vec<Entry>),
    /// Something that was already reported.
    Refused,
}

/// How a text was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Without quotes, so that other YAML readers may take it for something that is no text.
    Plain,
    /// Without quotes and over several lines, which is seldom meant.
    PlainLines,
    /// In quotes, or as a block.
    Quoted,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub place: Place,
    pub value: Node,
}

/// Reads a file's text; `None` where no tree can be had, which is then reported.
pub(super) fn parse(source: &Source, file: u8, faults: &mut Faults) -> Option<Node> {
    let text = syntax::check_text(source, file, faults)?;
    let mut options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        emit_anchor_events: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    options.set_emit_comments(false);
    let mut builder = Builder {
        text,
        file,
        faults,
        open: Vec::new(),
        root: None,
        documents: 0,
        nodes: 0,
        anchors: Vec::new(),
        aliases: Vec::new(),
    };
    let is_read = builder.read(Parser::new_from_str_with_options(text, options));
    builder.report_references();
    is_read?;
    let root = builder.root.take();
    let is_null =
        |node: &Node| matches!(&node.content, Content::Text { text, style: Style::Plain } if is_null(text));
    if root.as_ref().is_none_or(is_null) {
        faults.error(Place::start_of(file), "the file is empty").help(syntax::SMALLEST_PLAN);
        return None;
    }
    root
}

/// Whether a text without quotes is how YAML writes "nothing".
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// A map or list whose end has not been seen.
struct Open {
    start: Marker,
    is_refused: bool,
    content: OpenContent,
}

enum OpenContent {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<Key> },
}

/// A key that waits for its value; without a text it was refused, and the value goes with it.
struct Key {
    text: Option<String>,
    place: Place,
}

struct Builder<'a> {
    text: &'a str,
    file: u8,
    faults: &'a mut Faults,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    anchors: Vec<Place>,
    aliases: Vec<Place>,
}

impl Builder<'_> {
    /// Takes all events; `None` where one ends the reading, which is then reported.
    fn read<'t>(&mut self, parser: Parser<'t, granit_parser::StrInput<'t>>) -> Option<()> {
        for event in parser {
            match event {
                Ok((event, span)) => self.take(event, span)?,
                Err(error) => {
                    let place = self.place_at(error.marker(), error.marker());
                    syntax::explain(error.kind(), place, self.innermost_bracket(), self.faults);
                    return None;
                }
            }
        }
        Some(())
    }

    /// The bracket opened last and not yet closed, if the innermost collection has one.
    fn innermost_bracket(&self) -> Option<Place> {
        let start = &self.open.last()?.start;
        let mut place = self.place_at(start, start);
        place.end = place.start + 1;
        self.text[place.start..].starts_with(['[', '{']).then_some(place)
    }

    /// Takes one event; `None` ends the reading, and was reported.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's events, which may grow")]
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let place = self.place_of(span);
                    self.faults
                        .error(place, "a second document begins here")
                        .help("one file holds one plan; move what follows --- into a file of its own");
                    return None;
                }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let place = self.place_of(span);
                self.aliases.push(place);
                self.count(place)?;
                self.finish(Node { place, content: Content::Refused });
            }
            Event::Anchor(..) => {
                let place = self.place_of(span);
                self.anchors.push(place);
            }
            Event::Scalar(value, style, _, tag) => {
                let place = self.place_of(span);
                self.count(place)?;
                if tag.is_some() {
                    self.refuse_tag(span);
                    self.finish(Node { place, content: Content::Refused });
                    return Some(());
                }
                let style = match style {
                    ScalarStyle::Plain if text_of(self.text, place).contains(['\n', '\r']) => {
                        Style::PlainLines
                    }
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted
                    | ScalarStyle::DoubleQuoted
                    | ScalarStyle::Literal
                    | ScalarStyle::Folded => Style::Quoted,
                };
                self.finish(Node { place, content: Content::Text { text: value.into_owned(), style } });
            }
            Event::SequenceStart(_, _, tag) => {
                self.begin(span, tag.is_some(), OpenContent::List(Vec::new()))?;
            }
            Event::MappingStart(_, _, tag) => {
                self.begin(span, tag.is_some(), OpenContent::Map { entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let place = self.first_line(open.start, span.end);
                    let content = match open.content {
                        _ if open.is_refused => Content::Refused,
                        OpenContent::List(items) => Content::List(items),
                        OpenContent::Map { entries, .. } => {
                            self.report_duplicates(&entries);
                            Content::Map(entries)
                        }
                    };
                    self.finish(Node { place, content });
                }
            }
            _ => {}
        }
        Some(())
    }

    fn begin(&mut self, span: Span, tagged: bool, content: OpenContent) -> Option<()> {
        if tagged {
            self.refuse_tag(span);
        }
        let place = self.place_of(span);
        self.count(place)?;
        if self.open.len() == DEPTH_MAX {
            self.faults
                .error(place, format!("nested deeper than {DEPTH_MAX} levels"))
                .help("no part of a plan is that deep; look for a bracket too many above");
            return None;
        }
        self.open.push(Open { start: span.start, is_refused: tagged, content });
        Some(())
    }

    /// Counts a node, and ends the reading of a file that has too many.
    fn count(&mut self, place: Place) -> Option<()> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            self.faults
                .error(place, format!("more than {NODES_MAX} keys and values in one file"))
                .help("no rollout needs that many; was this file generated by mistake?");
            return None;
        }
        Some(())
    }

    /// Puts a finished node where it belongs: as a key or value into the open map, into the open list, or at the root.
    fn finish(&mut self, node: Node) {
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(OpenContent::List(items)) => items.push(node),
            Some(OpenContent::Map { entries, key }) => match key.take() {
                Some(Key { text: Some(text), place }) => {
                    entries.push(Entry { key: text, place, value: node })
                }
                Some(Key { text: None, .. }) => {}
                None => *key = Some(as_key(node, self.faults)),
            },
        }
    }

    fn report_duplicates(&mut self, entries: &[Entry]) {
        let mut first_places: BTreeMap<&str, Place> = BTreeMap::new();
        for entry in entries {
            if let Some(first) = first_places.get(entry.key.as_str()) {
                self.faults
                    .error(entry.place, format!("the key `{}` stands here a second time", entry.key))
                    .help("keep one of them")
                    .related(*first, "first here");
            } else {
                first_places.insert(&entry.key, entry.place);
            }
        }
    }

    /// One fault for all anchors and one for all aliases: where there is one there are many.
    fn report_references(&mut self) {
        let kinds = [
            (
                &self.anchors,
                "anchors (&)",
                "write the value again where it is needed, share it in a Defaults file (`use: …`), or quote it if it is \
                 a text",
            ),
            (
                &self.aliases,
                "aliases (*)",
                "quote a text that begins with *, as in \"*/5 * * * *\"; what plans share goes into a Defaults file",
            ),
        ];
        for (places, what, help) in kinds {
            if let Some(first) = places.first() {
                let count = places.len();
                let more = if count > 1 { format!(" ({count} in this file)") } else { String::new() };
                self.faults
                    .error(*first, format!("{what} are not part of the plan language{more}"))
                    .help(help);
            }
        }
    }

    fn refuse_tag(&mut self, span: Span) {
        let place = self.place_of(span.tag_span().unwrap_or(span));
        self.faults
            .error(place, "tags (!) are not part of the plan language")
            .help("leave the tag out; quote the value if it is a text that begins with !");
    }

    fn place_of(&self, span: Span) -> Place {
        self.place_at(&span.start, &span.end)
    }

    /// A collection is pointed at by its first line, so that an excerpt shows one line and not all of it.
    fn first_line(&self, start: Marker, end: Marker) -> Place {
        let mut place = self.place_at(&start, &end);
        if let Some(length) = text_of(self.text, place).find(['\n', '\r']) {
            place.end = place.start + length;
        }
        place
    }

    fn place_at(&self, start: &Marker, end: &Marker) -> Place {
        let offset = |marker: &Marker| {
            let wanted = marker.byte_offset().unwrap_or(0).min(self.text.len());
            self.text.floor_char_boundary(wanted)
        };
        let (first, last) = (offset(start), offset(end));
        Place {
            file: self.file,
            line: u32::try_from(start.line().max(1)).unwrap_or(u32::MAX),
            column: u32::try_from(start.col() + 1).unwrap_or(u32::MAX),
            start: first,
            end: last.max(first),
        }
    }
}

fn text_of(text: &str, place: Place) -> &str {
    text.get(place.start..place.end).unwrap_or_default()
}

fn as_key(node: Node, faults: &mut Faults) -> Key {
    let place = node.place;
    match node.content {
        Content::Text { text, style: Style::Plain } if text == "<<" => {
            faults.error(place, "merge keys (<<) are not part of the plan language").help(
                "put what plans share into a file with `kind: Defaults` and write `use: its-name` here",
            );
            Key { text: None, place }
        }
        Content::Text { text, .. } => Key { text: Some(text), place },
        Content::Refused => Key { text: None, place },
        Content::List(_) | Content::Map(_) => {
            faults
                .error(place, "a key must be a text, but a map or list stands here")
                .help("is a `{`, `[` or `?` out of place?");
            Key { text: None, place }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PLAN_BYTES_MAX;

    fn read(text: &str) -> (Option<Node>, Vec<String>) {
        let source = Source::new("p.yaml", text);
        let mut faults = Faults::default();
        let root = parse(&source, 0, &mut faults);
        (root, faults.named(&[&source]).iter().map(ToString::to_string).collect())
    }

    /// Every key and value with its place, what its span covers, and its text.
    fn outline(node: &Node, text: &str, lines: &mut Vec<String>) {
        let line = |place: Place, what: &str| {
            format!("{}:{} {:?} {what}", place.line, place.column, &text[place.start..place.end])
        };
        match &node.content {
            Content::Text { text, style } => lines.push(line(node.place, &format!("{style:?} {text}"))),
            Content::List(items) => {
                lines.push(line(node.place, "list"));
                items.iter().for_each(|item| outline(item, text, lines));
            }
            Content::Map(entries) => {
                lines.push(line(node.place, "map"));
                for entry in entries {
                    lines.push(line(entry.place, &format!("{}:", entry.key)));
                    outline(&entry.value, text, lines);
                }
            }
            Content::Refused => lines.push(line(node.place, "refused")),
        }
    }

    #[test]
    fn everything_keeps_its_place_and_its_text() {
        let text = "# Zürich\nfunction: 'chéck' # ß\nsteps:\n  - 3%\n  - bake: 010\n  - {a: \"é\\n\", b: [x, ~]}\nlabels:\nnote: |\n  two\n  lines\nlast: plain\n  folded\n";
        let (root, faults) = read(text);
        assert_eq!(faults, [""; 0]);
        let mut lines = Vec::new();
        outline(&root.unwrap(), text, &mut lines);
        insta::assert_snapshot!(lines.join("\n"), @r#"
        2:1 "function: 'chéck' # ß" map
        2:1 "function" function:
        2:11 "'chéck'" Quoted chéck
        3:1 "steps" steps:
        4:3 "- 3%" list
        4:5 "3%" Plain 3%
        5:5 "bake: 010" map
        5:5 "bake" bake:
        5:11 "010" Plain 010
        6:5 "{a: \"é\\n\", b: [x, ~]}" map
        6:6 "a" a:
        6:9 "\"é\\n\"" Quoted é

        6:16 "b" b:
        6:19 "[x, ~]" list
        6:20 "x" Plain x
        6:23 "~" Plain ~
        7:1 "labels" labels:
        7:7 "" Plain ~
        8:1 "note" note:
        9:3 "two\n  lines\n" Quoted two
        lines

        11:1 "last" last:
        11:7 "plain\n  folded" PlainLines plain folded
        "#);
    }

    #[test]
    fn what_is_not_plain_yaml_is_refused_and_the_rest_still_read() {
        let (root, faults) =
            read("a: &x 1\nb: *x\nc: !!str 2\n<<: {d: 1}\n? [e]\n: 1\na: 3\nf: *none\ng: !t {h: 1}\n");
        assert!(root.is_some());
        insta::assert_snapshot!(faults.join("\n"), @r"
        p.yaml:1:4: anchors (&) are not part of the plan language
        p.yaml:2:4: aliases (*) are not part of the plan language (2 in this file)
        p.yaml:3:4: tags (!) are not part of the plan language
        p.yaml:4:1: merge keys (<<) are not part of the plan language
        p.yaml:5:3: a key must be a text, but a map or list stands here
        p.yaml:7:1: the key `a` stands here a second time
        p.yaml:9:4: tags (!) are not part of the plan language
        ");
    }

    #[test]
    fn what_cannot_be_read_is_explained() {
        for (text, fault) in [
            ("", "1:1: the file is empty"),
            ("# only a comment\n", "1:1: the file is empty"),
            ("a: 1\n---\nb: 2\n", "2:1: a second document begins here"),
            ("%YAML 1.1\n---\na: 1\n", "1:1: directives (%) are not part of the plan language"),
            ("a: [1, 2\nb: 3\n", "2:2: a `:` stands where no key can end"),
            ("a: {b: 1\n", "1:4: a map opened with { is not closed"),
            ("a: \"x\n", "1:4: a quote that is opened here is never closed"),
            ("a: 'it's'\n", "1:8: something follows a closing quote"),
            (
                "a: \"\\q\"\n",
                "1:4: a backslash inside double quotes begins an escape, and this one does not exist",
            ),
            ("a: b: c\n", "1:5: a `:` stands where no key can end"),
            ("a:\n  b: 1\n c: 2\n", "3:2: here a key was expected, with `:` and a space after it"),
            ("a: 1\n b: 2\n", "2:3: a `:` stands where no key can end"),
            ("a: ]\n", "1:4: a bracket closes what was not opened"),
            ("a: @daily\n", "1:4: a value cannot begin with @ unless it is quoted"),
            ("a: %3\n", "1:4: a value cannot begin with %"),
            ("a: `b`\n", "1:4: a value cannot begin with ` unless it is quoted"),
            ("- a\nb: 1\n", "2:1: here the next item of a list was expected"),
            ("a\nb: 1\n", "2:2: a `:` stands where no key can end"),
            ("a: 1\nb\n", "2:1: here a key was expected, with `:` and a space after it"),
            ("a: \"b\"c\n", "1:7: something follows a closing quote"),
            ("a:\n- 1\nb: 2\n- 3\n", "4:3: here a key was expected, with `:` and a space after it"),
            ("a:\t5m\n", "1:3: a tab stands here"),
            ("\ta: 1\n", "1:1: a tab stands here"),
            ("\u{feff}a: 1\n", "1:1: the file begins with a byte order mark, which nobody can see"),
            ("a: \0\n", "1:4: a character that cannot be seen stands here: U+0000"),
            ("a: x\u{202e}y\n", "1:5: a character that cannot be seen stands here: U+202E"),
            ("a: |\n  x\n y\n", "3:2: here a key was expected, with `:` and a space after it"),
            ("a: >2\n x\n", "2:2: this line is indented less or more than it can be"),
            ("[1]: 2", "1:1: a key must be a text, but a map or list stands here"),
            ("a: - b\n", "1:4: a `-` stands where no list item can begin"),
            ("a: b #c\n d: e\n", "1:6: a comment interrupts a text that goes on in the next line"),
            ("{a: 1}}\n", "1:7: a bracket closes what was not opened"),
            ("a: \"x\" y\n", "1:8: something follows a closing quote"),
            ("...\n", "1:1: the file is empty"),
            ("---\n", "1:1: the file is empty"),
            ("a: ? b\n", "1:4: a value cannot begin with ? unless it is quoted"),
            ("a: 'x\n---\n'\n", "1:4: a quote that is opened here is never closed"),
            ("a:\n  - b\n  c: d\n", "3:3: here the next item of a list was expected"),
            ("a: [b]c\n", "1:7: here a key was expected, with `:` and a space after it"),
        ] {
            assert_eq!(read(text).1, [format!("p.yaml:{fault}")], "{text}");
        }
    }

    #[test]
    fn bombs_are_defused() {
        for (text, fault) in [
            ("[".repeat(40), "p.yaml:1:33: nested deeper than 32 levels"),
            ("a: ".to_owned() + &"{a: ".repeat(400), "p.yaml:1:128: nested deeper than 32 levels"),
            ("- ".repeat(40), "p.yaml:1:65: nested deeper than 32 levels"),
            ("- a\n".repeat(10_001), "p.yaml:10000:3: more than 10000 keys and values in one file"),
            (
                "a".repeat(PLAN_BYTES_MAX + 1),
                "p.yaml:1:1: the file is 257 KiB large, and a plan has at most 256 KiB",
            ),
        ] {
            assert_eq!(read(&text).1, [fault]);
        }
        assert_eq!(read(&("[".repeat(32) + &"]".repeat(32))).1, [""; 0]);
    }
}
