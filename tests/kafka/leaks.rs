//! The search for what must not rest in clear: a text in every spelling, in files as they lie on the disk and in bytes that were decoded before.
//!
//! Easily got wrong: a file may go while one looks (Kafka's and RocksDB's own housekeeping), and base64 has three phases.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use std::fs;
use std::path::{Path, PathBuf};

/// What is looked for, in every spelling.
pub struct Search {
    spellings: Vec<Spelling>,
    /// By a spelling's first byte: a quick way past all other bytes.
    begins: Vec<Vec<usize>>,
}

struct Spelling {
    word: String,
    bytes: Vec<u8>,
    /// How many digits stand in a row where it counts, it at their beginning.
    digits: Option<usize>,
}

impl Search {
    /// These texts, each with a name that may be printed where it is found.
    pub fn of<'t>(texts: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let mut search = Self { spellings: Vec::new(), begins: vec![Vec::new(); 256] };
        for (name, text) in texts {
            search.add(name, text, None);
        }
        search
    }

    /// Also numbers of so many digits that begin so: for beginnings that are too short to be looked for alone. In the clear, where a time or a size could hold such a
    /// beginning, the whole number must stand there, between what is no digit. Every other spelling is longer, and its beginning is enough.
    pub fn and_numbers<'t>(mut self, numbers: impl IntoIterator<Item = (&'t str, &'t str, usize)>) -> Self {
        for (name, begins, digits) in numbers {
            self.add(name, begins, Some(digits));
        }
        self
    }

    fn add(&mut self, name: &str, text: &str, digits: Option<usize>) {
        for (word, bytes) in spellings(text) {
            self.begins[usize::from(bytes[0])].push(self.spellings.len());
            let digits = digits.filter(|_| word == CLEAR);
            self.spellings.push(Spelling { word: format!("{name}, {word}").trim_start_matches(", ").into(), bytes, digits });
        }
    }

    /// The spellings that these bytes hold, each with the place.
    pub fn in_bytes(&self, place: &str, bytes: &[u8]) -> Vec<String> {
        let mut found = vec![false; self.spellings.len()];
        for (at, byte) in bytes.iter().enumerate() {
            for &spelling in &self.begins[usize::from(*byte)] {
                let Spelling { bytes: spelled, digits, .. } = &self.spellings[spelling];
                found[spelling] |= bytes[at..].starts_with(spelled) && digits.is_none_or(|digits| stands_alone(bytes, at, digits));
            }
        }
        found.iter().zip(&self.spellings).filter(|(found, _)| **found).map(|(_, spelling)| format!("{place}: {}", spelling.word)).collect()
    }

    /// The same for whole files.
    pub fn in_files(&self, files: impl IntoIterator<Item = PathBuf>) -> Vec<String> {
        files
            .into_iter()
            .filter_map(|file| Some((fs::read(&file).ok()?, file)))
            .flat_map(|(bytes, file)| self.in_bytes(&file.display().to_string(), &bytes))
            .collect()
    }
}

/// Whether exactly so many digits stand in a row from here on, and none before them.
fn stands_alone(bytes: &[u8], at: usize, digits: usize) -> bool {
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    (at..at + digits).all(digit) && !digit(at + digits) && !at.checked_sub(1).is_some_and(digit)
}

/// All files below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] }).collect()
}

/// Whether a file of a broker can tell anything: an index holds positions and nothing else, and each is kept at 10 MB while it is written.
pub fn tells(file: &Path) -> bool {
    !file.extension().is_some_and(|ending| ending == "index" || ending == "timeindex")
}

/// Whether a file lies in the folder of a partition of such a topic.
pub fn of_topic(file: &Path, topic: impl Fn(&str) -> bool) -> bool {
    let folder = file.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    folder.and_then(|name| name.rsplit_once('-')).is_some_and(|(name, _)| topic(name))
}

const CLEAR: &str = "clear";

/// Clear, UTF-16, hex, base64 in its three phases (the characters that do not hang on what stands around it), and spelled out.
fn spellings(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = vec![
        (CLEAR.into(), text.into()),
        ("UTF-16, little end first".into(), text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("UTF-16, big end first".into(), text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        ("hex".into(), hex::encode(text).into()),
        ("HEX".into(), hex::encode_upper(text).into()),
    ];
    for between in [" ", ", ", ". "] {
        let spelled = text.chars().map(String::from).collect::<Vec<_>>().join(between);
        all.push((format!("spelled with {between:?}"), spelled.into()));
    }
    for phase in 0..3 {
        for (alphabet, engine) in [("standard", &STANDARD), ("URL", &URL_SAFE)] {
            let encoded = engine.encode([&vec![0; phase], text.as_bytes()].concat());
            let (from, to) = ((phase * 8).div_ceil(6), (phase + text.len()) * 8 / 6);
            all.push((format!("base64 {alphabet}, phase {phase}"), encoded.as_bytes()[from..to].into()));
        }
    }
    all
}
