//! The forms of an export: NDJSON, CSV and Parquet, each written row by row.

use std::io::{self, Write};
use std::path::Path;

use clap::ValueEnum;

#[cfg(not(feature = "parquet"))]
use crate::cli::exit::Exit;
use crate::cli::exit::Failure;
use crate::inspect::{Cell, Column, Kind, line};

/// A form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A JSON object a line
    Ndjson,
    /// A header and a line a row; nothing is an empty field
    Csv,
    /// Columns for warehouses
    Parquet,
}

impl Format {
    /// The format that the ending of a file names.
    pub(super) fn of(path: &Path) -> Self {
        match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some("csv") => Self::Csv,
            Some("parquet") => Self::Parquet,
            Some(_) | None => Self::Ndjson,
        }
    }
}

/// Writes rows in some form.
pub(super) trait RowWriter {
    /// Writes a row with a cell for each column.
    ///
    /// # Errors
    /// When it cannot be written.
    fn write(&mut self, row: Vec<Cell>) -> io::Result<()>;

    /// Writes what is left.
    ///
    /// # Errors
    /// When it cannot be written.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// A writer of a format.
///
/// # Errors
/// When the format is not built in, or its beginning cannot be written.
pub(super) fn writer<'w>(
    format: Format,
    columns: &[Column],
    to: Box<dyn Write + Send + 'w>,
    for_spreadsheets: bool,
) -> Result<Box<dyn RowWriter + 'w>, Failure> {
    match format {
        Format::Ndjson => Ok(Box::new(Lines { columns: columns.to_vec(), to })),
        Format::Csv => {
            let rows = Csv::new(columns, to, for_spreadsheets).map_err(super::target::unwritten)?;
            Ok(Box::new(rows))
        }
        #[cfg(feature = "parquet")]
        Format::Parquet => {
            let rows = super::parquet::ParquetRows::new(columns, to).map_err(super::target::unwritten)?;
            Ok(Box::new(rows))
        }
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => Err(Failure::new(
            Exit::Usage,
            "--format parquet",
            "this postbackd was built without the feature \"parquet\"",
            "build it with that feature, or use --format csv or ndjson",
        )),
    }
}

/// NDJSON.
struct Lines<W> {
    columns: Vec<Column>,
    to: W,
}

impl<W: Write> RowWriter for Lines<W> {
    fn write(&mut self, row: Vec<Cell>) -> io::Result<()> {
        self.to.write_all(&line(&self.columns, &row)?)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.to.flush()
    }
}

/// CSV.
struct Csv<W: Write> {
    columns: Vec<Column>,
    to: csv::Writer<W>,
    for_spreadsheets: bool,
}

impl<W: Write> Csv<W> {
    fn new(columns: &[Column], to: W, for_spreadsheets: bool) -> io::Result<Self> {
        let mut to = csv::Writer::from_writer(to);
        to.write_record(columns.iter().map(|column| column.name))?;
        Ok(Self { columns: columns.to_vec(), to, for_spreadsheets })
    }
}

impl<W: Write> RowWriter for Csv<W> {
    fn write(&mut self, row: Vec<Cell>) -> io::Result<()> {
        for (column, cell) in self.columns.iter().zip(&row) {
            let text = cell.text().unwrap_or_default();
            // Amounts are checked decimals, so that a leading minus is no formula.
            let others_wrote_it = matches!(column.kind, Kind::Text | Kind::Json);
            if self.for_spreadsheets && others_wrote_it && text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
                self.to.write_field(format!("'{text}"))?;
            } else {
                self.to.write_field(text.as_bytes())?;
            }
        }
        Ok(self.to.write_record(None::<&[u8]>)?)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: Format, for_spreadsheets: bool) -> String {
        let column = |name, kind| Column { name, kind, meaning: "" };
        let columns = [column("error", Kind::Text), column("payout", Kind::Money), column("n", Kind::Number)];
        let buffer = Buffer::default();
        let mut writer = writer(format, &columns, Box::new(buffer.clone()), for_spreadsheets).unwrap();
        let text = |text: &str| Cell::Text(text.into());
        writer.write(vec![text("=HYPERLINK(\"x\",\"y\")"), text("-12.00"), Cell::Number(-3)]).unwrap();
        writer.write(vec![text("two\nlines, 1 + 1"), Cell::Empty, Cell::Empty]).unwrap();
        writer.finish().unwrap();
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn csv_is_exact_unless_it_is_for_spreadsheets() {
        let exact = "error,payout,n\n\"=HYPERLINK(\"\"x\"\",\"\"y\"\")\",-12.00,-3\n\"two\nlines, 1 + 1\",,\n";
        assert_eq!(written(Format::Csv, false), exact);
        assert_eq!(written(Format::Csv, true), exact.replace("\"=H", "\"'=H"));
    }

    #[test]
    fn a_line_of_ndjson_names_every_column() {
        let lines = "{\"error\":\"=HYPERLINK(\\\"x\\\",\\\"y\\\")\",\"payout\":\"-12.00\",\"n\":-3}\n\
                     {\"error\":\"two\\nlines, 1 + 1\",\"payout\":null,\"n\":null}\n";
        assert_eq!(written(Format::Ndjson, false), lines);
    }

    #[test]
    fn the_ending_of_a_file_names_its_format() {
        for (name, format) in [("a/b.csv", Format::Csv), ("b.parquet", Format::Parquet), ("-", Format::Ndjson)] {
            assert_eq!(Format::of(Path::new(name)), format, "{name}");
        }
    }

    #[cfg(not(feature = "parquet"))]
    #[test]
    fn what_is_not_built_in_is_named() {
        let failure = writer(Format::Parquet, &[], Box::new(Vec::new()), false).err().unwrap();
        assert!(failure.exit() == Exit::Usage && failure.to_string().contains("feature \"parquet\""), "{failure}");
    }
}
