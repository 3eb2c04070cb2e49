//! What a lane does in one transaction: changes that waited, sorted into statements. No I/O.
//!
//! Changes of one key keep their order; those of different keys have none, so that appends of many keys go into one
//! statement. Appends of one key that stand behind each other become one run of it.

use std::collections::HashMap;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::statements::{ANY, EMPTY};
use crate::store::{Append, Entry, Expect, Key, Seq, StoreError, Timestamp};

/// One change, and whoever waits for it.
pub(super) struct Change {
    pub(super) key: Key,
    pub(super) what: What,
    /// Its share of the queue.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

/// What is to be changed, and where the answer goes. A caller that stopped waiting does not want to know.
pub(super) enum What {
    Append { expect: Expect, bytes: Vec<u8>, expires_at: Option<Timestamp>, now: Timestamp, reply: Answer<Append> },
    TakeFirst { now: Timestamp, reply: Answer<Option<Entry>> },
    Touch { seq: Seq, expires_at: Timestamp, reply: Answer<bool> },
    Trim { upto: Seq, reply: Answer<()> },
    Remove { reply: Answer<()> },
    Expire { seqs: Vec<i64>, now: Timestamp, reply: Answer<u64> },
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

impl Change {
    pub(super) fn bytes(&self) -> usize {
        match &self.what {
            What::Append { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }

    /// Tells the caller that it failed.
    pub(super) fn fail(self, error: StoreError) {
        match self.what {
            What::Append { reply, .. } => drop(reply.send(Err(error))),
            What::TakeFirst { reply, .. } => drop(reply.send(Err(error))),
            What::Touch { reply, .. } => drop(reply.send(Err(error))),
            What::Trim { reply, .. } | What::Remove { reply, .. } => drop(reply.send(Err(error))),
            What::Expire { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// One statement of a transaction: places of changes in the batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Appends(Vec<Run>),
    One(usize),
}

/// Appends of one key, made whole or not at all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// As [`super::statements::APPEND`] has it.
    pub(super) expect: i64,
    pub(super) changes: Vec<usize>,
}

impl Run {
    /// Whether an append that expects this may stand at the end: it would hold if the run does.
    fn takes(&self, expect: Expect) -> bool {
        match expect {
            Expect::Any => self.expect == ANY,
            Expect::Empty => false,
            Expect::Last(seq) => self.expect >= 0 && integer(seq.0) == self.expect + self.changes.len() as i64,
        }
    }
}

/// Sorts changes into statements, to be made in their order. Without `in_runs`, each append is a run of its own.
pub(super) fn steps(changes: &[Change], in_runs: bool) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    // Where the last change of a key stands: which step, and which run of it.
    let mut last: HashMap<&Key, (usize, usize)> = HashMap::new();
    for (place, change) in changes.iter().enumerate() {
        let What::Append { expect, .. } = &change.what else {
            last.insert(&change.key, (steps.len(), 0));
            steps.push(Step::One(place));
            continue;
        };
        let behind = last.get(&change.key).copied();
        if let Some((step, run)) = behind
            && in_runs
            && let Some(Step::Appends(runs)) = steps.get_mut(step)
            && runs[run].takes(*expect)
        {
            runs[run].changes.push(place);
            continue;
        }
        let from = behind.map_or(0, |(step, _)| step + 1);
        let at = steps[from.min(steps.len())..].iter().position(|step| matches!(step, Step::Appends(_)));
        let at = at.map_or(steps.len(), |at| from + at);
        if at == steps.len() {
            steps.push(Step::Appends(Vec::new()));
        }
        if let Step::Appends(runs) = &mut steps[at] {
            last.insert(&change.key, (at, runs.len()));
            runs.push(Run { expect: expected(*expect), changes: vec![place] });
        }
    }
    steps
}

fn expected(expect: Expect) -> i64 {
    match expect {
        Expect::Any => ANY,
        Expect::Empty => EMPTY,
        Expect::Last(seq) => integer(seq.0),
    }
}

/// The parameters of [`super::statements::APPEND`].
#[derive(Default)]
pub(super) struct AppendArgs<'a> {
    pub(super) keys: Vec<&'a [u8]>,
    pub(super) expects: Vec<i64>,
    pub(super) counts: Vec<i64>,
    pub(super) nows: Vec<i64>,
    pub(super) entry_keys: Vec<&'a [u8]>,
    pub(super) entry_places: Vec<i64>,
    pub(super) entry_expiries: Vec<Option<i64>>,
    pub(super) entry_bytes: Vec<&'a [u8]>,
}

impl<'a> AppendArgs<'a> {
    pub(super) fn new(changes: &'a [Change], runs: &[Run]) -> Self {
        let mut args = Self::default();
        for run in runs {
            for (place, change) in run.changes.iter().enumerate() {
                let Change { key, what: What::Append { bytes, expires_at, now, .. }, .. } = &changes[*change] else {
                    continue;
                };
                if place == 0 {
                    args.keys.push(key.as_bytes());
                    args.expects.push(run.expect);
                    args.counts.push(run.changes.len() as i64);
                    args.nows.push(integer(now.0));
                }
                args.entry_keys.push(key.as_bytes());
                args.entry_places.push(place as i64 + 1);
                args.entry_expiries.push(expires_at.map(|at| integer(at.0)));
                args.entry_bytes.push(bytes);
            }
        }
        args
    }
}

/// PostgreSQL's integers are signed. Callers may ask behind any number; none that is given comes near the limit.
pub(super) fn integer(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(key: u8, expect: Expect) -> Change {
        let (reply, _) = oneshot::channel();
        let what = What::Append { expect, bytes: Vec::new(), expires_at: None, now: Timestamp(0), reply };
        Change { key: Key::new(key, &[]), what, _permit: None }
    }

    fn trim(key: u8) -> Change {
        let (reply, _) = oneshot::channel();
        Change { key: Key::new(key, &[]), what: What::Trim { upto: Seq(1), reply }, _permit: None }
    }

    fn appends(runs: &[(i64, &[usize])]) -> Step {
        Step::Appends(runs.iter().map(|(expect, changes)| Run { expect: *expect, changes: changes.to_vec() }).collect())
    }

    const ANY_: Expect = Expect::Any;

    fn last(seq: u64) -> Expect {
        Expect::Last(Seq(seq))
    }

    #[test]
    fn appends_of_many_keys_are_one_statement() {
        let changes = [append(1, ANY_), append(2, Expect::Empty), append(3, last(7))];
        assert_eq!(steps(&changes, true), [appends(&[(ANY, &[0]), (EMPTY, &[1]), (7, &[2])])]);
    }

    #[test]
    fn appends_of_one_key_that_follow_each_other_are_one_run() {
        let changes = [append(1, last(7)), append(2, ANY_), append(1, last(8)), append(2, ANY_), append(1, last(9))];
        assert_eq!(steps(&changes, true), [appends(&[(7, &[0, 2, 4]), (ANY, &[1, 3])])]);
        let each = steps(&changes, false);
        assert_eq!(each.len(), 3);
        assert_eq!(each[0], appends(&[(7, &[0]), (ANY, &[1])]));
    }

    #[test]
    fn an_append_that_a_runs_failure_would_not_fail_stands_by_itself() {
        let changes =
            [append(1, last(7)), append(1, ANY_), append(1, last(7)), append(2, Expect::Empty), append(2, last(1))];
        let steps = steps(&changes, true);
        assert_eq!(steps[0], appends(&[(7, &[0]), (EMPTY, &[3])]));
        assert_eq!(steps[1], appends(&[(ANY, &[1]), (1, &[4])]));
        assert_eq!(steps[2], appends(&[(7, &[2])]));
    }

    #[test]
    fn changes_of_one_key_keep_their_order() {
        let changes = [append(1, ANY_), trim(1), append(2, ANY_), append(1, ANY_), trim(2), append(1, ANY_)];
        let steps = steps(&changes, true);
        assert_eq!(
            steps,
            [appends(&[(ANY, &[0]), (ANY, &[2])]), Step::One(1), appends(&[(ANY, &[3, 5])]), Step::One(4)]
        );
    }
}
