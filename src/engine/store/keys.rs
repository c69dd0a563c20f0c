//! The keys of a partition's store, and of its changelog: one byte for the kind, then what makes them ordered. Kinds are stored: they never change.

use crate::delivery::{MessageId, Timestamp};

/// A delivery's state.
pub const STATE: u8 = b's';
/// The index of cancels.
pub const CANCEL: u8 = b'x';
/// A block of deduplication hashes.
pub const DEDUPLICATION: u8 = b'd';
/// The position: in the store [`super::Meta`], in the changelog the position record.
pub const POSITION: u8 = b'p';

/// The key of the position.
pub const POSITION_KEY: [u8; 1] = [POSITION];

/// The key of a delivery's state. Its order is that of the record times, so keys arrive almost in order.
pub fn state(id: &MessageId) -> [u8; 17] {
    with_kind(STATE, id.bytes())
}

/// The message id in a state's key; `None` for any other key.
pub fn state_id(key: &[u8]) -> Option<MessageId> {
    key.strip_prefix(&[STATE]).and_then(|id| id.try_into().ok()).map(MessageId::from_bytes)
}

/// The key of a cancel: the keyed hash of input name and event id.
pub fn cancel(hash: &[u8; 16]) -> [u8; 17] {
    with_kind(CANCEL, hash)
}

/// The key of a deduplication block: the minute of the decision, then the message id of its first event.
pub fn deduplication(decided: Timestamp, first: &MessageId) -> [u8; 21] {
    let mut key = [DEDUPLICATION; 21];
    key[1..5].copy_from_slice(&minute(decided).to_be_bytes());
    key[5..].copy_from_slice(first.bytes());
    key
}

/// The minute in a deduplication block's key; `None` for any other key.
pub fn deduplication_minute(key: &[u8]) -> Option<u32> {
    let rest = key.strip_prefix(&[DEDUPLICATION])?;
    let (minute, id) = rest.split_first_chunk::<4>()?;
    (id.len() == 16).then_some(u32::from_be_bytes(*minute))
}

/// All deduplication blocks of one minute, as a range: from this key up to, not including, that one.
pub fn deduplication_range(minute: u32) -> ([u8; 5], [u8; 5]) {
    let key = |bytes: [u8; 4], kind| [kind, bytes[0], bytes[1], bytes[2], bytes[3]];
    let end = minute.checked_add(1).map_or(key([0; 4], DEDUPLICATION + 1), |next| key(next.to_be_bytes(), DEDUPLICATION));
    (key(minute.to_be_bytes(), DEDUPLICATION), end)
}

/// Whole minutes since 1970, not below 0.
pub fn minute(at: Timestamp) -> u32 {
    u32::try_from(at.millis().max(0) / 60_000).unwrap_or(u32::MAX)
}

fn with_kind(kind: u8, rest: &[u8; 16]) -> [u8; 17] {
    let mut key = [kind; 17];
    key[1..].copy_from_slice(rest);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MessageId = MessageId::from_bytes([0xab; 16]);

    #[test]
    fn keys_have_these_bytes_for_ever() {
        assert_eq!(hex::encode(state(&ID)), format!("73{}", "ab".repeat(16)));
        assert_eq!(hex::encode(cancel(&[0xcd; 16])), format!("78{}", "cd".repeat(16)));
        assert_eq!(hex::encode(deduplication(Timestamp::from_millis(1_764_900_000_123), &ID)), format!("6401c0d658{}", "ab".repeat(16)));
        assert_eq!(hex::encode(POSITION_KEY), "70");
    }

    #[test]
    fn keys_read_back_and_others_do_not() {
        assert_eq!(state_id(&state(&ID)), Some(ID));
        assert_eq!(state_id(&cancel(ID.bytes())), None);
        assert_eq!(state_id(&state(&ID)[..16]), None);
        let key = deduplication(Timestamp::from_millis(60_000 * 7 + 59_999), &ID);
        assert_eq!(deduplication_minute(&key), Some(7));
        assert_eq!(deduplication_minute(&key[..20]), None);
    }

    #[test]
    fn a_minutes_range_holds_its_blocks_and_no_others() {
        for at in [0, 7, u32::MAX] {
            let (from, to) = deduplication_range(at);
            let holds = |minute: u32, id: u8| {
                let mut key = deduplication(Timestamp::from_millis(0), &MessageId::from_bytes([id; 16]));
                key[1..5].copy_from_slice(&minute.to_be_bytes());
                from.as_slice() <= key.as_slice() && key.as_slice() < to.as_slice()
            };
            assert!(holds(at, 0) && holds(at, 0xff));
            assert!(!holds(at.wrapping_sub(1), 0xff) && !holds(at.wrapping_add(1), 0));
        }
    }
}
