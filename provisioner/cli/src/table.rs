//! Tables for people: columns aligned by width on the terminal, nothing ever cut off.
//!
//! Ids and keys are there to be copied, so a wide table is left wide.

use crate::text;

/// Rows under headings.
#[derive(Debug, Clone)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows yet.
    pub fn new(headings: impl IntoIterator<Item = &'static str>) -> Self {
        Self { headings: headings.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row; a cell that is empty is shown as `-`. Texts are made safe to show.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        self.rows.push(
            cells
                .into_iter()
                .map(|cell| match cell.as_ref() {
                    "" => "-".into(),
                    cell => text::line(cell),
                })
                .collect(),
        );
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, each with its break, and the given indentation before each.
    pub fn render(&self, indentation: usize) -> String {
        let headings: Vec<String> = self.headings.iter().map(|h| (*h).to_owned()).collect();
        let all = || std::iter::once(&headings).chain(&self.rows);
        let widths: Vec<usize> = (0..headings.len())
            .map(|at| {
                all().filter_map(|row| row.get(at)).map(|c| text::width(c)).max().unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for row in all() {
            let mut line = " ".repeat(indentation);
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.push_str(&" ".repeat(width - text::width(cell) + 2));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_their_width_on_the_terminal() {
        let mut table = Table::new(["NAME", "DESCRIPTION", "N"]);
        table.row(["a", "契約", "1"]);
        table.row(["longer", "", "22"]);
        assert_eq!(
            table.render(2),
            "  NAME    DESCRIPTION  N\n  a       契約         1\n  longer  -            22\n"
        );
    }
}
