//! Tables without borders: a header in capitals, columns as wide as they must be, wrapped on a terminal only.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table};

use super::Look;
use crate::cli::render::tone::Tone;

/// A table in the making.
pub struct Sheet<'a> {
    table: Table,
    look: &'a Look,
}

impl<'a> Sheet<'a> {
    /// Begins with the names of its columns.
    pub fn new(heads: &[&str], look: &'a Look) -> Sheet<'a> {
        let mut table = Table::new();
        table.load_style(NOTHING);
        if look.wrap {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(u16::try_from(look.width).unwrap_or(u16::MAX));
        } else {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        if look.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(heads.iter().map(|head| Cell::new(head).add_attribute(Attribute::Dim)));
        Sheet { table, look }
    }

    /// Lets one column alone be wrapped where the terminal is too narrow.
    pub fn wrap_only(mut self, wrapped: usize) -> Sheet<'a> {
        for (index, column) in self.table.column_iter_mut().enumerate() {
            if index != wrapped {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        self
    }

    /// Sets columns of numbers flush right.
    pub fn right(mut self, columns: &[usize]) -> Sheet<'a> {
        for column in columns {
            if let Some(column) = self.table.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    /// Adds a row of plain cells.
    pub fn row(&mut self, cells: &[&str]) {
        let cells: Vec<(Tone, &str)> = cells.iter().map(|cell| (Tone::Plain, *cell)).collect();
        self.toned(&cells);
    }

    /// Adds a row of cells in tones.
    pub fn toned(&mut self, cells: &[(Tone, &str)]) {
        let cell = |(tone, text): &(Tone, &str)| {
            let cell = Cell::new(self.look.words(text));
            match tone {
                Tone::Plain => cell,
                Tone::Strong => cell.add_attribute(Attribute::Bold),
                Tone::Good => cell.fg(Color::Green),
                Tone::Bad => cell.fg(Color::Red).add_attribute(Attribute::Bold),
                Tone::Caution => cell.fg(Color::Yellow),
                Tone::Canary => cell.fg(Color::Cyan),
                Tone::Quiet => cell.add_attribute(Attribute::Dim),
            }
        };
        self.table.add_row(cells.iter().map(cell));
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The table as it is printed.
    pub fn text(mut self) -> String {
        for column in self.table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}
