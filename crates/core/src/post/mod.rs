//! First contact and help: letters in inboxes, requests, and devices that cannot follow.
//!
//! A letter is verified before anything else happens: its sender's account log from entry 0, then the signature of one of
//! that account's devices. An invitation of somebody who was not accepted waits; nothing is fetched, joined or answered for
//! it until the person says so.

use stonechat_directory::proof::Asked;
use stonechat_wire::limits::{BLOB_CHUNK_BYTES_MAX, BLOB_CHUNKS_MAX, PAGE_ENTRIES_MAX};
use stonechat_wire::{
    AccountId, Admission, BlobId, Bytes, Capability, ConversationId, DeviceId, Envelope, EpochId, ErrorCode, Failure,
    Lane, List, Request, Seq, Timestamp, decode,
};

use crate::api::{Event, Link, Outcome};
use crate::crypto::Secret;
use crate::crypto::letter::{
    INLINE_WELCOME_BYTES_MAX, Letter, LetterBody, UnverifiedLetter, Welcome, open_blob, seal, seal_blob,
};
use crate::limits::{REQUESTS_MAX, SEEN_MAX, WELCOME_BYTES_MAX};
use crate::links::{Pending, mls_bug};
use crate::log::commit::WelcomePackage;
use crate::log::policy::GroupState;
use crate::mls::{self, Group, LeafIdentity, Mls};
use crate::people::accounts::{accept, known};
use crate::people::directory::{Belief, Source};
use crate::step::Ctx;
use crate::store::records::{
    BlobRecord, EnvelopeRecord, Head, Info, Intent, KeyPackageRecord, Phase, Read, RequestRecord, WelcomeRecord, Write,
    chunk_key, commit_key, direct_key, info_key, out_key, proof_key,
};
use crate::store::vault::Table;
use crate::{Core, CoreError};

/// A welcome is sent in the envelope if it has, with what the sender says of itself, at most so many bytes; a larger one in a
/// blob.
const INLINE_SENT_BYTES_MAX: usize = 32 * 1024;
const _: () = assert!(INLINE_SENT_BYTES_MAX <= INLINE_WELCOME_BYTES_MAX, "what is sent is accepted");
/// How many members are asked to help at once.
const HELPERS_MAX: usize = 8;
/// How long a device waits before it asks for help again, in seconds.
const HELP_AGAIN_SECS: u64 = 60;
/// Envelopes that are on their way at once.
const ENVELOPES_IN_FLIGHT_MAX: usize = 16;
/// After so many tries, an envelope that no inbox takes is dropped; it was retried over days.
const ENVELOPE_TRIES_MAX: u32 = 64;
/// Key packages that are sent for help live this long.
const HELP_LIFETIME_SECS: u64 = 30 * 24 * 3_600;

impl Core {
    // --- letters that arrive -------------------------------------------------------------------------------------------

    pub(crate) fn envelopes(
        &mut self,
        ctx: &mut Ctx<'_>,
        envelopes: &List<Envelope, PAGE_ENTRIES_MAX>,
    ) -> Result<(), CoreError> {
        if ctx.txn.policy()?.is_none() {
            self.session.letters_wait = true;
            return Ok(());
        }
        for envelope in envelopes.iter() {
            self.session.envelopes_expected = self.session.envelopes_expected.saturating_sub(1);
            if let Err(why) = self.letter(ctx, envelope)? {
                ctx.refused(None, format!("a letter in the inbox was thrown away: {why}"));
            }
        }
        for lane in [Lane::Contacts, Lane::Strangers] {
            if let Some(last) = envelopes.iter().filter(|e| e.lane == lane).map(|e| e.seq).max() {
                // Sent after this step is committed: what was handled is in the vault by then.
                self.acknowledge_inbox(ctx, lane, last);
            }
        }
        Ok(())
    }

    fn letter(&mut self, ctx: &mut Ctx<'_>, envelope: &Envelope) -> Result<Result<(), String>, CoreError> {
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("an inbox without an account".into()))?;
        let unverified = match UnverifiedLetter::open(&me.secrets, me.account(), me.record.device, &envelope.sealed) {
            Ok(letter) => letter,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let sender = unverified.sender();
        // The proof first: what does not hold is nobody's letter. Without one, only who is known already is heard.
        let known = known(ctx, &sender)?;
        let state = match unverified.proven() {
            Some(proven) => match (self.believe(ctx, Asked::Account(&sender), &proven, Source::Member)?, known) {
                (Belief::Known(state), _) | (Belief::Later(_), Some(state)) => state,
                (Belief::Later(why), None) | (Belief::Untrusted(why), _) => return Ok(Err(why)),
            },
            None => match known {
                Some(state) => state,
                None => return Ok(Err("it is from somebody unknown and brings no proof of the directory".into())),
            },
        };
        let letter = match unverified.verify(&state) {
            Ok(letter) => letter,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if !self.first_time(ctx, b'l', &letter.id)? {
            return Ok(Ok(()));
        }
        match letter.body {
            LetterBody::Invite { conversation, epoch, epoch_id, is_group, welcome } => {
                let welcome = match welcome {
                    Welcome::Inline(bytes) => WelcomeRecord::Inline(bytes.into_vec()),
                    Welcome::Blob { id, key, chunks, hash } => WelcomeRecord::Blob(id, key, chunks, hash),
                };
                self.invited(
                    ctx,
                    sender,
                    conversation,
                    RequestRecord { from: sender, epoch, epoch_id, is_group, at: ctx.now, welcome, accepted: false },
                )
            }
            LetterBody::Readd { conversation, epoch_id, refused: _, key_package } => self.asked_for_help(
                ctx,
                LeafIdentity { account: sender, device: letter.device },
                conversation,
                epoch_id,
                key_package.into_vec(),
            ),
        }
    }

    /// Whether an identifier is new; from now on it is not. The oldest are forgotten beyond [`SEEN_MAX`].
    fn first_time(&mut self, ctx: &mut Ctx<'_>, kind: u8, id: &[u8]) -> Result<bool, CoreError> {
        let key = [&[kind], id].concat();
        if ctx.txn.get(Table::Seen, &key)?.is_some() {
            return Ok(false);
        }
        let number =
            ctx.txn.get(Table::Seen, b"n")?.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
        let slot = [b"s".as_slice(), &(number % SEEN_MAX as u64).to_be_bytes()].concat();
        if let Some(oldest) = ctx.txn.get(Table::Seen, &slot)? {
            ctx.txn.delete(Table::Seen, oldest);
        }
        ctx.txn.put(Table::Seen, slot, key.clone());
        ctx.txn.put(Table::Seen, key, Vec::new());
        ctx.txn.put(Table::Seen, b"n".to_vec(), (number + 1).to_be_bytes());
        Ok(true)
    }

    fn invited(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: AccountId,
        id: ConversationId,
        mut request: RequestRecord,
    ) -> Result<Result<(), String>, CoreError> {
        if let Some(head) = ctx.txn.head(&id)? {
            // A conversation of ours: only if we asked to be added again, or are no longer in it.
            if head.offered.is_none() && head.phase != Phase::Gone {
                return Ok(Err("it invites to a conversation that this device is in".into()));
            }
        }
        let helped = ctx.txn.head(&id)?.is_some_and(|head| head.offered.is_some());
        let accepted = helped || ctx.txn.contact(&from)?.is_some_and(|contact| contact.accepted);
        if !accepted && ctx.txn.prefixed(Table::Request, &[], REQUESTS_MAX)?.len() >= REQUESTS_MAX {
            return Ok(Err("too many requests wait; decide on some".into()));
        }
        request.accepted = accepted;
        ctx.txn.save(Table::Request, &id.0, &request);
        ctx.event(Event::Requests);
        Ok(Ok(()))
    }

    /// Accepts everything that somebody asked for.
    pub(crate) fn accept_requests(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: AccountId,
    ) -> Result<Option<ConversationId>, CoreError> {
        accept(ctx, &from)?;
        let mut any = None;
        for (id, mut request) in self.requests_of(ctx, from)? {
            request.accepted = true;
            ctx.txn.save(Table::Request, &id.0, &request);
            any = Some(id);
        }
        ctx.event(Event::Requests);
        Ok(any)
    }

    pub(crate) fn requests_of(
        &self,
        ctx: &Ctx<'_>,
        from: AccountId,
    ) -> Result<Vec<(ConversationId, RequestRecord)>, CoreError> {
        let mut requests = Vec::new();
        for (key, value) in ctx.txn.prefixed(Table::Request, &[], REQUESTS_MAX)? {
            let request: RequestRecord = crate::store::records::parse(&value)?;
            if request.from == from
                && let Ok(id) = key.try_into()
            {
                requests.push((ConversationId(id), request));
            }
        }
        Ok(requests)
    }

    /// Joins what was accepted, fetching welcomes that are in blobs.
    pub(crate) fn drive_requests(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        for (key, value) in ctx.txn.prefixed(Table::Request, &[], REQUESTS_MAX)? {
            let request: RequestRecord = crate::store::records::parse(&value)?;
            let Ok(id) = key.try_into().map(ConversationId) else { continue };
            if !request.accepted {
                continue;
            }
            let package = match &request.welcome {
                WelcomeRecord::Inline(bytes) => Some(bytes.clone()),
                WelcomeRecord::Blob(blob, secret, chunks, hash) => match self.fetch(ctx, id, *blob, *chunks)? {
                    None => None,
                    Some(ciphertext) => match open_blob(secret, hash, &ciphertext) {
                        Ok(package) => Some(package),
                        Err(error) => {
                            self.request_fails(ctx, id, *chunks, blob, &error.to_string());
                            None
                        }
                    },
                },
            };
            if let Some(package) = package {
                let before = ctx.txn.savepoint();
                let joined = self.join(ctx, id, &request, &package)?;
                if joined.is_err() {
                    // Nothing of it happened, whatever stood here before included.
                    ctx.txn.restore(before);
                    self.live.remove(&id);
                }
                if let WelcomeRecord::Blob(blob, _, chunks, _) = &request.welcome {
                    forget_chunks(ctx, blob, *chunks);
                }
                ctx.txn.delete(Table::Request, id.0);
                ctx.event(Event::Requests);
                match joined {
                    Ok(()) => {
                        self.dirty.insert(id);
                        self.drive_conversation(ctx, id)?;
                        self.dirty.remove(&id);
                    }
                    Err(why) => ctx.refused(Some(id), format!("an invitation could not be followed: {why}")),
                }
            }
        }
        Ok(())
    }

    fn fetch(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        blob: BlobId,
        chunks: u32,
    ) -> Result<Option<Vec<u8>>, CoreError> {
        let mut whole = Vec::new();
        for chunk in 1..=chunks {
            match ctx.txn.get(Table::Blob, &chunk_key(&blob, chunk))? {
                Some(bytes) => whole.extend(bytes),
                None => {
                    if !self.session.waits(
                        Link::Anonymous,
                        |p| matches!(p, Pending::ReadBlob { conversation, .. } if *conversation == id),
                    ) {
                        let request = Request::ReadBlob { blob, chunk: Seq(u64::from(chunk)) };
                        self.ask(ctx, Link::Anonymous, request, Pending::ReadBlob { conversation: id, chunk });
                    }
                    return Ok(None);
                }
            }
        }
        Ok(Some(whole))
    }

    pub(crate) fn chunk_read(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        chunk: u32,
        bytes: &[u8],
    ) -> Result<(), CoreError> {
        let Some(request) = ctx.txn.record::<RequestRecord>(Table::Request, &id.0)? else { return Ok(()) };
        if let WelcomeRecord::Blob(blob, ..) = request.welcome {
            ctx.txn.put(Table::Blob, chunk_key(&blob, chunk), bytes.to_vec());
        }
        Ok(())
    }

    pub(crate) fn blob_missing(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        failure: &Failure,
    ) -> Result<(), CoreError> {
        let Some(request) = ctx.txn.record::<RequestRecord>(Table::Request, &id.0)? else { return Ok(()) };
        if failure.code == ErrorCode::NotFound
            && let WelcomeRecord::Blob(blob, _, chunks, _) = &request.welcome
        {
            self.request_fails(ctx, id, *chunks, blob, "the invitation is too old; ask to be added again");
        }
        Ok(())
    }

    fn request_fails(&mut self, ctx: &mut Ctx<'_>, id: ConversationId, chunks: u32, blob: &BlobId, why: &str) {
        forget_chunks(ctx, blob, chunks);
        ctx.txn.delete(Table::Request, id.0);
        ctx.event(Event::Requests);
        ctx.refused(Some(id), format!("an invitation could not be followed: {why}"));
    }

    /// Joins a conversation through its welcome, judging every leaf.
    fn join(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        request: &RequestRecord,
        package: &[u8],
    ) -> Result<Result<(), String>, CoreError> {
        let Ok(package) = decode::<WelcomePackage>(package) else {
            return Ok(Err("the invitation is malformed".into()));
        };
        for proven in &package.accounts {
            if let Err(why) = self.believe_member(ctx, proven)? {
                return Ok(Err(format!("an account that it brings: {why}")));
            }
        }
        let old = ctx.txn.head(&id)?;
        if old.as_ref().is_some_and(|old| old.phase != Phase::Gone) {
            self.live.remove(&id);
            let mls = Mls::new(&mut ctx.txn, ctx.rng);
            if let Some(group) = Group::load(&mls, &id.0).map_err(mls_bug)? {
                group.delete(&mls).map_err(mls_bug)?;
            }
        }
        let mls = Mls::new(&mut ctx.txn, ctx.rng);
        let staged = match mls::open_welcome(&mls, &package.welcome) {
            Ok(staged) => staged,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let rejoining = old.as_ref().filter(|old| old.phase != Phase::Gone);
        if rejoining.is_some_and(|old| old.offered != Some(staged.key_package)) {
            return Ok(Err("it does not use the key package that this device asked with".into()));
        }
        if staged.group_id != id.0 || staged.sender.identity.account != request.from {
            return Ok(Err("it is not what the letter said".into()));
        }
        let Ok(state) = GroupState::decode(&staged.state) else {
            return Ok(Err("the state of the group is malformed".into()));
        };
        let members = staged.members.clone();
        // The pool is one shorter, or the last resort is used up: a new one is due.
        self.session.key_package_used(staged.last_resort);
        let group = match staged.accept(&mls) {
            Ok(group) => group,
            Err(error) => return Ok(Err(error.to_string())),
        };
        for leaf in &members {
            let state = known(ctx, &leaf.identity.account)?;
            let keys = state.as_ref().and_then(|state| state.device(&leaf.identity.device));
            if keys.is_none_or(|keys| keys.signature != leaf.signature_key) {
                return Ok(Err("it has a member whose keys are not in their account log".into()));
            }
        }
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody joins".into()))?.account();
        let peer = match state.direct_accounts() {
            None if request.is_group => None,
            Some([a, b]) if !request.is_group && (a == me || b == me) && (a == request.from || b == request.from) => {
                Some(request.from)
            }
            _ => return Ok(Err("it is not the kind of conversation that the letter said".into())),
        };
        let live = self.live.entry(id).or_default();
        *live = crate::log::follow::Live { group: Some(group), ..Default::default() };
        let mut head = Head::new(Phase::Live, request.epoch, request.epoch_id);
        if let Some(old) = old {
            head.unread = old.unread;
            head.next_out = old.next_out;
        }
        let mut info =
            Info { peer, state: Vec::new(), leaves: Vec::new(), intents: Vec::new(), notice: None, opening: false };
        if let Some(previous) = ctx.txn.info(&id)? {
            info.intents = previous.intents;
        }
        ctx.txn.delete(Table::Outbox, commit_key(&id));
        // What was encrypted for the epoch that was lost is encrypted again.
        for (number, mut out) in ctx.txn.outbox(&id, usize::MAX)? {
            out.sealed = None;
            ctx.txn.save(Table::Outbox, &out_key(&id, number), &out);
        }
        ctx.txn.save(Table::Conversation, &id.0, &head);
        ctx.txn.save(Table::Conversation, &info_key(&id), &info);
        if let Some(peer) = peer {
            self.prefer_direct(ctx, peer, id)?;
        }
        self.refresh_info(ctx, id)?;
        self.hand_out_contact(ctx, id, &mut head)?;
        ctx.txn.save(Table::Conversation, &id.0, &head);
        Ok(Ok(()))
    }

    /// Of the direct messages with one person, the conversation with the smaller id is written to.
    pub(crate) fn prefer_direct(
        &mut self,
        ctx: &mut Ctx<'_>,
        peer: AccountId,
        id: ConversationId,
    ) -> Result<(), CoreError> {
        let better = match ctx.txn.direct(&peer)? {
            Some(old) => id <= old || ctx.txn.head(&old)?.is_none_or(|head| head.phase == Phase::Gone),
            None => true,
        };
        if better {
            ctx.txn.put(Table::Meta, direct_key(&peer), id.0);
        }
        Ok(())
    }

    // --- letters that leave --------------------------------------------------------------------------------------------

    #[expect(clippy::too_many_arguments, reason = "the parts of one invitation")]
    pub(crate) fn invite(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        is_group: bool,
        epoch: Seq,
        epoch_id: EpochId,
        package: &Bytes<WELCOME_BYTES_MAX>,
        added: &[(AccountId, DeviceId)],
    ) -> Result<(), CoreError> {
        let own_bytes = match &self.identity {
            Some(me) => ctx.txn.get(Table::Meta, &proof_key(&me.account()))?.map_or(0, |proof| proof.len()),
            None => 0,
        };
        let (welcome, blob) = if package.len() + own_bytes <= INLINE_SENT_BYTES_MAX {
            let bytes =
                Bytes::new(package.to_vec()).map_err(|_| CoreError::Bug("an inline welcome over its bound".into()))?;
            (Welcome::Inline(bytes), None)
        } else {
            let (key, ciphertext, hash) = seal_blob(ctx.rng, package);
            let write = Secret::random(ctx.rng);
            let blob = BlobId::of(&Capability::from_bytes(*write.danger_bytes()));
            let chunks = ciphertext.chunks(BLOB_CHUNK_BYTES_MAX);
            let count = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
            if count as usize > BLOB_CHUNKS_MAX {
                return self.notice(ctx, id, Some("The group is too large to invite more people.".into()));
            }
            for (number, chunk) in (1..).zip(chunks) {
                ctx.txn.put(Table::Blob, chunk_key(&blob, number), chunk.to_vec());
            }
            ctx.txn.save(Table::Blob, &blob.0, &BlobRecord { write, chunks: count, sent: 0 });
            (Welcome::Blob { id: blob, key, chunks: count, hash }, Some(blob))
        };
        for (account, device) in added {
            let body = LetterBody::Invite { conversation: id, epoch, epoch_id, is_group, welcome: welcome.clone() };
            self.write_letter(ctx, *account, *device, body, blob)?;
        }
        Ok(())
    }

    fn write_letter(
        &mut self,
        ctx: &mut Ctx<'_>,
        account: AccountId,
        device: DeviceId,
        body: LetterBody,
        blob: Option<BlobId>,
    ) -> Result<(), CoreError> {
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody writes".into()))?;
        let Some(state) = known(ctx, &account)? else { return Ok(()) };
        let Some(keys) = state.device(&device) else { return Ok(()) };
        // With what the directory says of this account. Who asks for help is known to those whom it asks.
        let (log, proof) = match ctx.txn.proof(&me.account())? {
            Some(proven) => (proven.log, Some(proven.proof)),
            None => (me.log.clone(), None),
        };
        let letter = Letter {
            id: ctx.random(),
            sent_at: ctx.now,
            sender: me.account(),
            device: me.record.device,
            log: Some(log),
            body,
            proof,
        };
        let sealed = match seal(ctx.rng, account, keys, &letter, &me.signing) {
            Ok(sealed) => sealed,
            // Nothing that trying again would change: an account log that has grown too long, or an inbox key that is none.
            Err(error) => {
                ctx.refused(None, format!("{} cannot be written to: {error}", state.handle()));
                return Ok(());
            }
        };
        let record =
            EnvelopeRecord { account, device, sealed: sealed.into_vec(), blob, not_before: Timestamp(0), tries: 0 };
        let key: [u8; 16] = ctx.random();
        ctx.txn.save(Table::Envelope, &key, &record);
        Ok(())
    }

    /// Sends letters, and before them the blobs that they point to.
    pub(crate) fn drive_envelopes(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        if !self.session.anonymous.ready {
            return Ok(());
        }
        for (key, value) in ctx.txn.prefixed(Table::Envelope, &[], ENVELOPES_IN_FLIGHT_MAX * 4)? {
            let record: EnvelopeRecord = crate::store::records::parse(&value)?;
            let Ok(key) = <[u8; 16]>::try_from(key) else { continue };
            if self.session.waits(Link::Anonymous, |p| matches!(p, Pending::PostEnvelope(k) if *k == key)) {
                continue;
            }
            if record.not_before > ctx.now {
                ctx.wake(record.not_before, "a letter is to be sent again");
                continue;
            }
            if let Some(blob) = record.blob
                && let Some(upload) = ctx.txn.record::<BlobRecord>(Table::Blob, &blob.0)?
            {
                self.upload(ctx, blob, &upload)?;
                continue;
            }
            let contact = ctx.txn.contact(&record.account)?.and_then(|contact| contact.contact);
            // A capability that was taken back is refused once; then a token pays.
            let admission = match contact.filter(|_| record.tries == 0) {
                Some(capability) => Admission::Contact(Capability::from_bytes(*capability.danger_bytes())),
                None => match self.token(ctx)? {
                    Some(token) => Admission::Token(token),
                    None => continue,
                },
            };
            let sealed = Bytes::new(record.sealed).map_err(|_| CoreError::Bug("a letter over its bound".into()))?;
            let request = Request::PostEnvelope { account: record.account, device: record.device, admission, sealed };
            self.ask(ctx, Link::Anonymous, request, Pending::PostEnvelope(key));
        }
        Ok(())
    }

    /// Whoever waits for letters to be tried is told.
    pub(crate) fn settle_letters(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        if self.posting.is_empty() || !self.session.anonymous.ready {
            return Ok(());
        }
        for (_, value) in ctx.txn.prefixed(Table::Envelope, &[], usize::MAX)? {
            if crate::store::records::parse::<EnvelopeRecord>(&value)?.tries == 0 {
                return Ok(());
            }
        }
        for command in std::mem::take(&mut self.posting) {
            ctx.finish(command, Ok(Outcome::Done));
        }
        Ok(())
    }

    fn upload(&mut self, ctx: &mut Ctx<'_>, blob: BlobId, upload: &BlobRecord) -> Result<(), CoreError> {
        if self.session.waits(Link::Anonymous, |p| matches!(p, Pending::AppendBlob(b) if *b == blob)) {
            return Ok(());
        }
        let chunk = upload.sent + 1;
        let token = if chunk == 1 {
            match self.token(ctx)? {
                Some(token) => Some(token),
                None => return Ok(()),
            }
        } else {
            None
        };
        let bytes = ctx
            .txn
            .get(Table::Blob, &chunk_key(&blob, chunk))?
            .ok_or_else(|| CoreError::Bug("a chunk vanished".into()))?;
        let bytes = Bytes::new(bytes).map_err(|_| CoreError::Bug("a chunk over its bound".into()))?;
        let write = Capability::from_bytes(*upload.write.danger_bytes());
        self.ask(
            ctx,
            Link::Anonymous,
            Request::AppendBlob { write, token, chunk: Seq(u64::from(chunk)), bytes },
            Pending::AppendBlob(blob),
        );
        Ok(())
    }

    pub(crate) fn chunk_stored(&mut self, ctx: &mut Ctx<'_>, blob: BlobId) -> Result<(), CoreError> {
        let Some(mut upload) = ctx.txn.record::<BlobRecord>(Table::Blob, &blob.0)? else { return Ok(()) };
        upload.sent += 1;
        if upload.sent >= upload.chunks {
            // Up: the letters that point to it may go.
            ctx.txn.delete(Table::Blob, blob.0);
            forget_chunks(ctx, &blob, upload.chunks);
        } else {
            ctx.txn.save(Table::Blob, &blob.0, &upload);
        }
        Ok(())
    }

    pub(crate) fn blob_refused(&mut self, ctx: &mut Ctx<'_>, blob: BlobId, failure: &Failure) -> Result<(), CoreError> {
        let wait = ctx.now.plus_secs(u64::from(failure.retry_after_secs.unwrap_or(2)));
        for (key, value) in ctx.txn.prefixed(Table::Envelope, &[], usize::MAX)? {
            let mut record: EnvelopeRecord = crate::store::records::parse(&value)?;
            if record.blob == Some(blob) {
                record.not_before = wait;
                ctx.txn.save(Table::Envelope, &key, &record);
            }
        }
        Ok(())
    }

    pub(crate) fn envelope_posted(&mut self, ctx: &mut Ctx<'_>, key: [u8; 16]) {
        ctx.txn.delete(Table::Envelope, key);
    }

    pub(crate) fn envelope_refused(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: [u8; 16],
        failure: &Failure,
    ) -> Result<(), CoreError> {
        let Some(mut record) = ctx.txn.record::<EnvelopeRecord>(Table::Envelope, &key)? else { return Ok(()) };
        record.tries += 1;
        let dead = failure.code == ErrorCode::NotFound || record.tries > ENVELOPE_TRIES_MAX;
        if dead || (failure.code == ErrorCode::Closed && record.tries > 1) {
            ctx.txn.delete(Table::Envelope, key);
            ctx.refused(None, format!("a letter could not be delivered: {failure}"));
            return Ok(());
        }
        let backoff = 1_u64 << record.tries.min(12);
        record.not_before = match failure.code {
            ErrorCode::Closed | ErrorCode::InvalidToken => ctx.now,
            _ => ctx.now.plus_secs(u64::from(failure.retry_after_secs.unwrap_or(0)).max(backoff)),
        };
        ctx.txn.save(Table::Envelope, &key, &record);
        Ok(())
    }

    // --- help ----------------------------------------------------------------------------------------------------------

    /// Asks some members to add this device again, with a fresh key package in the letter.
    pub(crate) fn call_for_help(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        mut head: Head,
    ) -> Result<(), CoreError> {
        if head.asked && ctx.now < head.not_before {
            self.at(head.not_before, id);
            return Ok(());
        }
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody asks".into()))?;
        let (leaf, account) = (me.leaf(), me.account());
        let mls = Mls::new(&mut ctx.txn, ctx.rng);
        let package =
            mls::generate_key_package(&mls, &me.signer, leaf, ctx.now.0, HELP_LIFETIME_SECS, false).map_err(mls_bug)?;
        let reference = mls::inspect_key_package(&mls, &package).map_err(mls_bug)?.reference;
        let info = ctx.txn.info(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its info".into()))?;
        let mut others: Vec<_> = info.leaves.iter().filter(|leaf| leaf.account != account).cloned().collect();
        while others.len() > HELPERS_MAX {
            let drop = ctx.jitter_ms(others.len() as u64);
            others.swap_remove(usize::try_from(drop).unwrap_or(0));
        }
        for other in others {
            let key_package =
                Bytes::new(package.clone()).map_err(|_| CoreError::Bug("a key package over its bound".into()))?;
            let body = LetterBody::Readd {
                conversation: id,
                epoch_id: head.epoch_id,
                refused: head.refused.map(|(_, epoch)| epoch),
                key_package,
            };
            self.write_letter(ctx, other.account, other.device, body, None)?;
        }
        head.asked = true;
        head.offered = Some(reference);
        if head.phase == Phase::Stuck {
            head.not_before = ctx.now.plus_secs(HELP_AGAIN_SECS);
            self.at(head.not_before, id);
        }
        ctx.txn.save(Table::Conversation, &id.0, &head);
        Ok(())
    }

    /// A member's device cannot follow. Whoever is first adds it again; false alarms are ignored.
    fn asked_for_help(
        &mut self,
        ctx: &mut Ctx<'_>,
        who: LeafIdentity,
        id: ConversationId,
        stuck_in: EpochId,
        key_package: Vec<u8>,
    ) -> Result<Result<(), String>, CoreError> {
        let (Some(mut head), Some(mut info)) = (ctx.txn.head(&id)?, ctx.txn.info(&id)?) else {
            return Ok(Err("it is about a conversation that this device does not have".into()));
        };
        let member = info.leaves.iter().any(|leaf| leaf.account == who.account && leaf.device == who.device);
        if !member || head.phase != Phase::Live || stuck_in == head.epoch_id {
            return Ok(Ok(()));
        }
        let Some(state) = known(ctx, &who.account)? else { return Ok(Err("it is from somebody unknown".into())) };
        if let Err(why) = self.vouch(ctx, &state, who.device, &key_package)? {
            return Ok(Err(why));
        }
        let replaces =
            |intent: &Intent| matches!(intent, Intent::Replace(a, p) if *a == who.account && p.device == who.device);
        info.intents.retain(|intent| !replaces(intent));
        info.intents.push(Intent::Replace(who.account, KeyPackageRecord { device: who.device, bytes: key_package }));
        ctx.txn.save(Table::Conversation, &info_key(&id), &info);
        self.commit_soon(ctx, id, &mut head, 1_000)?;
        ctx.txn.save(Table::Conversation, &id.0, &head);
        self.dirty.insert(id);
        Ok(Ok(()))
    }
}

fn forget_chunks(ctx: &mut Ctx<'_>, blob: &BlobId, chunks: u32) {
    for chunk in 1..=chunks {
        ctx.txn.delete(Table::Blob, chunk_key(blob, chunk));
    }
}
