//! A table in Markdown, with columns aligned for reading as plain text.

use std::fmt;

#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// The first row is the heading.
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Starts a table with its heading.
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|&name| name.to_owned()).collect()] }
    }

    /// Adds a row. Missing cells are empty.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let cell = |row: usize, column: usize| self.rows[row].get(column).map_or("", String::as_str);
        let width = |column| (0..self.rows.len()).map(|row| cell(row, column).chars().count()).max();
        let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in 0..self.rows.len() {
            for (column, &width) in widths.iter().enumerate() {
                // Figures are aligned right, labels left.
                match (column, cell(row, column)) {
                    (0, text) => write!(f, "| {text:<width$} ")?,
                    (_, text) => write!(f, "| {text:>width$} ")?,
                }
            }
            writeln!(f, "|")?;
            if row == 0 {
                for (column, &width) in widths.iter().enumerate() {
                    let end = if column == 0 { '-' } else { ':' };
                    write!(f, "|{:-<width$}{end}", "", width = width + 1)?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["shape", "µs"]);
        table.row(vec!["S1x5".into(), "12.34".into()]);
        table.row(vec!["S1".into()]);
        let lines = ["| shape |    µs |", "|-------|------:|", "| S1x5  | 12.34 |", "| S1    |       |", ""];
        assert_eq!(table.to_string(), lines.join("\n"));
    }
}
