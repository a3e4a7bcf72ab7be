//! What is wrong with a file before it can be a plan: its bytes, its characters, its YAML.

use serde_yaml::granit_parser::ErrorKind;

use super::diagnose::{Faults, Place, Source};

/// What to show somebody whose file has nothing in it.
pub(super) const SMALLEST_PLAN: &str = "the smallest plan is three lines:\n\
                                        function: checkout\n\
                                        alias: live\n\
                                        steps: [3%, 5%, 100%]";

/// Reads the bytes as text that shows all it contains; `None` where it does not, which is then reported.
pub(super) fn check_text<'a>(source: &'a Source, file: u8, faults: &mut Faults) -> Option<&'a str> {
    let bytes = &source.bytes;
    if bytes.len() > PLAN_BYTES_MAX {
        let kib = bytes.len().div_ceil(1024);
        faults
            .error(
                Place::start_of(file),
                format!("the file is {kib} KiB large, and a plan has at most 256 KiB"),
            )
            .help("is this the right file? A plan is a page of YAML.");
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            report_not_utf8(bytes, error.valid_up_to(), file, faults);
            return None;
        }
    };
    let mut readable = true;
    let mut tabs: Option<(Place, usize)> = None;
    let mut line_start = 0;
    let mut line = 1;
    // A `#` inside quotes is taken for a comment too: that only lets a harmless tab pass.
    let mut is_comment = false;
    let mut previous = '\n';
    let mut characters = text.char_indices().peekable();
    while let Some((offset, character)) = characters.next() {
        let place = || Place {
            file,
            line,
            column: text[line_start..offset].chars().count() as u32 + 1,
            start: offset,
            end: offset + character.len_utf8(),
        };
        match character {
            '\n' | '\r' => {
                if character == '\r' {
                    characters.next_if(|(_, next)| *next == '\n');
                }
                line += 1;
                is_comment = false;
                line_start = characters.peek().map_or(text.len(), |(next, _)| *next);
            }
            '#' if matches!(previous, '\n' | '\r' | ' ' | '\t') => is_comment = true,
            '\t' if is_comment => {}
            '\t' => tabs.get_or_insert_with(|| (place(), 0)).1 += 1,
            '\u{feff}' if offset == 0 => {
                readable = false;
                faults
                    .error(place(), "the file begins with a byte order mark, which nobody can see")
                    .help("save it as UTF-8 without BOM");
            }
            hidden if is_hidden(hidden) => {
                readable = false;
                if !faults.is_full() {
                    let code = u32::from(hidden);
                    faults
                        .error(place(), format!("a character that cannot be seen stands here: U+{code:04X}"))
                        .help("delete it; text copied from a web page or a terminal often brings some along");
                }
            }
            _ => {}
        }
        previous = character;
    }
    if let Some((place, count)) = tabs {
        readable = false;
        let more = if count > 1 { format!(" (one of {count} in this file)") } else { String::new() };
        faults
            .error(place, format!("a tab stands here{more}"))
            .help("indent with spaces; inside double quotes a tab is written \\t");
    }
    readable.then_some(text)
}

/// Control characters, line breaks only some YAML readers know, and what reverses the order of what is shown.
pub(super) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}')
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn report_not_utf8(bytes: &[u8], offset: usize, file: u8, faults: &mut Faults) {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let place = Place { end: 2, ..Place::start_of(file) };
        faults.error(place, "the file is UTF-16").help("save it as UTF-8");
        return;
    }
    let before = String::from_utf8_lossy(&bytes[..offset]);
    let last_line = before.rsplit(['\n', '\r']).next().unwrap_or_default();
    let place = Place {
        file,
        line: before.replace("\r\n", "\n").matches(['\n', '\r']).count() as u32 + 1,
        column: last_line.chars().count() as u32 + 1,
        start: offset,
        end: offset + 1,
    };
    faults
        .error(place, format!("the file is not UTF-8: the byte 0x{:02X} stands here", bytes[offset]))
        .help("save it as UTF-8");
}

/// Reports what the YAML parser stumbled over, in words for somebody who does not know its grammar; inside a
/// bracket, that is likely at fault.
#[expect(clippy::wildcard_enum_match_arm, reason = "the parser's faults, which may grow")]
pub(super) fn explain(kind: &ErrorKind, place: Place, bracket: Option<Place>, faults: &mut Faults) {
    use ErrorKind::*;
    let (message, help) = match kind {
        UnexpectedCharacter { character: '%' } => {
            ("a value cannot begin with %", "the number comes first, as in 3%")
        }
        UnexpectedCharacter { character } => {
            faults
                .error(place, format!("a value cannot begin with {character} unless it is quoted"))
                .help("put it in double quotes");
            return;
        }
        MismatchedFlowCollectionEnd { open, close } => {
            faults
                .error(place, format!("what is opened with {open} is closed with {close} here"))
                .help("[ ] hold a list and { } a map");
            return;
        }
        DirectiveDisallowed => ("directives (%) are not part of the plan language", "delete this line"),
        UnclosedQuotedScalar | DocumentIndicatorInQuotedScalar => {
            ("a quote that is opened here is never closed", "close it on the same line")
        }
        InvalidTrailingSingleQuotedScalar | InvalidTrailingDoubleQuotedScalar => (
            "something follows a closing quote",
            "quote the whole value; a quote inside single quotes is doubled: 'it''s'",
        ),
        UnknownQuotedScalarEscape
        | InvalidQuotedScalarHexEscape
        | InvalidLowSurrogateHexEscape
        | InvalidLowSurrogate
        | MissingLowSurrogate
        | UnpairedLowSurrogate
        | InvalidUnicodeEscape => (
            "a backslash inside double quotes begins an escape, and this one does not exist",
            "use single quotes, or write \\\\ for a backslash",
        ),
        UnclosedFlowCollection { open: '[' } | UnexpectedEofFlowSequence | ExpectedFlowSequenceSeparator => {
            ("a list opened with [ is not closed", "items are separated by , and the list ends with ]")
        }
        UnclosedFlowCollection { .. }
        | UnexpectedEofFlowMapping
        | UnexpectedEofImplicitFlowMapping
        | ExpectedFlowMappingSeparator => {
            ("a map opened with { is not closed", "entries are separated by , and the map ends with }")
        }
        MappingKeyNotAllowed => {
            ("a value cannot begin with ? unless it is quoted", "put it in double quotes")
        }
        MisplacedFlowCollectionEnd => {
            ("a bracket closes what was not opened", "delete it, or open it before")
        }
        RecursionLimitExceeded => (
            "nested deeper than 32 levels",
            "no part of a plan is that deep; look for a bracket too many above",
        ),
        TabNotAllowed
        | TabInBlockIndentation
        | TabInIndentation
        | TabInPlainScalar
        | TabAtBlockScalarStart => ("a tab stands here", "indent with spaces"),
        InvalidColonPlacement => (
            "a `:` stands where no key can end",
            "is a bracket above never closed? A text with `:` in it needs quotes",
        ),
        MappingValueNotAllowed => (
            "a `:` stands where no key can end",
            "is the line above it indented wrongly, or does a text with `: ` in it need quotes?",
        ),
        SimpleKeyExpected | ExpectedBlockMappingKey | InvalidSimpleKey => (
            "here a key was expected, with `:` and a space after it",
            "keys of one map begin in the same column, as in `bake: 5m`",
        ),
        ExpectedBlockSequenceEntry => (
            "here the next item of a list was expected",
            "items of one list begin with `- ` in the same column",
        ),
        BlockSequenceEntryNotAllowed | InvalidBlockEntryWhitespace | BlockEntryInFlowCollection => (
            "a `-` stands where no list item can begin",
            "items of one list begin with `- ` in the same column",
        ),
        InvalidIndentation
        | InvalidQuotedScalarIndent
        | InvalidFlowScalarIndent
        | InvalidBlockScalarIndent
        | UnexpectedEndOfPlainScalar => (
            "this line is indented less or more than it can be",
            "what belongs together begins in the same column",
        ),
        CommentNotSeparated => ("a comment needs a space before its #", "add the space, or quote the text"),
        CommentInterceptedScalar => (
            "a comment interrupts a text that goes on in the next line",
            "is the next line indented too far? Keys of one map begin in the same column",
        ),
        MissingAnchorOrAliasName => (
            "a value cannot begin with * or & unless it is quoted",
            "put it in double quotes, as in \"*/5 * * * *\"",
        ),
        InputIo { .. } | Custom(_) => ("the file cannot be read here", "look at this line and the one above"),
        other => {
            let help =
                "look at this line and the one above; quote texts that contain : # @ ` or begin with * & ! %";
            faults.error(place, format!("not valid YAML: {other}")).help(help);
            return;
        }
    };
    let fault = faults.error(place, message);
    fault.help(help);
    let is_about_brackets = matches!(
        kind,
        InvalidColonPlacement
            | SimpleKeyExpected
            | ExpectedFlowSequenceSeparator
            | ExpectedFlowMappingSeparator
            | InvalidFlowScalarIndent
    );
    if let Some(bracket) = bracket.filter(|bracket| is_about_brackets && bracket.start != place.start) {
        fault.related(bracket, "opened here");
    }
}

/// The largest plan, in bytes; whoever opens a file need not read more of it than one byte beyond.
pub const PLAN_BYTES_MAX: usize = 256 * 1024;
