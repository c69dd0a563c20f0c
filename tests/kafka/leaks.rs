//! The search for what must not rest in clear: a text in every spelling, in files as they lie on the disk and in bytes that were decoded before.
//!
//! Easily got wrong: a file may go while one looks (Kafka's and RocksDB's own housekeeping), and base64 has three phases.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use std::fs;
use std::path::{Path, PathBuf};

/// What is looked for, in every spelling.
pub struct Search {
    spellings: Vec<(String, Vec<u8>)>,
    /// By a spelling's first byte: a quick way past all other bytes.
    begins: Vec<Vec<usize>>,
}

impl Search {
    /// These texts, each with a name that may be printed where it is found.
    pub fn of<'t>(texts: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let spellings: Vec<(String, Vec<u8>)> = texts
            .into_iter()
            .flat_map(|(name, text)| spellings(text).into_iter().map(move |(word, bytes)| (format!("{name}, {word}").trim_start_matches(", ").into(), bytes)))
            .collect();
        let mut begins = vec![Vec::new(); 256];
        for (at, (_, spelling)) in spellings.iter().enumerate() {
            begins[usize::from(spelling[0])].push(at);
        }
        Self { spellings, begins }
    }

    /// The spellings that these bytes hold, each with the place.
    pub fn in_bytes(&self, place: &str, bytes: &[u8]) -> Vec<String> {
        let mut found = vec![false; self.spellings.len()];
        for (at, byte) in bytes.iter().enumerate() {
            for &spelling in &self.begins[usize::from(*byte)] {
                found[spelling] |= bytes[at..].starts_with(&self.spellings[spelling].1);
            }
        }
        found.iter().zip(&self.spellings).filter(|(found, _)| **found).map(|(_, (word, _))| format!("{place}: {word}")).collect()
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

/// Clear, UTF-16, hex, base64 in its three phases (the characters that do not hang on what stands around it), and spelled out.
fn spellings(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = vec![
        ("clear".into(), text.into()),
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
