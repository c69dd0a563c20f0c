//! Who may see what: classes of data, sealing, keys, references. Personal data lives in types that print masked, and rests only sealed.

mod aead;
mod class;
mod files;
mod keys;
mod payload;
mod phone;
mod reference;
mod seal;
mod secret;

pub use class::Class;
pub use files::{FileKeys, FolderError, RootKey};
pub use keys::{KeyError, KeyId, KeyKind, KeyService, SharedKey};
pub use payload::{Content, Payload, Value};
pub use phone::{PhoneKind, PhoneNumber};
pub use reference::{Pepper, Reference, ReferenceKind};
pub use seal::{Purpose, SealError, Sealer};
pub use secret::Secret;
