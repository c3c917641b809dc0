//! Server-sent events, read as the WHATWG specification says, in bounded memory and from any cutting of the bytes.
//!
//! Only `data` matters to the dialect; comments, `event`, `id` and `retry` are read and dropped. An event that the stream ends in
//! the middle of is not delivered.

/// Reads events from pieces of a stream.
#[derive(Debug)]
pub struct EventReader {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was CR: a following LF belongs to the same line end.
    after_cr: bool,
    at_start: bool,
    bytes_max: usize,
}

/// An event was longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is longer than the limit")]
pub struct EventTooLong;

impl EventReader {
    /// A reader that refuses events of more than `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { line: Vec::new(), data: Vec::new(), has_data: false, after_cr: false, at_start: true, bytes_max }
    }

    /// Takes the next piece and returns the data of every event that it completes.
    ///
    /// # Errors
    /// [`EventTooLong`]; the stream cannot be read on.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<Vec<Vec<u8>>, EventTooLong> {
        let mut events = Vec::new();
        while !piece.is_empty() {
            if std::mem::take(&mut self.after_cr) && piece[0] == b'\n' {
                piece = &piece[1..];
                continue;
            }
            let Some(end) = piece.iter().position(|&b| b == b'\n' || b == b'\r') else {
                self.extend_line(piece)?;
                break;
            };
            self.extend_line(&piece[..end])?;
            self.after_cr = piece[end] == b'\r';
            piece = &piece[end + 1..];
            if let Some(event) = self.end_line() {
                events.push(event);
            }
        }
        Ok(events)
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), EventTooLong> {
        if self.line.len() + self.data.len() + bytes.len() > self.bytes_max {
            return Err(EventTooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Option<Vec<u8>> {
        let mut line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.at_start) && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data).then_some(data);
        }
        let (field, value) = match line.iter().position(|&b| b == b':') {
            Some(colon) => (&line[..colon], line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..])),
            None => (line.as_slice(), &[][..]),
        };
        if field == b"data" {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
            self.has_data = true;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        "\u{feff}: hi\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\nevent: x\nid: 7\ndata:two\n\n\rdata: three 中\r\rdata\n\nretry: 5\n\ndata: lost"
            .as_bytes();

    fn expected() -> Vec<Vec<u8>> {
        vec![b"{\"a\":\n1}".to_vec(), b"two".to_vec(), "three 中".as_bytes().to_vec(), vec![]]
    }

    #[test]
    fn every_line_end_is_read_and_the_unfinished_event_is_not_delivered() {
        assert_eq!(EventReader::new(1000).push(STREAM).unwrap(), expected());
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        for first in 0..STREAM.len() {
            for second in first..STREAM.len() {
                let mut reader = EventReader::new(1000);
                let mut events = reader.push(&STREAM[..first]).unwrap();
                events.extend(reader.push(&STREAM[first..second]).unwrap());
                events.extend(reader.push(&STREAM[second..]).unwrap());
                assert_eq!(events, expected(), "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn an_event_at_the_limit_passes_and_one_byte_more_does_not() {
        assert_eq!(EventReader::new(8).push(b"data: ab\n\n").unwrap(), vec![b"ab".to_vec()]);
        assert_eq!(EventReader::new(7).push(b"data: ab\n\n"), Err(EventTooLong));
        assert_eq!(EventReader::new(20).push(b"data: abcdefgh\ndata: abcdefghijk\n\n"), Err(EventTooLong));
    }
}
