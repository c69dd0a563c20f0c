//! The demo: enters a seed, leaves 200 notifications on the bank's topics, a story for each fallback on the screen, and a table that counts every
//! notification once.
//!
//! What is easily got wrong: everything here is *the bank*. It writes the bank's records and reads `recado.status` with the published schema; it knows
//! nothing of Recado's inside, so it runs against the stand-in and against a real broker alike. All customers are invented, numbers included.

mod bank;
mod customers;
mod plan;
mod story;
mod table;
mod told;
mod watch;
#[cfg(test)]
mod tests;

pub use bank::{Asked, Pace, produce};
pub use plan::{Kind, Plan, Planned, Story};
pub use story::Tally;
pub use table::table;
pub use watch::{Reader, Screen, watch};

use std::collections::BTreeMap;

/// How the bank reaches Kafka.
#[derive(Clone, Default)]
pub struct Kafka {
    /// `host:port`, several with commas.
    pub bootstrap: String,
    /// librdkafka's own properties (TLS, SASL), handed on.
    pub properties: BTreeMap<String, String>,
}

impl Kafka {
    fn config(&self) -> rdkafka::ClientConfig {
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("client.id", "recado-demo-bank");
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config
    }
}

/// The topics between the bank and Recado: those of the reference routes, unless told otherwise.
#[derive(Clone, Debug)]
pub struct Topics {
    /// Pix sent and received.
    pub pix: String,
    /// One-time codes.
    pub codes: String,
    /// Codes that were used: the cancel input.
    pub codes_used: String,
    /// Bills.
    pub bills: String,
    /// What Recado says.
    pub status: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            pix: "pix.transactions".into(),
            codes: "auth.challenges".into(),
            codes_used: "auth.codes-used".into(),
            bills: "billing.invoices".into(),
            status: "recado.status".into(),
        }
    }
}
