//! Evidence files: what a client, witness or auditor saw that an honest directory does not do, in one JSON file that
//! anybody can check (`stonechat audit --evidence FILE`) with nobody's help.
//!
//! An evidence file is judged, not believed. [`Verdict::Proven`] means that the directory's own signatures contradict each
//! other, or contradict an account's own log: nobody without its keys could have made the file. [`Verdict::Unanswered`]
//! means that the directory signed what is in the file and owes an answer: two heads, and no proof that one continues the
//! other. It proves nothing alone; a directory that cannot give that proof to anybody has forked.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use stonechat_wire::{
    AccountId, AccountLog, AccountState, Handle, LogHead, SignedHead, TreeHash, TreeProof, decode, encode,
};

use crate::head::{ForkError, Head, HeadError, SeenHead};
use crate::note::SignedNote;
use crate::policy::{DirectoryPolicy, PolicyError};
use crate::proof::{ProofError, VerifiedVersion, verify_account, verify_handle};
use crate::tlog;

/// What was seen, with all that is needed to check it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// 1.
    version: u32,
    /// The policy that was pinned: whose keys are meant.
    policy: DirectoryPolicy,
    /// What was seen.
    seen: Seen,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Seen {
    /// Two heads that should be consistent: of one log.
    Heads {
        /// A signed note.
        first: String,
        /// A signed note.
        second: String,
        /// What the directory gave as consistency proof, if it gave any.
        consistency: Vec<Binary>,
    },
    /// What the directory says of an account against the account's own log.
    Account {
        head: HeadFile,
        account: Binary,
        look_up: Binary,
        /// The account log that contradicts it.
        log: Binary,
    },
    /// What the directory said of an account, first and later.
    AccountTakenBack { account: Binary, first: LookUpFile, second: LookUpFile },
    /// A handle that went from one account to another.
    HandleMoved { handle: String, first: LookUpFile, second: LookUpFile },
    /// What the directory did not give although it owes it, in words; and the checkpoint that was verified last.
    Refusal { checkpoint: Option<String>, what: String },
    /// Two leaves of one log, side by side, that break its rules.
    Leaves { head: HeadFile, index: u64, first: LeafFile, second: LeafFile },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadFile {
    checkpoint: String,
    record: Binary,
    inclusion: Vec<Binary>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LookUpFile {
    head: HeadFile,
    look_up: Binary,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeafFile {
    record: Binary,
    inclusion: Vec<Binary>,
}

/// Bytes, in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Binary(Vec<u8>);

/// A look-up that was answered: the head, and the look-up proof as it travelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUp<'a> {
    /// The head that the proof is against.
    pub head: &'a SignedHead,
    /// akd's `LookupProof`, protobuf.
    pub proof: &'a [u8],
}

/// What an evidence file shows, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The directory's own signatures show that it lied, or lost its keys.
    Proven(String),
    /// The directory signed this and owes an answer.
    Unanswered(String),
    /// The file is in order and shows nothing wrong.
    Harmless(String),
}

/// Why a file is not evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// It is not an evidence file of a version that is known here.
    #[error("this is not an evidence file, or one of a newer version: {cause}")]
    Malformed {
        /// What is wrong.
        cause: String,
    },
    /// What it shows was not signed by the directory that it accuses.
    #[error("the file does not show what it says: {0}")]
    Unsigned(#[from] ProofError),
}

impl From<HeadError> for EvidenceError {
    fn from(error: HeadError) -> Self {
        Self::Unsigned(error.into())
    }
}

impl From<PolicyError> for EvidenceError {
    fn from(error: PolicyError) -> Self {
        HeadError::from(error).into()
    }
}

impl Evidence {
    /// Two heads that are not consistent: a fork, a log that was rolled back, or one that the directory cannot connect.
    pub fn heads(policy: &DirectoryPolicy, first: &SeenHead, second: &SeenHead, answer: &TreeProof) -> Self {
        let consistency = answer.iter().map(|hash| Binary(hash.0.to_vec())).collect();
        let (first, second) = (first.to_note(policy).to_string(), second.to_note(policy).to_string());
        Self::new(policy, Seen::Heads { first, second, consistency })
    }

    /// The same, from the notes themselves.
    pub fn notes(policy: &DirectoryPolicy, first: &SignedNote, second: &SignedNote, answer: &[TreeHash]) -> Self {
        let consistency = answer.iter().map(|hash| Binary(hash.0.to_vec())).collect();
        Self::new(policy, Seen::Heads { first: first.to_string(), second: second.to_string(), consistency })
    }

    /// The directory did not give what it owes. Proves nothing; says what to ask it for.
    pub fn refusal(policy: &DirectoryPolicy, verified: Option<&SignedNote>, what: &str) -> Self {
        let checkpoint = verified.map(ToString::to_string);
        Self::new(policy, Seen::Refusal { checkpoint, what: what.to_owned() })
    }

    /// The sizes of the two heads that this is about, when it is about two heads: what to ask the directory for.
    pub fn sizes(&self) -> Option<(u64, u64)> {
        let Seen::Heads { first, second, .. } = &self.seen else { return None };
        let size = |text: &String| {
            let note = SignedNote::parse(text.as_bytes()).ok()?;
            Some(crate::Checkpoint::parse(note.text()).ok()?.size)
        };
        let (first, second) = (size(first)?, size(second)?);
        Some((first.min(second), first.max(second)))
    }

    /// The same two heads with what the directory answered when it was asked.
    #[must_use]
    pub fn with_answer(mut self, answer: &[TreeHash]) -> Self {
        if let Seen::Heads { consistency, .. } = &mut self.seen {
            *consistency = answer.iter().map(|hash| Binary(hash.0.to_vec())).collect();
        }
        self
    }

    /// The directory names another log for an account than the account's own: a swapped key, a ghost device, a hidden
    /// revocation.
    pub fn account(policy: &DirectoryPolicy, account: &AccountId, look_up: &LookUp<'_>, log: &AccountLog) -> Self {
        let head = HeadFile::of(look_up.head);
        let (look_up, log) = (Binary(look_up.proof.to_vec()), Binary(encode(log)));
        Self::new(policy, Seen::Account { head, account: Binary(account.0.to_vec()), look_up, log })
    }

    /// The directory said one thing of an account's log and later something that does not follow from it.
    pub fn account_taken_back(
        policy: &DirectoryPolicy,
        account: &AccountId,
        first: &LookUp<'_>,
        second: &LookUp<'_>,
    ) -> Self {
        let (first, second) = (LookUpFile::of(first), LookUpFile::of(second));
        Self::new(policy, Seen::AccountTakenBack { account: Binary(account.0.to_vec()), first, second })
    }

    /// The directory gave a handle to another account.
    pub fn handle_moved(policy: &DirectoryPolicy, handle: &Handle, first: &LookUp<'_>, second: &LookUp<'_>) -> Self {
        let (first, second) = (LookUpFile::of(first), LookUpFile::of(second));
        Self::new(policy, Seen::HandleMoved { handle: handle.as_str().to_owned(), first, second })
    }

    /// Leaf `index` of the log and the one after it do not follow each other.
    pub fn leaves(
        policy: &DirectoryPolicy,
        head: &SignedHead,
        index: u64,
        first: (&[u8], &[TreeHash]),
        second: (&[u8], &[TreeHash]),
    ) -> Self {
        let leaf = |(record, proof): (&[u8], &[TreeHash])| LeafFile {
            record: Binary(record.to_vec()),
            inclusion: proof.iter().map(|hash| Binary(hash.0.to_vec())).collect(),
        };
        let seen = Seen::Leaves { head: HeadFile::of(head), index, first: leaf(first), second: leaf(second) };
        Self::new(policy, seen)
    }

    fn new(policy: &DirectoryPolicy, seen: Seen) -> Self {
        Self { version: 1, policy: policy.clone(), seen }
    }

    /// Reads an evidence file.
    ///
    /// # Errors
    /// [`EvidenceError::Malformed`].
    pub fn from_json(json: &[u8]) -> Result<Self, EvidenceError> {
        if json.len() > EVIDENCE_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        let evidence: Self = serde_json::from_slice(json).map_err(|error| malformed(&error.to_string()))?;
        if evidence.version != 1 {
            return Err(malformed("its version is not 1"));
        }
        // The policy's own rules.
        DirectoryPolicy::from_json(evidence.policy.to_json().as_bytes())?;
        Ok(evidence)
    }

    /// The file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and numbers are JSON") + "\n"
    }

    /// Whose keys are meant. Whoever reads the file compares this with the directory that they know.
    pub fn policy(&self) -> &DirectoryPolicy {
        &self.policy
    }

    /// Checks the file: first that the directory signed what is in it, then what that shows.
    ///
    /// # Errors
    /// [`EvidenceError`] when the file shows nothing that the directory signed.
    pub fn judge(&self) -> Result<Verdict, EvidenceError> {
        match &self.seen {
            Seen::Heads { first, second, consistency } => self.judge_heads(first, second, consistency),
            Seen::Account { head, account, look_up, log } => self.judge_account(head, account, look_up, log),
            Seen::AccountTakenBack { account, first, second } => self.judge_taken_back(account, first, second),
            Seen::HandleMoved { handle, first, second } => self.judge_handle(handle, first, second),
            Seen::Refusal { what, .. } => Ok(Verdict::Unanswered(what.clone())),
            Seen::Leaves { head, index, first, second } => self.judge_leaves(head, *index, first, second),
        }
    }

    fn judge_heads(&self, first: &str, second: &str, answer: &[Binary]) -> Result<Verdict, EvidenceError> {
        let read = |text: &str| {
            let note = SignedNote::parse(text.as_bytes()).map_err(HeadError::from)?;
            Ok::<_, EvidenceError>(self.policy.signed_by_log(&note)?.0)
        };
        let (first, second) = (read(first)?, read(second)?);
        if first.size == second.size {
            return Ok(if first.root == second.root {
                Verdict::Harmless("both heads are the same".to_owned())
            } else {
                let size = first.size;
                Verdict::Proven(format!("the directory signed two different logs of {size} records: it has forked"))
            });
        }
        let (old, new) = if first.size < second.size { (first, second) } else { (second, first) };
        let answer = hashes(answer)?;
        Ok(match tlog::verify_consistency((old.size, &old.root), (new.size, &new.root), &answer) {
            Ok(()) => Verdict::Harmless("one head continues the other".to_owned()),
            Err(_) => Verdict::Unanswered(format!(
                "the directory signed a log of {} records and one of {}, and nothing here shows that the second continues \
                 the first; ask it for the consistency proof: if it has none, it has forked",
                old.size, new.size
            )),
        })
    }

    fn judge_account(
        &self,
        head: &HeadFile,
        account: &Binary,
        look_up: &Binary,
        log: &Binary,
    ) -> Result<Verdict, EvidenceError> {
        let account = account.account()?;
        let (head, found) = self.look_up_account(&account, head, look_up)?;
        let log: AccountLog = decode(&log.0).map_err(|_| malformed("the account log cannot be read"))?;
        AccountState::verify(&log, Some(account)).map_err(ProofError::from)?;
        let LogHead { length, hash } = found.value;
        let here =
            usize::try_from(length).ok().and_then(|n| log.0.get(n.checked_sub(1)?)).map(stonechat_wire::LogEntry::hash);
        let (epoch, have) = (head.epoch(), log.0.len());
        Ok(match here {
            Some(mine) if mine == hash && length == have as u64 => {
                Verdict::Harmless("the directory has the account's own log".to_owned())
            }
            Some(mine) if mine == hash => Verdict::Unanswered(format!(
                "at epoch {epoch} the directory had {length} of the {have} entries of the account's log: what was added \
                 later was not published then"
            )),
            Some(_) => Verdict::Proven(format!(
                "at epoch {epoch} the directory names a log of {length} entries for the account that is not the one that \
                 its own keys signed"
            )),
            None => Verdict::Unanswered(format!(
                "at epoch {epoch} the directory names {length} entries for the account and the log here has {have}: it \
                 owes the rest, signed by the account's keys"
            )),
        })
    }

    fn judge_taken_back(
        &self,
        account: &Binary,
        first: &LookUpFile,
        second: &LookUpFile,
    ) -> Result<Verdict, EvidenceError> {
        let account = account.account()?;
        let (one, before) = self.look_up_account(&account, &first.head, &first.look_up)?;
        let (two, after) = self.look_up_account(&account, &second.head, &second.look_up)?;
        let ((one, before), (two, after)) =
            if one.size() <= two.size() { ((one, before), (two, after)) } else { ((two, after), (one, before)) };
        let (from, to) = (before.value.length, after.value.length);
        let epochs = format!("between its epochs {} and {}", one.epoch(), two.epoch());
        Ok(if to < from {
            Verdict::Proven(format!("{epochs} the directory cut the account's log from {from} entries to {to}"))
        } else if to == from && before.value.hash != after.value.hash {
            Verdict::Proven(format!("{epochs} the directory exchanged the account's log of {from} entries for another"))
        } else {
            Verdict::Harmless("the account's log has grown, or is the same".to_owned())
        })
    }

    fn judge_handle(&self, handle: &str, first: &LookUpFile, second: &LookUpFile) -> Result<Verdict, EvidenceError> {
        let handle = Handle::parse(handle).map_err(|_| malformed("it names no handle"))?;
        let look_up = |file: &LookUpFile| {
            let head = self.head(&file.head)?;
            let found = verify_handle(&self.policy, &head, &handle, &file.look_up.0)?;
            Ok::<_, EvidenceError>((head, found))
        };
        let ((one, before), (two, after)) = (look_up(first)?, look_up(second)?);
        if before.value == after.value {
            return Ok(Verdict::Harmless(format!("{handle} is the same account's both times")));
        }
        let (old, new) = if one.size() <= two.size() { (&one, &two) } else { (&two, &one) };
        if old.akd_root() == new.akd_root() {
            let epoch = old.epoch();
            return Ok(Verdict::Proven(format!("at epoch {epoch} the directory gives {handle} to two accounts")));
        }
        Ok(Verdict::Unanswered(format!(
            "between its epochs {} and {} the directory gave {handle} to another account; only its holder can say whether \
             they started over",
            old.epoch(),
            new.epoch()
        )))
    }

    fn judge_leaves(
        &self,
        head: &HeadFile,
        index: u64,
        first: &LeafFile,
        second: &LeafFile,
    ) -> Result<Verdict, EvidenceError> {
        let head = self.head(head)?;
        let next = index.checked_add(1).ok_or_else(|| malformed("its index is out of range"))?;
        for (index, leaf) in [(index, first), (next, second)] {
            let hash = tlog::leaf_hash(&leaf.record.0);
            tlog::verify_inclusion(&hash, index, head.size(), head.root(), &hashes(&leaf.inclusion)?)
                .map_err(|_| malformed("a leaf is not of the log that was signed"))?;
        }
        let read = |leaf: &LeafFile| decode::<stonechat_wire::DirectoryRecord>(&leaf.record.0);
        Ok(match (read(first), read(second)) {
            (Ok(a), Ok(b)) if b.epoch == a.epoch && b.root != a.root => {
                Verdict::Proven(format!("the directory's own log gives epoch {} two different roots", a.epoch))
            }
            (Ok(a), Ok(b)) if b.time < a.time || b.epoch < a.epoch || b.epoch > a.epoch + 1 => {
                Verdict::Proven(format!("the directory's own log does not go on from record {index} to record {next}"))
            }
            (Ok(_), Ok(b)) => Verdict::Unanswered(format!(
                "the directory signed record {next}; it owes an append-only proof of epoch {} that verifies",
                b.epoch
            )),
            _ => Verdict::Proven(format!("the directory signed a log that has no readable record {index} or {next}")),
        })
    }

    fn look_up_account(
        &self,
        account: &AccountId,
        head: &HeadFile,
        proof: &Binary,
    ) -> Result<(Head, VerifiedVersion<LogHead>), EvidenceError> {
        let head = self.head(head)?;
        let found = verify_account(&self.policy, &head, account, &proof.0)?;
        Ok((head, found))
    }

    /// Signed by the log: witnesses do not make a lie better or worse.
    fn head(&self, file: &HeadFile) -> Result<Head, EvidenceError> {
        let signed = SignedHead {
            checkpoint: file.checkpoint.clone().into_bytes().try_into().map_err(|_| malformed("a note is too long"))?,
            record: file.record.0.clone().try_into().map_err(|_| malformed("a record is too long"))?,
            inclusion: hashes(&file.inclusion)?.try_into().map_err(|_| malformed("a proof is too long"))?,
        };
        Ok(Head::verify_unwitnessed(&self.policy, &signed)?)
    }
}

impl From<ForkError> for Verdict {
    fn from(error: ForkError) -> Self {
        match error {
            ForkError::Forked => Self::Proven(error.to_string()),
            ForkError::Unconnected => Self::Unanswered(error.to_string()),
        }
    }
}

impl HeadFile {
    fn of(head: &SignedHead) -> Self {
        Self {
            checkpoint: String::from_utf8_lossy(&head.checkpoint).into_owned(),
            record: Binary(head.record.to_vec()),
            inclusion: head.inclusion.iter().map(|hash| Binary(hash.0.to_vec())).collect(),
        }
    }
}

impl LookUpFile {
    fn of(look_up: &LookUp<'_>) -> Self {
        Self { head: HeadFile::of(look_up.head), look_up: Binary(look_up.proof.to_vec()) }
    }
}

impl Binary {
    fn account(&self) -> Result<AccountId, EvidenceError> {
        self.0.as_slice().try_into().map(AccountId).map_err(|_| malformed("an account id has 32 bytes"))
    }
}

impl Serialize for Binary {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text.as_bytes()).map(Self).map_err(serde::de::Error::custom)
    }
}

fn hashes(list: &[Binary]) -> Result<Vec<TreeHash>, EvidenceError> {
    let hash = |bytes: &Binary| bytes.0.as_slice().try_into().map(TreeHash);
    list.iter().map(hash).collect::<Result<_, _>>().map_err(|_| malformed("a hash has 32 bytes"))
}

fn malformed(cause: &str) -> EvidenceError {
    EvidenceError::Malformed { cause: cause.to_owned() }
}

/// An evidence file: two look-ups and an account log, in base64.
const EVIDENCE_BYTES_MAX: usize = 4 << 20;
