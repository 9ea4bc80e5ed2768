//! Many short byte strings that are only looked up.

use std::cmp::Ordering;

/// Byte strings, one behind the other and in order, so that 100,000 of them are two allocations, and workers can hand them on as
/// they are. No hash: who writes a list must not be able to make it slow.
#[derive(Debug, Default)]
pub struct Entries {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
}

/// Entries that are still being added, in any order and as often as they come.
#[derive(Debug, Default)]
pub struct Unsorted(Entries);

impl Unsorted {
    /// Adds an entry of these parts. `None`: there are 4 GiB already.
    pub fn add(&mut self, parts: [&[u8]; 2]) -> Option<()> {
        let Entries { bytes, ends } = &mut self.0;
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        ends.push(u32::try_from(bytes.len()).ok()?);
        Some(())
    }

    /// Each once, in order.
    pub fn sort(self) -> Entries {
        let added = self.0;
        let mut order: Vec<&[u8]> = (0..added.len()).map(|number| added.entry(number)).collect();
        order.sort_unstable();
        order.dedup();
        let mut sorted =
            Entries { bytes: Vec::with_capacity(added.bytes.len()), ends: Vec::with_capacity(order.len()) };
        for entry in order {
            sorted.bytes.extend_from_slice(entry);
            // No more than there were.
            sorted.ends.push(u32::try_from(sorted.bytes.len()).unwrap_or(u32::MAX));
        }
        sorted
    }
}

impl Entries {
    /// Is it one of them?
    pub fn contains(&self, entry: &[u8]) -> bool {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from.midpoint(to);
            match self.entry(middle).cmp(entry) {
                Ordering::Equal => return true,
                Ordering::Less => from = middle + 1,
                Ordering::Greater => to = middle,
            }
        }
        false
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds them to a form that other workers can [`read`](Self::read).
    pub fn write(&self, to: &mut Vec<u8>) {
        to.reserve(4 * (self.ends.len() + 1) + self.bytes.len());
        to.extend_from_slice(&u32::try_from(self.ends.len()).unwrap_or_default().to_le_bytes());
        self.ends.iter().for_each(|end| to.extend_from_slice(&end.to_le_bytes()));
        to.extend_from_slice(&self.bytes);
    }

    /// Takes them off the front of what was written.
    pub fn read(from: &mut &[u8]) -> Option<Self> {
        let count = usize::try_from(u32::from_le_bytes(*take(from, 4)?.first_chunk()?)).ok()?;
        let written = take(from, count.checked_mul(4)?)?.as_chunks().0;
        let ends: Vec<u32> = written.iter().map(|end| u32::from_le_bytes(*end)).collect();
        let size = ends.last().map_or(Some(0), |end| usize::try_from(*end).ok())?;
        Some(Self { bytes: take(from, size)?.to_vec(), ends })
    }

    fn entry(&self, number: usize) -> &[u8] {
        let end = |number: usize| self.ends.get(number).and_then(|end| usize::try_from(*end).ok());
        let start = number.checked_sub(1).map_or(Some(0), end);
        start.zip(end(number)).and_then(|(start, end)| self.bytes.get(start..end)).unwrap_or_default()
    }
}

fn take<'a>(from: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(size)?;
    *from = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_agree_with_a_plain_set_and_so_does_what_was_written(
            added in prop::collection::vec("[ab]{0,4}", 0..40),
            asked in prop::collection::vec("[abc]{0,4}", 0..40),
        ) {
            let mut unsorted = Unsorted::default();
            for text in &added {
                let (begin, end) = text.as_bytes().split_at(text.len() / 2);
                prop_assert_eq!(unsorted.add([begin, end]), Some(()));
            }
            let (entries, plain) = (unsorted.sort(), BTreeSet::from_iter(&added));
            let mut written = Vec::new();
            entries.write(&mut written);
            written.push(7);
            let mut rest = written.as_slice();
            let read = Entries::read(&mut rest).unwrap();
            prop_assert_eq!(rest, [7]);
            for entries in [&entries, &read] {
                prop_assert_eq!(entries.len(), plain.len());
                prop_assert_eq!(entries.is_empty(), plain.is_empty());
                for text in added.iter().chain(&asked) {
                    prop_assert_eq!(entries.contains(text.as_bytes()), plain.contains(text));
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            if let Some(entries) = Entries::read(&mut bytes.as_slice()) {
                entries.contains(b"a");
            }
        }
    }
}
