//! CSV (RFC 4180): a table with a heading, for spreadsheets. Ids for joins are left out: a spreadsheet rounds them.

use super::{Table, Values};

/// The table. Lines end in CR LF; what is unknown is empty.
pub fn csv(table: &Table) -> String {
    let columns: Vec<_> = table.columns.iter().filter(|column| !matches!(column.values, Values::Id(_))).collect();
    let rows = columns.first().map_or(0, |column| column.values.len());
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = String>| {
        out.push_str(&cells.map(|cell| quoted(&cell)).collect::<Vec<_>>().join(","));
        out.push_str("\r\n");
    };
    line(&mut columns.iter().map(|column| column.name.to_owned()));
    for row in 0..rows {
        line(&mut columns.iter().map(|column| column.values.cell(row)));
    }
    out
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

impl Values {
    /// Their number.
    fn len(&self) -> usize {
        match self {
            Self::Id(values) | Self::Int(values) | Self::Moment(values) => values.len(),
            Self::MaybeInt(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::MaybeText(values) => values.len(),
            Self::Flag(values) => values.len(),
        }
    }

    fn cell(&self, row: usize) -> String {
        match self {
            Self::Id(values) | Self::Int(values) | Self::Moment(values) => values[row].to_string(),
            Self::MaybeInt(values) => values[row].map_or_else(String::new, |value| value.to_string()),
            Self::Text(values) => values[row].clone(),
            Self::MaybeText(values) => values[row].clone().unwrap_or_default(),
            Self::Flag(values) => values[row].to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::contention::{Contention, Query};
    use crate::analysis::order::Graph;
    use crate::analysis::testing::server;
    use crate::render::export::tables::{self, Column, Labels, TableInput};
    use crate::render::golden;

    #[test]
    fn cells_are_quoted_where_they_have_to_be() {
        let column = |name, values| Column { name, values };
        let text = |words: &[&str]| Values::Text(words.iter().map(|word| (*word).to_owned()).collect());
        let table = Table {
            name: "t",
            columns: vec![
                column("id", Values::Id(vec![1, 2, 3])),
                column("a,b", text(&["plain", "say \"hi\", you", "two\nlines"])),
                column("n", Values::MaybeInt(vec![Some(-1), None, Some(7)])),
            ],
        };
        assert_eq!(csv(&table), "\"a,b\",n\r\nplain,-1\r\n\"say \"\"hi\"\", you\",\r\n\"two\nlines\",7\r\n");
    }

    #[test]
    fn golden_tables() {
        let session = server();
        let contention = Contention::of(&session, &Query::default());
        let graph = Graph::default();
        let input = TableInput { session: &session, contention: &contention, graph: &graph, labels: Labels::default() };
        golden::check("locks.csv", &csv(&tables::locks(&input)));
        golden::check("sites.csv", &csv(&tables::sites(&input)));
    }
}
