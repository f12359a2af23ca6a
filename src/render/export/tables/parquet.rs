//! Parquet: one file for each table, packed by Snappy.

use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::{Column, Table, Values};

/// The file of a table.
///
/// # Errors
/// None that a table of ours gives rise to: the library's, in its own words.
pub fn parquet(table: &Table) -> Result<Vec<u8>> {
    let fields = table.columns.iter().map(|column| field(column).map(Arc::new)).collect::<Result<Vec<_>>>()?;
    let schema = Type::group_type_builder(table.name).with_fields(fields).build()?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("lockprof ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let mut file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
    let mut rows = file.next_row_group()?;
    for column in &table.columns {
        let next = rows.next_column()?;
        let mut writer = next.ok_or_else(|| ParquetError::General("more columns than the schema has".to_owned()))?;
        write(writer.untyped(), &column.values)?;
        writer.close()?;
    }
    rows.close()?;
    file.into_inner()
}

fn field(column: &Column) -> Result<Type> {
    let (physical, logical, repetition) = match &column.values {
        Values::Id(_) | Values::Int(_) => (Physical::INT64, None, Repetition::REQUIRED),
        Values::MaybeInt(_) => (Physical::INT64, None, Repetition::OPTIONAL),
        Values::Moment(_) => {
            let moment = LogicalType::Timestamp { is_adjusted_to_u_t_c: true, unit: TimeUnit::MICROS };
            (Physical::INT64, Some(moment), Repetition::REQUIRED)
        }
        Values::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String), Repetition::REQUIRED),
        Values::MaybeText(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String), Repetition::OPTIONAL),
        Values::Flag(_) => (Physical::BOOLEAN, None, Repetition::REQUIRED),
    };
    Type::primitive_type_builder(column.name, physical).with_logical_type(logical).with_repetition(repetition).build()
}

/// Which rows have a value, and the values.
fn known<T, P>(values: &[Option<T>], of: impl Fn(&T) -> P) -> (Vec<i16>, Vec<P>) {
    (values.iter().map(|value| i16::from(value.is_some())).collect(), values.iter().flatten().map(of).collect())
}

fn text(text: &str) -> ByteArray {
    ByteArray::from(text)
}

fn write(writer: &mut ColumnWriter<'_>, values: &Values) -> Result<()> {
    match (writer, values) {
        (
            ColumnWriter::Int64ColumnWriter(writer),
            Values::Id(values) | Values::Int(values) | Values::Moment(values),
        ) => {
            writer.write_batch(values, None, None)?;
        }
        (ColumnWriter::Int64ColumnWriter(writer), Values::MaybeInt(values)) => {
            let (levels, values) = known(values, |value| *value);
            writer.write_batch(&values, Some(&levels), None)?;
        }
        (ColumnWriter::ByteArrayColumnWriter(writer), Values::Text(values)) => {
            let values: Vec<_> = values.iter().map(|value| text(value)).collect();
            writer.write_batch(&values, None, None)?;
        }
        (ColumnWriter::ByteArrayColumnWriter(writer), Values::MaybeText(values)) => {
            let (levels, values) = known(values, |value| text(value));
            writer.write_batch(&values, Some(&levels), None)?;
        }
        (ColumnWriter::BoolColumnWriter(writer), Values::Flag(values)) => {
            writer.write_batch(values, None, None)?;
        }
        _ => return Err(ParquetError::General("a column is of another kind than its schema says".to_owned())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::contention::{Contention, Query};
    use crate::analysis::order::{self, By};
    use crate::analysis::testing::server;
    use crate::model::Session;
    use crate::model::arbitrary::arbitrary_session;
    use crate::render::export::tables::{self, Labels, TableInput};

    fn tables_of(session: &Session) -> (Contention, Vec<Table>) {
        let contention = Contention::of(session, &Query::default());
        let graph = order::graph(session, &order::orders(session).cycles, By::Instance, false);
        let labels = Labels { host: Some("web-1".into()), release: None };
        let tables = tables::all(&TableInput { session, contention: &contention, graph: &graph, labels });
        (contention, tables)
    }

    fn sum(table: &Table, column: &str) -> u64 {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&parquet(table).unwrap()).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        let rows = reader.get_row_iter(None).unwrap().map(|row| row.unwrap());
        let counts = |name: &str, value: &Field| match value {
            Field::Long(number) if name == column => *number as u64,
            _ => 0,
        };
        rows.filter(|row| row.get_column_iter().all(|(name, value)| name != "is_lock" || *value == Field::Bool(true)))
            .map(|row| row.get_column_iter().map(|(name, value)| counts(name, value)).sum::<u64>())
            .sum()
    }

    #[test]
    fn sums_are_those_of_the_report() {
        let (contention, tables) = tables_of(&server());
        let table = |name: &str| tables.iter().find(|table| table.name == name).unwrap();
        for name in ["locks", "sites", "waits", "events"] {
            assert_eq!(sum(table(name), "wait_ns"), contention.contention.wait_ns, "{name}");
        }
        assert_eq!(sum(table("sites"), "acquisitions"), contention.contention.acquisitions);
        assert_eq!(parquet(table("locks")).unwrap(), parquet(table("locks")).unwrap());
    }

    #[test]
    fn the_same_code_has_the_same_ids_in_every_run() {
        let mut later = server();
        later.meta.started_unix_ns += 1;
        let (one, other) = (tables_of(&server()).1, tables_of(&later).1);
        let column = |tables: &[Table], table: &str, name: &str| {
            let table = tables.iter().find(|at| at.name == table).unwrap();
            table.columns.iter().find(|at| at.name == name).unwrap().values.clone()
        };
        for (table, name) in [("sites", "stack"), ("sites", "class_id"), ("stacks", "frame"), ("frames", "frame")] {
            assert_eq!(column(&one, table, name), column(&other, table, name), "{table}.{name}");
        }
        for (table, name) in [("meta", "run"), ("locks", "run"), ("locks", "lock"), ("sites", "lock")] {
            assert_ne!(column(&one, table, name), column(&other, table, name), "{table}.{name}");
        }
    }

    proptest! {
        #[test]
        fn any_session_can_be_written(session in arbitrary_session()) {
            for table in tables_of(&session).1 {
                prop_assert!(parquet(&table).is_ok());
            }
        }
    }
}
