//! From sealed parameters to the words a customer reads: catalogue, render, masking, last scan, lint.
//!
//! What is easily got wrong: no customer's value ever passes through the template engine. The engine arranges places; each value is masked as it is put
//! into its place, and the finished text is scanned once more.

mod catalogue;
mod gsm7;
mod lint;
mod masking;
mod policy;
mod render;
mod scan;
mod signs;
mod text;
#[cfg(test)]
mod tests;

pub use catalogue::{Catalogue, Category, ProviderTemplate};
pub use lint::{TemplateUse, lint};
pub use policy::{Masking, Show};
pub use render::RenderError;
pub use scan::Rule;

use crate::privacy::Secret;

/// A finished message, for the moment between rendering and the call.
#[derive(Debug)]
pub enum Rendered {
    /// A template that Meta has approved, with its parameters.
    WhatsApp(WhatsAppTemplate),
    /// The whole text, transliterated to GSM-7.
    Sms(Secret<String>),
    /// What the call says.
    Voice(Spoken),
}

/// A WhatsApp template message.
#[derive(Debug)]
pub struct WhatsAppTemplate {
    /// Its name at Meta.
    pub name: String,
    /// Its language at Meta (`pt_BR`).
    pub language: String,
    /// The body's parameters in order; with a name where the template was made with named ones.
    pub body: Vec<(Option<String>, Secret<String>)>,
    /// The code of an authentication template: it goes into the body and into the copy-code button.
    pub copy_code: Option<Secret<String>>,
}

/// What a call says.
#[derive(Debug)]
pub struct Spoken {
    /// Said at once; holds nothing that a stranger or a voicemail may not hear.
    pub greeting: Secret<String>,
    /// Whether a code is spoken after the keypress. The code itself travels sealed (`Dispatch::sealed_code`), never in here.
    pub code_follows: bool,
}
