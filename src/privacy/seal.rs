//! Seals what rests: AES-256-GCM under a key per customer, codes under a key that is made of two.
//!
//! Blob v1, final. Sealed bytes are bound to customer, message, purpose and expiry: moved to another, they do not open.
//!
//! | what | bytes |
//! |---|---|
//! | parameters, dead letters | `1 \| alg 1 \| kind 1 \| key id 8 \| nonce 12 \| ciphertext \| tag 16` |
//! | codes | `1 \| alg 2 \| kind 2 \| epoch id 8 \| customer key id 8 \| nonce 12 \| ciphertext 32 \| tag 16` |
//!
//! - Alg 1: the key that kind and id name. Alg 2: HKDF-SHA256(customer key, salt = epoch key, info `recado/code/v1`); destroying either kills the code.
//! - Kind: 1 customer, 2 code epoch, 3 day ([`KeyKind::ordinal`]).
//! - Associated data, each part with its length in four bytes before it: `recado.seal.v1`, kind, the key ids as they stand in the blob, customer reference 16,
//!   message id 16, purpose, expiry in ms 8. Of a dead letter without a customer: `recado.seal.v1`, kind, key id, source coordinates, `dead-letter`.
//! - A code in clear: length 1 ‖ code ‖ zeros, 32 bytes in all, so that its length does not show.

use super::aead::{self, ADDED_BYTES, Key, NONCE_BYTES};
use super::{KeyError, KeyId, KeyKind, KeyService, Reference, Secret};
use crate::delivery::{MessageId, Timestamp};
use aws_lc_rs::hkdf;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What sealed bytes are for; part of what they are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Parameters and destination.
    Params,
    /// A one-time code, padded to 32 bytes.
    Code,
    /// A record that could not be processed.
    DeadLetter,
}

impl Purpose {
    /// The word that sealed bytes are bound to; never changed.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Params => "params",
            Self::Code => "code",
            Self::DeadLetter => "dead-letter",
        }
    }
}

/// Why nothing was sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key is gone (final), or the key service is away (try again).
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The bytes are not ours, were changed, or belong to another customer, message or purpose.
    #[error("the sealed bytes do not open")]
    Broken,
    /// A code of more than 31 bytes was to be sealed. Final; the shape of a code is checked long before.
    #[error("the code is too long to be sealed")]
    TooLong,
}

/// Seals in the engine, opens in the dispatcher and the gateway.
#[derive(Clone)]
pub struct Sealer {
    keys: Arc<dyn KeyService>,
}

const VERSION: u8 = 1;
const ONE_KEY: u8 = 1;
const TWO_KEYS: u8 = 2;
const TAG: &[u8] = b"recado.seal.v1";
const CODE_INFO: &[u8] = b"recado/code/v1";
const CODE_BYTES: usize = 32;

impl Sealer {
    /// With the keys of this service.
    pub fn new(keys: Arc<dyn KeyService>) -> Self {
        Self { keys }
    }

    /// The key service behind it.
    pub fn keys(&self) -> &Arc<dyn KeyService> {
        &self.keys
    }

    /// Seals parameters, a code or the record of one notification. `now` (Kafka time) chooses the epoch of a code and dates a new key.
    ///
    /// Call [`KeyService::prepare`] with the customers of a batch first: else each new customer costs a write to the disk. Errors: [`KeyError::Unavailable`], and
    /// [`SealError::TooLong`] for a code of more than 31 bytes.
    pub fn seal(
        &self,
        purpose: Purpose,
        customer: Reference,
        message_id: MessageId,
        expiry: Timestamp,
        plain: &[u8],
        now: Timestamp,
    ) -> Result<Vec<u8>, SealError> {
        let bound = Bound { customer, message_id, purpose, expiry };
        let (id, key) = self.keys.customer(customer, now)?;
        match purpose {
            Purpose::Params | Purpose::DeadLetter => Ok(bound.seal(id, &key, aead::random(), plain)),
            Purpose::Code => {
                let (epoch_id, epoch_key) = self.keys.epoch(KeyKind::CodeEpoch, now)?;
                let code = padded(plain).ok_or(SealError::TooLong)?;
                Ok(bound.seal_code([epoch_id, id], &code_key(&key, &epoch_key), aead::random(), &code))
            }
        }
    }

    /// [`Sealer::seal`] of a boxed text: a code.
    pub fn seal_text(
        &self,
        purpose: Purpose,
        customer: Reference,
        message_id: MessageId,
        expiry: Timestamp,
        text: &Secret<String>,
        now: Timestamp,
    ) -> Result<Vec<u8>, SealError> {
        self.seal(purpose, customer, message_id, expiry, text.expose().as_bytes(), now)
    }

    /// Opens what [`Sealer::seal`] made, with the same customer, message, purpose and expiry. [`KeyError::Gone`] after an erasure, and for a code when its epoch
    /// is over.
    pub fn open(&self, purpose: Purpose, customer: Reference, message_id: MessageId, expiry: Timestamp, sealed: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
        let bound = Bound { customer, message_id, purpose, expiry };
        let blob = Blob::read(sealed).ok_or(SealError::Broken)?;
        let text = match (purpose, blob.ids) {
            (Purpose::Params | Purpose::DeadLetter, Ids::One(KeyKind::Customer, id)) => {
                let key = self.keys.customer_by_id(customer, id)?;
                aead::open(&key, &bound.bytes(KeyKind::Customer, blob.id_bytes), blob.rest)
            }
            (Purpose::Code, Ids::Two([epoch_id, id])) => {
                let epoch_key = self.keys.epoch_by_id(KeyKind::CodeEpoch, epoch_id)?;
                let key = self.keys.customer_by_id(customer, id)?;
                let code = aead::open(&code_key(&key, &epoch_key), &bound.bytes(KeyKind::CodeEpoch, blob.id_bytes), blob.rest);
                code.and_then(|code| unpadded(&code))
            }
            _ => None,
        };
        text.map(boxed).ok_or(SealError::Broken)
    }

    /// Seals a record that could not be processed and whose customer is unknown, under the key of the day (`codes` false) or, where its input carries codes, of
    /// the code epoch (`codes` true) of `now`. `coordinates`: topic, partition and offset in the caller's own bytes; it opens with the same only.
    pub fn seal_dead_letter(&self, codes: bool, coordinates: &[u8], plain: &[u8], now: Timestamp) -> Result<Vec<u8>, SealError> {
        let kind = if codes { KeyKind::CodeEpoch } else { KeyKind::Day };
        let (id, key) = self.keys.epoch(kind, now)?;
        Ok(write_one(kind, id, &key, aead::random(), &dead_letter_bound(kind, &id.to_be_bytes(), coordinates), plain))
    }

    /// Opens what [`Sealer::seal_dead_letter`] made: for people who look at dead letters. [`KeyError::Gone`] after 30 days, with codes after 15 minutes at most.
    pub fn open_dead_letter(&self, coordinates: &[u8], sealed: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
        let blob = Blob::read(sealed).ok_or(SealError::Broken)?;
        let Ids::One(kind @ (KeyKind::CodeEpoch | KeyKind::Day), id) = blob.ids else { return Err(SealError::Broken) };
        let key = self.keys.epoch_by_id(kind, id)?;
        aead::open(&key, &dead_letter_bound(kind, blob.id_bytes, coordinates), blob.rest).map(boxed).ok_or(SealError::Broken)
    }
}

/// What a blob belongs to.
struct Bound {
    customer: Reference,
    message_id: MessageId,
    purpose: Purpose,
    expiry: Timestamp,
}

impl Bound {
    fn bytes(&self, kind: KeyKind, ids: &[u8]) -> Vec<u8> {
        let expiry = self.expiry.millis().to_be_bytes();
        aead::bind(&[TAG, &[kind.ordinal()], ids, self.customer.bytes(), self.message_id.bytes(), self.purpose.word().as_bytes(), &expiry])
    }

    fn seal(&self, id: KeyId, key: &[u8; 32], nonce: [u8; NONCE_BYTES], plain: &[u8]) -> Vec<u8> {
        write_one(KeyKind::Customer, id, key, nonce, &self.bytes(KeyKind::Customer, &id.to_be_bytes()), plain)
    }

    fn seal_code(&self, [epoch_id, id]: [KeyId; 2], key: &[u8; 32], nonce: [u8; NONCE_BYTES], code: &[u8; CODE_BYTES]) -> Vec<u8> {
        let ids = [epoch_id.to_be_bytes(), id.to_be_bytes()].concat();
        let mut out = Vec::with_capacity(3 + ids.len() + CODE_BYTES + ADDED_BYTES);
        out.extend_from_slice(&[VERSION, TWO_KEYS, KeyKind::CodeEpoch.ordinal()]);
        out.extend_from_slice(&ids);
        aead::seal_into(&mut out, key, nonce, &self.bytes(KeyKind::CodeEpoch, &ids), code);
        out
    }
}

fn write_one(kind: KeyKind, id: KeyId, key: &[u8; 32], nonce: [u8; NONCE_BYTES], bound: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(3 + 8 + plain.len() + ADDED_BYTES);
    out.extend_from_slice(&[VERSION, ONE_KEY, kind.ordinal()]);
    out.extend_from_slice(&id.to_be_bytes());
    aead::seal_into(&mut out, key, nonce, bound, plain);
    out
}

fn dead_letter_bound(kind: KeyKind, id: &[u8], coordinates: &[u8]) -> Vec<u8> {
    aead::bind(&[TAG, &[kind.ordinal()], id, coordinates, Purpose::DeadLetter.word().as_bytes()])
}

/// A blob taken apart.
struct Blob<'a> {
    ids: Ids,
    id_bytes: &'a [u8],
    /// `nonce | ciphertext | tag`.
    rest: &'a [u8],
}

enum Ids {
    One(KeyKind, KeyId),
    Two([KeyId; 2]),
}

impl<'a> Blob<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let ([version, alg, kind], rest) = bytes.split_first_chunk::<3>()?;
        let kind = [KeyKind::Customer, KeyKind::CodeEpoch, KeyKind::Day].into_iter().find(|own| own.ordinal() == *kind)?;
        let id = |at: usize| Some(KeyId::from_be_bytes(*rest.get(at..)?.first_chunk()?));
        let (ids, length) = match (*version, *alg, kind) {
            (VERSION, ONE_KEY, kind) => (Ids::One(kind, id(0)?), 8),
            (VERSION, TWO_KEYS, KeyKind::CodeEpoch) => (Ids::Two([id(0)?, id(8)?]), 16),
            _ => return None,
        };
        let (id_bytes, rest) = rest.split_at(length);
        Some(Self { ids, id_bytes, rest })
    }
}

fn code_key(customer_key: &Key, epoch_key: &Key) -> Key {
    let mut key = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, epoch_key.as_slice())
        .extract(customer_key.as_slice())
        .expand(&[CODE_INFO], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .expect("HKDF-SHA256 gives up to 8,160 bytes");
    key
}

fn padded(code: &[u8]) -> Option<Zeroizing<[u8; CODE_BYTES]>> {
    let mut text = Zeroizing::new([0; CODE_BYTES]);
    text[0] = u8::try_from(code.len()).ok()?;
    text[1..].get_mut(..code.len())?.copy_from_slice(code);
    Some(text)
}

fn unpadded(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (length, rest) = text.split_first()?;
    rest.get(..usize::from(*length)).map(|code| Zeroizing::new(code.to_vec()))
}

fn boxed(mut text: Zeroizing<Vec<u8>>) -> Secret<Vec<u8>> {
    Secret::new(std::mem::take(&mut *text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::{FileKeys, RootKey};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_millis(1_764_900_000_123);
    const EXPIRY: Timestamp = Timestamp::from_millis(1_764_900_600_000);
    const CUSTOMER: Reference = Reference::from_bytes([0xc1; 16]);
    const MESSAGE: MessageId = MessageId::from_bytes([0x3e; 16]);

    fn sealer() -> (tempfile::TempDir, Sealer) {
        let folder = tempfile::tempdir().unwrap();
        let keys = FileKeys::open(folder.path(), RootKey::random(), Duration::from_secs(60)).unwrap();
        (folder, Sealer::new(Arc::new(keys)))
    }

    fn bound(purpose: Purpose) -> Bound {
        Bound { customer: CUSTOMER, message_id: MESSAGE, purpose, expiry: EXPIRY }
    }

    /// The bytes come from another implementation (Python's `cryptography`).
    #[test]
    fn blobs_of_version_1_have_these_bytes_for_ever() {
        let params = bound(Purpose::Params).seal(0x0102_0304_0506_0708, &[0x11; 32], [0x22; 12], b"golden parameters");
        assert_eq!(hex::encode(params), "010101010203040506070822222222222222222222222270986b2da5a1bf2f844dbf512dd28ca76c9df2ac198ec6449afb9469dc3aa55124");
        let key = code_key(&Zeroizing::new([0x11; 32]), &Zeroizing::new([0x33; 32]));
        let code = bound(Purpose::Code).seal_code([9, 0x0102_0304_0506_0708], &key, [0x22; 12], &padded(b"493817").unwrap());
        assert_eq!(
            hex::encode(code),
            "0102020000000000000009010203040506070822222222222222222222222210b9db2bc5438e9b0e121995e243065b347d651d0ec51d29f9e8c2b87356330a17c3dc132e0e387dbafe32594a773401"
        );
        let letter =
            write_one(KeyKind::Day, 20_427, &[0x11; 32], [0x22; 12], &dead_letter_bound(KeyKind::Day, &20_427_u64.to_be_bytes(), b"t/7/42"), b"golden letter");
        assert_eq!(hex::encode(letter), "0101030000000000004fcb22222222222222222222222270986b2da5a1bf33804baa593ae15171b16cbb89f046f6069d6ee865c8");
    }

    #[test]
    fn what_was_sealed_opens_again() {
        let (_folder, sealer) = sealer();
        for (purpose, plain) in
            [(Purpose::Params, b"parameters".as_slice()), (Purpose::Code, b"493817"), (Purpose::Code, b""), (Purpose::DeadLetter, &[7; 3000])]
        {
            let sealed = sealer.seal(purpose, CUSTOMER, MESSAGE, EXPIRY, plain, NOW).unwrap();
            assert_eq!(sealer.open(purpose, CUSTOMER, MESSAGE, EXPIRY, &sealed).unwrap().expose(), plain);
        }
        for codes in [false, true] {
            let sealed = sealer.seal_dead_letter(codes, b"topic/7/42", b"bytes", NOW).unwrap();
            assert_eq!(sealer.open_dead_letter(b"topic/7/42", &sealed).unwrap().expose(), b"bytes");
        }
    }

    #[test]
    fn a_code_shows_neither_itself_nor_its_length() {
        let (_folder, sealer) = sealer();
        let seal = |code: &[u8]| sealer.seal(Purpose::Code, CUSTOMER, MESSAGE, EXPIRY, code, NOW);
        let (short, long) = (seal(b"4938").unwrap(), seal(b"4938174938174938174938174938174").unwrap());
        assert_eq!((short.len(), long.len()), (79, 79));
        assert_eq!(seal(&[b'4'; 32]), Err(SealError::TooLong));
        assert!(!long.windows(4).any(|window| window == b"4938"));
        assert_ne!(seal(b"4938").unwrap(), short, "each seal has its own nonce");
    }

    #[test]
    fn moved_to_another_customer_message_purpose_or_expiry_it_does_not_open() {
        let (_folder, sealer) = sealer();
        let other = Reference::from_bytes([0xc2; 16]);
        sealer.keys().prepare(&[CUSTOMER, other], NOW).unwrap();
        for purpose in [Purpose::Params, Purpose::Code, Purpose::DeadLetter] {
            let sealed = sealer.seal(purpose, CUSTOMER, MESSAGE, EXPIRY, b"493817", NOW).unwrap();
            let broken = |opened: Result<Secret<Vec<u8>>, SealError>| opened.err() == Some(SealError::Broken);
            assert!(sealer.open(purpose, CUSTOMER, MESSAGE, EXPIRY, &sealed).is_ok());
            assert_eq!(sealer.open(purpose, other, MESSAGE, EXPIRY, &sealed).err(), Some(SealError::Key(KeyError::Gone)), "the other customer has no such key");
            assert!(broken(sealer.open(purpose, CUSTOMER, MessageId::from_bytes([0x3f; 16]), EXPIRY, &sealed)));
            assert!(broken(sealer.open(purpose, CUSTOMER, MESSAGE, Timestamp::from_millis(EXPIRY.millis() + 1), &sealed)));
            for wrong in [Purpose::Params, Purpose::Code, Purpose::DeadLetter] {
                assert_eq!(broken(sealer.open(wrong, CUSTOMER, MESSAGE, EXPIRY, &sealed)), wrong != purpose);
            }
            assert!(broken(sealer.open_dead_letter(b"topic/7/42", &sealed)));
        }
        let letter = sealer.seal_dead_letter(true, b"topic/7/42", b"bytes", NOW).unwrap();
        assert_eq!(sealer.open_dead_letter(b"topic/7/43", &letter).err(), Some(SealError::Broken));
        assert_eq!(sealer.open(Purpose::DeadLetter, CUSTOMER, MESSAGE, EXPIRY, &letter).err(), Some(SealError::Broken));
    }

    /// The reference is bound beside the key: also where two customers had one key, nothing could be moved.
    #[test]
    fn the_customer_is_bound_even_under_one_key() {
        let sealed = bound(Purpose::Params).seal(1, &[0x11; 32], [0x22; 12], b"text");
        let blob = Blob::read(&sealed).unwrap();
        let other = Bound { customer: Reference::from_bytes([0xc2; 16]), ..bound(Purpose::Params) };
        assert!(aead::open(&[0x11; 32], &bound(Purpose::Params).bytes(KeyKind::Customer, blob.id_bytes), blob.rest).is_some());
        assert!(aead::open(&[0x11; 32], &other.bytes(KeyKind::Customer, blob.id_bytes), blob.rest).is_none());
    }

    #[test]
    fn changed_or_cut_bytes_never_open() {
        let (_folder, sealer) = sealer();
        for purpose in [Purpose::Params, Purpose::Code] {
            let sealed = sealer.seal(purpose, CUSTOMER, MESSAGE, EXPIRY, b"493817", NOW).unwrap();
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert!(sealer.open(purpose, CUSTOMER, MESSAGE, EXPIRY, &changed).is_err(), "byte {at}");
                assert_eq!(sealer.open(purpose, CUSTOMER, MESSAGE, EXPIRY, &sealed[..at]).err(), Some(SealError::Broken), "cut at {at}");
            }
        }
    }

    #[test]
    fn an_erasure_kills_parameters_and_codes_and_the_end_of_the_epoch_the_code() {
        let (_folder, sealer) = sealer();
        let seal = |purpose| sealer.seal(purpose, CUSTOMER, MESSAGE, EXPIRY, b"493817", NOW).unwrap();
        let open = |purpose, sealed: &[u8]| sealer.open(purpose, CUSTOMER, MESSAGE, EXPIRY, sealed).err();
        let (params, code) = (seal(Purpose::Params), seal(Purpose::Code));
        let gone = Some(SealError::Key(KeyError::Gone));
        sealer.keys().destroy_past(NOW.plus(Duration::from_secs(15 * 60))).unwrap();
        assert_eq!((open(Purpose::Params, &params), open(Purpose::Code, &code)), (None, gone));
        let later = NOW.plus(Duration::from_secs(20 * 60));
        let code = sealer.seal(Purpose::Code, CUSTOMER, MESSAGE, EXPIRY, b"493817", later).unwrap();
        sealer.keys().destroy_customer(CUSTOMER).unwrap();
        assert_eq!((open(Purpose::Params, &params), open(Purpose::Code, &code)), (gone, gone));
    }
}
