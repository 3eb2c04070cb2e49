//! A hostile server and hostile members: what they do to the frames that pass through their hands.

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use stonechat_wire::limits::ENTRY_BYTES_MAX;
use stonechat_wire::message::Page;
use stonechat_wire::{
    Bytes, CapabilityHash, ClientFrame, Entry, EntryKind, EpochCaps, List, Push, Reply, Request, ServerFrame,
};

/// One kind of misbehaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server leaves entries out of what it shows one client.
    Drop,
    /// The server shows entries twice, the second time under later numbers.
    Replay,
    /// The server swaps neighbouring entries for one client.
    Reorder,
    /// The server cuts pages short and says that there is no more.
    Truncate,
    /// The server flips bits in entries.
    Corrupt,
    /// The server invents entries.
    Invent,
    /// A member posts commits that are not commits.
    GarbageCommit,
    /// A member names other capabilities than those of the next epoch.
    WrongCapability,
    /// A member posts its entries again and again.
    Repeat,
    /// A member posts commits that MLS accepts and the rules do not: see [`crate::craft`].
    Craft,
}

/// Misbehaviour, now and then.
pub struct Tamper {
    /// What it does.
    pub kind: Kind,
    /// Whom the server treats differently.
    pub victim: usize,
    /// Chance in 1,000 for each frame.
    pub per_mille: u64,
    /// How often it did.
    pub times: u64,
}

impl Tamper {
    /// What a hostile server sends in place of a frame.
    pub fn of_server(&mut self, client: usize, mut frame: ServerFrame, rng: &mut ChaCha20Rng) -> Vec<ServerFrame> {
        if client == self.victim && self.strikes(rng) {
            match &mut frame {
                ServerFrame::Push(Push::Entries { page, .. }) | ServerFrame::Reply(_, Reply::Following(page)) => {
                    self.page(page, rng);
                }
                _ => {}
            }
        }
        vec![frame]
    }

    fn page(&mut self, page: &mut Page, rng: &mut ChaCha20Rng) {
        let mut entries = std::mem::take(&mut page.entries).into_vec();
        if entries.is_empty() && self.kind != Kind::Invent {
            return;
        }
        self.times += 1;
        let at = usize::try_from(rng.next_u64() % entries.len().max(1) as u64).unwrap_or(0);
        match self.kind {
            Kind::Drop => {
                entries.remove(at);
            }
            Kind::Replay => {
                let mut again = entries[at].clone();
                again.seq.0 = entries.last().map_or(0, |e| e.seq.0) + 1;
                entries.push(again);
            }
            Kind::Reorder if entries.len() > 1 => {
                let other = (at + 1) % entries.len();
                let (a, b) = (entries[at].clone(), entries[other].clone());
                entries[at] = Entry { seq: a.seq, ..b.clone() };
                entries[other] = Entry { seq: b.seq, ..a };
            }
            Kind::Truncate => {
                entries.truncate(at);
                page.more = false;
            }
            Kind::Corrupt => entries[at].blob = flipped(&entries[at].blob, rng),
            Kind::Invent => {
                let seq = stonechat_wire::Seq(entries.last().map_or(1_000_000, |e| e.seq.0) + 1);
                let time = entries.last().map_or(stonechat_wire::Timestamp(0), |e| e.time);
                entries.push(Entry { seq, time, kind: EntryKind::Application, blob: noise(300, rng) });
            }
            Kind::Reorder | Kind::GarbageCommit | Kind::WrongCapability | Kind::Repeat | Kind::Craft => self.times -= 1,
        }
        page.entries = List::new(entries).unwrap_or_default();
    }

    /// What a hostile member sends in place of a frame.
    pub fn of_member(&mut self, mut frame: ClientFrame, rng: &mut ChaCha20Rng) -> Vec<ClientFrame> {
        let id = frame.id;
        let Request::Append { conversation, epoch, epoch_id, write, kind, skip, blob, .. } = &mut frame.request else {
            return vec![frame];
        };
        let commit = matches!(kind, EntryKind::Commit(_));
        let wanted = match self.kind {
            Kind::GarbageCommit | Kind::WrongCapability => commit,
            Kind::Repeat => true,
            _ => false,
        };
        if !wanted || !self.strikes(rng) {
            return vec![frame];
        }
        self.times += 1;
        match self.kind {
            Kind::GarbageCommit => *blob = noise(blob.len(), rng),
            Kind::WrongCapability => {
                let mut hash = [0; 32];
                rng.fill_bytes(&mut hash);
                *kind = EntryKind::Commit(EpochCaps { read: CapabilityHash(hash), write: CapabilityHash(hash) });
            }
            _ => {
                let again = Request::Append {
                    conversation: *conversation,
                    epoch: *epoch,
                    epoch_id: *epoch_id,
                    write: stonechat_wire::Capability::from_bytes(*write.danger_bytes()),
                    kind: *kind,
                    skip: *skip,
                    ttl_secs: None,
                    blob: blob.clone(),
                };
                // An answer to a number that was never asked is ignored by nobody but the hostile client itself.
                return vec![frame, ClientFrame { id: id | 1 << 31, request: again }];
            }
        }
        vec![frame]
    }

    fn strikes(&self, rng: &mut ChaCha20Rng) -> bool {
        rng.next_u64() % 1_000 < self.per_mille
    }
}

fn noise(len: usize, rng: &mut ChaCha20Rng) -> Bytes<ENTRY_BYTES_MAX> {
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    Bytes::new(bytes).unwrap_or_default()
}

fn flipped(bytes: &[u8], rng: &mut ChaCha20Rng) -> Bytes<ENTRY_BYTES_MAX> {
    let mut bytes = bytes.to_vec();
    if !bytes.is_empty() {
        let at = usize::try_from(rng.next_u64() % bytes.len() as u64).unwrap_or(0);
        bytes[at] ^= 1 << (rng.next_u64() % 8);
    }
    Bytes::new(bytes).unwrap_or_default()
}
