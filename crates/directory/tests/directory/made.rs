//! A directory in memory that can be made to lie.

use akd::ecvrf::{HardCodedAkdVRF, VRFKeyStorage as _};
use akd::storage::StorageManager;
use akd::storage::memory::AsyncInMemoryDatabase;
use akd::{AkdLabel, AkdValue, AzksParallelismConfig, EpochHash};
use ed25519_dalek::SigningKey;
use futures_util::FutureExt as _;
use stonechat_directory::note::KeyKind;
use stonechat_directory::proof::{Configuration, account_label, encode_look_up, handle_label};
use stonechat_directory::tlog::{self, Range};
use stonechat_directory::{Checkpoint, DirectoryPolicy, Head, SignedNote, Source, VerifierKey, audit};
use stonechat_wire::limits::INBOX_KEY_BYTES;
use stonechat_wire::{
    AccountId, AccountLog, AccountProof, AccountState, DeviceId, DeviceKeys, DirectoryRecord, Handle, List, LogBody,
    LogEntry, LogHead, SignedHead, Signer, Timestamp, TreeHash, encode,
};

pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);
pub(crate) const ORIGIN: &str = "chat.test/directory";

type Akd = akd::Directory<Configuration, AsyncInMemoryDatabase, HardCodedAkdVRF>;

pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("a directory in memory never waits")
}

pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

pub(crate) struct Made {
    pub(crate) akd: Akd,
    pub(crate) leaves: Vec<Vec<u8>>,
    pub(crate) proofs: Vec<Vec<u8>>,
    pub(crate) policy: DirectoryPolicy,
    pub(crate) last: DirectoryRecord,
}

impl Made {
    /// Signed by key 1, witnessed by keys 2 and 3.
    pub(crate) fn new() -> Self {
        let verifier = |name: &str, kind, n| VerifierKey::new(name, kind, key(n).verifying_key().to_bytes()).unwrap();
        let vrf = ready(HardCodedAkdVRF.get_vrf_public_key()).unwrap().to_bytes();
        let witnesses = vec![verifier("w2.test", KeyKind::Witness, 2), verifier("w3.test", KeyKind::Witness, 3)];
        let policy = DirectoryPolicy::new(verifier(ORIGIN, KeyKind::Log, 1), vrf, witnesses, 2).unwrap();
        let akd = empty_akd();
        let EpochHash(epoch, root) = ready(akd.get_epoch_hash()).unwrap();
        let mut made = Self {
            akd,
            leaves: Vec::new(),
            proofs: vec![Vec::new()],
            policy,
            last: DirectoryRecord { epoch, root, time: NOW },
        };
        made.record(made.last);
        made
    }

    /// Appends a record, true or not.
    pub(crate) fn record(&mut self, record: DirectoryRecord) {
        self.last = record;
        self.leaves.push(encode(&record));
    }

    /// Publishes an epoch.
    pub(crate) fn publish(&mut self, updates: Vec<(Vec<u8>, Vec<u8>)>) {
        let updates = updates.into_iter().map(|(label, value)| (AkdLabel(label), AkdValue(value))).collect();
        let EpochHash(epoch, root) = ready(self.akd.publish(updates)).unwrap();
        let proof = ready(self.akd.audit(epoch - 1, epoch)).unwrap();
        self.proofs.push(audit::encode_append_only(&proof.proofs[0]));
        self.record(DirectoryRecord { epoch, root, time: self.last.time.plus_secs(1) });
    }

    pub(crate) fn publish_account(&mut self, person: &Person) {
        self.publish(vec![
            (account_label(&person.id()), encode(&person.head())),
            (handle_label(&person.handle()), person.id().0.to_vec()),
        ]);
    }

    fn hashes(&self) -> Vec<TreeHash> {
        self.leaves.iter().map(|leaf| tlog::leaf_hash(leaf)).collect()
    }

    pub(crate) fn range_hashes(&self, ranges: &[Range]) -> Vec<TreeHash> {
        let hashes = self.hashes();
        ranges.iter().map(|range| root_of(&hashes[range.start as usize..range.end as usize])).collect()
    }

    /// The note of the log as it was with `size` leaves: signed by the log alone.
    pub(crate) fn note_at(&self, size: usize) -> SignedNote {
        let root = root_of(&self.hashes()[..size]);
        let text = Checkpoint { origin: ORIGIN.to_owned(), size: size as u64, root }.to_text();
        SignedNote::sign(text, ORIGIN, &key(1))
    }

    /// The same with both witnesses.
    pub(crate) fn cosigned_at(&self, size: usize) -> SignedNote {
        let mut note = self.note_at(size);
        for (name, n) in [("w2.test", 2), ("w3.test", 3)] {
            note.add(note.cosign(name, &key(n), 1_700_000_000));
        }
        note
    }

    pub(crate) fn signed_head(&self, note: &SignedNote) -> SignedHead {
        let size = Checkpoint::parse(note.text()).unwrap().size;
        SignedHead {
            checkpoint: note.to_string().into_bytes().try_into().unwrap(),
            record: self.leaves[size as usize - 1].clone().try_into().unwrap(),
            inclusion: self.range_hashes(&tlog::inclusion_ranges(size - 1, size)).try_into().unwrap(),
        }
    }

    pub(crate) fn head(&self) -> SignedHead {
        self.signed_head(&self.cosigned_at(self.leaves.len()))
    }

    pub(crate) fn verified(&self) -> Head {
        Head::verify(&self.policy, &self.head()).unwrap()
    }

    pub(crate) fn look_up(&self, label: Vec<u8>) -> Vec<u8> {
        encode_look_up(&ready(self.akd.lookup(AkdLabel(label))).unwrap().0)
    }

    pub(crate) fn prove(&self, person: &Person) -> AccountProof {
        AccountProof {
            head: self.head(),
            account: self.look_up(account_label(&person.id())).try_into().unwrap(),
            handle: Some(self.look_up(handle_label(&person.handle())).try_into().unwrap()),
        }
    }
}

impl Source for Made {
    type Error = String;
    fn get(&mut self, path: &str, _: usize) -> Result<Vec<u8>, String> {
        if let Some(epoch) = path.strip_prefix("audit/") {
            return self.proofs.get(epoch.parse::<usize>().unwrap()).cloned().ok_or_else(|| path.to_owned());
        }
        let (level, rest) = path.strip_prefix("tile/").unwrap().split_once('/').unwrap();
        let (index, width) = tlog::parse_tile_path(rest).unwrap();
        let start = (index * tlog::TILE_HASHES) as usize;
        let run = start..start + width as usize;
        match level {
            "entries" => {
                let with_length = |leaf: &Vec<u8>| [&(leaf.len() as u16).to_be_bytes()[..], leaf].concat();
                Ok(self.leaves.get(run).ok_or("no such leaves")?.iter().flat_map(with_length).collect())
            }
            "0" => Ok(self.hashes().get(run).ok_or("no such hashes")?.iter().flat_map(|hash| hash.0).collect()),
            _ => Err("too few leaves for another level".to_owned()),
        }
    }
}

pub(crate) fn empty_akd() -> Akd {
    let storage = StorageManager::new_no_cache(AsyncInMemoryDatabase::new());
    ready(Akd::new(storage, HardCodedAkdVRF, AzksParallelismConfig::disabled())).unwrap()
}

/// RFC 6962 section 2.1, word for word.
pub(crate) fn root_of(leaves: &[TreeHash]) -> TreeHash {
    match leaves {
        [] => tlog::empty_root(),
        [one] => *one,
        _ => {
            let mut split = 1;
            while split * 2 < leaves.len() {
                split *= 2;
            }
            tlog::node_hash(&root_of(&leaves[..split]), &root_of(&leaves[split..]))
        }
    }
}

/// Somebody with an account: device keys are numbered.
pub(crate) struct Person {
    pub(crate) log: AccountLog,
}

impl Person {
    pub(crate) fn new(handle: &str, n: u8) -> Self {
        let handle = Handle::parse(handle).unwrap();
        let (device, recovery) = (device(n), key(200));
        let by = Signer::Device(device.id);
        let body = LogBody::Genesis { handle, device, recovery: recovery.verifying_key().to_bytes(), at: Timestamp(1) };
        let genesis = LogEntry::sign(&body, &[(by, &key(n)), (Signer::Recovery, &recovery)]);
        Self { log: AccountLog(List::new(vec![genesis]).unwrap()) }
    }

    fn state(&self) -> AccountState {
        AccountState::verify(&self.log, None).unwrap()
    }

    pub(crate) fn id(&self) -> AccountId {
        self.state().id()
    }

    pub(crate) fn handle(&self) -> Handle {
        self.state().handle().clone()
    }

    pub(crate) fn head(&self) -> LogHead {
        let (length, hash) = self.state().head();
        LogHead { length: length as u64, hash }
    }

    fn extended(&self, entry: LogEntry) -> Self {
        let entries = [&self.log.0[..], &[entry]].concat();
        Self { log: AccountLog(List::new(entries).unwrap()) }
    }

    /// With device `n`, added by device `by`.
    pub(crate) fn add(&self, by: u8, n: u8) -> Self {
        let body = LogBody::AddDevice { previous: self.head().hash, device: device(n), at: Timestamp(u64::from(n)) };
        let signers = [(Signer::Device(device(by).id), &key(by)), (Signer::Device(device(n).id), &key(n))];
        self.extended(LogEntry::sign(&body, &signers))
    }

    /// Without device `n`, revoked by device `by`.
    pub(crate) fn revoke(&self, by: u8, n: u8) -> Self {
        let body = LogBody::RevokeDevice { previous: self.head().hash, device: device(n).id, at: Timestamp(9) };
        self.extended(LogEntry::sign(&body, &[(Signer::Device(device(by).id), &key(by))]))
    }
}

fn device(n: u8) -> DeviceKeys {
    DeviceKeys { id: DeviceId([n; 16]), signature: key(n).verifying_key().to_bytes(), inbox: [n; INBOX_KEY_BYTES] }
}
