//! PURE: how far one topic is read, and how far that may be committed.

use std::collections::BTreeMap;

/// One topic of one partition.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Everything below it was handed in; `None` before the first.
    position: Option<i64>,
    /// Records at or above the watermark.
    above: BTreeMap<i64, Above>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Above {
    Unfinished,
    /// With the journal offset of its attempt's first entry, where it has one.
    Finished(Option<i64>),
}

impl Reading {
    /// One record; false for one that was handed in before.
    pub(super) fn take(&mut self, offset: i64) -> bool {
        if self.position.is_some_and(|position| offset < position) {
            return false;
        }
        self.position = Some(offset + 1);
        self.above.insert(offset, Above::Unfinished);
        true
    }

    /// Nothing will come of this record any more.
    pub(super) fn finish(&mut self, offset: i64, journal_offset: Option<i64>) {
        if let Some(above) = self.above.get_mut(&offset) {
            *above = Above::Finished(journal_offset);
        }
        while let Some(lowest) = self.above.first_entry()
            && *lowest.get() != Above::Unfinished
        {
            lowest.remove();
        }
    }

    /// Everything below `position` was handed in.
    pub(super) fn reach(&mut self, position: i64) {
        self.position = self.position.max(Some(position));
    }

    pub(super) fn position(&self) -> Option<i64> {
        self.position
    }

    /// The lowest unfinished record, or the position where all are finished.
    pub(super) fn watermark(&self) -> Option<i64> {
        self.above.first_key_value().map(|(offset, _)| *offset).or(self.position)
    }

    /// The lowest journal offset that a reader from the watermark on needs, as far as finished records go.
    pub(super) fn lowest_journal_offset(&self) -> Option<i64> {
        self.above
            .values()
            .filter_map(|above| match above {
                Above::Unfinished => None,
                Above::Finished(journal_offset) => *journal_offset,
            })
            .min()
    }
}
