//! Many commands at once: how they are named, and how their replies are gathered into one.
//!
//! A request of many commands has one idempotency key. Its first command is decided under that key
//! itself, the command at index i under the key, a space and i, which no client can choose: keys of
//! clients have no spaces. All of them carry the HMAC of the whole request. So whoever has the first
//! command's key has the request's: a command at a later index is refused as long as the first one's
//! key is another request's, and nothing is ever done of a request that comes under a used key.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::error::SubmitError;
use crate::load::Key;
use crate::submission::{Reply, Submission};

/// Stands between a request's key and the index of a command in it; in no client's key.
const SEPARATOR: char = ' ';

/// What became of one of several commands that were sent together.
pub type Answer = Result<Reply, SubmitError>;

/// The idempotency key of the command at this index of the request with this key.
pub fn part_key(request_key: &str, index: usize) -> String {
    match index {
        0 => request_key.to_owned(),
        later => format!("{request_key}{SEPARATOR}{later}"),
    }
}

/// The key of the request of which the command under this key is a later part.
pub(crate) fn request_key(part_key: &str) -> Option<&str> {
    part_key.split_once(SEPARATOR).map(|(request_key, _)| request_key)
}

/// The keys that must be looked up before these are decided: their own, and those of the requests
/// that they are later parts of.
pub(crate) fn keys<'a>(submissions: impl Iterator<Item = &'a Submission>) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    let mut request: Option<(&str, &str)> = None;
    for submission in submissions {
        let part_of = request_key(&submission.idempotency_key).map(|key| (submission.client.as_str(), key));
        // The parts of a request follow each other, so one look at the one before finds most.
        if let Some((client, key)) = part_of.filter(|_| part_of != request) {
            keys.push((client.to_owned(), key.to_owned()));
            request = part_of;
        }
        keys.push((submission.client.clone(), submission.idempotency_key.clone()));
    }
    keys
}

/// The keys of the requests that these are later parts of.
pub(crate) fn request_keys<'a>(submissions: impl Iterator<Item = &'a Submission>) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for submission in submissions {
        if let Some(key) = request_key(&submission.idempotency_key)
            && keys.last().is_none_or(|(client, last)| last != key || *client != submission.client)
        {
            keys.push((submission.client.clone(), key.to_owned()));
        }
    }
    keys
}

/// Where the reply to a command goes.
pub(crate) enum ReplyTo {
    /// To whoever sent it alone.
    One(oneshot::Sender<Answer>),
    /// To its place among the replies of those that it was sent with.
    Place(Arc<Gathering>, usize),
}

impl ReplyTo {
    /// Gives the reply. A client that hung up changes nothing: what is committed is committed.
    pub(crate) fn send(self, answer: Answer) {
        match self {
            ReplyTo::One(sender) => drop(sender.send(answer)),
            ReplyTo::Place(gathering, at) => gathering.put(at, answer),
        }
    }
}

/// The replies of commands that were sent together; told once all are there. Given up by the writer,
/// it is dropped with the last command, and with it the sender: whoever waits learns that.
pub(crate) struct Gathering(Mutex<Gathered>);

struct Gathered {
    answers: Vec<Option<Answer>>,
    missing: usize,
    told: Option<oneshot::Sender<Vec<Answer>>>,
}

impl Gathering {
    /// Waits for so many replies.
    pub(crate) fn new(count: usize) -> (Arc<Self>, oneshot::Receiver<Vec<Answer>>) {
        let (told, all) = oneshot::channel();
        let answers = std::iter::repeat_with(|| None).take(count).collect();
        (Arc::new(Self(Mutex::new(Gathered { answers, missing: count, told: Some(told) }))), all)
    }

    fn put(&self, at: usize, answer: Answer) {
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place @ None) = gathered.answers.get_mut(at) {
            *place = Some(answer);
            gathered.missing -= 1;
        }
        if gathered.missing == 0
            && let Some(told) = gathered.told.take()
        {
            let answers = std::mem::take(&mut gathered.answers);
            drop(told.send(answers.into_iter().flatten().collect()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_parts_lead_back_to_their_request() {
        assert_eq!(part_key("pay", 0), "pay");
        assert_eq!(part_key("pay", 17), "pay 17");
        assert_eq!(request_key(&part_key("pay", 17)), Some("pay"));
        assert_eq!(request_key("pay"), None, "the first is under the request's own key");
    }

    #[tokio::test]
    async fn replies_are_told_together_and_in_order() {
        let (gathering, mut all) = Gathering::new(2);
        let places: Vec<ReplyTo> = (0..2).map(|at| ReplyTo::Place(gathering.clone(), at)).collect();
        drop(gathering);
        let mut places = places.into_iter().rev();
        places.next().unwrap().send(Err(SubmitError::KeyReused));
        assert!(all.try_recv().is_err(), "one is missing");
        places.next().unwrap().send(Err(SubmitError::Overloaded));
        let answers = all.await.unwrap();
        assert!(matches!(answers.as_slice(), [Err(SubmitError::Overloaded), Err(SubmitError::KeyReused)]));
    }

    #[tokio::test]
    async fn a_writer_that_gives_up_is_noticed() {
        let (gathering, all) = Gathering::new(2);
        let first = ReplyTo::Place(gathering.clone(), 0);
        let second = ReplyTo::Place(gathering, 1);
        first.send(Err(SubmitError::Overloaded));
        drop(second);
        assert!(all.await.is_err());
    }
}
