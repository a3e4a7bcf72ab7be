//! Draws a plan's faults for a terminal: the place, the lines around it, what to write instead.

use std::fmt;
use std::ops::Range;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};

use super::render::words::is_hidden;
use serin_core::plan::{Fault, Related, Severity, Source};

/// Draws faults, each with an excerpt of its file, and counts them in a last line; nothing for no faults.
///
/// Colors are ANSI escapes and come only when asked for. Lines are wrapped at `width` columns.
pub fn render(faults: &[Fault], sources: &[Source], color: bool, width: usize) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(width.max(40));
    let mut drawn = String::new();
    for fault in faults {
        let source = sources.iter().find(|source| source.name == fault.file);
        let shown = Shown::new(fault, source);
        if handler.render_report(&mut drawn, &shown).is_err() {
            drawn.push_str(&format!("{fault}\n"));
        }
        drawn.push('\n');
    }
    drawn.push_str(&summary(faults));
    drawn
}

/// How many faults and warnings there are in which file.
fn summary(faults: &[Fault]) -> String {
    let mut files: Vec<&str> = Vec::new();
    for fault in faults {
        if !files.contains(&fault.file.as_str()) {
            files.push(&fault.file);
        }
    }
    let count = |file: &str, severity: Severity, word: &str| {
        let count = faults.iter().filter(|fault| fault.file == file && fault.severity == severity).count();
        match count {
            0 => None,
            1 => Some(format!("1 {word}")),
            _ => Some(format!("{count} {word}s")),
        }
    };
    let mut text = String::new();
    for file in files {
        let counts = [count(file, Severity::Error, "fault"), count(file, Severity::Warning, "warning")];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        text.push_str(&format!("{} in {file}\n", counts.join(" and ")));
    }
    text
}

/// A fault as miette wants it.
#[derive(Debug)]
struct Shown<'a> {
    fault: &'a Fault,
    excerpt: Option<Excerpt<'a>>,
    labels: Vec<LabeledSpan>,
    help: Option<String>,
}

impl<'a> Shown<'a> {
    fn new(fault: &'a Fault, source: Option<&'a Source>) -> Shown<'a> {
        let (near, far): (Vec<&Related>, Vec<&Related>) =
            fault.related.iter().partition(|related| related.file == fault.file);
        let mut excerpt = source.map(|source| Excerpt::new(source, fault, &near));
        let mut labels = Vec::new();
        let mut help: Vec<String> = fault.help.clone().into_iter().collect();
        if let Some(excerpt) = &mut excerpt {
            let primary = excerpt.marks[0].span.clone();
            labels.push(LabeledSpan::new_primary_with_span(None, (primary.start, primary.len())));
            for (related, mark) in near.iter().zip(&excerpt.marks[1..]) {
                let span = (mark.span.start, mark.span.len());
                labels.push(LabeledSpan::new_with_span(Some(related.text.clone()), span));
            }
        } else {
            help.extend(near.iter().map(|related| elsewhere(related)));
        }
        help.extend(far.iter().map(|related| elsewhere(related)));
        let help = (!help.is_empty()).then(|| help.join("\n"));
        Shown { fault, excerpt, labels, help }
    }
}

fn elsewhere(related: &Related) -> String {
    format!("{}:{}:{}: {}", related.file, related.line, related.column, related.text)
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.excerpt.is_some() { f.write_str(&self.fault.message) } else { self.fault.fmt(f) }
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.fault.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.excerpt.as_ref().map(|excerpt| excerpt as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

/// Lines longer than this are cut around what they are shown for.
const LINE_CHARACTERS_MAX: usize = 140;
/// How much of a cut line is kept before what it is shown for.
const BEFORE_CHARACTERS: usize = 40;

/// The lines around a fault, short enough to be read; all other lines are blank, so that line numbers stay right.
#[derive(Debug)]
struct Excerpt<'a> {
    name: &'a str,
    text: String,
    /// The number of lines left out before the first.
    lines_before: usize,
    /// The fault, then what is related.
    marks: Vec<Mark>,
}

/// A place within an excerpt, and where it is in the file.
#[derive(Debug)]
struct Mark {
    span: Range<usize>,
    line: usize,
    column: usize,
}

impl<'a> Excerpt<'a> {
    fn new(source: &'a Source, fault: &Fault, related: &[&Related]) -> Excerpt<'a> {
        let mut wanted = vec![(fault.span.clone(), fault.line, fault.column)];
        wanted.extend(related.iter().map(|related| (related.span.clone(), related.line, related.column)));
        let first = wanted.iter().map(|(_, line, _)| *line as usize).min().unwrap_or(1).saturating_sub(2);
        let last = wanted.iter().map(|(_, line, _)| *line as usize).max().unwrap_or(1) + 1;
        let mut text = String::new();
        let mut marks: Vec<Mark> = wanted
            .iter()
            .map(|(_, line, column)| Mark { span: 0..0, line: *line as usize, column: *column as usize })
            .collect();
        for (index, range) in lines(&source.bytes).into_iter().enumerate().take(last).skip(first) {
            let number = index + 1;
            let is_near = wanted.iter().any(|(_, line, _)| number.abs_diff(*line as usize) <= 1);
            if is_near {
                let on_line: Vec<usize> =
                    (0..wanted.len()).filter(|mark| wanted[*mark].1 as usize == number).collect();
                let focus = on_line.first().map_or(range.start, |mark| wanted[*mark].0.start);
                let cut = Cut::new(&source.bytes[range.clone()], focus.saturating_sub(range.start));
                let line_start = text.len();
                text.push_str(&cut.text);
                for mark in on_line {
                    let span = &wanted[mark].0;
                    let start = line_start + cut.position(span.start.saturating_sub(range.start));
                    let end = line_start + cut.position(span.end.saturating_sub(range.start));
                    marks[mark].span = start..end.max(start);
                }
            }
            text.push('\n');
        }
        Excerpt { name: &source.name, text, lines_before: first, marks }
    }
}

/// The lines of a file as byte ranges without their ends, as YAML and miette count them.
fn lines(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut index = 0;
    while index < bytes.len() {
        let end = index;
        index += 1;
        if !matches!(bytes[end], b'\n' | b'\r') {
            continue;
        }
        if bytes[end] == b'\r' && bytes.get(index) == Some(&b'\n') {
            index += 1;
        }
        lines.push(start..end);
        start = index;
    }
    if start < bytes.len() || lines.is_empty() {
        lines.push(start..bytes.len());
    }
    lines
}

/// A line as it is shown, with where each of its bytes went.
struct Cut {
    text: String,
    /// Pairs of an offset in the file's line and one in the text, ascending in both.
    offsets: Vec<(usize, usize)>,
}

impl Cut {
    fn new(line: &[u8], focus: usize) -> Cut {
        let characters = visible(line);
        let focus = characters.iter().take_while(|(offset, _)| *offset < focus).count();
        let is_long = characters.len() > LINE_CHARACTERS_MAX;
        let first = if is_long { focus.saturating_sub(BEFORE_CHARACTERS) } else { 0 };
        let last =
            if is_long { (first + LINE_CHARACTERS_MAX).min(characters.len()) } else { characters.len() };
        let mut text = String::new();
        if first > 0 {
            text.push('…');
        }
        let mut offsets = Vec::new();
        for (offset, character) in &characters[first..last] {
            offsets.push((*offset, text.len()));
            text.push(*character);
        }
        offsets.push((characters.get(last).map_or(line.len(), |(offset, _)| *offset), text.len()));
        if last < characters.len() {
            text.push('…');
        }
        Cut { text, offsets }
    }

    /// Where an offset of the file's line is in the text; the nearest shown place where it was cut off.
    fn position(&self, offset: usize) -> usize {
        let index = self.offsets.partition_point(|(known, _)| *known < offset).min(self.offsets.len() - 1);
        self.offsets[index].1
    }
}

/// A line's characters with their offsets; what cannot be shown stands as a replacement character.
fn visible(line: &[u8]) -> Vec<(usize, char)> {
    let mut characters = Vec::new();
    let mut offset = 0;
    for chunk in line.utf8_chunks() {
        for character in chunk.valid().chars() {
            let shown = match character {
                '\t' => '→',
                _ if is_hidden(character) => '\u{fffd}',
                _ => character,
            };
            characters.push((offset, shown));
            offset += character.len_utf8();
        }
        if !chunk.invalid().is_empty() {
            characters.push((offset, '\u{fffd}'));
            offset += chunk.invalid().len();
        }
    }
    characters
}

impl SourceCode for Excerpt<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let contents = self.text.as_str().read_span(span, context_lines_before, context_lines_after)?;
        let mark = self.marks.iter().find(|mark| mark.span.start == span.offset());
        // Without context lines miette asks where the span stands, and would count bytes of a cut line.
        let (line, column) = match mark {
            Some(mark) if context_lines_before == 0 => (mark.line - 1, mark.column - 1),
            _ => (contents.line() + self.lines_before, contents.column()),
        };
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.to_owned(),
            contents.data(),
            *contents.span(),
            line,
            column,
            contents.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(file: &str, line: u32, column: u32, span: Range<usize>) -> Fault {
        Fault {
            severity: Severity::Error,
            file: file.to_owned(),
            line,
            column,
            span,
            message: "wrong".to_owned(),
            help: None,
            related: Vec::new(),
        }
    }

    #[test]
    fn colors_come_only_when_asked_for() {
        let sources = [Source::new("a.yaml", "bake: 5\n")];
        let faults = [fault("a.yaml", 1, 7, 6..7)];
        assert!(!render(&faults, &sources, false, 80).contains('\u{1b}'));
        assert!(render(&faults, &sources, true, 80).contains('\u{1b}'));
    }

    #[test]
    fn a_fault_of_an_absent_file_still_names_its_place() {
        let drawn = render(&[fault("gone.yaml", 3, 4, 20..25)], &[], false, 80);
        assert!(drawn.contains("gone.yaml:3:4: wrong"), "{drawn}");
    }

    #[test]
    fn what_is_related_in_another_file_is_named() {
        let sources = [Source::new("a.yaml", "bake: 5\n"), Source::new("b.yaml", "bake: 6\n")];
        let mut other = fault("a.yaml", 1, 1, 0..4);
        other.related.push(Related {
            file: "b.yaml".to_owned(),
            line: 1,
            column: 7,
            span: 6..7,
            text: "there too".to_owned(),
        });
        let drawn = render(&[other], &sources, false, 80);
        assert!(drawn.contains("b.yaml:1:7: there too"), "{drawn}");
    }

    #[test]
    fn faults_are_counted_by_file() {
        let mut odd = fault("a.yaml", 1, 1, 0..1);
        odd.severity = Severity::Warning;
        let faults =
            [fault("a.yaml", 1, 1, 0..1), fault("a.yaml", 1, 2, 1..2), odd, fault("b.yaml", 1, 1, 0..1)];
        assert_eq!(summary(&faults), "2 faults and 1 warning in a.yaml\n1 fault in b.yaml\n");
        assert_eq!(render(&[], &[], false, 80), "");
    }

    #[test]
    fn long_lines_are_cut_around_the_fault() {
        let line = format!("{}{}é{}", "a".repeat(300), "b".repeat(300), "c".repeat(300));
        let cut = Cut::new(line.as_bytes(), 600);
        assert!(cut.text.chars().count() <= LINE_CHARACTERS_MAX + 2, "{}", cut.text);
        let (start, end) = (cut.position(600), cut.position(602));
        assert_eq!(&cut.text[start..end], "é");
        assert_eq!(cut.position(0), "…".len());
        assert!(cut.position(900) <= cut.text.len());
    }

    #[test]
    fn lines_end_as_yaml_says() {
        let text = b"a\nb\r\nc\rd";
        let found: Vec<&[u8]> = lines(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, [b"a", b"b", b"c", b"d"]);
        assert_eq!(lines(b"").len(), 1);
        assert_eq!(lines(b"a\n").len(), 1);
    }
}
