//! The book with its journal: one change at a time, written and synced, then applied, then told.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use platform::Problem;
use tokio::sync::Notify;

use crate::book::{Book, Decision};
use crate::entry::Entry;
use crate::journal::{Journal, JournalError};
use crate::rules::Rules;

/// The bank. Its calls that write wait for the disk: they belong on a thread that may block.
pub(crate) struct Bank {
    state: Mutex<State>,
    rules: Rules,
    /// An order is on its way: there is a new time to wait for.
    pub(crate) departures: Notify,
    /// There is news for Daybook.
    pub(crate) news: Notify,
}

struct State {
    book: Book,
    journal: Journal,
}

impl Bank {
    /// Reads the journal, or begins it.
    pub(crate) fn open(path: &Path, rules: Rules) -> Result<Self, JournalError> {
        let mut book = Book::new(String::new());
        let (journal, bank) = Journal::open(path, |entry| book.apply(entry))?;
        book.set_bank(bank);
        Ok(Self { state: Mutex::new(State { book, journal }), rules, departures: Notify::new(), news: Notify::new() })
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Looks into the book.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.lock().book)
    }

    /// Decides on the book as it is, and keeps what was decided; `read` then tells what there is.
    /// A known request writes nothing.
    ///
    /// # Errors
    /// 503 `journal_failed`: whether the change is on the disk, only the next start will tell.
    pub(crate) fn change<T>(
        &self,
        decide: impl FnOnce(&Book, &Rules) -> Decision,
        read: impl FnOnce(&Book) -> Option<T>,
    ) -> Result<Changed<T>, Problem> {
        let mut state = self.lock();
        let new = match decide(&state.book, &self.rules) {
            Decision::Conflict => return Ok(Changed::Conflict),
            Decision::Known => false,
            Decision::New(entries) => {
                self.keep(&mut state, entries)?;
                true
            }
        };
        let told = read(&state.book).ok_or_else(Problem::internal)?;
        Ok(if new { Changed::New(told) } else { Changed::Known(told) })
    }

    /// Settles or refuses what has arrived by now.
    pub(crate) fn arrive(&self, now: DateTime<Utc>) -> Result<(), Problem> {
        let mut state = self.lock();
        let entries = state.book.arrivals(now);
        self.keep(&mut state, entries)
    }

    /// Notes that somebody has taken that news.
    pub(crate) fn take_news(&self, number: u64) -> Result<(), Problem> {
        self.keep(&mut self.lock(), vec![Entry::NewsTaken { number }])
    }

    fn keep(&self, state: &mut State, entries: Vec<Entry>) -> Result<(), Problem> {
        if entries.is_empty() {
            return Ok(());
        }
        state.journal.append(&entries).map_err(|error| {
            tracing::error!(%error, "the journal cannot be written; the bank takes nothing more until it is started anew");
            Problem::unavailable("journal_failed", "the bank cannot keep its books; it is not known whether this was kept")
        })?;
        for entry in entries {
            let (departs, tells) = (
                matches!(entry, Entry::OrderAccepted { .. }),
                matches!(entry, Entry::Incoming(_) | Entry::PaymentReturned { .. }),
            );
            state.book.apply(entry);
            if departs {
                self.departures.notify_one();
            }
            if tells {
                self.news.notify_one();
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Applying does not panic, so a book behind a poisoned lock is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a change came to.
#[derive(Debug)]
pub(crate) enum Changed<T> {
    New(T),
    Known(T),
    Conflict,
}
