//! Log lines on their way out: gathered for a moment and written together, so that a request does not
//! wait for a write of its own line.
//!
//! Invariants: lines come out whole and in their order; none is dropped, also not at the end of the
//! process; a warning or an error is out before whoever told it goes on, and with it all that was told
//! before; what is gathered is bounded: beyond that, whoever tells writes, as slowly as the reader takes it.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait for others.
const GATHER: Duration = Duration::from_millis(2);
/// As much as this is gathered at most.
const GATHERED_BYTES_MAX: usize = 1024 * 1024;

/// Where lines are written. Cheap to clone; [`Output::end`] is to be called at the end.
#[derive(Clone)]
pub(super) struct Output(Arc<Shared>);

struct Shared {
    gathered: Mutex<Gathered>,
    told: Condvar,
    /// Taken before `gathered`, so that lines are written in the order in which they were gathered.
    target: Mutex<Target>,
}

#[derive(Default)]
struct Gathered {
    text: Vec<u8>,
    /// The writing thread waits to be told.
    idle: bool,
    /// Nothing is gathered any more: each line is written at once.
    ended: bool,
}

struct Target {
    to: Box<dyn Write + Send>,
    /// The buffer that is not gathered into.
    spare: Vec<u8>,
}

impl Output {
    /// Starts the thread that writes.
    pub(super) fn start(to: impl Write + Send + 'static) -> io::Result<Self> {
        let target = Mutex::new(Target { to: Box::new(to), spare: Vec::new() });
        let shared = Shared { gathered: Mutex::default(), told: Condvar::new(), target };
        let output = Self(Arc::new(shared));
        let writing = output.clone();
        std::thread::Builder::new().name("log-lines".to_owned()).spawn(move || writing.write_as_told())?;
        Ok(output)
    }

    /// Writes what is gathered, and from now on each line at once. Idempotent.
    pub(super) fn end(&self) {
        self.gathered().ended = true;
        self.0.told.notify_one();
        self.write_gathered();
    }

    fn write_as_told(&self) {
        loop {
            let mut gathered = self.gathered();
            while gathered.text.is_empty() && !gathered.ended {
                gathered.idle = true;
                gathered = self.0.told.wait(gathered).unwrap_or_else(PoisonError::into_inner);
            }
            let ended = gathered.ended;
            drop(gathered);
            if ended {
                return self.write_gathered();
            }
            std::thread::sleep(GATHER);
            self.write_gathered();
        }
    }

    fn gather(&self, line: &[u8], urgent: bool) {
        let mut gathered = self.gathered();
        gathered.text.extend_from_slice(line);
        let wakes = std::mem::take(&mut gathered.idle);
        let writes = urgent || gathered.ended || gathered.text.len() > GATHERED_BYTES_MAX;
        drop(gathered);
        if wakes {
            self.0.told.notify_one();
        }
        if writes {
            self.write_gathered();
        }
    }

    fn write_gathered(&self) {
        let mut target = self.0.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Target { to, spare } = &mut *target;
        std::mem::swap(&mut self.gathered().text, spare);
        // Who does not take our lines cannot be told of it.
        let _ = to.write_all(spare).and_then(|()| to.flush());
        spare.clear();
        spare.shrink_to(GATHERED_BYTES_MAX);
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.0.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { output: self, urgent: false }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { output: self, urgent: *metadata.level() <= Level::WARN }
    }
}

/// Takes one line, written whole.
pub(super) struct Line<'a> {
    output: &'a Output,
    urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.output.gather(line, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};
    use std::time::{Duration, Instant};

    use tracing_subscriber::layer::SubscriberExt;

    use super::Output;
    use crate::telemetry::json::tests::Buffer;

    #[test]
    fn a_warning_is_out_at_once_with_what_came_before_it() {
        let buffer = Buffer::default();
        let output = Output::start(buffer.clone()).unwrap();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(output);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for round in 0..100 {
                tracing::info!(round, "before");
            }
            tracing::warn!("now");
        });
        let text = buffer.text();
        let rounds: Vec<String> = (0..100).map(|round| format!("before round={round}")).collect();
        assert!(text.lines().zip(&rounds).all(|(line, round)| line.ends_with(round)), "{text}");
        assert!(text.lines().nth(100).is_some_and(|line| line.ends_with("now")), "{text}");
    }

    #[test]
    fn a_line_alone_comes_out_and_none_is_left_at_the_end() {
        let buffer = Buffer::default();
        let output = Output::start(buffer.clone()).unwrap();
        output.gather(b"alone\n", false);
        let deadline = Instant::now() + Duration::from_secs(10);
        while buffer.text() != "alone\n" {
            assert!(Instant::now() < deadline, "{:?}", buffer.text());
            std::thread::yield_now();
        }
        output.gather(b"last\n", false);
        output.end();
        assert_eq!(buffer.text(), "alone\nlast\n");
        output.gather(b"after\n", false);
        assert_eq!(buffer.text(), "alone\nlast\nafter\n");
    }

    /// A reader that takes nothing until it is let, and measures what it is given at once.
    struct Stuck {
        let_go: mpsc::Receiver<()>,
        buffer: Buffer,
        largest: Arc<AtomicUsize>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            // The sender is gone once everything may pass.
            let _ = self.let_go.recv();
            self.largest.fetch_max(bytes.len(), Ordering::Relaxed);
            self.buffer.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_takes_nothing_is_waited_for_and_nothing_is_lost() {
        let (lets_go, let_go) = mpsc::channel();
        let (buffer, largest) = (Buffer::default(), Arc::new(AtomicUsize::new(0)));
        let output = Output::start(Stuck { let_go, buffer: buffer.clone(), largest: Arc::clone(&largest) }).unwrap();
        let telling = output.clone();
        let told = std::thread::spawn(move || {
            for _ in 0..40 {
                telling.gather(&[b'x'; 100_000], false);
            }
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        while output.0.target.try_lock().is_ok() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        assert!(!told.is_finished());
        drop(lets_go);
        told.join().unwrap();
        output.end();
        assert_eq!(buffer.text().len(), 4_000_000);
        assert!(largest.load(Ordering::Relaxed) <= super::GATHERED_BYTES_MAX + 100_000);
    }
}
