//! Random commands against the whole event store with two writers, and against a model of it: the
//! pure rules, one command after the other.
//!
//! What is sent one at a time must have the model's outcome, whichever writer takes it. What is sent at
//! once is taken by the writers in some order; the log tells which, and in that order the model must
//! come to the same events, replies and refusals. Both writers have room for four streams and write a
//! snapshot every five events, so that nearly every decision is made on states that were evicted and
//! loaded again.
//!
//! `PROPTEST_CASES=2000 cargo test -p event-store --test it model` looks longer.

mod book;
mod steps;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Europe::Prague;
use domain::account::AccountCommand;
use domain::member::MemberCommand;
use domain::transaction::TransactionCommand;
use domain::words::ReasonCode;
use domain::{Command, StreamId, TransactionId};
use event_schemas::Recorded;
use event_store::{Outcome, Reply, Store, Submission, SubmitError};
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use test_place::Place;
use uuid::Uuid;

use crate::bank::{config, keyed};
use book::Model;
use steps::{Case, How, Sent, Step, foundation, rounds};

const CASES: u32 = 24;
/// Every so manieth key is sent once more at the end.
const REPEAT_EVERY: usize = 7;

/// A request as it went to one store.
struct Request {
    submission: Submission,
    store: usize,
}

/// All requests under one key of a round.
struct Keyed {
    requests: Vec<Request>,
    /// The first one's client hangs up on it before the second one is sent.
    hangs_up: bool,
}

/// The request that was decided under a key, and how.
struct Decided {
    submission: Submission,
    outcome: Outcome,
}

/// Two writers on one log, and what the model says that it must be.
struct Bench {
    place: Place,
    stores: [Store; 2],
    model: Model,
    decided: BTreeMap<String, Decided>,
    today: NaiveDate,
    cases: u64,
}

impl Bench {
    async fn open() -> Bench {
        let place = Place::fresh("model").await.unwrap();
        let tiny = || {
            let mut settings = config(&place);
            settings.cache_streams = 4;
            settings.snapshot_every = 5;
            Store::start(settings)
        };
        let stores = [tiny().await.unwrap(), tiny().await.unwrap()];
        let today = Utc::now().with_timezone(&Prague).date_naive();
        let (model, decided) = (Model::default(), BTreeMap::new());
        let mut bench = Bench { place, stores, model, decided, today, cases: 0 };
        bench.furnish(foundation(today)).await;
        bench
    }

    /// These at once; each must be accepted.
    async fn furnish(&mut self, commands: Vec<Command>) {
        let before = self.model.refusals.len();
        let sent = commands.into_iter().enumerate().map(|(at, command)| {
            let key = Uuid::now_v7().to_string();
            Keyed { requests: vec![Request { submission: keyed(command, &key, 1), store: at % 2 }], hangs_up: false }
        });
        self.round(sent.collect()).await;
        assert_eq!(self.model.refusals.len(), before, "a case is furnished without a refusal");
    }

    async fn case(&mut self, rounds: &[Vec<Sent>]) {
        let (mut case, furniture) = Case::open(self.cases, self.today);
        self.cases += 1;
        for commands in furniture {
            self.furnish(commands).await;
        }
        let mut keys: Vec<String> = Vec::new();
        for round in rounds {
            let mut requests = Vec::new();
            for sent in round {
                requests.extend(self.keyed(&mut case, sent, &mut keys));
            }
            self.round(requests).await;
        }
    }

    fn keyed(&self, case: &mut Case, sent: &Sent, keys: &mut Vec<String>) -> Option<Keyed> {
        let other = usize::from(!sent.store);
        let first = match (&sent.step, case.command(&self.model, &sent.step)) {
            (Step::Again { which }, _) if !keys.is_empty() => {
                let earlier = self.decided.get(&keys[usize::from(*which) % keys.len()])?;
                again(&earlier.submission)
            }
            (_, Some(command)) => {
                let key = Uuid::now_v7().to_string();
                keys.push(key.clone());
                let version = self.model.version(command.target());
                let mut submission = keyed(command, &key, 1);
                submission.expected_version = sent.expected.map(|less| version.saturating_add_signed(less));
                submission
            }
            (_, None) => return None,
        };
        let mut second = again(&first);
        if let How::KeyReused = sent.how {
            second.request_hmac = [2; 32];
        }
        let mut requests = vec![Request { submission: first, store: usize::from(sent.store) }];
        match sent.how {
            How::Once => {}
            How::Twice | How::HungUp => requests.push(Request { submission: second, store: other }),
            How::KeyReused => requests.push(Request { submission: second, store: usize::from(sent.store) }),
        }
        Some(Keyed { requests, hangs_up: matches!(sent.how, How::HungUp) })
    }

    /// Sends all at once, lets the model follow the log, and compares every reply with the model's.
    async fn round(&mut self, sent: Vec<Keyed>) {
        let submissions = sent.iter().flat_map(|keyed| &keyed.requests);
        let by_id: HashMap<String, Submission> = submissions
            .map(|request| (request.submission.command_id.to_string(), request.submission.clone()))
            .collect();
        let calls = sent.into_iter().map(|keyed| tokio::spawn(send(self.stores.clone(), keyed)));
        let replies = futures::future::join_all(calls).await;
        self.follow(&by_id).await;
        for (submission, reply) in replies.into_iter().flat_map(Result::unwrap) {
            self.compare(&submission, reply);
        }
    }

    /// Takes the new events of the log, command by command, and has the model decide each.
    async fn follow(&mut self, sent: &HashMap<String, Submission>) {
        let events = self.stores[0].reader().events_after(self.model.position, 10_000).await.unwrap();
        for of_one in events.chunk_by(|one, next| one.command_id == next.command_id) {
            let submission = sent.get(&of_one[0].command_id).expect("the log has only what was sent");
            let recorded_at = DateTime::from_timestamp_micros(of_one[0].recorded_at_us).unwrap();
            let first = self.model.position + 1;
            let (expected, outcome) = self.model.submit(submission, recorded_at);
            let found: Vec<_> = of_one.iter().map(appended).collect();
            assert_eq!(found, expected, "events of {:?} from position {first}", submission.command);
            let decided = Decided { submission: submission.clone(), outcome };
            let earlier = self.decided.insert(submission.idempotency_key.clone(), decided);
            assert!(earlier.is_none(), "a key is decided once: {:?}", submission.command);
        }
    }

    fn compare(&self, submission: &Submission, reply: Result<Reply, SubmitError>) {
        let decided = self.decided.get(&submission.idempotency_key).expect("what is answered is in the log");
        let first = &decided.submission;
        if submission.request_hmac != first.request_hmac {
            assert!(matches!(reply, Err(SubmitError::KeyReused)), "{reply:?} for a key of another request");
            return;
        }
        let reply = reply.unwrap();
        assert_eq!(reply.outcome, decided.outcome, "of {:?}", submission.command);
        assert_eq!(reply.replayed, submission.command_id != first.command_id, "of {:?}", submission.command);
    }

    /// What holds after all cases.
    async fn end(mut self, all_cases: bool) {
        for store in &self.stores {
            store.shutdown().await;
        }
        let fresh = Store::start(config(&self.place)).await.unwrap();
        self.stores = [fresh.clone(), fresh.clone()];
        self.probe().await;
        let head = fresh.reader().head().await.unwrap();
        for decided in self.decided.values().step_by(REPEAT_EVERY) {
            let repeated = again(&decided.submission);
            self.compare(&repeated, fresh.submit(repeated.clone()).await);
        }
        assert_eq!(fresh.reader().head().await.unwrap().position, head.position, "a repetition leaves nothing");

        let verified = event_store::verify::verify(fresh.reader(), |_, _| ()).await.unwrap();
        assert_eq!((verified.events, verified.commands), (self.model.position, self.decided.len() as u64));
        let mut folded = Model::default();
        while folded.position < head.position {
            for event in fresh.reader().events_after(folded.position, 5_000).await.unwrap() {
                folded.fold(event.stream, &event.event().unwrap());
            }
        }
        folded.assert_same_states(&self.model);
        println!(
            "{} commands, {} events of {} types, {} refusals of {} codes, {} snapshots",
            verified.commands,
            verified.events,
            verified.types.len(),
            verified.types.get("CommandRejected").unwrap_or(&0),
            self.model.refusals.len(),
            verified.snapshots,
        );
        if all_cases {
            // Random commands are worth something only if they get far.
            assert!(verified.types.len() >= 22, "only {:?}", verified.types);
            assert!(self.model.refusals.len() >= 25, "only {:?}", self.model.refusals);
            assert!(verified.snapshots >= 10, "{} snapshots were compared with a fold", verified.snapshots);
        }
        fresh.shutdown().await;
        self.place.discard().await.unwrap();
    }

    /// Commands whose outcomes tell the states that a store which was never here before reads: on
    /// every so manieth member, account and transaction.
    async fn probe(&mut self) {
        let reason = || ReasonCode::try_new("probe").unwrap();
        let probes = |stream: &StreamId| -> Vec<Command> {
            match stream.kind {
                domain::StreamKind::Member => {
                    let member_id = domain::MemberId(stream.id);
                    vec![Command::Member(MemberCommand::SuspendMember { member_id, reason: reason() })]
                }
                domain::StreamKind::Account => {
                    let account_id = domain::AccountId(stream.id);
                    vec![Command::Account(AccountCommand::CloseAccount { account_id, reason: None })]
                }
                domain::StreamKind::Transaction => {
                    let transaction_id = TransactionId(stream.id);
                    vec![
                        Command::Transaction(TransactionCommand::VoidPending { transaction_id, reason: reason() }),
                        Command::Transaction(TransactionCommand::ReverseTransaction {
                            transaction_id: TransactionId(Uuid::now_v7()),
                            original_id: transaction_id,
                            legs: None,
                            reason: reason(),
                            suspense_account_id: None,
                            booking_date: None,
                            value_date: None,
                        }),
                    ]
                }
                domain::StreamKind::Ledger
                | domain::StreamKind::Rejection
                | domain::StreamKind::LoanProduct
                | domain::StreamKind::Loan
                | domain::StreamKind::Saga => vec![],
            }
        };
        let commands: Vec<_> = self.model.versions.keys().step_by(3).flat_map(probes).collect();
        let sent = commands.into_iter().map(|command| {
            let key = Uuid::now_v7().to_string();
            Keyed { requests: vec![Request { submission: keyed(command, &key, 1), store: 0 }], hangs_up: false }
        });
        self.round(sent.collect()).await;
    }
}

/// The same request, sent once more.
fn again(submission: &Submission) -> Submission {
    Submission { command_id: Uuid::now_v7(), ..submission.clone() }
}

fn appended(recorded: &Recorded) -> book::Appended {
    (recorded.stream, recorded.sequence, recorded.event().unwrap())
}

async fn send(stores: [Store; 2], keyed: Keyed) -> Vec<(Submission, Result<Reply, SubmitError>)> {
    let mut requests = keyed.requests;
    if keyed.hangs_up {
        // Polled once, so that the command is queued, and dropped before its reply.
        let hung_up = requests.remove(0);
        let mut call = Box::pin(stores[hung_up.store].submit(hung_up.submission));
        assert!(futures::poll!(&mut call).is_pending());
    }
    let stores = &stores;
    let calls = requests.into_iter().map(|request| async move {
        let reply = stores[request.store].submit(request.submission.clone()).await;
        (request.submission, reply)
    });
    futures::future::join_all(calls).await
}

#[test]
fn two_writers_and_the_rules_alone_are_of_one_mind() {
    let mut settings = Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        source_file: Some(file!()),
        fork: false,
        timeout: 0,
        // Two writers race anew each time, so a smaller case need not fail again.
        max_shrink_iters: 100,
        max_shrink_time: 20_000,
        ..Config::default()
    };
    let all_cases = std::env::var_os("PROPTEST_CASES").is_none();
    if all_cases {
        settings.cases = CASES;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The bench of the cases so far; after a failure the next one gets a new one.
    let bench: RefCell<Option<Bench>> = RefCell::default();
    let outcome = TestRunner::new(settings).run(&rounds(), |rounds| {
        let kept = bench.borrow_mut().take();
        let mut used = kept.unwrap_or_else(|| runtime.block_on(Bench::open()));
        match catch_unwind(AssertUnwindSafe(|| runtime.block_on(used.case(&rounds)))) {
            Ok(()) => *bench.borrow_mut() = Some(used),
            Err(panic) => {
                runtime
                    .block_on(async {
                        for store in &used.stores {
                            store.shutdown().await;
                        }
                        used.place.discard().await
                    })
                    .unwrap();
                resume_unwind(panic);
            }
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    runtime.block_on(bench.take().expect("at least one case").end(all_cases));
}
