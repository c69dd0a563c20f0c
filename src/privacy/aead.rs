//! AES-256-GCM as everything in this folder uses it: key, nonce and what the bytes are bound to go in, `nonce 12 | ciphertext | tag 16` comes out.
//!
//! A nonce is drawn from the OS generator, never counted: several processes share keys. Limit: 2^32 seals for each key (SP 800-38D).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

/// What sealing adds to a text: nonce and tag.
pub(super) const ADDED_BYTES: usize = NONCE_BYTES + TAG_BYTES;
pub(super) const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// 256 bits that are cleared when they are dropped.
pub(super) type Key = Zeroizing<[u8; 32]>;

/// Bytes from the OS generator.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the generator of the operating system answers once it is seeded");
    bytes
}

/// The associated data of several parts: each with its length in four bytes before it, so that no two lists give the same bytes.
pub(super) fn bind(parts: &[&[u8]]) -> Vec<u8> {
    let mut bound = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
    for part in parts {
        bound.extend_from_slice(&u32::try_from(part.len()).expect("a bound part is shorter than 4 GiB").to_be_bytes());
        bound.extend_from_slice(part);
    }
    bound
}

/// Appends `nonce | ciphertext | tag` to `out`, which grows once at most: a growing vector would leave copies of the text behind.
pub(super) fn seal_into(out: &mut Vec<u8>, key: &[u8; 32], nonce: [u8; NONCE_BYTES], bound: &[u8], plain: &[u8]) {
    out.reserve_exact(ADDED_BYTES + plain.len());
    out.extend_from_slice(&nonce);
    let start = out.len();
    out.extend_from_slice(plain);
    let tag = unbound(key)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound), &mut out[start..])
        .expect("AES-GCM seals anything below 64 GiB");
    out.extend_from_slice(tag.as_ref());
}

/// Opens `nonce | ciphertext | tag`; `None` when one bit of it, of the key or of what it is bound to differs.
pub(super) fn open(key: &[u8; 32], bound: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let mut text = Zeroizing::new(ciphertext.to_vec());
    let length = unbound(key).open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(bound), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

/// As [`open`], for a sealed key.
pub(super) fn open_key(key: &[u8; 32], bound: &[u8], sealed: &[u8]) -> Option<Key> {
    let text = open(key, bound, sealed)?;
    let mut bytes: [u8; 32] = text.as_slice().try_into().ok()?;
    let opened = Zeroizing::new(bytes);
    bytes.zeroize();
    Some(opened)
}

fn unbound(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_parts_never_bind_alike() {
        assert_ne!(bind(&[b"ab", b"c"]), bind(&[b"a", b"bc"]));
        assert_ne!(bind(&[b"ab"]), bind(&[b"ab", b""]));
    }

    #[test]
    fn only_the_same_key_bytes_and_bounds_open() {
        let key = random::<32>();
        let mut sealed = Vec::new();
        seal_into(&mut sealed, &key, random(), b"bound", b"text");
        assert_eq!(open(&key, b"bound", &sealed).unwrap().as_slice(), b"text");
        assert!(open(&random::<32>(), b"bound", &sealed).is_none());
        assert!(open(&key, b"other", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&key, b"bound", &changed).is_none(), "byte {at}");
            assert!(open(&key, b"bound", &sealed[..at]).is_none(), "cut at {at}");
        }
    }
}
