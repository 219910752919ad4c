//! What a record of a file says: a product by the rules of `POST /products`, or what is wrong with it.

use super::records::{Found, Records};
use crate::{
    error::{Error, Flaw, Result},
    extract::read,
    jobs::files::Format,
    product::{NewProduct, sheet},
};
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// A row that can be imported.
pub struct Row {
    pub line: i64,
    pub product: NewProduct,
    /// The fields that it has: of the others, what is there is left alone.
    pub given: Vec<String>,
}

impl Row {
    pub fn gives(&self, field: &str) -> bool {
        self.given.iter().any(|given| given == field)
    }
}

pub enum Reader {
    Csv { columns: Vec<String>, parser: Box<csv_core::Reader> },
    Ndjson,
}

impl Reader {
    /// Of a file whose first records these are: a header is read out of them.
    ///
    /// # Errors
    /// Says why no row of the file can be read.
    pub async fn of(format: Format, records: &mut Records) -> Result<Result<Self, String>> {
        if format == Format::Ndjson {
            return Ok(Ok(Self::Ndjson));
        }
        let mut parser = Box::new(csv_core::Reader::new());
        let columns = match records.next().await? {
            Found::Record { text, .. } => match cells(&mut parser, &text) {
                Ok(cells) => cells,
                Err(flaw) => return Ok(Err(format!("the header row: {}", flaw.detail))),
            },
            Found::End => return Ok(Err("the file is empty: a header row is missing".to_owned())),
            Found::TooLong { .. } => return Ok(Err("the header row is too long".to_owned())),
            Found::Unclosed { .. } => return Ok(Err("a quote in the header row is never closed".to_owned())),
        };
        Ok(known(&columns).map(|()| Self::Csv { columns, parser }))
    }

    /// # Errors
    /// Each place that is wrong.
    pub fn read(&mut self, line: i64, text: &[u8]) -> Result<Row, Vec<Flaw>> {
        match self {
            Self::Ndjson => {
                if std::str::from_utf8(text).is_err() {
                    return Err(vec![not_utf8()]);
                }
                row(line, text)
            }
            Self::Csv { columns, parser } => {
                let cells = cells(parser, text).map_err(|flaw| vec![flaw])?;
                if cells.len() != columns.len() {
                    let detail = format!("it has {} cells, and the header {}", cells.len(), columns.len());
                    return Err(vec![Flaw::new("", "wrong_number_of_cells", detail)]);
                }
                let columns = columns.iter().map(String::as_str);
                let object = sheet::object(columns.zip(cells.iter().map(String::as_str)));
                row(line, object.to_string().as_bytes()).map_err(|flaws| {
                    let in_column = |flaw: Flaw| Flaw { pointer: sheet::column(&flaw.pointer), ..flaw };
                    flaws.into_iter().map(in_column).collect()
                })
            }
        }
    }

    /// Where a row of this file is wrong whose object is wrong there.
    pub fn place(&self, flaw: Flaw) -> Flaw {
        match self {
            Self::Ndjson => flaw,
            Self::Csv { .. } => Flaw { pointer: sheet::column(&flaw.pointer), ..flaw },
        }
    }
}

fn row(line: i64, object: &[u8]) -> Result<Row, Vec<Flaw>> {
    let product: NewProduct = read(object).map_err(flaws)?;
    #[expect(clippy::zero_sized_map_values, reason = "an object is read for its names alone")]
    let fields: BTreeMap<String, IgnoredAny> = serde_json::from_slice(object).unwrap_or_default();
    Ok(Row { line, product, given: fields.into_keys().collect() })
}

/// What an answer to a request would say.
fn flaws(error: Error) -> Vec<Flaw> {
    match error {
        Error::Invalid(flaws) => flaws,
        Error::Malformed { code, detail } => {
            vec![Flaw::new("", code, detail.replace("the body", "the line"))]
        }
        error => vec![Flaw::new("", "invalid", error.to_string())],
    }
}

fn not_utf8() -> Flaw {
    Flaw::new("", "not_utf8", "it is not written in UTF-8")
}

/// More cells than any row has.
const MOST_CELLS: usize = 100;

fn cells(parser: &mut csv_core::Reader, record: &[u8]) -> Result<Vec<String>, Flaw> {
    use csv_core::ReadRecordResult::{End, InputEmpty, OutputEndsFull, OutputFull, Record};
    let bad_quote =
        || Flaw::new("", "bad_quote", "a quote stands within a cell that is not quoted, or is never closed");
    parser.reset();
    let (mut text, mut ends) = (vec![0; record.len() + 1], [0; MOST_CELLS]);
    let (result, read, written, mut many) = parser.read_record(record, &mut text, &mut ends);
    match result {
        // The parser sees an end where the quotes were counted differently.
        Record | End => return Err(bad_quote()),
        OutputFull | OutputEndsFull => {
            return Err(Flaw::new("", "wrong_number_of_cells", "it has more cells than there are columns"));
        }
        InputEmpty if read < record.len() => return Err(bad_quote()),
        InputEmpty => {}
    }
    let (result, _, _, further) = parser.read_record(&[], &mut text[written..], &mut ends[many..]);
    if !matches!(result, Record) {
        return Err(bad_quote());
    }
    many += further;
    let mut begin = 0;
    let cells = ends[..many].iter().map(|&end| {
        let cell = text.get(begin..end).unwrap_or_default();
        begin = end;
        std::str::from_utf8(cell).map(ToOwned::to_owned).map_err(|_| not_utf8())
    });
    cells.collect()
}

fn known(columns: &[String]) -> Result<(), String> {
    for (at, column) in columns.iter().enumerate() {
        if !sheet::COLUMNS.contains(&column.as_str()) {
            let shown: String = column.chars().take(100).collect();
            return Err(format!("there is no column {shown:?}; there are {}", sheet::COLUMNS.join(", ")));
        }
        if columns[..at].contains(column) {
            return Err(format!("the column {column:?} is there twice"));
        }
    }
    match sheet::REQUIRED.iter().find(|required| !columns.iter().any(|column| column == *required)) {
        Some(missing) => Err(format!("the column {missing:?} is missing")),
        None => Ok(()),
    }
}
