//! The shapes of a plan: maps with known keys, lists with items, and what stands there instead.

use crate::plan::diagnose::{Faults, Place};
use crate::plan::keys::{self, Key, Table};
use crate::plan::suggest::nearest;
use crate::plan::tree::{Content, Entry, Node, Style, is_null};

/// A value on its way into the plan: what it is called, how it should look, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Field<'t> {
    /// What faults call it: a key in backticks, or "an approver".
    pub what: String,
    /// How it is written.
    pub example: &'static str,
    /// Whether it can be left out.
    pub is_optional: bool,
    /// What to point at where the value itself cannot be: its key.
    pub at: Place,
    pub node: &'t Node,
}

impl<'t> Field<'t> {
    /// The place of the value, or of the key where there is no value.
    pub fn place(&self) -> Place {
        if self.is_empty() { self.at } else { self.node.place }
    }

    /// An item of this list, called `what`.
    pub fn item(&self, what: &str, node: &'t Node) -> Field<'t> {
        Field { what: what.to_owned(), example: self.example, is_optional: false, at: node.place, node }
    }

    /// Advice with an example.
    pub fn write(&self) -> String {
        format!("write for example `{}`", self.example)
    }

    /// The same for what need not be there.
    pub fn write_or_leave_out(&self) -> String {
        if self.is_optional { format!("{}, or leave the key out", self.write()) } else { self.write() }
    }

    /// Whether nothing was written, or one of YAML's words for nothing.
    pub fn is_empty(&self) -> bool {
        matches!(&self.node.content, Content::Text { text, style: Style::Plain } if is_null(text))
    }
}

/// The entries of a map whose keys are all known.
#[derive(Clone, Debug)]
pub(super) struct Fields<'t> {
    table: &'static Table,
    entries: &'t [Entry],
    /// The map itself.
    pub place: Place,
}

impl<'t> Fields<'t> {
    /// A key's value, if the key is there.
    pub fn get(&self, name: &'static str) -> Option<Field<'t>> {
        let key = self.table.find(name);
        debug_assert!(key.is_some(), "{name} is not in the table of {}", self.table.name);
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        Some(field(key?, entry))
    }

    /// Whether an unknown key was probably meant to be this one, so that its absence needs no second fault.
    pub fn is_misspelt(&self, name: &str) -> bool {
        let unknown = self.entries.iter().filter(|entry| self.table.find(&entry.key).is_none());
        unknown.take(100).any(|entry| nearest(&entry.key, self.table.names()) == Some(name))
    }

    /// The first of these keys that is there.
    pub fn first_of(&self, names: &[&'static str]) -> Option<(&'static str, Field<'t>)> {
        names.iter().find_map(|name| self.get(name).map(|field| (*name, field)))
    }
}

fn field<'t>(key: &'static Key, entry: &'t Entry) -> Field<'t> {
    Field {
        what: format!("`{}`", key.name),
        example: key.example,
        is_optional: !key.is_obligatory,
        at: entry.place,
        node: &entry.value,
    }
}

/// What turns a tree into a plan, noting every fault on the way.
///
/// Its methods answer `None` for what was reported, and never a made-up value, so that one fault does not cause
/// others.
pub(super) struct Reader<'f> {
    pub faults: &'f mut Faults,
}

impl Reader<'_> {
    /// Takes a value as a map with the keys of a table.
    pub fn map<'t>(&mut self, field: &Field<'t>, table: &'static Table) -> Option<Fields<'t>> {
        let fields = self.map_of_any_keys(field, table)?;
        for entry in fields.entries {
            if table.find(&entry.key).is_none() {
                self.unknown_key(entry, table);
            }
        }
        Some(fields)
    }

    /// Takes a value as a map of which only keys of a table will be asked for.
    pub fn map_of_any_keys<'t>(&mut self, field: &Field<'t>, table: &'static Table) -> Option<Fields<'t>> {
        let Content::Map(entries) = &field.node.content else {
            self.wrong_kind(field, "a map of keys");
            return None;
        };
        Some(Fields { table, entries, place: field.node.place })
    }

    /// Takes a value as a map with keys of the author's own.
    pub fn own_map<'t>(&mut self, field: &Field<'t>) -> Option<&'t [Entry]> {
        if let Content::Map(entries) = &field.node.content {
            return Some(entries);
        }
        self.wrong_kind(field, "a map of keys");
        None
    }

    /// Takes a value as a list with at least one item.
    pub fn list<'t>(&mut self, field: &Field<'t>) -> Option<&'t [Node]> {
        match &field.node.content {
            Content::List(items) if items.is_empty() => {
                self.faults
                    .error(field.place(), format!("{} is an empty list", field.what))
                    .help(field.write_or_leave_out());
                None
            }
            Content::List(items) => Some(items),
            Content::Text { .. } | Content::Map(_) | Content::Refused => {
                self.wrong_kind(field, "a list");
                None
            }
        }
    }

    /// Takes a value as a text on one line; `expected` says what it should be.
    pub fn word<'t>(&mut self, field: &Field<'t>, expected: &str) -> Option<(&'t str, Style)> {
        match &field.node.content {
            Content::Text { .. } if field.is_empty() => {
                self.wrong_kind(field, expected);
                None
            }
            Content::Text { text, style: Style::PlainLines } => {
                self.faults
                    .error(field.place(), format!("{} must be {expected}, but goes on in the next line", field.what))
                    .help(format!(
                        "together it reads `{}`: is the next line indented too far, or its `- ` or `:` missing?",
                        short(text)
                    ));
                None
            }
            Content::Text { text, style } => Some((text, *style)),
            Content::List(_) | Content::Map(_) | Content::Refused => {
                self.wrong_kind(field, expected);
                None
            }
        }
    }

    /// Reports that a value is not the kind of thing its key wants.
    pub fn wrong_kind(&mut self, field: &Field<'_>, expected: &str) {
        let Field { what, .. } = field;
        let found = match &field.node.content {
            Content::Refused => return,
            _ if field.is_empty() => {
                self.faults.error(field.at, format!("{what} has no value")).help(field.write_or_leave_out());
                return;
            }
            Content::Text { text, .. } if text.is_empty() => "an empty text".to_owned(),
            Content::Text { text, .. } => format!("`{}`", short(text)),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a map".to_owned(),
        };
        self.faults
            .error(field.place(), format!("{what} must be {expected}, but this is {found}"))
            .help(field.write());
    }

    /// Reports that a map lacks a key it must have.
    pub fn missing(&mut self, fields: &Fields<'_>, place: Place, what: &str, name: &'static str) {
        if fields.is_misspelt(name) {
            return;
        }
        let example = fields.table.find(name).map_or("", |key| key.example);
        self.faults
            .error(place, format!("{what} has no `{name}`"))
            .help(format!("write for example `{example}`"));
    }

    fn unknown_key(&mut self, entry: &Entry, table: &'static Table) {
        let help = if self.faults.is_full() { None } else { help_for_key(&entry.key, table) };
        self.faults
            .error(entry.place, format!("{} has no key `{}`", table.name, short(&entry.key)))
            .maybe_help(help);
    }
}

fn help_for_key(word: &str, table: &'static Table) -> Option<String> {
    if let Some((before, after)) = word.split_once(':')
        && table.find(before).is_some()
    {
        return Some(format!("a space is missing after the colon: `{before}: {after}`"));
    }
    if let Some(known) = nearest(word, table.names()) {
        return Some(format!("did you mean `{known}`?"));
    }
    if let Some(help) = keys::elsewhere(word) {
        return Some(help.to_owned());
    }
    let homes: Vec<&str> =
        keys::TABLES.iter().filter(|other| other.find(word).is_some()).map(|other| other.name).collect();
    if !homes.is_empty() {
        return Some(format!("`{word}` is a key of {}", homes.join(" and of ")));
    }
    const NAMES_MAX: usize = 12;
    let names: Vec<&str> = table.names().collect();
    match names.as_slice() {
        names if names.len() > NAMES_MAX => Some("`serin schema` lists the keys there are".to_owned()),
        [] => Some(format!("{} takes no keys", table.name)),
        [only] => Some(format!("its only key is {only}")),
        names => Some(format!("its keys are {}", names.join(", "))),
    }
}

/// A text cut to what fits into a sentence.
pub(super) fn short(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    let mut cut: String =
        text.chars().take(CHARACTERS_MAX).map(|each| if each.is_control() { ' ' } else { each }).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        cut.push('…');
    }
    cut
}
