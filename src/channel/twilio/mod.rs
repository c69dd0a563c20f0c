//! What SMS and voice share at Twilio: forms out, JSON answers in, forms back in, and one table of error codes.
//!
//! Twilio gives a receipt up 15 s after its first try: the fragment behind a callback's URL asks it to repeat what we refuse, inside that time.

mod answer;
pub mod errors;
mod form;

pub use answer::answer;
pub use form::Form;
pub(super) use form::{Writer, query};

/// What we put behind a callback's URL: up to 5 repeats, on any failure, 2 s to connect, 5 s to answer, 15 s in all (Twilio's longest).
/// Source: Twilio's page on webhook connection overrides.
pub const FRAGMENT: &str = "#rc=5&rp=all&ct=2000&rt=5000&tt=15000";

/// Where Twilio's webhooks find us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callbacks {
    /// The gateway as Twilio sees it: `https://host[:port][/prefix]` without a slash at the end. No underscore in the host name: Twilio refuses it.
    pub public_base_url: String,
    /// The name of the account in our configuration; the path of the webhook carries it and chooses the token.
    pub account: String,
}

impl Callbacks {
    /// The path of the gateway's route for one kind of webhook (`sms`, `voice`) of one account.
    pub fn path(account: &str, kind: &str) -> String {
        format!("/webhooks/twilio/{account}/{kind}")
    }

    pub(super) fn url(&self, kind: &str, attempt: &crate::delivery::AttemptId) -> String {
        format!("{}{}?a={attempt}", self.public_base_url, Self::path(&self.account, kind))
    }
}
