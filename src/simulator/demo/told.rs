//! What Recado tells the bank: enters a record of `recado.status`, leaves its fields, read with the published schema as any bank would.
//!
//! What is easily got wrong: of records with the same message id and `seq` the later one counts, and an unknown word must not stop the reader.

use serde::Deserialize;
use serde_avro_fast::Schema;
use std::sync::LazyLock;

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| include_str!("../../../schemas/status.avsc").parse().expect("the published schema is valid Avro: a test reads with it"));

/// One status, with the fields that the demo shows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Told {
    pub(super) message_id: String,
    pub(super) seq: Option<i32>,
    pub(super) status: String,
    pub(super) terminal: bool,
    /// Milliseconds since 1970, on Kafka's clock.
    pub(super) decided: i64,
    pub(super) channel: Option<String>,
    pub(super) reason: String,
    pub(super) provider_code: i64,
    pub(super) double_delivered: bool,
    pub(super) event_id: Option<String>,
}

/// Reads single-object encoding or the Confluent wire format; `None` for anything else.
pub(super) fn read(bytes: &[u8]) -> Option<Told> {
    let body = match bytes {
        [0xC3, 0x01, rest @ ..] => rest.get(8..)?,
        [0, rest @ ..] => rest.get(4..)?,
        _ => return None,
    };
    serde_avro_fast::from_datum_slice(body, &SCHEMA).ok()
}
