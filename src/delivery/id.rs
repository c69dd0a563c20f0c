//! Names of a notification and of its attempts. A message id is computed from where the record lies in Kafka, so a replay gives the same id.

use super::Timestamp;
use std::fmt;

/// The number of a partition; a notification lives in the one in which its input record arrived. At most 65,535: it takes 16 bits of a message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

impl Partition {
    /// From Kafka's own number; `None` when it is negative or does not fit 16 bits.
    pub fn from_kafka(partition: i32) -> Option<Self> {
        u16::try_from(partition).ok().map(Self)
    }

    /// Kafka's own number.
    pub fn kafka(self) -> i32 {
        i32::from(self.0)
    }
}

/// Where an input record lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePosition {
    /// The bank's topic.
    pub topic: String,
    /// The home partition.
    pub partition: Partition,
    /// Kafka's offset in it.
    pub offset: i64,
}

/// The name of one notification: 128 bits, ordered by record time.
///
/// Bytes, big-endian: record time in ms (6) ‖ partition (2) ‖ first 8 bytes of
/// SHA-256(`recado/message/v1`, topic, partition, offset, ordinal), each part with its length in four bytes before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId([u8; 16]);

impl MessageId {
    /// The id of the notification that the record at `source` makes. `record_time` is the record's Kafka timestamp; a negative one counts as 0,
    /// one over 48 bits as the largest. `ordinal` is 0: one record makes one notification.
    pub fn derive(record_time: Timestamp, source: &SourcePosition, ordinal: u32) -> Self {
        // In one piece: the hash of many small ones costs as much as the hashing.
        let mut text = Vec::with_capacity(source.topic.len() + 64);
        let mut part = |bytes: &[u8]| {
            let length = u32::try_from(bytes.len()).expect("a part of an id is shorter than 4 GiB");
            text.extend_from_slice(&length.to_be_bytes());
            text.extend_from_slice(bytes);
        };
        part(b"recado/message/v1");
        part(source.topic.as_bytes());
        part(&source.partition.0.to_be_bytes());
        part(&source.offset.to_be_bytes());
        part(&ordinal.to_be_bytes());
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
        let millis = record_time.millis().clamp(0, (1 << 48) - 1);
        let mut id = [0; 16];
        id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        id[6..8].copy_from_slice(&source.partition.0.to_be_bytes());
        id[8..].copy_from_slice(&digest.as_ref()[..8]);
        Self(id)
    }

    /// From its 16 bytes; every value is legal.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes; their order is the order of time.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The home partition, which every record about this notification goes to.
    pub fn partition(&self) -> Partition {
        Partition(u16::from_be_bytes([self.0[6], self.0[7]]))
    }

    /// From 32 lower-case hex digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || text.bytes().any(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        Some(Self(u128::from_str_radix(text, 16).ok()?.to_be_bytes()))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One try at one step of a delivery. Both numbers start at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    /// Which step of the route.
    pub step: u8,
    /// Which try at it.
    pub n: u16,
}

impl Attempt {
    /// The first try at the first step.
    pub const FIRST: Self = Self { step: 1, n: 1 };
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.step, self.n)
    }
}

/// The name of one attempt, everywhere: in the journal, in receipts and as the only correlation data that a provider gets.
/// In text: 32 hex digits `-` step `-` n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The notification.
    pub message_id: MessageId,
    /// The try.
    pub attempt: Attempt,
}

impl AttemptId {
    /// From its text; `None` for any other shape, numbers of 0, leading zeros or signs.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let message_id = MessageId::parse(parts.next()?)?;
        let step: u8 = number(parts.next()?)?;
        let n: u16 = number(parts.next()?)?;
        parts.next().is_none().then_some(Self { message_id, attempt: Attempt { step, n } })
    }
}

fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    (text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0')).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.message_id, self.attempt.step, self.attempt.n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(offset: i64) -> SourcePosition {
        SourcePosition { topic: "pix.transactions".into(), partition: Partition(7), offset }
    }

    #[test]
    fn a_replay_of_the_same_record_gives_the_same_id_and_another_record_another() {
        let time = Timestamp::from_millis(1_764_900_000_123);
        let id = MessageId::derive(time, &source(42), 0);
        assert_eq!(id, MessageId::derive(time, &source(42), 0));
        assert_ne!(id, MessageId::derive(time, &source(43), 0));
        assert_eq!(id.partition(), Partition(7));
        assert_eq!(id.to_string(), "019aec3cd17b00079018a60ffe2f1753", "these bytes are final: stores and providers hold them");
    }

    #[test]
    fn attempt_ids_read_back_and_other_shapes_are_refused() {
        let id = AttemptId { message_id: MessageId::derive(Timestamp::from_millis(5), &source(1), 0), attempt: Attempt { step: 2, n: 13 } };
        assert_eq!(AttemptId::parse(&id.to_string()), Some(id));
        let hex = id.message_id.to_string();
        for bad in [
            "",
            "x",
            &hex,
            &format!("{hex}-1"),
            &format!("{hex}-0-1"),
            &format!("{hex}-1-01"),
            &format!("{hex}-+1-1"),
            &format!("{hex}-1-1-1"),
            &format!("{}-1-1", hex.to_uppercase()),
        ] {
            assert_eq!(AttemptId::parse(bad), None, "{bad}");
        }
    }
}
