//! Which record was being decided when the process died. Enters: the position before each decision; leaves, at the next start: how often that one has killed us.
//!
//! Easily got wrong: the file is written through a shared memory map, so that noting a position costs no system call; the page cache survives kill -9.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

/// At so many deaths or aborted transactions at one position the record becomes a dead letter. Source: design §5.8.
pub const DEATHS_MAX: u32 = 3;

/// One slot: set 1 ‖ deaths 4 ‖ offset 8 ‖ length of the topic's name 2 ‖ its name. The first slot is the record being decided, the second the one that killed.
const SLOT_LEN: usize = 512;
const NAME_MAX: usize = SLOT_LEN - 15;

/// The note of one task.
pub struct Note {
    map: memmap2::MmapMut,
    suspect: Option<Suspect>,
}

/// A record that killed the process before, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Its topic.
    pub topic: String,
    /// Its offset in the task's partition.
    pub offset: i64,
    /// How often the process died while it was being decided.
    pub deaths: u32,
}

impl Note {
    /// Opens or makes the file. A note that is still set counts one more death.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(u64::try_from(2 * SLOT_LEN).expect("1,024 fits"))?;
        #[expect(unsafe_code, reason = "a memory map is unsafe as others might change the file")]
        // SAFETY: the state folder is this process's alone (the store's owner mark), so nobody else writes or cuts the file.
        let map = unsafe { memmap2::MmapMut::map_mut(&file)? };
        let mut note = Self { map, suspect: None };
        let before = read(&note.map[SLOT_LEN..]);
        note.suspect = match (read(&note.map[..SLOT_LEN]), before) {
            (Some(killer), Some(before)) if killer.topic == before.topic && killer.offset == before.offset => {
                Some(Suspect { deaths: before.deaths.saturating_add(1), ..before })
            }
            (Some(killer), _) => Some(Suspect { deaths: 1, ..killer }),
            (None, before) => before,
        };
        if let Some(suspect) = &note.suspect {
            write(&mut note.map[SLOT_LEN..], &suspect.topic, suspect.offset, suspect.deaths);
        }
        note.map[0] = 0;
        Ok(note)
    }

    /// Whether this record killed the process so often that it must not be decided again.
    pub fn poison(&self, topic: &str, offset: i64) -> bool {
        self.suspect.as_ref().is_some_and(|suspect| suspect.offset == offset && suspect.topic == topic && suspect.deaths >= DEATHS_MAX)
    }

    /// The record that killed the process before, or whose outputs were refused, until it is committed.
    pub fn suspect(&self) -> Option<&Suspect> {
        self.suspect.as_ref()
    }

    /// This record is about to be decided.
    pub fn begin(&mut self, topic: &str, offset: i64) {
        write(&mut self.map[..SLOT_LEN], topic, offset, 0);
    }

    /// A transaction that held this record's outputs alone was refused: counts like a death.
    pub fn blame(&mut self, topic: &str, offset: i64) {
        let before = self.suspect.take().filter(|suspect| suspect.offset == offset && suspect.topic == topic).map_or(0, |suspect| suspect.deaths);
        let suspect = Suspect { topic: topic.to_owned(), offset, deaths: before.saturating_add(1) };
        write(&mut self.map[SLOT_LEN..], topic, offset, suspect.deaths);
        self.suspect = Some(suspect);
    }

    /// Nothing is being decided.
    pub fn rest(&mut self) {
        self.map[0] = 0;
    }

    /// Everything below this offset of the topic is committed: a suspect there has been dealt with.
    pub fn committed(&mut self, topic: &str, next: i64) {
        if self.suspect.as_ref().is_some_and(|suspect| suspect.offset < next && suspect.topic == topic) {
            self.suspect = None;
            self.map[SLOT_LEN] = 0;
        }
    }
}

fn read(slot: &[u8]) -> Option<Suspect> {
    if slot[0] != 1 {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([slot[13], slot[14]]));
    let topic = std::str::from_utf8(slot.get(15..15 + length)?).ok()?.to_owned();
    let deaths = u32::from_be_bytes(slot[1..5].try_into().expect("four bytes"));
    Some(Suspect { topic, offset: i64::from_be_bytes(slot[5..13].try_into().expect("eight bytes")), deaths })
}

/// Sets the slot; the mark goes last, so a death in between leaves no half note.
fn write(slot: &mut [u8], topic: &str, offset: i64, deaths: u32) {
    let name = &topic.as_bytes()[..topic.len().min(NAME_MAX)];
    slot[0] = 0;
    slot[1..5].copy_from_slice(&deaths.to_be_bytes());
    slot[5..13].copy_from_slice(&offset.to_be_bytes());
    slot[13..15].copy_from_slice(&u16::try_from(name.len()).expect("at most 497").to_be_bytes());
    slot[15..15 + name.len()].copy_from_slice(name);
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::Release);
    slot[0] = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_at_one_record_add_up_over_starts_until_it_is_decided() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deciding-3");
        for deaths in 0..DEATHS_MAX {
            let mut note = Note::open(&path).unwrap();
            assert!(!note.poison("pix.transactions", 42), "after {deaths} deaths");
            note.begin("pix.transactions", 41);
            note.rest();
            note.begin("pix.transactions", 42);
        }
        let mut note = Note::open(&path).unwrap();
        assert!(note.poison("pix.transactions", 42));
        assert!(!note.poison("pix.transactions", 41) && !note.poison("auth.challenges", 42));
        note.committed("auth.challenges", 100);
        note.committed("pix.transactions", 42);
        assert!(note.poison("pix.transactions", 42));
        note.committed("pix.transactions", 43);
        drop(note);
        let mut note = Note::open(&path).unwrap();
        assert!(!note.poison("pix.transactions", 42));
        for _ in 0..DEATHS_MAX {
            note.blame("pix.transactions", 44);
        }
        assert!(note.poison("pix.transactions", 44), "three refused transactions count as well");
    }
}
