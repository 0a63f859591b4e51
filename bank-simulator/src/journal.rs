//! The journal: one JSON object a line, only ever appended to, synced before anything is acknowledged.
//!
//! Invariants: one process at a time has it, by a lock; a last line without its line feed was never
//! acknowledged and is cut off at the start; anything else that cannot be read stops the start.
//! After a failed write nobody knows what the disk has, so nothing more is written by this process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::entry::Entry;

const MARK: &str = "daybook bank simulator";
const VERSION: u32 = 1;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened, read or written.
    #[error("{path}: {error}")]
    Io {
        /// The journal.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another process has it.
    #[error("{path}: another bank simulator has this journal")]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// A line is not one of a journal.
    #[error("{path}, line {line}: not a line of a bank simulator's journal: {reason}")]
    Unreadable {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
}

/// The first line: whose journal it is.
#[derive(Serialize, Deserialize)]
struct Head {
    journal: String,
    version: u32,
    /// In every reference of this bank, so that two banks never give the same.
    bank: String,
}

/// A journal that is open for appending.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    failed: bool,
}

impl Journal {
    /// Opens a journal or makes it, and gives every entry in order to `take`; answers it and the
    /// mark of the bank.
    pub(crate) fn open(path: &Path, take: impl FnMut(Entry)) -> Result<(Self, String), JournalError> {
        let failed = |error| JournalError::Io { path: path.to_owned(), error };
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let (bank, good_bytes) = read(path, &file, take)?;
        // A line that was cut short by a crash: nobody was told of it.
        if file.metadata().map_err(failed)?.len() > good_bytes {
            tracing::warn!(path = %path.display(), good_bytes, "the journal's last line is not whole and is cut off");
            file.set_len(good_bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        let bank = match bank {
            Some(bank) => bank,
            None => begin(path, &mut file).map_err(failed)?,
        };
        Ok((Self { file, failed: false }, bank))
    }

    /// Appends entries and syncs them; only then may anybody be told of them.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write of the journal failed"));
        }
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
        }
        let written = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        self.failed = written.is_err();
        written
    }
}

/// Reads all whole lines; answers the bank's mark, if there is a first line, and how many bytes
/// they take.
fn read(path: &Path, file: &File, mut take: impl FnMut(Entry)) -> Result<(Option<String>, u64), JournalError> {
    let failed = |error| JournalError::Io { path: path.to_owned(), error };
    let unreadable = |line, reason: String| JournalError::Unreadable { path: path.to_owned(), line, reason };
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(0)).map_err(failed)?;
    let (mut bank, mut good_bytes, mut line) = (None, 0, Vec::new());
    for number in 1_u64.. {
        line.clear();
        let bytes = reader.read_until(b'\n', &mut line).map_err(failed)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        if number == 1 {
            let head: Head = serde_json::from_slice(&line).map_err(|error| unreadable(1, error.to_string()))?;
            if head.journal != MARK || head.version != VERSION {
                return Err(unreadable(1, format!("{} of version {}", head.journal, head.version)));
            }
            bank = Some(head.bank);
        } else {
            take(serde_json::from_slice(&line).map_err(|error| unreadable(number, error.to_string()))?);
        }
        good_bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
    }
    Ok((bank, good_bytes))
}

/// Writes the first line, and makes sure that the file itself outlives a crash.
fn begin(path: &Path, file: &mut File) -> io::Result<String> {
    let bank = format!("{:06X}", getrandom::u32().map_err(io::Error::other)? & 0xFF_FFFF);
    let head = Head { journal: MARK.to_owned(), version: VERSION, bank: bank.clone() };
    let mut line = serde_json::to_vec(&head)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_all()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(bank)
}

#[cfg(test)]
mod tests {
    use super::{Journal, JournalError};
    use crate::entry::Entry;
    use std::io::Write;

    fn entries(path: &std::path::Path) -> (Result<String, JournalError>, Vec<Entry>) {
        let mut entries = Vec::new();
        let opened = Journal::open(path, |entry| entries.push(entry));
        (opened.map(|(_, bank)| bank), entries)
    }

    #[test]
    fn what_was_appended_is_read_and_a_torn_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, bank) = Journal::open(&path, |_| panic!("a new journal is empty")).unwrap();
        let taken = |number| Entry::NewsTaken { number };
        journal.append(&[taken(1), taken(2)]).unwrap();
        drop(journal);

        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(br#"{"entry":"news_taken","num"#).unwrap();
        drop(file);
        let (mut journal, again) = Journal::open(&path, |_| ()).unwrap();
        assert_eq!(again, bank);
        journal.append(&[taken(3)]).unwrap();
        drop(journal);
        let (opened, read) = entries(&path);
        assert_eq!((opened.unwrap(), read), (bank, vec![taken(1), taken(2), taken(3)]));
    }

    #[test]
    fn a_journal_that_is_none_or_is_damaged_or_in_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::open(&path, |_| ()).unwrap();
        assert!(matches!(entries(&path).0, Err(JournalError::InUse { .. })));
        drop(journal);
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{}\n{\"entry\":\"news_taken\",\"number\":1}\n").unwrap();
        assert!(matches!(entries(&path).0, Err(JournalError::Unreadable { line: 2, .. })));
        let other = folder.path().join("other");
        std::fs::write(&other, "a,b,c\n").unwrap();
        assert!(matches!(entries(&other).0, Err(JournalError::Unreadable { line: 1, .. })));
    }
}
