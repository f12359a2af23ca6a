//! What is said through the viewers' socket: each message is its length (4 bytes, little-endian) and that many bytes of postcard.
//!
//! A conversation begins with one [`Hello`] from each side; then each [`Question`] is answered by one
//! [`Snapshot`](super::snapshot::Snapshot) or [`Moment`](super::moment::Moment). What the other side sends is not believed: lengths are bounded, and what does not decode ends
//! the conversation.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::snapshot::ViewRequest;

/// Version of the messages: one lockprof talks to its like only.
pub const VERSION: u32 = 2;
/// The socket's name in the session's folder.
pub const SOCKET: &str = "view.sock";
/// Longest message. A lock takes 1 to 10 kB.
const LONGEST: u32 = 256 << 20;
/// Longest question.
pub const LONGEST_QUESTION: u32 = 1 << 10;

/// The first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    magic: [u8; 8],
    version: u32,
}

impl Hello {
    /// Ours.
    pub const OWN: Self = Self { magic: *b"lockprof", version: VERSION };
}

/// What a viewer asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// What is to be shown: answered by a [`Snapshot`](super::snapshot::Snapshot).
    Look(ViewRequest),
    /// The whole session at the moment that is shown: answered by a [`Moment`](super::moment::Moment).
    Moment,
}

/// Sends one message.
///
/// # Errors
/// Where the other side does not read any more.
pub fn send<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    let body = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message is too long"))?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&body)
}

/// Receives one message of at most `longest` bytes.
///
/// # Errors
/// Where the other side has gone, or sends what is no such message.
pub fn receive_at_most<T: DeserializeOwned>(from: &mut impl Read, longest: u32) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > longest {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    let mut body = Vec::new();
    from.take(u64::from(length)).read_to_end(&mut body)?;
    postcard::from_bytes(&body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Receives one message.
///
/// # Errors
/// As [`receive_at_most`].
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    receive_at_most(from, LONGEST)
}

/// Asks, and waits for the answer; `None` where the other side has gone.
///
/// # Errors
/// As [`receive_at_most`].
pub fn ask<T: DeserializeOwned>(other: &mut (impl Read + Write), question: Question) -> io::Result<Option<T>> {
    let gone = [io::ErrorKind::UnexpectedEof, io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
    match send(other, &question).and_then(|()| receive(other)) {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if gone.contains(&error.kind()) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::live::moment::Moment;
    use crate::live::snapshot::{LockRow, Snapshot};

    #[test]
    fn messages_come_through() {
        let lock = LockRow { id: 7, name: "journal.mu".into(), ..LockRow::default() };
        let snapshot = Snapshot { at_ns: 5, locks: vec![lock], cpu_ns: Some(3), ..Snapshot::default() };
        let mut bytes = Vec::new();
        send(&mut bytes, &Hello::OWN).unwrap();
        send(&mut bytes, &snapshot).unwrap();
        let mut from = bytes.as_slice();
        assert_eq!(receive::<Hello>(&mut from).unwrap(), Hello::OWN);
        assert_eq!(receive::<Snapshot>(&mut from).unwrap(), snapshot);
        assert!(receive::<Snapshot>(&mut from).is_err());
        assert!(receive_at_most::<Question>(&mut [255, 255, 0, 0, 1].as_slice(), LONGEST_QUESTION).is_err());
    }

    proptest! {
        #[test]
        fn nonsense_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = receive::<Snapshot>(&mut bytes.as_slice());
            let _ = receive::<Question>(&mut bytes.as_slice());
            let _ = receive::<Moment>(&mut bytes.as_slice());
        }
    }
}
