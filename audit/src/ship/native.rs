//! Rows in ClickHouse's format `Native`, column by column: the server takes it in without taking single rows apart, which is most of what
//! an insert in a format of rows costs it.
//!
//! On the wire a block is (client revision 0, numbers little-endian, `varint` is LEB128):
//!
//!     varint columns, varint rows, then for each column: its name, its type (each: varint length, bytes), its values
//!
//!     String          varint length, bytes                    FixedString(n)   n bytes
//!     UInt*, Int*, DateTime64, Bool   the number              UUID             the upper half, the lower half, 8 bytes each
//!     Nullable(T)     one byte for each row (1: null), then the values of T, also where null
//!     Array(T)        for each row where its items end (8 bytes), then all items
//!
//! Source: ClickHouse, `src/Formats/NativeWriter.cpp`, and the documentation's page "Native".

use uuid::Uuid;

use super::row::{COLUMNS, EventRow};
use crate::FindingRecord;

/// One value. Its variant is the column's type; a test holds the two together.
pub(crate) enum Value<'a> {
    Text(&'a str),
    Fixed(&'a [u8; 32]),
    Uuid(Uuid),
    Bool(bool),
    U16(u16),
    U64(u64),
    I64(i64),
    MaybeU64(Option<u64>),
    MaybeF32(Option<f32>),
    Names(&'a [String]),
    OfFindings(&'a [FindingRecord], fn(&FindingRecord) -> &str),
    Counts(&'a [FindingRecord]),
}

/// The values of one column.
#[derive(Default)]
struct Values {
    /// Before the values themselves: nulls, or ends of arrays.
    ahead: Vec<u8>,
    /// The values, one after the other.
    data: Vec<u8>,
    /// Items of arrays so far.
    items: u64,
}

/// Rows of one block, not yet written.
pub(crate) struct Block {
    rows: u64,
    columns: [Values; COLUMNS.len()],
}

impl Block {
    pub fn new() -> Self {
        Self { rows: 0, columns: std::array::from_fn(|_| Values::default()) }
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn push(&mut self, row: &EventRow<'_>) {
        self.rows += 1;
        for (values, column) in self.columns.iter_mut().zip(&COLUMNS) {
            values.push(&(column.2)(row));
        }
    }

    /// Writes the block and begins the next one, whose buffers are as large.
    pub fn take(&mut self) -> Vec<u8> {
        let size = self.columns.iter().map(|values| values.ahead.len() + values.data.len() + 64).sum();
        let mut out = Vec::with_capacity(size);
        varint(&mut out, COLUMNS.len() as u64);
        varint(&mut out, self.rows);
        for (values, column) in self.columns.iter_mut().zip(&COLUMNS) {
            text(&mut out, column.0);
            text(&mut out, column.1);
            out.append(&mut values.ahead);
            out.append(&mut values.data);
            values.items = 0;
        }
        self.rows = 0;
        out
    }
}

impl Values {
    fn push(&mut self, value: &Value<'_>) {
        let data = &mut self.data;
        match *value {
            Value::Text(value) => text(data, value),
            Value::Fixed(bytes) => data.extend_from_slice(bytes),
            Value::Uuid(id) => {
                let (upper, lower) = id.as_u64_pair();
                data.extend_from_slice(&upper.to_le_bytes());
                data.extend_from_slice(&lower.to_le_bytes());
            }
            Value::Bool(value) => data.push(u8::from(value)),
            Value::U16(number) => data.extend_from_slice(&number.to_le_bytes()),
            Value::U64(number) => data.extend_from_slice(&number.to_le_bytes()),
            Value::I64(number) => data.extend_from_slice(&number.to_le_bytes()),
            Value::MaybeU64(number) => {
                self.ahead.push(u8::from(number.is_none()));
                data.extend_from_slice(&number.unwrap_or_default().to_le_bytes());
            }
            Value::MaybeF32(number) => {
                self.ahead.push(u8::from(number.is_none()));
                data.extend_from_slice(&number.unwrap_or_default().to_le_bytes());
            }
            Value::Names(names) => {
                names.iter().for_each(|name| text(data, name));
                self.end_of(names.len());
            }
            Value::OfFindings(findings, word) => {
                findings.iter().for_each(|finding| text(data, word(finding)));
                self.end_of(findings.len());
            }
            Value::Counts(findings) => {
                findings.iter().for_each(|finding| data.extend_from_slice(&finding.count.to_le_bytes()));
                self.end_of(findings.len());
            }
        }
    }

    fn end_of(&mut self, items: usize) {
        self.items += items as u64;
        self.ahead.extend_from_slice(&self.items.to_le_bytes());
    }
}

fn text(out: &mut Vec<u8>, value: &str) {
    varint(out, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::super::row::Column;
    use super::*;
    use crate::reader::Seen;
    use crate::store::tests::allowed;

    #[test]
    fn a_value_is_of_its_columns_type_and_names_are_there_once() {
        let seen = Seen { seq: 1, event: allowed("r"), body: "{}", chain_hash: [0; 32] };
        let row = EventRow::of("s", &seen).unwrap();
        for Column(name, kind, take) in &COLUMNS {
            let fits = match take(&row) {
                Value::Text(_) => "String",
                Value::Fixed(_) => "FixedString(32)",
                Value::Uuid(_) => "UUID",
                Value::Bool(_) => "Bool",
                Value::U16(_) => "UInt16",
                Value::U64(_) => "UInt64",
                Value::I64(_) => "DateTime64(6, 'UTC')",
                Value::MaybeU64(_) => "Nullable(UInt64)",
                Value::MaybeF32(_) => "Nullable(Float32)",
                Value::Names(_) | Value::OfFindings(..) => "Array(String)",
                Value::Counts(_) => "Array(UInt32)",
            };
            assert_eq!(*kind, fits, "{name}");
            assert_eq!(COLUMNS.iter().filter(|column| column.0 == *name).count(), 1, "{name}");
        }
    }

    #[test]
    fn lengths_have_seven_bits_a_byte() {
        for (number, bytes) in [(0, &[0_u8][..]), (127, &[0x7f]), (128, &[0x80, 1]), (300, &[0xac, 2])] {
            let mut out = Vec::new();
            varint(&mut out, number);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn a_block_that_was_taken_leaves_an_empty_one() {
        let seen = Seen { seq: 1, event: allowed("r"), body: "{}", chain_hash: [0; 32] };
        let mut block = Block::new();
        block.push(&EventRow::of("s", &seen).unwrap());
        let first = block.take();
        assert_eq!((block.rows(), first[..2].to_vec()), (0, vec![COLUMNS.len() as u8, 1]));
        block.push(&EventRow::of("s", &seen).unwrap());
        assert_eq!(block.take(), first);
    }
}
