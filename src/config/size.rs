//! Sizes with a unit: `512MiB`, `64KiB`, `4096B`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number of bytes. In text it is a whole number with one of `B`, `KiB`, `MiB`, `GiB`; without a unit it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// So many times 1,048,576 bytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// So many times 1,024 bytes.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// As a length in memory; the largest there is where it does not fit.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// From its text; `None` for another shape or more than 64 bits hold.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, factor) = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
        number.trim_end().parse::<u64>().ok()?.checked_mul(*factor).map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor)).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size with its unit, like \"512MiB\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                Size::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Other("text"), &self))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_needs_its_unit() {
        assert_eq!(Size::parse("512MiB"), Some(Size::mib(512)));
        assert_eq!(Size::parse("1 KiB"), Some(Size(1024)));
        for bad in ["512", "", "MiB", "-1B", "1.5GiB", "1mb", "99999999999GiB"] {
            assert_eq!(Size::parse(bad), None, "{bad}");
        }
        assert_eq!(Size::mib(1536).to_string(), "1536MiB");
        assert_eq!(Size(0).to_string(), "0B");
        assert_eq!(Size(1500).to_string(), "1500B");
    }
}
