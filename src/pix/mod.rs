//! How Brazil writes money, dates, documents and Pix ids. Enter: numbers and strings; leave: pt-BR text, or whether a form is right.
//!
//! What is easily got wrong: a CNPJ may hold letters since July 2026, and an ISPB too; neither is a number.

mod date;
mod document;
mod id;
mod key;
mod money;
mod phone;

pub use date::{date, date_spoken, day_month, is_date, time};
pub use document::{is_card, is_cnpj, is_cpf};
pub use id::is_end_to_end_id;
pub use key::{KeyKind, key_kind};
pub use money::reais;
pub use phone::{is_area_code, national_number};
