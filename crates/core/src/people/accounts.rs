//! What is stored of people: their account logs, their handles, and what this account decided about them.
//!
//! A log of somebody else is stored only after it verified from entry 0 and, if one was stored before, starts with all of
//! that. Nothing else may write [`Table::Account`].

use minicbor::{Decode, Encode};
use stonechat_wire::{AccountId, AccountLog, AccountState, Handle, Timestamp, TreeHash};

use crate::api::{Distrust, Doubt};
use crate::content::Notice;
use crate::crypto::Secret;
use crate::error::{CoreError, Judged, refuse};
use crate::step::Ctx;
use crate::store::{Listed, Read, Record, Table, VaultError, damaged};

/// What is known of somebody. Under the account id.
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct Contact {
    #[n(0)]
    pub log: AccountLog,
    /// Their requests are accepted.
    #[n(1)]
    pub accepted: bool,
    /// Opens the contact lane of their inbox.
    #[n(2)]
    pub contact: Option<Secret>,
    /// Why their lock is open, if it is.
    #[n(3)]
    pub doubt: Option<Doubt>,
    /// What the directory said of the log, once it did.
    #[n(4)]
    pub checked: Option<Checked>,
    /// When the person compared safety numbers with them.
    #[n(5)]
    pub compared: Option<Timestamp>,
    /// The length of their log as they told it themselves, if that is more than what is known here.
    #[n(6)]
    pub told: Option<u64>,
}

/// What the directory said of an account, verified against the pinned policy. The proof itself is kept beside it.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
#[cbor(map)]
pub(crate) struct Checked {
    /// Entries of the log.
    #[n(0)]
    pub length: u64,
    /// The head of the directory that it was proven against: size and root of its log.
    #[n(1)]
    pub size: u64,
    #[n(2)]
    pub root: TreeHash,
    /// When the directory published that head.
    #[n(3)]
    pub time: Timestamp,
    /// It also proved that the handle is theirs.
    #[n(4)]
    pub handle: bool,
    /// A head of theirs was shown to be of the same log as the heads that this client saw.
    #[n(5)]
    pub connected: bool,
}

impl Contact {
    pub(crate) fn new(log: AccountLog) -> Self {
        Self { log, accepted: false, contact: None, doubt: None, checked: None, compared: None, told: None }
    }
}

impl Record for Contact {
    const TABLE: Table = Table::Account;
    type Key = AccountId;
    fn key(id: &AccountId) -> Vec<u8> {
        id.0.to_vec()
    }
}

impl Listed for Contact {
    fn parse_key(rest: &[u8]) -> Option<AccountId> {
        rest.try_into().ok().map(AccountId)
    }
}

/// Whose a handle is, as the directory proved. The account's bytes and nothing else.
#[derive(Encode, Decode)]
pub(super) struct Holder(#[n(0)] pub AccountId);

impl Record for Holder {
    const TABLE: Table = Table::Meta;
    type Key = Handle;
    fn key(handle: &Handle) -> Vec<u8> {
        [b"handle/", handle.as_str().as_bytes()].concat()
    }
    fn to_bytes(&self) -> Vec<u8> {
        self.0.0.to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Result<Self, VaultError> {
        bytes.try_into().map(|id| Self(AccountId(id))).map_err(|_| damaged())
    }
}

/// An account that has taken a handle over which is known to be another's, until the person accepts it.
#[derive(Encode, Decode)]
pub(super) struct Successor(#[n(0)] pub AccountId);

impl Record for Successor {
    const TABLE: Table = Table::Meta;
    type Key = Handle;
    fn key(handle: &Handle) -> Vec<u8> {
        [b"directory/moved/", handle.as_str().as_bytes()].concat()
    }
    fn to_bytes(&self) -> Vec<u8> {
        self.0.0.to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Result<Self, VaultError> {
        bytes.try_into().map(|id| Self(AccountId(id))).map_err(|_| damaged())
    }
}

/// A handle that an account claims in its log and that was not looked up yet. The key says it all.
#[derive(Encode, Decode)]
pub(super) struct Claim {}

impl Record for Claim {
    const TABLE: Table = Table::Meta;
    type Key = (AccountId, Handle);
    fn key((account, handle): &Self::Key) -> Vec<u8> {
        [Self::PREFIX, &account.0, handle.as_str().as_bytes()].concat()
    }
    fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }
    fn from_bytes(_: &[u8]) -> Result<Self, VaultError> {
        Ok(Self {})
    }
}

impl Listed for Claim {
    const PREFIX: &'static [u8] = b"check/";
    fn parse_key(rest: &[u8]) -> Option<Self::Key> {
        let (account, handle) = rest.split_first_chunk::<32>()?;
        Some((AccountId(*account), Handle::parse(std::str::from_utf8(handle).ok()?).ok()?))
    }
}

/// Whose a handle is.
pub(crate) fn account_of<R: Read + ?Sized>(reader: &R, handle: &Handle) -> Result<Option<AccountId>, VaultError> {
    Ok(reader.load::<Holder>(handle)?.map(|holder| holder.0))
}

/// An account that took the handle over from the one that is known under it.
pub(crate) fn successor_of<R: Read + ?Sized>(reader: &R, handle: &Handle) -> Result<Option<AccountId>, VaultError> {
    Ok(reader.load::<Successor>(handle)?.map(|successor| successor.0))
}

/// The name of somebody.
pub(crate) fn handle_of<R: Read + ?Sized>(reader: &R, account: &AccountId) -> Result<Option<Handle>, VaultError> {
    let Some(contact) = reader.load::<Contact>(account)? else { return Ok(None) };
    // Verified when it was stored. A name is read for each message that is shown: the lock verifies again, names do not.
    let handle = contact.log.handle(account);
    handle.map(Some).ok_or_else(|| VaultError { detail: "a stored account log is another's".into() })
}

/// What the stored log of somebody says, verified again from entry 0.
pub(crate) fn known(ctx: &Ctx<'_>, id: &AccountId) -> Result<Option<AccountState>, CoreError> {
    ctx.txn.load::<Contact>(id)?.map(|contact| verified(&contact.log, id)).transpose()
}

fn verified(log: &AccountLog, id: &AccountId) -> Result<AccountState, CoreError> {
    let state = AccountState::verify(log, Some(*id));
    state.map_err(|e| VaultError { detail: format!("a stored account log: {e}") }.into())
}

/// Verifies a log and stores it if it is new or longer. `expected`: whose it must be. Refused when it does not verify, or
/// contradicts the one that is stored.
pub(crate) fn learn(
    ctx: &mut Ctx<'_>,
    log: &AccountLog,
    expected: Option<AccountId>,
) -> Judged<AccountState, Distrust> {
    let state = AccountState::verify(log, expected).or_else(|_| refuse(Distrust::Log))?;
    let id = state.id();
    match ctx.txn.load::<Contact>(&id)? {
        None => {
            ctx.txn.store(&id, &Contact::new(log.clone()));
            // The log is what somebody says of themselves: whose handle it is, only the server's answer to us may say.
            ctx.txn.store(&(id, state.handle().clone()), &Claim {});
            Ok(state)
        }
        Some(mut stored) if log.extends(&stored.log) => {
            if log != &stored.log {
                let before = verified(&stored.log, &id)?;
                stored.log = log.clone();
                ctx.txn.store(&id, &stored);
                devices_changed(ctx, &before, &state);
            }
            Ok(state)
        }
        Some(stored) if stored.log.extends(log) => Ok(verified(&stored.log, &id)?),
        Some(mut stored) => {
            stored.doubt = Some(Doubt::OtherThanFirst);
            ctx.txn.store(&id, &stored);
            refuse(Distrust::Contradicts)
        }
    }
}

/// A quiet line for those who talk with them; what was revoked is to be removed from conversations.
fn devices_changed(ctx: &mut Ctx<'_>, before: &AccountState, after: &AccountState) {
    let (id, handle) = (after.id(), after.handle());
    for _ in after.devices().iter().filter(|device| before.device(&device.id).is_none()) {
        ctx.mail.notices.push((id, Notice::DeviceAdded(handle.clone())));
    }
    for _ in before.devices().iter().filter(|device| after.device(&device.id).is_none()) {
        ctx.mail.notices.push((id, Notice::DeviceRevoked(handle.clone())));
        ctx.mail.revoked.insert(id);
    }
}

/// Remembers that a handle is this account's.
pub(crate) fn remember_handle(ctx: &mut Ctx<'_>, handle: &Handle, id: AccountId) {
    ctx.txn.store(handle, &Holder(id));
}

/// The person says that whoever took a handle over is who they mean. Returns who that is, if anybody took it over.
pub(crate) fn accept_successor(ctx: &mut Ctx<'_>, handle: &Handle) -> Result<Option<AccountId>, CoreError> {
    let Some(Successor(account)) = ctx.txn.load(handle)? else { return Ok(None) };
    ctx.txn.remove::<Successor>(handle);
    remember_handle(ctx, handle, account);
    ctx.mail.changed.insert(account);
    Ok(Some(account))
}

/// Marks somebody as accepted: their further invitations join at once.
pub(crate) fn accept(ctx: &mut Ctx<'_>, id: &AccountId) -> Result<(), CoreError> {
    if let Some(mut record) = ctx.txn.load::<Contact>(id)?.filter(|record| !record.accepted) {
        record.accepted = true;
        ctx.txn.store(id, &record);
    }
    Ok(())
}

/// Keeps what opens the contact lane of somebody's inbox, which they handed to their contacts.
pub(crate) fn keep_contact_card(ctx: &mut Ctx<'_>, id: &AccountId, capability: Secret) -> Result<(), CoreError> {
    if let Some(mut record) = ctx.txn.load::<Contact>(id)? {
        record.contact = Some(capability);
        ctx.txn.store(id, &record);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::refusal_of;
    use crate::testing::{Home, Person};

    fn taken(home: &mut Home, log: &AccountLog, expected: Option<AccountId>) -> Result<AccountState, Distrust> {
        home.step(|ctx| refusal_of(learn(ctx, log, expected))).value.unwrap()
    }

    #[test]
    fn a_log_that_is_new_is_stored_and_its_handle_is_only_claimed() {
        let (mut home, bob) = (Home::of("alice"), Person::of("bob", 10));
        assert_eq!(taken(&mut home, &bob.log, Some(bob.id())).unwrap().id(), bob.id());
        let seen = home.step(|ctx| {
            let claimed = ctx.txn.has::<Claim>(&(bob.id(), bob.handle())).unwrap();
            (claimed, account_of(&ctx.txn, &bob.handle()).unwrap(), handle_of(&ctx.txn, &bob.id()).unwrap())
        });
        assert_eq!(seen.value, (true, None, Some(bob.handle())));
    }

    #[test]
    fn a_log_of_somebody_else_than_expected_is_not_stored() {
        let (mut home, bob, carol) = (Home::of("alice"), Person::of("bob", 10), Person::of("carol", 20));
        assert!(matches!(taken(&mut home, &bob.log, Some(carol.id())), Err(Distrust::Log)));
        assert!(!home.step(|ctx| ctx.txn.has::<Contact>(&bob.id()).unwrap()).value);
    }

    #[test]
    fn a_log_only_grows_and_new_and_revoked_devices_are_told() {
        let (mut home, bob) = (Home::of("alice"), Person::of("bob", 10));
        let (longer, added) = bob.with_device(30);
        taken(&mut home, &bob.log, None).unwrap();
        let mail = home.step(|ctx| {
            refusal_of(learn(ctx, &longer, None)).unwrap().unwrap();
            ctx.mail.clone()
        });
        assert_eq!(mail.value.notices, [(bob.id(), Notice::DeviceAdded(bob.handle()))]);
        assert!(mail.value.revoked.is_empty());
        // The shorter one is believed, and what is stored stays.
        assert_eq!(taken(&mut home, &bob.log, None).unwrap().devices().len(), 2);
        let mail = home.step(|ctx| {
            refusal_of(learn(ctx, &bob.without_device(&longer, added), None)).unwrap().unwrap();
            ctx.mail.clone()
        });
        assert_eq!(mail.value.notices, [(bob.id(), Notice::DeviceRevoked(bob.handle()))]);
        assert!(mail.value.revoked.contains(&bob.id()));
    }

    #[test]
    fn a_log_that_contradicts_the_stored_one_is_rejected_and_leaves_a_doubt() {
        let (mut home, bob) = (Home::of("alice"), Person::of("bob", 10));
        let ((one, _), (other, _)) = (bob.with_device(30), bob.with_device(40));
        taken(&mut home, &one, None).unwrap();
        assert_eq!(taken(&mut home, &other, None), Err(Distrust::Contradicts));
        let stored = home.step(|ctx| ctx.txn.load::<Contact>(&bob.id()).unwrap().unwrap()).value;
        assert_eq!((stored.log, stored.doubt), (one, Some(Doubt::OtherThanFirst)));
    }

    #[test]
    fn a_handle_passes_to_a_successor_only_when_the_person_accepts_them() {
        let mut home = Home::of("alice");
        let (bob, other) = (home.meet("bob", 10), Person::of("bob", 20));
        assert_eq!(home.step(|ctx| accept_successor(ctx, &bob.handle()).unwrap()).value, None);
        home.step(|ctx| ctx.txn.store(&bob.handle(), &Successor(other.id())));
        let before =
            home.step(|ctx| (account_of(&ctx.txn, &bob.handle()), successor_of(&ctx.txn, &bob.handle()))).value;
        assert_eq!((before.0.unwrap(), before.1.unwrap()), (Some(bob.id()), Some(other.id())));
        assert_eq!(home.step(|ctx| accept_successor(ctx, &bob.handle()).unwrap()).value, Some(other.id()));
        let after = home.step(|ctx| (account_of(&ctx.txn, &bob.handle()), successor_of(&ctx.txn, &bob.handle()))).value;
        assert_eq!((after.0.unwrap(), after.1.unwrap()), (Some(other.id()), None));
    }

    #[test]
    fn what_a_contact_handed_out_and_that_they_are_accepted_is_kept_for_contacts_only() {
        let mut home = Home::of("alice");
        let (bob, stranger) = (home.meet("bob", 10), Person::of("carol", 20));
        for person in [&bob, &stranger] {
            home.step(|ctx| {
                accept(ctx, &person.id()).unwrap();
                keep_contact_card(ctx, &person.id(), Secret::from_bytes([5; 32])).unwrap();
            });
        }
        let kept = home.step(|ctx| ctx.txn.load::<Contact>(&bob.id()).unwrap().unwrap()).value;
        assert!(kept.accepted && kept.contact == Some(Secret::from_bytes([5; 32])));
        assert!(!home.step(|ctx| ctx.txn.has::<Contact>(&stranger.id()).unwrap()).value);
    }

    #[test]
    fn a_record_of_before_with_a_null_capability_is_read() {
        let bob = Person::of("bob", 10);
        let mut bytes = Contact::new(bob.log.clone()).to_bytes();
        // Older vaults wrote what was absent as null: key 2.
        assert_eq!(bytes[1], 0xa2);
        bytes[1] = 0xa3;
        bytes.extend([0x02, 0xf6]);
        let read = Contact::from_bytes(&bytes).unwrap();
        assert!(read.contact.is_none() && read.log == bob.log);
    }
}
