//! Parquet: row groups of bounded size, every column nullable, amounts as the text that they were given as.
//!
//! Amounts have up to 28 digits with a scale of their own; no decimal type of one scale holds them all exactly.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;

use super::format::RowWriter;
use crate::inspect::{Cell, Column, Kind};

/// Most rows of a row group.
const MAX_ROWS: usize = 65_536;
/// Bytes of text behind which a row group ends.
const MAX_BYTES: usize = 16 << 20;

/// Writes Parquet.
pub(super) struct ParquetRows<W: Write + Send> {
    columns: Vec<Column>,
    to: SerializedFileWriter<W>,
    /// The rows of the group that is being gathered.
    rows: Vec<Vec<Cell>>,
    bytes: usize,
}

impl<W: Write + Send> ParquetRows<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// When its beginning cannot be written.
    pub(super) fn new(columns: &[Column], to: W) -> io::Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_created_by(concat!("postbackd ", env!("CARGO_PKG_VERSION")).into());
        let schema = Arc::new(schema(columns).map_err(io::Error::other)?);
        let to = SerializedFileWriter::new(to, schema, Arc::new(properties.build())).map_err(failed)?;
        Ok(Self { columns: columns.to_vec(), to, rows: Vec::new(), bytes: 0 })
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut group = self.to.next_row_group()?;
        for (place, column) in self.columns.iter().enumerate() {
            let Some(mut writer) = group.next_column()? else { break };
            let cells = || self.rows.iter().filter_map(|row| row.get(place));
            match column.kind {
                Kind::Text | Kind::Money | Kind::Json => write::<ByteArrayType>(&mut writer, cells(), |cell| {
                    Some(ByteArray::from(cell.text()?.into_owned().into_bytes()))
                })?,
                Kind::Time => write::<Int64Type>(&mut writer, cells(), |cell| match cell {
                    Cell::Time(at) => Some(at.as_microsecond()),
                    Cell::Empty | Cell::Text(_) | Cell::Number(_) | Cell::Flag(_) => None,
                })?,
                Kind::Number => write::<Int64Type>(&mut writer, cells(), |cell| match cell {
                    Cell::Number(number) => Some(*number),
                    Cell::Empty | Cell::Text(_) | Cell::Time(_) | Cell::Flag(_) => None,
                })?,
                Kind::Flag => write::<BoolType>(&mut writer, cells(), |cell| match cell {
                    Cell::Flag(flag) => Some(*flag),
                    Cell::Empty | Cell::Text(_) | Cell::Time(_) | Cell::Number(_) => None,
                })?,
            }
            writer.close()?;
        }
        group.close()?;
        self.rows.clear();
        self.bytes = 0;
        Ok(())
    }
}

impl<W: Write + Send> RowWriter for ParquetRows<W> {
    fn write(&mut self, row: Vec<Cell>) -> io::Result<()> {
        self.bytes += row.iter().map(|cell| size_of::<Cell>() + cell.size()).sum::<usize>();
        self.rows.push(row);
        if self.rows.len() >= MAX_ROWS || self.bytes >= MAX_BYTES {
            self.end_group().map_err(failed)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.end_group().map_err(failed)?;
        self.to.finish().map_err(failed)?;
        self.to.inner_mut().flush()
    }
}

/// Writes a column of a row group: which rows have a value, and the values.
fn write<'c, T: DataType>(
    writer: &mut SerializedColumnWriter<'_>,
    cells: impl Iterator<Item = &'c Cell>,
    value: impl Fn(&Cell) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    for cell in cells {
        let value = value(cell);
        levels.push(i16::from(value.is_some()));
        values.extend(value);
    }
    writer.typed::<T>().write_batch(&values, Some(&levels), None).map(drop)
}

fn schema(columns: &[Column]) -> Result<Type, ParquetError> {
    let field = |column: &Column| {
        let (physical, logical) = match column.kind {
            Kind::Text | Kind::Money | Kind::Json => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
            Kind::Number => (Physical::INT64, None),
            Kind::Flag => (Physical::BOOLEAN, None),
        };
        let builder = Type::primitive_type_builder(column.name, physical).with_repetition(Repetition::OPTIONAL);
        builder.with_logical_type(logical).build().map(Arc::new)
    };
    let fields = columns.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    Type::group_type_builder("export").with_fields(fields).build()
}

/// A failure to write is told as it came, so that a reader that has gone is known as one.
fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek as _;

    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field;

    use super::*;

    const COLUMNS: [Column; 4] = [
        Column { name: "payout", kind: Kind::Money, meaning: "" },
        Column { name: "at", kind: Kind::Time, meaning: "" },
        Column { name: "n", kind: Kind::Number, meaning: "" },
        Column { name: "given", kind: Kind::Flag, meaning: "" },
    ];

    #[test]
    fn every_value_comes_back_also_over_many_row_groups() {
        let at: jiff::Timestamp = "2026-11-20T10:00:00.000001Z".parse().unwrap();
        let long = "9".repeat(100);
        let row = |n: i64| match n % 3 {
            0 => vec![Cell::Empty; 4],
            _ => vec![Cell::Text(format!("{long}.{n}")), Cell::Time(at), Cell::Number(-n), Cell::Flag(n % 3 == 1)],
        };
        let count = i64::try_from(MAX_ROWS).unwrap() + 10;
        let mut file = tempfile::tempfile().unwrap();
        let mut writer = Box::new(ParquetRows::new(&COLUMNS, file.try_clone().unwrap()).unwrap());
        for n in 0..count {
            writer.write(row(n)).unwrap();
        }
        writer.finish().unwrap();
        file.rewind().unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        assert_eq!(reader.num_row_groups(), 2);
        let mut read = 0;
        for (n, found) in (0..).zip(reader.get_row_iter(None).unwrap()) {
            let fields: Vec<_> = found.unwrap().into_columns().into_iter().map(|(_, field)| field).collect();
            let expected = match n % 3 {
                0 => vec![Field::Null; 4],
                _ => vec![
                    Field::Str(format!("{long}.{n}")),
                    Field::TimestampMicros(at.as_microsecond()),
                    Field::Long(-n),
                    Field::Bool(n % 3 == 1),
                ],
            };
            assert_eq!(fields, expected);
            read += 1;
        }
        assert_eq!(read, count);
    }

    #[test]
    fn a_reader_that_has_gone_is_told_as_one() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = Box::new(ParquetRows::new(&COLUMNS, Gone).unwrap()).finish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
