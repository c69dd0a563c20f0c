//! WhatsApp through Meta's Cloud API: a template message becomes one POST, Meta's answer an outcome, its webhooks receipts.
//!
//! The only correlation data is the attempt id in `biz_opaque_callback_data`, which Meta echoes in every receipt: nothing is ever looked up by phone number,
//! and the `wa_id` that Meta answers with need not be the number that was dialled (ninth digit).

mod request;
mod answer;
mod receipts;
pub mod errors;

pub use answer::answer;
pub use receipts::receipts;
pub use request::{Sender, request};
