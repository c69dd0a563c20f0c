//! Who may see what: classes of data, sealing, keys, references. Personal data lives in types that print masked, and rests only sealed.

mod class;
mod keys;
mod payload;
mod phone;
mod reference;
mod seal;
mod secret;

pub use class::Class;
pub use keys::{FileKeys, KeyError, KeyId, KeyKind, KeyService};
pub use payload::{Content, Payload, Value};
pub use phone::{PhoneKind, PhoneNumber};
pub use reference::{Pepper, Reference, ReferenceKind};
pub use seal::{Purpose, SealError, Sealer};
pub use secret::Secret;
