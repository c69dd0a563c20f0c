//! Reads a webhook's body: counted while it comes, against a deadline, into memory that is cleared; leaves the raw bytes that were signed.
//!
//! A length that somebody announces is not believed: nothing is reserved for bytes that have not come.

use super::Shared;
use super::verdict::Refusal;
use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, HeaderName};
use http_body_util::BodyExt as _;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

/// A whole body, and its share of the memory that bodies like it have together.
pub(super) struct Whole {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    _share: Option<OwnedSemaphorePermit>,
}

/// Reads a body of at most `bytes_max` into memory that `room` has.
pub(super) async fn read(shared: &Shared, headers: &HeaderMap, body: Body, bytes_max: usize, room: &Arc<Semaphore>) -> Result<Whole, Refusal> {
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Refusal::Encoded);
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > bytes_max) {
        return Err(Refusal::TooLarge);
    }
    let reading = collect(body, bytes_max, room);
    tokio::time::timeout(shared.limits.body_deadline, reading).await.unwrap_or(Err(Refusal::Slow))
}

/// The value of a header that must stand there exactly once.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Memory is counted in KiB.
pub(super) const fn permits(bytes: usize) -> usize {
    bytes.div_ceil(1_024)
}

async fn collect(mut body: Body, bytes_max: usize, room: &Arc<Semaphore>) -> Result<Whole, Refusal> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut share: Option<OwnedSemaphorePermit> = None;
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| Refusal::Broken)?.into_data() else { continue };
        if chunk.len() > bytes_max - bytes.len() {
            return Err(Refusal::TooLarge);
        }
        grow(&mut bytes, chunk.len(), bytes_max);
        bytes.extend_from_slice(&chunk);
        let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(permits(bytes.len()) - held).map_err(|_| Refusal::TooLarge)?;
        let permit = Arc::clone(room).try_acquire_many_owned(more).map_err(|_| Refusal::Busy)?;
        match &mut share {
            Some(share) => share.merge(permit),
            None => share = Some(permit),
        }
    }
    Ok(Whole { bytes, _share: share })
}

/// Makes room in a new allocation and clears the old one, which a vector that grows by itself would leave behind as it was.
fn grow(bytes: &mut Zeroizing<Vec<u8>>, more: usize, bytes_max: usize) {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * bytes.capacity()).min(bytes_max)));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
}
